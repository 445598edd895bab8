// The numbers that a dtype ends with: what a maximum or minimum over nothing is.
#pragma once
#include <cmath>

#include "frontend/ir/dtype.h"

namespace optp {
inline bool is_signed_integer(DType dtype) {
  return dtype == DType::i8 || dtype == DType::i16 || dtype == DType::i32 || dtype == DType::i64;
}
inline double lowest(DType dtype) {
  if (is_float(dtype)) return -INFINITY;
  return is_signed_integer(dtype) ? -std::ldexp(1.0, int(8 * size_bytes(dtype)) - 1) : 0;
}
inline double highest(DType dtype) {
  if (is_float(dtype)) return INFINITY;
  const int bits = int(8 * size_bytes(dtype));
  return std::ldexp(1.0, is_signed_integer(dtype) ? bits - 1 : bits) - 1;
}
}  // namespace optp
