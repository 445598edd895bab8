// Collectives of our domain: docs/collectives.md.
#include "frontend/onnx/export_context.h"

namespace optp {
namespace {
void write_collective(ExportContext& c) {
  const Node& node = c.node();
  std::vector<std::string> inputs = {c.operand(0)};
  ExportAttributes attributes = {{"id", node.text("id").str()},
                                 {"group", llvm::SmallVector<int64_t, 4>(node.integers("group"))}};
  if (!node.text("reduce").empty()) attributes.push_back({"reduce", node.text("reduce").str()});
  for (const char* name : {"axis", "split_axis", "concat_axis", "root"})
    if (node.find<int64_t>(name)) attributes.push_back({name, node.integer(name)});
  if (const Dim* total = node.find<Dim>("total")) {
    if (auto n = total->constant())
      attributes.push_back({"total", *n});
    else
      inputs.push_back(c.dim(*total));
  }
  c.finish(c.row().onnx_op, inputs, attributes, "opt_partition");
}
const ExportRow rows[] = {
    {"all_reduce", write_collective, "AllReduce"},         {"all_gather", write_collective, "AllGather"},
    {"reduce_scatter", write_collective, "ReduceScatter"}, {"all_to_all", write_collective, "AllToAll"},
    {"broadcast", write_collective, "Broadcast"},
};
const RegisteredExports registered{rows};
}  // namespace
}  // namespace optp
