// Half precision, bfloat16 and float16, to float32 and back, rounded to nearest even: the one implementation. Without
// branches, so that loops over it vectorise; Eigen's conversions have branches and do not. Same bits as Eigen's, which
// a test compares for every half and for floats around every rounding boundary; of NaNs the payload's top bits stay.
#pragma once
#include <bit>
#include <cstdint>

namespace optp {

struct Bf16 {
  [[gnu::always_inline]] static float load(uint16_t bits) { return std::bit_cast<float>(uint32_t(bits) << 16); }
  [[gnu::always_inline]] static uint16_t store(float value) {
    const uint32_t bits = std::bit_cast<uint32_t>(value);
    const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16, nan = (bits >> 16) | 0x40;
    return uint16_t((bits & 0x7fffffff) > 0x7f800000 ? nan : rounded);
  }
};

struct F16 {
  // Masks for branches: compilers turn ?: back into branches here.
  [[gnu::always_inline]] static uint32_t select(bool condition, uint32_t yes, uint32_t no) {
    const uint32_t mask = uint32_t(0) - uint32_t(condition);
    return (yes & mask) | (no & ~mask);
  }
  [[gnu::always_inline]] static float load(uint16_t half) {
    const uint32_t shifted = uint32_t(half & 0x7fff) << 13, exponent = shifted & 0x0f800000;
    const uint32_t subnormal = std::bit_cast<uint32_t>(std::bit_cast<float>(shifted + 0x38800000) - 0x1p-14f);
    const uint32_t normal = select(exponent == 0x0f800000, shifted + 0x70000000, shifted + 0x38000000);
    return std::bit_cast<float>(select(exponent == 0, subnormal, normal) | (uint32_t(half & 0x8000) << 16));
  }
  [[gnu::always_inline]] static uint16_t store(float value) {
    const uint32_t bits = std::bit_cast<uint32_t>(value), magnitude = bits & 0x7fffffff;
    // Below 2^-14 the addition aligns the last bit and rounds.
    const uint32_t subnormal = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - 0x3f000000;
    const uint32_t normal = (magnitude - 0x38000000 + 0xfff + ((magnitude >> 13) & 1)) >> 13;
    const uint32_t finite = select(magnitude < 0x38800000, subnormal, normal);
    const uint32_t special = select(magnitude > 0x7f800000, 0x7e00, 0x7c00);  // from 65520 on: infinity
    return uint16_t(select(magnitude >= 0x477ff000, special, finite) | ((bits >> 16) & 0x8000));
  }
};

}  // namespace optp
