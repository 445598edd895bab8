// A model with caches of its own as a plain one, which has no token before the first: what it joins with a cache is
// what is new, and the extents of its past are 0.
#include "frontend/ir/diagnostic.h"
#include "frontend/ir/op.h"
#include "passes/cached_decoder.h"
#include "passes/map_dims.h"

namespace optp {
llvm::Expected<std::unique_ptr<Graph>> without_past(const Graph& graph) {
  auto out = graph.clone();
  llvm::SmallVector<Dim, 2> past;
  for (const State& s : graph.states) {
    Value* input = out->find(s.input);
    const Dim length = input->type.dims[size_t(s.axis)];
    if (!llvm::is_contained(past, length)) past.push_back(length);
    llvm::erase_if(out->outputs, [&](const GraphOutput& o) { return o.name == s.output; });
    while (!input->uses.empty()) {
      Node& user = *input->uses.front().node;
      Value* joined = &user.out();
      if (user.op->is(Trait::converts) && user.out().uses.size() == 1) joined = &user.out().uses.front().node->out();
      if (!joined->producer->op->is(Trait::joins) || joined->producer->operands.size() != 2)
        return error(Code::not_supported)
            .in_file(graph.source)
            .at(user)
            .what("a cache for decoding")
            .expected("each cache of the model to be joined with new rows and used for nothing else");
      out->replace_all_uses(*joined, joined->producer->operand(1));
      Node& join = *joined->producer;
      const bool converted = &join != &user;
      out->erase(join);
      if (converted) out->erase(user);
    }
    llvm::erase(out->inputs, input);
  }
  out->states.clear();
  for (Dim p : past)
    if (!name_of(p))
      return error(Code::not_supported)
          .in_file(graph.source)
          .what("a cache for decoding")
          .expected("a named extent of the model's own caches")
          .found(p.text());
  auto none = [&](Dim d) {
    return substitute(d, [&](llvm::StringRef name) -> std::optional<Dim> {
      for (Dim p : past)
        if (name == *name_of(p)) return Dim(0);
      return std::nullopt;
    });
  };
  map_dims(*out, none);
  for (Guard& g : out->guards) g.left = none(g.left), g.right = none(g.right);
  llvm::erase_if(out->guards, [](const Guard& g) { return g.left == g.right; });
  out->erase_dead();
  return out;
}
}  // namespace optp
