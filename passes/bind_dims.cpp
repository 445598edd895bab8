// Named dims become numbers, once the inputs of a run are known.
#include "frontend/ir/collective.h"
#include "frontend/ir/diagnostic.h"
#include "frontend/ir/op.h"
#include "passes/map_dims.h"
#include "passes/passes.h"

namespace optp {
namespace {
// The extents are numbers now, on all ranks.
void drop_extent_sums(Graph& graph) {
  for (auto it = graph.nodes.begin(); it != graph.nodes.end();) {
    Node& node = **it++;
    if (!node.op->collective || !call_of(node).extent || !node.out().uses.empty()) continue;
    Node* part = node.operand(0).producer;
    graph.erase(node);
    if (part && part->out().uses.empty() && !graph.is_output(part->out())) graph.erase(*part);
  }
}
}  // namespace

llvm::Expected<std::unique_ptr<Graph>> bind_dims(const Graph& source, const DimValues& values) {
  auto graph = source.clone();
  llvm::Error failed = llvm::Error::success();
  map_dims(*graph, [&](Dim d) -> Dim {
    if (d.constant()) return d;
    auto n = evaluate(d, values);
    if (n) return *n;
    if (failed)
      llvm::consumeError(n.takeError());
    else
      failed = n.takeError();
    return 0;
  });
  if (failed) return failed;
  for (const Guard& g : graph->guards) {
    // A symbol that was solved for is no input's own extent any more; binding the inputs has checked it.
    auto l = evaluate(g.left, values), r = evaluate(g.right, values);
    if (!l || !r) {
      llvm::consumeError(llvm::joinErrors(l.takeError(), r.takeError()));
      continue;
    }
    if (*l != *r)
      return error(Code::shape_mismatch)
          .at(g.at)
          .what(g.left.text() + " = " + llvm::Twine(*l) + " must equal " + g.right.text() + " = " + llvm::Twine(*r));
  }
  drop_extent_sums(*graph);
  for (auto& node : graph->nodes)
    for (auto& r : node->results)
      for (Dim d : r->type.dims)
        if (auto n = d.constant(); n && *n < 0)
          return error(Code::shape_mismatch).at(*node).what("extent " + llvm::Twine(*n) + " with these dims");
  return graph;
}
}  // namespace optp
