// How large the rounding of a value may be, from what was summed up to it. Where a sum cancels (softmax does not see a
// key's bias, so its gradient is 0) nothing of the value itself says so, and its own size is no measure of its error.
//
// For y = Σ a · b over n terms in floating point, with u = 2^-53 and what a and b are off by themselves (Higham,
// Accuracy and Stability of Numerical Algorithms, section 3.1):
//   |Δy| ≤ Σ (|Δa| |b| + |a| |Δb|) + n u Σ |a · b|
// A sum is the case b = 1, a view the case of one term. The largest magnitudes of a tensor stand for all of its
// elements, and Δ of an operand is what was measured of it, so no bound grows with the depth of the graph. Of ops that
// are not linear nothing is said.
#pragma once
#include "frontend/ir/graph.h"
#include "llvm/ADT/DenseMap.h"

namespace optp {

class Roundings {
 public:
  struct Size {
    double largest = 0;   // magnitude
    double smallest = 0;  // that is not 0: what a division makes of an error
    double error = 0;     // measured, or the bound where it was not
    double addend = 0;    // the largest of what was summed up to it, through all stages since it last had its own size
  };
  struct Bound {
    double error = 0, addend = 0;
  };
  explicit Roundings(int64_t devices) : devices_(devices) {}
  // Of a node's result; its operands must have been recorded.
  Bound of(const Node& node) const;
  void record(const Value& value, Size size) { sizes_[&value] = size; }
  const Size* find(const Value& value) const {
    const auto it = sizes_.find(&value);
    return it == sizes_.end() ? nullptr : &it->second;
  }
  // What a value of this magnitude passes on: one that has lost no more than four digits to cancelling is its own
  // measure.
  static double addend_of(double largest, const Bound& bound) {
    return largest >= 1e-4 * bound.addend ? largest : bound.addend;
  }

 private:
  const int64_t devices_;
  llvm::DenseMap<const Value*, Size> sizes_;
};

// How far, of its largest magnitude, rounding the operands of products to half precision may move a result: each of D
// products one after the other takes two roundings, even within ± u of their size, independent, so that they add up in
// squares to u √(2 D / 3); four times that. u: half the distance of two neighbours, 2^-8 for bfloat16.
double rounding_of_products(const Graph& graph, DType half);

}  // namespace optp
