// A contraction as the product of matrices that computes it: what oneDNN's way and our own packed one both start from.
#pragma once
#include <optional>
#include <vector>

#include "runtime/kernels/few_rows.h"
#include "runtime/kernels/matmul_form.h"
#include "runtime/kernels/packed_product.h"

namespace optp::kernels {

struct Contraction {
  const Work& work;
  const KernelContext& context;
  Form form;
  Copies copies;
  std::vector<char> ordered;  // weights known now, copied into the form's order; empty where they lie so already

  size_t src() const { return form.swapped ? B : A; }
  size_t wei() const { return form.swapped ? A : B; }
  const LoopList& batch() const { return form.groups.batch; }
  const StridedLoop& m() const { return form.groups.m[0]; }
  const StridedLoop& n() const { return form.groups.n[0]; }
  const StridedLoop& k() const { return form.groups.k[0]; }
  const TensorSpec& weights_spec() const { return work.operands[wei()]; }
  // What others can share these weights by: the same words are the same elements in the same order. Empty: nobody can.
  std::string shared_form() const;
  // Null where only a run knows them.
  const void* weights() const { return work.operands[wei()].constant; }
  const void* weight_bytes() const { return ordered.empty() ? work.operands[wei()].read() : ordered.data(); }
};

// The steps after it, as our own products do them.
llvm::SmallVector<ProductStep, 4> steps_of(const Contraction& contraction);
// As a product of few rows, which has yet to be asked whether it takes the weights; none: no single product of floats.
std::optional<FewRows> few_rows_of(const Contraction& contraction);
// A float32 sum by PackedProduct, with any steps after it.
Kernel packed_contraction(const Contraction& contraction);

}  // namespace optp::kernels
