// Collectives of our domain: docs/collectives.md.
#include "frontend/onnx/export_context.h"
#include "frontend/onnx/own_domain.h"

namespace optp {
ExportAttributes attributes_of_file(const CollectiveCall& call) {
  ExportAttributes out = {{"id", call.id},
                          {"group", llvm::SmallVector<int64_t, 4>(call.group.begin(), call.group.end())}};
  if (reduces(call.kind)) out.push_back({"reduce", to_string(call.reduce).str()});
  if (call.extent) out.push_back({"extent", call.extent->text()});
  return out;
}
namespace {
void write_collective(ExportContext& c) {
  const CollectiveCall call = call_of(c.node());
  std::vector<std::string> inputs = {c.operand(0)};
  ExportAttributes attributes = attributes_of_file(call);
  if (cuts(call.kind) && joins(call.kind)) {
    attributes.push_back({"split_axis", call.cut_axis});
    attributes.push_back({"concat_axis", call.join_axis});
  } else if (cuts(call.kind) || joins(call.kind)) {
    attributes.push_back({"axis", cuts(call.kind) ? call.cut_axis : call.join_axis});
  }
  if (cuts(call.kind) || joins(call.kind)) {
    const Dim total = call.dims[size_t(joins(call.kind) ? call.join_axis : call.cut_axis)];
    if (auto n = total.constant())
      attributes.push_back({"total", *n});
    else
      inputs.push_back(c.dim(total));
  }
  c.finish(c.row().onnx_op, inputs, attributes, own_domain);
}
const ExportRow rows[] = {
    {"all_reduce", write_collective, "AllReduce"},
    {"all_gather", write_collective, "AllGather"},
    {"reduce_scatter", write_collective, "ReduceScatter"},
    {"all_to_all", write_collective, "AllToAll"},
};
const RegisteredExports registered{rows};
}  // namespace
}  // namespace optp
