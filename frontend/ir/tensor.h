// The two forms of a tensor's elements in the compiler: a model's data, as its file has them, and what ops compute
// with.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "frontend/ir/dtype.h"
#include "frontend/ir/shard.h"
#include "llvm/ADT/ArrayRef.h"

namespace optp {

// A parameter or constant: read-only, shared by the graphs that have it, mapped from its file and never copied on
// import, and maybe missing.
struct Tensor {
  DType dtype = DType::undefined;
  llvm::SmallVector<int64_t, 4> dims;
  llvm::ArrayRef<char> bytes;         // row-major, little-endian; empty when missing
  std::shared_ptr<const void> owner;  // keeps the bytes alive
  std::string missing;                // the external file that is not there; empty when the bytes are
  std::shared_ptr<const Tensor>
      wide;              // of a rounding: the float32 tensor that is rounded whenever it is read; no bytes
  bool in_file = false;  // the bytes are pages of a file, which can be let go of and read again

  int64_t elements() const;
  bool is_missing() const { return !missing.empty(); }
};

// In half precision, without a copy: elements are rounded as they are read. A missing one stays so.
std::shared_ptr<const Tensor> rounded(std::shared_ptr<const Tensor> wide, DType half);

std::shared_ptr<const Tensor> make_tensor(DType dtype, llvm::ArrayRef<int64_t> dims, std::vector<char> bytes);

// What the meaning of an op is computed on: float64 or int64, row-major, whatever the dtype. bool is 0 or 1.
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
Array to_array(const Tensor& tensor, const Shard& shard);  // only what the shard holds
std::vector<char> to_bytes(const Array& array, DType dtype);
std::shared_ptr<const Tensor> to_tensor(const Array& array, DType dtype);

// What a shard holds of `whole`; a rank's part in its place in the whole, or added to what is there.
Array take(const Shard& shard, const Array& whole);
void put(const Shard& shard, Array& whole, const Array& part);
void add(const Shard& shard, Array& whole, const Array& part);
// Calls `sink` with the runs of the tensor's bytes that the shard holds, in row-major order.
void for_each_run(const Shard& shard, const Tensor& tensor, llvm::function_ref<void(llvm::ArrayRef<char>)> sink);

std::string index_text(int64_t linear,
                       llvm::ArrayRef<int64_t> dims);  // of the element at row-major `linear`: "[0, 3, 17]"

}  // namespace optp
