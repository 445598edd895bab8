// What elementwise kernels share: rows of collapsed broadcast dims, each operand stepping by 0 or 1 along a row. f32
// loops vectorise; half precision is widened a block at a time.
#pragma once
#include <cstring>

#include "frontend/ir/half.h"
#include "runtime/kernel.h"
#include "runtime/kernels/strided.h"
#include "runtime/kernels/vector.h"

namespace optp::kernels {

// Runs `row` along the rows of the result.
Kernel rows_kernel(const Work& work, const KernelContext& context, Row row);

// F::of is the op; F::vector: it is written so that it vectorises.
template <class F, class In, class Out>
void unary_row(int64_t n, const void* const* in, const int64_t* step, void* out) {
  const In* a = static_cast<const In*>(in[0]);
  Out* y = static_cast<Out*>(out);
  auto loop = [=]() OPTP_LAMBDA {
    for (int64_t k = 0; k < n; ++k) y[k] = Out(F::of(a[k]));
  };
  if (step[0] == 0 && n > 1) {
    std::fill(y, y + n, Out(F::of(a[0])));
    return;
  }
  if constexpr (F::vector && std::is_same_v<In, float>)
    vectorised(loop);
  else
    loop();
}
template <class F, class In, class Out>
void binary_row(int64_t n, const void* const* in, const int64_t* step, void* out) {
  const In *a = static_cast<const In*>(in[0]), *b = static_cast<const In*>(in[1]);
  Out* y = static_cast<Out*>(out);
  auto run = [](const auto& loop) {
    if constexpr (F::vector && std::is_same_v<In, float>)
      vectorised(loop);
    else
      loop();
  };
  if (step[0] == 1 && step[1] == 1)
    run([=]() OPTP_LAMBDA {
      for (int64_t k = 0; k < n; ++k) y[k] = Out(F::of(a[k], b[k]));
    });
  else if (step[0] == 1)
    run([=, v = *b]() OPTP_LAMBDA {
      for (int64_t k = 0; k < n; ++k) y[k] = Out(F::of(a[k], v));
    });
  else if (step[1] == 1)
    run([=, v = *a]() OPTP_LAMBDA {
      for (int64_t k = 0; k < n; ++k) y[k] = Out(F::of(v, b[k]));
    });
  else
    std::fill(y, y + n, Out(F::of(*a, *b)));
}

// Widens and narrows half-precision operands in blocks; `wide` sees f32.
template <class Half, Row wide, int operands, bool to_bool>
void half_row(int64_t n, const void* const* in, const int64_t* step, void* out) {
  constexpr int64_t block = 512;
  float wide_in[operands][block], wide_out[block];
  for (int64_t at = 0; at < n; at += block) {
    const int64_t count = std::min(block, n - at);
    const void* ins[operands];
    for (int o = 0; o < operands; ++o) {
      const uint16_t* from = static_cast<const uint16_t*>(in[o]) + at * step[o];
      const int64_t some = step[o] ? count : 1;
      float* to = wide_in[o];
      vectorised([=]() OPTP_LAMBDA {
        for (int64_t k = 0; k < some; ++k) to[k] = Half::load(from[k]);
      });
      ins[o] = to;
    }
    if constexpr (to_bool) {
      wide(count, ins, step, static_cast<uint8_t*>(out) + at);
    } else {
      wide(count, ins, step, wide_out);
      uint16_t* to = static_cast<uint16_t*>(out) + at;
      const float* from = wide_out;
      vectorised([=]() OPTP_LAMBDA {
        for (int64_t k = 0; k < count; ++k) to[k] = Half::store(from[k]);
      });
    }
  }
}

}  // namespace optp::kernels
