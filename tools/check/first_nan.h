// Where a model itself makes what is not a number: of that no comparison can tell right from wrong.
#pragma once
#include <limits>
#include <optional>
#include <string>

#include "frontend/ir/graph.h"
#include "llvm/ADT/DenseMap.h"
#include "runtime/reference.h"

namespace optp {

bool has_nan(const Array& a);

// Watches the unpartitioned run, and keeps the first node whose result has NaN.
class FirstNan {
 public:
  explicit FirstNan(const NamedArrays& inputs) : inputs_(inputs) {}
  void look(const Node& node, const Value& result, const Array& array);  // in the order of the run
  // "the model itself gives nan: first in 'y' of node 'n' (Op), of 'a' from 0 to 3", or which weight or input holds it;
  // empty: no node did.
  const std::string& text() const { return text_; }

 private:
  struct Range {
    double low = std::numeric_limits<double>::infinity(), high = -low;
    bool nan = false;
  };
  template <typename Numbers>  // Array or Tensor
  static Range range_of(const Numbers& numbers);
  const Range& range_of_operand(const Value& operand);

  const NamedArrays& inputs_;
  llvm::DenseMap<const Value*, Range> ranges_;
  std::string text_;
};

}  // namespace optp
