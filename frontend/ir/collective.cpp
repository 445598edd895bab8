#include "frontend/ir/collective.h"

#include "frontend/ir/op.h"

namespace optp {

llvm::StringRef to_string(Collective kind) {
  switch (kind) {
    case Collective::all_reduce:
      return "all_reduce";
    case Collective::all_gather:
      return "all_gather";
    case Collective::reduce_scatter:
      return "reduce_scatter";
    case Collective::all_to_all:
      return "all_to_all";
    case Collective::barrier:
      return "barrier";
  }
  return "collective";
}

namespace {
// Attributes of nodes are those of docs/collectives.md, and what else a graph knows.
struct AxisNames {
  const char *cut = nullptr, *join = nullptr;
};
AxisNames axis_names(Collective kind) {
  switch (kind) {
    case Collective::all_gather:
      return {.join = "axis"};
    case Collective::reduce_scatter:
      return {.cut = "axis"};
    case Collective::all_to_all:
      return {.cut = "split_axis", .join = "concat_axis"};
    default:
      return {};
  }
}
}  // namespace

CollectiveCall call_of(const Node& node) {
  CollectiveCall call;
  call.kind = *node.op->collective;
  call.id = node.text("id").str();
  call.reduce = reduce_from(node.text("reduce")).value_or(Reduce::none);
  if (const auto* axes = node.find<std::vector<std::string>>("axes")) call.axes = *axes;
  call.group.assign(node.integers("group").begin(), node.integers("group").end());
  call.dtype = node.operand(0).type.dtype;
  call.dims = node.operand(0).type.dims;
  const AxisNames names = axis_names(call.kind);
  if (names.cut) {
    call.cut_axis = node.integer(names.cut);
    call.local = node.dim("local");
  }
  if (names.join) {
    call.join_axis = node.integer(names.join);
    call.dims[size_t(call.join_axis)] = node.dim("total");
  }
  call.reason = node.text("reason").str();
  if (const Dim* extent = node.find<Dim>("extent")) call.extent = *extent;
  return call;
}

Attributes attributes_of(const CollectiveCall& call) {
  Attributes out{{"id", call.id}, {"reason", call.reason}};
  if (reduces(call.kind)) out["reduce"] = to_string(call.reduce).str();
  if (!call.axes.empty()) out["axes"] = call.axes;
  if (!call.group.empty()) out["group"] = llvm::SmallVector<int64_t, 4>(call.group.begin(), call.group.end());
  const AxisNames names = axis_names(call.kind);
  if (names.cut) {
    out[names.cut] = call.cut_axis;
    out["local"] = call.local;
  }
  if (names.join) out[names.join] = call.join_axis;
  if (names.join || names.cut) out["total"] = call.dims[size_t(names.join ? call.join_axis : call.cut_axis)];
  if (call.extent) out["extent"] = *call.extent;
  return out;
}
}  // namespace optp
