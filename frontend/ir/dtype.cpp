#include "frontend/ir/dtype.h"

#include <bit>
#include <cstring>
#include <iterator>

#include "frontend/ir/half.h"

namespace optp {
namespace {
struct Row {
  DType dtype;
  const char* text;
  const char* long_name;
  int bytes;
};
constexpr Row rows[] = {
    {DType::f32, "f32", "float32", 4},
    {DType::f64, "f64", "float64", 8},
    {DType::f16, "f16", "float16", 2},
    {DType::bf16, "bf16", "bfloat16", 2},
    {DType::i8, "i8", "int8", 1},
    {DType::i16, "i16", "int16", 2},
    {DType::i32, "i32", "int32", 4},
    {DType::i64, "i64", "int64", 8},
    {DType::u8, "u8", "uint8", 1},
    {DType::u16, "u16", "uint16", 2},
    {DType::u32, "u32", "uint32", 4},
    {DType::u64, "u64", "uint64", 8},
    {DType::boolean, "bool", "bool", 1},
    {DType::string, "string", "string", 0},
    {DType::undefined, "undefined", "undefined", 0},
};
const Row& row(DType dtype) {
  for (const Row& r : rows)
    if (r.dtype == dtype) return r;
  return rows[std::size(rows) - 1];
}
}  // namespace

llvm::StringRef to_string(DType dtype) { return row(dtype).text; }
llvm::StringRef long_name(DType dtype) { return row(dtype).long_name; }
std::optional<DType> dtype_from(llvm::StringRef text) {
  for (const Row& r : rows)
    if (text == r.text || text == r.long_name) return r.dtype;
  return std::nullopt;
}
int64_t size_bytes(DType dtype) { return row(dtype).bytes; }
bool is_half(DType dtype) { return dtype == DType::f16 || dtype == DType::bf16; }
bool is_float(DType dtype) { return is_half(dtype) || dtype == DType::f32 || dtype == DType::f64; }
bool is_integer(DType dtype) {
  return !is_float(dtype) && dtype != DType::boolean && dtype != DType::string && dtype != DType::undefined;
}

float bf16_to_f32(uint16_t bits) { return Bf16::load(bits); }
uint16_t f32_to_bf16(float value) { return Bf16::store(value); }
float f16_to_f32(uint16_t bits) { return F16::load(bits); }
uint16_t f32_to_f16(float value) { return F16::store(value); }
}  // namespace optp
