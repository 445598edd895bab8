// A product as oneDNN is asked for it: the layouts of its matrices, what is done to the result, and whether the library
// that is here computes that rightly.
#pragma once
#include <dnnl.hpp>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "frontend/ir/dtype.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/SmallVector.h"

namespace optp::kernels {

// [batch…, rows, columns]; an extent of 1 is broadcast, or one. Strides in elements; that of an extent of 1 says
// nothing.
struct MatrixLayout {
  dnnl::memory::dims dims, strides;
};

struct ProductRequest {
  struct Step {
    bool add = false;  // else the result is multiplied by `factor`
    float factor = 1;
    MatrixLayout addend;
    DType dtype = DType::f32;  // of the addend
  };
  DType dtype = DType::f32;        // of src and weights
  DType result = DType::f32;       // of dst
  MatrixLayout src, weights, dst;  // [.., m, k], [.., k, n], [.., m, n]
  bool pack = false;               // weights in a layout that the library chooses
  llvm::SmallVector<Step, 4> steps;
};

class OnednnProduct {
 public:
  // None where the library has no implementation, or where this version is known to compute the steps otherwise.
  // `packed_as`: the layout of the weights where one is wanted; null: the request's, or one that the library chooses.
  static std::optional<OnednnProduct> create(const ProductRequest& request, const dnnl::engine& engine,
                                             const dnnl::memory::desc* packed_as = nullptr);

  // The library's names: its general matrix product, which packs no weights, and its plain loops.
  bool is_general() const;
  bool is_reference() const;
  std::string implementation() const { return desc_.impl_info_str(); }

  dnnl::memory::desc weights_layout() const { return desc_.weights_desc(); }
  int64_t scratch_bytes() const { return int64_t(desc_.scratchpad_desc().get_size()); }
  // addends: one a step, null for a factor. Waits for the end.
  void run(dnnl::stream& stream, const void* src, const void* weights, void* dst, llvm::ArrayRef<const void*> addends,
           void* scratch);

 private:
  dnnl::matmul::primitive_desc desc_;
  dnnl::matmul primitive_;
  dnnl::memory src_, weights_, dst_, scratchpad_;
  std::vector<dnnl::memory> addends_;  // one a step
  std::unordered_map<int, dnnl::memory> arguments_;
};

dnnl::memory::data_type onednn_type(DType dtype);
dnnl::memory::desc onednn_layout(const MatrixLayout& layout, DType dtype);

// Whether the library that is here, on this CPU, computes products of this form as they are defined. A library's kernel
// is chosen by layout, extents, instruction set and caches, and some are wrong: oneDNN 3.7.2's AVX-512 product of
// weights whose batches lie inside of their rows, 2.6.3's with two factors. So each form is tried once a process, on a
// small instance with the same order of strides, gaps, broadcasts, steps and rests of blocks, against the definition.
// `implementation` is that of the product to be used. Thread-safe.
bool computes_rightly(const ProductRequest& request, llvm::StringRef implementation, const dnnl::engine& engine);
// Forms that were tried and are not used, in words; sorted.
std::vector<std::string> refused_product_forms();
// Tries the forms that models use most, so that a report without a model can tell.
void try_usual_product_forms(const dnnl::engine& engine);

}  // namespace optp::kernels
