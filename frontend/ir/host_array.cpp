#include "frontend/ir/host_array.h"

namespace optp {
HostArray host_array(const Array& array, DType dtype) { return {dtype, array.dims, to_bytes(array, dtype)}; }
Array to_array(const HostArray& array) {
  Tensor tensor;
  tensor.dtype = array.dtype;
  tensor.dims = array.dims;
  tensor.bytes = array.bytes;
  return to_array(tensor);
}
}  // namespace optp
