// Bytes of a tensor that a file or a fold gave: mapped, never copied on import.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "frontend/ir/dtype.h"
#include "frontend/ir/sharding.h"
#include "llvm/ADT/ArrayRef.h"

namespace optp {

struct Tensor {
  DType dtype = DType::undefined;
  llvm::SmallVector<int64_t, 4> dims;
  llvm::ArrayRef<char> bytes;         // row-major, little-endian; empty when missing
  std::shared_ptr<const void> owner;  // keeps the bytes alive
  std::string missing;                // the external file that is not there; empty when the bytes are

  int64_t elements() const;
  bool is_missing() const { return !missing.empty(); }
};

std::shared_ptr<const Tensor> make_tensor(DType dtype, llvm::ArrayRef<int64_t> dims, std::vector<char> bytes);

// The meaning of an op is computed on these: float64 or int64, row-major. bool is 0 or 1.
struct Array {
  llvm::SmallVector<int64_t, 4> dims;
  bool is_float = true;
  std::vector<double> f;
  std::vector<int64_t> i;

  int64_t elements() const;
  void resize(bool floating, llvm::ArrayRef<int64_t> new_dims);
  double number(int64_t index) const { return is_float ? f[size_t(index)] : double(i[size_t(index)]); }
};
int64_t count_of(llvm::ArrayRef<int64_t> dims);  // elements, of dims that were checked before

Array to_array(const Tensor& tensor);
// Only what the intervals of each dim hold.
Array to_array(const Tensor& tensor, llvm::ArrayRef<Intervals> held);
std::vector<char> to_bytes(const Array& array, DType dtype);
std::shared_ptr<const Tensor> to_tensor(const Array& array, DType dtype);

// Calls `visit` with first element and length of each run that the intervals of each dim hold, row-major; neighbours
// are merged.
void for_each_run(llvm::ArrayRef<int64_t> dims, llvm::ArrayRef<Intervals> held,
                  llvm::function_ref<void(int64_t start, int64_t length)> visit);
// Calls `sink` with the runs of bytes that the intervals of each dim hold, in row-major order; neighbours are merged.
void for_each_run(const Tensor& tensor, llvm::ArrayRef<Intervals> held,
                  llvm::function_ref<void(llvm::ArrayRef<char>)> sink);

std::string index_text(int64_t linear,
                       llvm::ArrayRef<int64_t> dims);  // of the element at row-major `linear`: "[0, 3, 17]"

}  // namespace optp
