#include "passes/rank_kinds.h"

#include "llvm/ADT/SetVector.h"

namespace optp {

std::vector<size_t> first_of_same_shapes(const Graph& spmd, const DimValues& dims) {
  llvm::SetVector<Dim> extents;  // that differ from rank to rank
  auto add = [&](const Value& v) {
    for (Dim d : v.type.dims)
      if (has_rank_terms(d)) extents.insert(d);
  };
  for (const Value* v : spmd.inputs) add(*v);
  for (const Value* v : spmd.data()) add(*v);
  for (const auto& node : spmd.nodes)
    for (const auto& v : node->results) add(*v);
  std::map<std::string, size_t> first;
  std::vector<size_t> out;
  for (int64_t r = 0; r < spmd.mesh.devices(); ++r) {
    Dims bound;
    for (Dim d : extents) {
      const Dim own = bind_rank(d, spmd.mesh, r);
      auto number = evaluate(own, dims);
      bound.push_back(number ? Dim(*number) : own);
      if (!number) llvm::consumeError(number.takeError());
    }
    out.push_back(first.emplace(to_string(llvm::ArrayRef<Dim>(bound)), size_t(r)).first->second);
  }
  return out;
}
}  // namespace optp
