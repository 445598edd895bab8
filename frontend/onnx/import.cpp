#include "frontend/onnx/import.h"

#include "frontend/ir/diagnostic.h"
#include "frontend/ir/dim_solve.h"
#include "frontend/ir/op.h"
#include "frontend/onnx/build_graph.h"
#include "frontend/onnx/source_names.h"

namespace optp {
llvm::Expected<std::unique_ptr<Graph>> import_onnx(llvm::StringRef path, const ImportOptions& options) {
  InputFolder folder({options.limits, Resolver::kernel});
  auto model = read_model(path, folder, options.limits);
  if (!model) return model.takeError();
  GraphBuilder builder(**model, folder, options.limits);
  Solved solved;
  // Each round may find that two named extents must be equal: one is solved for, or a minimum is decided, and the graph
  // is built again.
  constexpr int most_rounds = 64;
  for (int round = 0; round < most_rounds; ++round) {
    auto graph = builder.build(solved);
    if (graph) return graph;
    std::optional<DimClash> clash;
    llvm::Error rest =
        llvm::handleErrors(graph.takeError(), [&](const DimClash& c) { clash.emplace(c.left, c.right, c.at); });
    if (rest)
      return within(file_place(path),
                    with_sources(std::move(rest), [&](const Place& p) { return source_of(p, (*model)->graph()); }));
    if (auto order = solve_order(clash->left, clash->right)) {
      solved.orders.push_back(*order);
      solved.guards.push_back({clash->left, clash->right, clash->at});
      continue;
    }
    auto equal = solve_equal(clash->left, clash->right);
    if (!equal)
      return error(Code::shape_mismatch)
          .in_file(path)
          .at(clash->at)
          .what("extents " + clash->left.text() + " and " + clash->right.text() + " differ");
    auto with_value = [&](llvm::StringRef s) {
      return s == *name_of(equal->first) ? std::optional(equal->second) : std::nullopt;
    };
    for (auto& [name, dim] : solved.dims) dim = substitute(dim, with_value);
    for (auto& [a, b] : solved.orders) a = substitute(a, with_value), b = substitute(b, with_value);
    solved.dims[name_of(equal->first)->str()] = equal->second;
    solved.guards.push_back({equal->first, equal->second, clash->at});
  }
  return error(Code::shape_mismatch).in_file(path).what("the named dims contradict each other");
}
}  // namespace optp
