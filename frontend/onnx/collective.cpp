// Our own domain (docs/collectives.md), so that rank graphs can be read back and run.
#include "frontend/onnx/lowering.h"

namespace optp {
namespace {
using Values = llvm::SmallVector<Value*, 2>;

llvm::Expected<Attributes> common(LoweringContext& c) {
  auto group = c.integers("group");
  if (!group || group->empty()) return c.fail("group: expected ranks");
  Attributes out{{"group", *group}, {"id", c.text("id", "")}, {"reason", std::string()}};
  if (c.has_attribute("reduce")) {
    if (!reduce_from(c.text("reduce", ""))) return c.fail("reduce: expected sum, max or min, found " + quoted(c.text("reduce", "")));
    out["reduce"] = c.text("reduce", "");
  }
  return out;
}
Lowered all_reduce(LoweringContext& c) {
  OPTP_TRY(x, c.need(0));
  OPTP_TRY(attributes, common(c));
  if (!attributes.contains("reduce")) return c.fail("reduce is missing");
  OPTP_TRY(y, c.op("all_reduce", {x}, attributes));
  return Values{y};
}
llvm::Expected<Dim> total(LoweringContext& c) {
  if (c.has_attribute("total")) return Dim(c.integer("total", 0));
  OPTP_TRY(dims, c.known_dims(1, "total"));
  if (dims.size() != 1) return c.fail("total: expected one number");
  return dims[0];
}
Lowered all_gather(LoweringContext& c) {
  OPTP_TRY(x, c.need(0));
  OPTP_TRY(attributes, common(c));
  OPTP_TRY(axis, c.axis(c.integer("axis", 0), x->ndim()));
  OPTP_TRY(whole, total(c));
  attributes["axis"] = axis;
  attributes["total"] = whole;
  OPTP_TRY(y, c.op("all_gather", {x}, attributes));
  return Values{y};
}
const LoweringRow rows[] = {
    {"AllReduce", 1, all_reduce, "opt_partition"},
    {"AllGather", 1, all_gather, "opt_partition"},
};
}  // namespace
llvm::ArrayRef<LoweringRow> collective_rows() { return rows; }
}  // namespace optp
