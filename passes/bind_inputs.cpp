// Values of named dims from the shapes of given inputs: names that stand alone first, then expressions with one
// unknown.
#include "frontend/ir/diagnostic.h"
#include "frontend/ir/dim_solve.h"
#include "passes/passes.h"

namespace optp {
namespace {
using Shapes = std::map<std::string, llvm::SmallVector<int64_t, 4>, std::less<>>;

class InputBinder {
 public:
  InputBinder(const Graph& graph, const Shapes& shapes, DimValues values)
      : graph_(graph), shapes_(shapes), values_(std::move(values)) {}

  llvm::Expected<DimValues> run() {
    if (auto e = check_ndims()) return e;
    while (solve_some()) {
    }
    if (auto e = check_bounds()) return e;
    if (auto e = check_dims()) return e;
    return std::move(values_);
  }

 private:
  const llvm::SmallVector<int64_t, 4>* shape_of(const Value& v) const {
    auto it = shapes_.find(v.name);
    return it == shapes_.end() ? nullptr : &it->second;
  }
  Dim known(Dim d) const {
    return substitute(d, [&](llvm::StringRef s) -> std::optional<Dim> {
      auto it = values_.find(std::string_view(s));
      if (it == values_.end()) return std::nullopt;
      return Dim(it->second);
    });
  }

  llvm::Error check_ndims() const {
    for (const Value* v : graph_.inputs)
      if (const auto* shape = shape_of(*v); shape && shape->size() != v->ndim())
        return error(Code::shape_mismatch)
            .tensor("input", v->name)
            .what("dims")
            .expected(to_string(v->type.dims))
            .found(llvm::Twine(shape->size()) + " dims");
    return llvm::Error::success();
  }
  // True if a name got a value: another expression may have one unknown now.
  bool solve_some() {
    bool progress = false;
    for (const Value* v : graph_.inputs)
      if (const auto* shape = shape_of(*v))
        for (size_t d = 0; d < v->ndim(); ++d) progress |= solve(known(v->type.dims[d]), (*shape)[d]);
    return progress;
  }
  bool solve(Dim left, int64_t extent) {
    const auto named = named_dims_of(left);
    if (left.constant() || named.size() != 1) return false;
    if (extent == 0 && exact_div(left, named[0])) {  // nothing of n, or of 2*n: n is nothing
      values_[name_of(named[0])->str()] = 0;
      return true;
    }
    auto solved = solve_equal(left, Dim(extent));
    if (!solved || !solved->second.constant()) return false;
    values_[name_of(solved->first)->str()] = *solved->second.constant();
    return true;
  }
  // Also where an extent was said and no array was given.
  llvm::Error check_bounds() const {
    for (const Value* v : graph_.inputs)
      for (Dim d : v->type.dims)
        for (Dim symbol : named_dims_of(d))
          if (auto bound = values_.find(*name_of(symbol));
              bound != values_.end() && bound->second < *lower_bound(symbol))
            return error(Code::shape_mismatch)
                .tensor("input", v->name)
                .dim(*name_of(symbol))
                .expected("at least " + llvm::Twine(*lower_bound(symbol)))
                .found(bound->second);
    return llvm::Error::success();
  }
  llvm::Error check_dims() const {
    for (const Value* v : graph_.inputs)
      if (const auto* shape = shape_of(*v))
        for (size_t d = 0; d < v->ndim(); ++d) {
          const Dim expected = known(v->type.dims[d]);
          if (expected.constant() && !expected.is((*shape)[d]))
            return error(Code::shape_mismatch)
                .tensor("input", v->name)
                .dim_of(d, v->type.dims[d].text())
                .expected(expected.text())
                .found((*shape)[d]);
        }
    return llvm::Error::success();
  }

  const Graph& graph_;
  const Shapes& shapes_;
  DimValues values_;
};
}  // namespace

llvm::Expected<DimValues> bind_input_dims(
    const Graph& graph, const std::map<std::string, llvm::SmallVector<int64_t, 4>, std::less<>>& shapes,
    DimValues values) {
  return InputBinder(graph, shapes, std::move(values)).run();
}
}  // namespace optp
