// Factor classes: everything that must be split together.
// Each dim is a product of factors, found from reshapes, equal slices and equal concats as a common refinement; two
// factors are of one class when some op runs one loop over both. A class is what a strategy seeds.
#pragma once
#include <vector>

#include "frontend/ir/graph.h"
#include "frontend/ir/op.h"
#include "llvm/ADT/DenseMap.h"

namespace optp {

class Factors {
 public:
  static llvm::Expected<Factors> of(const Graph& graph);

  using Class = int;
  struct Place {
    const Value* value;
    unsigned dim, factor;
  };
  struct ClassInfo {
    Dim extent;
    const Node* needs_whole = nullptr;   // the first node that can't work on a part of it
    llvm::SmallVector<Place, 8> places;  // in order of the graph
  };
  size_t size() const { return classes_.size(); }
  const ClassInfo& info(Class c) const { return classes_[size_t(c)]; }

  struct DimFactors {
    llvm::SmallVector<Dim, 2> extents;  // major to minor
    llvm::SmallVector<Class, 2> classes;
  };
  const DimFactors& of(const Value& v, unsigned dim) const;
  const Rule& rule(const Node& n) const;  // a node without a rule has one whose loops are all whole
  const DimFactors& of_loop(const Node& n, int loop) const;

 private:
  struct NodeLoops {
    Rule rule;
    int first = 0;  // element of its loop 0
  };
  const DimFactors& of_element(int element) const;
  llvm::DenseMap<const Value*, int> value_;  // element of dim 0
  llvm::DenseMap<const Node*, NodeLoops> node_;
  std::vector<int> list_of_;  // element -> index into lists_
  std::vector<DimFactors> lists_;
  std::vector<ClassInfo> classes_;
};

}  // namespace optp
