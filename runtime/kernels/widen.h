// Operands of several float types, read as float32.
#pragma once
#include "frontend/ir/dtype.h"
#include "frontend/ir/half.h"
#include "runtime/kernels/vector.h"

namespace optp::kernels {

// use(as, load): float32, bfloat16 or float16 elements, and what makes a float of one.
template <class Use>
void with_elements(const void* from, DType dtype, const Use& use) {
  if (dtype == DType::bf16)
    use(static_cast<const uint16_t*>(from), [](uint16_t h) OPTP_LAMBDA { return Bf16::load(h); });
  else if (dtype == DType::f16)
    use(static_cast<const uint16_t*>(from), [](uint16_t h) OPTP_LAMBDA { return F16::load(h); });
  else
    use(static_cast<const float*>(from), [](float f) OPTP_LAMBDA { return f; });
}

}  // namespace optp::kernels
