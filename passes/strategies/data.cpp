// Data parallelism: the batch of every input, over the mesh axis that is called data. Weights are whole along it; their
// gradients come out as partial sums, which are all-reduced.
#include "frontend/ir/diagnostic.h"
#include "passes/strategy.h"
#include "passes/training.h"

namespace optp {
namespace {
// The batch is dim 0 of the ids, or of the first input where there are none.
const Value* first_of_batch(const Graph& graph) {
  if (const Value* ids = find_ids(graph)) return ids;
  const auto at = llvm::find_if(graph.inputs, [](const Value* v) { return v->ndim() > 0; });
  return at == graph.inputs.end() ? nullptr : *at;
}
std::string seed(Seeding& s) {
  const Value* leader = first_of_batch(s.graph);
  if (!leader) return "no input has a batch";
  const Dim batch = leader->type.dims[0];
  if (batch.is(1)) return "the batch of input " + quoted(leader->name) + " is 1";
  const Factors::Class own = s.factors.of(*leader, 0).classes().front();
  llvm::SmallVector<Factors::Class, 2> classes{own};
  // An input that nothing links to the leader has the same batch where its extent has the same name.
  for (const Value* v : s.graph.inputs)
    if (v->ndim() > 0 && !batch.constant() && v->type.dims[0] == batch)
      if (const Factors::Class c = s.factors.of(*v, 0).classes().front(); !llvm::is_contained(classes, c))
        classes.push_back(c);
  // Where some op can't work on a part of the batch (masks that older exporters compute by flat indices), it is
  // gathered for that op alone.
  for (Factors::Class c : classes) s.split(c, "the batch");
  return "";
}
const RegisteredStrategy data({
    .name = "data",
    .summary = "the batch of every input",
    .seed = seed,
    .axis = data_axis.data(),
});
}  // namespace
}  // namespace optp
