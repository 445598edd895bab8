// Element types of tensors: the ONNX ones that a transformer's graph can hold.
#pragma once
#include <cstdint>
#include <optional>

#include "llvm/ADT/StringRef.h"

namespace optp {

// Values are ONNX's TensorProto.DataType numbers, so that import and export are a cast.
enum class DType : uint8_t {
  undefined = 0,
  f32 = 1,
  u8 = 2,
  i8 = 3,
  u16 = 4,
  i16 = 5,
  i32 = 6,
  i64 = 7,
  string = 8,
  boolean = 9,
  f16 = 10,
  f64 = 11,
  u32 = 12,
  u64 = 13,
  bf16 = 16,
};

// "f32", "bf16", "bool" …: the short form, in dumps.
llvm::StringRef to_string(DType dtype);
// "float32", "bfloat16", "bool" …: numpy's and PyTorch's names, in plans and messages for users.
llvm::StringRef long_name(DType dtype);
std::optional<DType> dtype_from(llvm::StringRef text);  // either form

int64_t size_bytes(DType dtype);  // of one element; 0 for undefined and string
bool is_float(DType dtype);
bool is_half(DType dtype);     // f16 or bf16
bool is_integer(DType dtype);  // signed or unsigned, not bool

// Half precision in software: round to nearest even, as IEEE 754 and PyTorch do.
float f16_to_f32(uint16_t bits);
float bf16_to_f32(uint16_t bits);
uint16_t f32_to_f16(float value);
uint16_t f32_to_bf16(float value);

}  // namespace optp
