#include "frontend/ir/tensor_text.h"

#include <charconv>
#include <cmath>
#include <cstring>

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/xxhash.h"

namespace optp {
namespace {
template <typename Number>
std::string shortest(Number number) {
  char text[64];
  return std::string(text, std::to_chars(text, text + sizeof text, number).ptr);
}
std::string integer_text(DType dtype, uint64_t bits) {
  const unsigned width = unsigned(8 * size_bytes(dtype));
  const bool is_signed = dtype == DType::i8 || dtype == DType::i16 || dtype == DType::i32 || dtype == DType::i64;
  return is_signed ? std::to_string(int64_t(bits << (64 - width)) >> (64 - width)) : std::to_string(bits);
}
// Element of these bits, as a number or, of one that is none, as the bits themselves.
std::string element_text(DType dtype, uint64_t bits) {
  if (!is_float(dtype)) return integer_text(dtype, bits);
  double wide = 0;
  float narrow = 0;
  if (dtype == DType::f64)
    std::memcpy(&wide, &bits, sizeof wide);
  else if (dtype == DType::f32)
    std::memcpy(&narrow, &bits, sizeof narrow);
  else
    narrow = dtype == DType::f16 ? f16_to_f32(uint16_t(bits)) : bf16_to_f32(uint16_t(bits));
  if (std::isnan(wide) || std::isnan(narrow)) return "0x" + llvm::utohexstr(bits, /*LowerCase=*/true);
  return dtype == DType::f64 ? shortest(wide) : shortest(narrow);
}
template <typename Number>
bool take_number(llvm::StringRef text, Number& out) {
  const auto [end, code] = std::from_chars(text.begin(), text.end(), out);
  return code == std::errc() && end == text.end();
}
std::optional<uint64_t> element_bits(DType dtype, llvm::StringRef text) {
  uint64_t bits = 0;
  const unsigned width = unsigned(8 * size_bytes(dtype));
  if (text.starts_with("0x")) {
    if (text.drop_front(2).getAsInteger(16, bits) || (width < 64 && bits >> width)) return std::nullopt;
    return bits;
  }
  if (dtype == DType::f64) {
    double wide = 0;
    if (!take_number(text, wide)) return std::nullopt;
    std::memcpy(&bits, &wide, sizeof wide);
  } else if (is_float(dtype)) {
    float narrow = 0;
    if (!take_number(text, narrow)) return std::nullopt;
    if (dtype == DType::f32)
      std::memcpy(&bits, &narrow, sizeof narrow);
    else
      bits = dtype == DType::f16 ? f32_to_f16(narrow) : f32_to_bf16(narrow);
  } else {
    int64_t number = 0;
    if (!take_number(text, bits)) {
      if (!take_number(text, number)) return std::nullopt;
      bits = uint64_t(number);
    }
    // As a tensor holds it: the same number must come back.
    const uint64_t kept = width < 64 ? bits & ((uint64_t(1) << width) - 1) : bits;
    if (integer_text(dtype, kept) != text) return std::nullopt;
    bits = kept;
  }
  return bits;
}
uint64_t bits_at(const Tensor& tensor, int64_t index) {
  const size_t element = size_t(size_bytes(tensor.dtype));
  uint64_t bits = 0;  // little-endian, as the bytes are
  std::memcpy(&bits, tensor.bytes.data() + size_t(index) * element, element);
  return bits;
}
}  // namespace

std::string exact_text(double number) {
  if (std::isnan(number)) return "nan";
  std::string out = shortest(number);
  if (std::isfinite(number) && out.find_first_of(".e") == std::string::npos) out += ".0";  // it is no integer
  return out;
}

std::shared_ptr<const Tensor> without_bytes(DType dtype, llvm::ArrayRef<int64_t> dims, llvm::StringRef missing) {
  auto tensor = std::make_shared<Tensor>();
  tensor->dtype = dtype;
  tensor->dims.assign(dims.begin(), dims.end());
  tensor->missing = missing.str();
  return tensor;
}

std::string contents_text(const Tensor& tensor) {
  constexpr int64_t most_written = 64;
  const int64_t count = tensor.elements();
  if (tensor.is_missing()) return "missing " + in_double_quotes(tensor.missing);
  if (size_bytes(tensor.dtype) == 0) return "strings";
  if (tensor.wide)
    return contents_text(*make_tensor(tensor.dtype, tensor.dims, to_bytes(to_array(tensor), tensor.dtype)));
  auto element = [&](int64_t k) { return element_text(tensor.dtype, bits_at(tensor, k)); };
  if (count == 1) return element(0);
  if (count > 1 && std::memcmp(tensor.bytes.data(), tensor.bytes.data() + size_bytes(tensor.dtype),
                               tensor.bytes.size() - size_t(size_bytes(tensor.dtype))) == 0)
    return "all " + element(0);
  if (count > most_written) {
    const uint64_t hash =
        llvm::xxh3_64bits(llvm::ArrayRef(reinterpret_cast<const uint8_t*>(tensor.bytes.data()), tensor.bytes.size()));
    return "missing \"xxh3:" + llvm::utohexstr(hash, /*LowerCase=*/true, 16) + "\"";
  }
  std::string out = "[";
  for (int64_t k = 0; k < count; ++k) out += (k ? ", " : "") + element(k);
  return out + "]";
}

std::shared_ptr<const Tensor> read_contents(TextCursor& in, DType dtype, llvm::ArrayRef<int64_t> dims) {
  constexpr int64_t most_elements = 1 << 24;
  if (in.eat_word("missing")) return without_bytes(dtype, dims, in.text("the place of the numbers in quotes"));
  if (in.eat_word("strings")) return without_bytes(dtype, dims, "");
  const int64_t count = count_of(dims), width = size_bytes(dtype);
  if (width == 0 || count > most_elements) in.fail("'missing' or 'strings'");
  std::vector<char> bytes;
  const llvm::StringRef at = in.here();
  auto take = [&] {
    const auto bits = element_bits(dtype, in.number(("a number of " + long_name(dtype)).str()));
    if (!bits && !in.failed()) in.fail_last(("a number of " + long_name(dtype)).str());
    const uint64_t element = bits.value_or(0);
    bytes.insert(bytes.end(), reinterpret_cast<const char*>(&element), reinterpret_cast<const char*>(&element) + width);
  };
  if (in.eat_word("all")) {
    take();
    bytes.reserve(size_t(count * width));
    for (int64_t k = 1; k < count && !in.failed(); ++k) bytes.insert(bytes.end(), bytes.begin(), bytes.begin() + width);
  } else if (in.eat("[")) {
    while (!in.failed() && !in.is_next("]")) {
      take();
      if (!in.eat(",")) break;
    }
    in.must("]");
  } else {
    take();
  }
  if (int64_t(bytes.size()) != count * width)
    in.fail_with(error(Code::size_mismatch)
                     .expected(llvm::Twine(count) + " elements")
                     .found(bytes.size() / size_t(std::max<int64_t>(width, 1))),
                 at);
  return in.failed() ? without_bytes(dtype, dims, "") : make_tensor(dtype, dims, std::move(bytes));
}
}  // namespace optp
