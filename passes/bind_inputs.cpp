// Values of named dims from the shapes of given inputs: names that stand alone first, then expressions with one
// unknown.
#include "frontend/ir/diagnostic.h"
#include "passes/passes.h"

namespace optp {
llvm::Expected<DimValues> bind_input_dims(
    const Graph& graph, const std::map<std::string, llvm::SmallVector<int64_t, 4>, std::less<>>& shapes,
    DimValues values) {
  auto known = [&](Dim d) {
    return substitute(d, [&](llvm::StringRef s) -> std::optional<Dim> {
      auto it = values.find(std::string_view(s));
      if (it == values.end()) return std::nullopt;
      return Dim(it->second);
    });
  };
  for (const Value* v : graph.inputs) {
    auto it = shapes.find(v->name);
    if (it == shapes.end()) continue;
    if (it->second.size() != v->ndim())
      return error(Code::shape_mismatch)
          .tensor("input", v->name)
          .what("dims")
          .expected(to_string(v->type.dims))
          .found(llvm::Twine(it->second.size()) + " dims");
  }
  for (bool progress = true; progress;) {
    progress = false;
    for (const Value* v : graph.inputs) {
      auto it = shapes.find(v->name);
      if (it == shapes.end()) continue;
      for (size_t d = 0; d < v->ndim(); ++d) {
        const Dim left = known(v->type.dims[d]);
        const auto named = named_dims_of(left);
        if (left.constant() || named.size() != 1) continue;
        if (it->second[d] == 0 && exact_div(left, named[0])) {  // nothing of n, or of 2*n: n is nothing
          values[name_of(named[0])->str()] = 0;
          progress = true;
          continue;
        }
        auto solved = solve_equal(left, Dim(it->second[d]));
        if (!solved || !solved->second.constant()) continue;
        values[name_of(solved->first)->str()] = *solved->second.constant();
        progress = true;
      }
    }
  }
  // Also where an extent was said and no array was given.
  for (const Value* v : graph.inputs)
    for (Dim d : v->type.dims)
      for (Dim symbol : named_dims_of(d))
        if (auto bound = values.find(*name_of(symbol)); bound != values.end() && bound->second < *lower_bound(symbol))
          return error(Code::shape_mismatch)
              .tensor("input", v->name)
              .dim(*name_of(symbol))
              .expected("at least " + llvm::Twine(*lower_bound(symbol)))
              .found(bound->second);
  for (const Value* v : graph.inputs) {
    auto it = shapes.find(v->name);
    if (it == shapes.end()) continue;
    for (size_t d = 0; d < v->ndim(); ++d) {
      const Dim expected = known(v->type.dims[d]);
      if (expected.constant() && !expected.is(it->second[d]))
        return error(Code::shape_mismatch)
            .tensor("input", v->name)
            .dim_of(d, v->type.dims[d].text())
            .expected(expected.text())
            .found(it->second[d]);
    }
  }
  return values;
}
}  // namespace optp
