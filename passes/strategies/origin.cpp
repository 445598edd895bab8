// Embeddings along hidden, MLPs along their inner dim, attention whole: one all-gather for the embedding, one
// all-reduce per layer. The table's rows are no seed here; an untied head's columns are.
#include "frontend/ir/op.h"
#include "passes/strategy.h"

namespace optp {
namespace {
// The table and what is gathered from it are split along hidden; nothing else follows it.
bool split_tables(Seeding& s) {
  bool any = false;
  for (const auto& node : s.graph.nodes) {
    if (!node->op->is(Trait::looks_up) || !node->operand(0).is_data() || node->operand(0).ndim() != 2 ||
        node->integer("axis") != 0)
      continue;
    Value &table = node->operand(0), &rows = node->out();
    if (llvm::none_of(s.factors.of(table, 0).classes(), [&](int c) { return s.recogniser[c].table_rows; })) continue;
    llvm::SmallVector<Value*, 4> split{&table, &rows};
    // A half-precision table and rows are widened where they are used.
    for (Value* v : {&table, &rows})
      for (const Use& use : v->uses)
        if (use.node->op->is(Trait::converts)) split.push_back(&use.node->out());
    for (Value* v : split)
      s.split_only(*v, unsigned(v->ndim()) - 1, "an embedding is split along hidden", v == &table ? nullptr : &table);
    any = true;
  }
  return any;
}
std::string seed(Seeding& s) {
  const auto chosen = s.recogniser.chosen(
      [](const Candidate& c) { return c.role == Role::mlp || (c.role == Role::vocab && !c.table_rows); });
  for (Factors::Class c : chosen) s.split(c, s.recogniser.what_is(c));
  const bool tables = split_tables(s);
  return chosen.empty() && !tables ? s.recogniser.nearly_matched() : "";
}
const RegisteredStrategy origin({
    .name = "origin",
    .summary = "embeddings along hidden, the MLP's inner dim, attention whole; one all-reduce per layer",
    .seed = seed,
});
}  // namespace
}  // namespace optp
