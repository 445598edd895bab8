#include "tools/check/rounding.h"

#include <algorithm>
#include <cmath>

#include "frontend/ir/op.h"

namespace optp {
namespace {
constexpr double unit = 0x1p-53;

// How many terms an element of the result sums up.
double terms_of(const Rule& rule) {
  double terms = 1;
  for (const Loop& loop : rule.loops)
    if (loop.reduce != Reduce::none) terms *= double(std::max<int64_t>(loop.extent.constant().value_or(1), 1));
  return terms;
}
}  // namespace

Roundings::Bound Roundings::of(const Node& node) const {
  llvm::SmallVector<Size, 4> in;
  for (const Value* v : node.operands) {
    const Size* size = find(*v);
    in.push_back(size ? *size : Size());
  }
  double largest = 0, error = 0, sum = 0, addend = 0;
  for (const Size& s : in)
    largest = std::max(largest, s.largest), error = std::max(error, s.error), sum += s.largest,
    addend = std::max(addend, s.addend);
  if (node.op->collective)
    return {double(devices_) * (error + double(devices_) * unit * largest), addend};  // a sum over all, at most
  if (!node.op->rule) return {};
  auto rule = node.op->rule(node);
  if (!rule) {
    llvm::consumeError(rule.takeError());
    return {};
  }
  // A partial sum is compared when all ranks' parts are added up: its terms are those of all of them.
  const Value& out = node.out();
  const double terms = terms_of(*rule) * (out.sharding && out.sharding->is_partial() ? double(devices_) : 1);
  switch (rule->linear) {
    case Linear::none:
      return {};
    case Linear::view:
      return {error, addend};
    case Linear::jointly:
    case Linear::addends: {
      double errors = 0;
      for (const Size& s : in) errors += s.error;
      return {terms * (errors + terms * double(in.size()) * unit * sum), addend};
    }
    case Linear::in_each_operand: {
      double product = 1, errors = 0, largest_addend = 0;
      for (const Size& s : in) product *= s.largest;
      for (size_t k = 0; k < in.size(); ++k) {
        double others = 1;
        for (size_t j = 0; j < in.size(); ++j)
          if (j != k) others *= in[j].largest;
        errors += in[k].error * others, largest_addend = std::max(largest_addend, in[k].addend * others);
      }
      return {terms * (errors + (terms + 1) * unit * product), largest_addend};
    }
    case Linear::in_first:
      if (!node.op->is(Trait::divides) || in[1].smallest == 0) return {};
      return {in[0].error / in[1].smallest + unit * in[0].largest / in[1].smallest, in[0].addend / in[1].smallest};
  }
  return {};
}

double rounding_of_products(const Graph& graph, DType half) {
  llvm::DenseMap<const Value*, int64_t> depth;
  int64_t deepest = 0;
  for (const auto& node : graph.nodes) {
    int64_t own = 0;
    for (const Value* v : node->operands) own = std::max(own, depth.lookup(v));
    own += node->op->is(Trait::product);
    for (const auto& r : node->results) depth[r.get()] = own;
    deepest = std::max(deepest, own);
  }
  const double u = half == DType::bf16 ? 0x1p-8 : 0x1p-11;
  return 4 * u * std::sqrt(2.0 * double(deepest) / 3);
}
}  // namespace optp
