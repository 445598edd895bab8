// Factor classes: everything that must be split together.
//
// A dim is a product of factors, major to minor. An op's rule (Rule in frontend/ir/op.h) says which dims run over the
// same loop, and which loops are linked: a reshape links [768] with [12, 64], so that 768 is 12 · 64 wherever that
// loop goes. The links are refined to a common refinement of all products, as dims of an einsum would be. Factors that
// stand opposite each other are then of one class:
//
//   %q = contract(%x: [b, s, 768], %wq: [768, 768])      768 of %wq's dim 1: a loop of the result
//   %h = reshape(%q) : [b, s, 12, 64]                    linked: 768 = 12 · 64
//   %p = contract(%h, %k) "b s h d, b t h d -> b h s t"  h, the 12, is a loop of the product
//
// So the 12 in %wq, in the bias that is added to %q, in %h and in the scores %p are one class: the heads. A strategy
// names a mesh axis for a class, and every dim that has a factor of that class is split along it, %wq as
// [_, (tensor _)]. Where products have no common refinement, such as 12 · 8 and 8 · 12, the factors in between can't be
// split; `ClassInfo::needs_whole` names the node.
//
// Where the parts of a fused projection differ in width, a dim is several products one after the other (passes/cuts.h),
// 96 = (6 · 8) + (3 · 8) + (3 · 8), and each has classes of its own: those of q, of k and of v.
//
// The idea is that of factors in sharding rules, as in Shardy (OpenXLA) and GSPMD (Xu et al., 2021, arXiv:2105.04663);
// here they are found from the ops' loops instead of being listed by op.
#pragma once
#include <vector>

#include "frontend/ir/graph.h"
#include "frontend/ir/op.h"
#include "llvm/ADT/DenseMap.h"
#include "passes/needs_whole.h"

namespace optp {

class Factors {
 public:
  static llvm::Expected<Factors> of(const Graph& graph);

  using Class = int;
  struct Place {
    const Value* value;
    unsigned dim, part, factor;
  };
  struct ClassInfo {
    Dim extent;
    NeedsWhole needs_whole = {};
    llvm::SmallVector<Place, 8> places;  // in order of the graph
  };
  size_t size() const { return classes_.size(); }
  const ClassInfo& info(Class c) const { return classes_[size_t(c)]; }

  struct ProductFactors {
    llvm::SmallVector<Dim, 2> extents;  // major to minor
    llvm::SmallVector<Class, 2> classes;
  };
  struct DimFactors {
    llvm::SmallVector<ProductFactors, 1> parts;   // one after the other
    llvm::SmallVector<Class, 4> classes() const;  // of all parts, each once
  };
  const DimFactors& of(const Value& v, unsigned dim) const;
  const Rule& rule(const Node& n) const;  // a node without a rule has one whose loops are all whole
  const DimFactors& of_loop(const Node& n, int loop) const;

 private:
  class Search;
  struct NodeLoops {
    Rule rule;
    int first = 0;  // element of its loop 0
  };
  const DimFactors& of_element(int element) const;
  llvm::DenseMap<const Value*, int> value_;  // element of dim 0
  llvm::DenseMap<const Node*, NodeLoops> node_;
  std::vector<int> line_of_;  // element -> index into lines_
  std::vector<DimFactors> lines_;
  std::vector<ClassInfo> classes_;
};

}  // namespace optp
