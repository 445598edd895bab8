// Our own domain (docs/collectives.md), so that rank graphs can be read back and run.
#include "frontend/ir/mesh.h"
#include "frontend/onnx/lowering.h"

namespace optp {
namespace {
using Values = llvm::SmallVector<Value*, 2>;

llvm::Expected<Attributes> common(LoweringContext& c) {
  auto group = c.integers("group");
  if (!group || group->empty()) return c.fail("group: expected ranks");
  Attributes out{{"group", *group}, {"id", c.text("id", "")}, {"reason", std::string()}};
  if (c.has_attribute("reduce")) {
    if (!reduce_from(c.text("reduce", "")))
      return c.fail("reduce: expected sum, max or min, found " + quoted(c.text("reduce", "")));
    out["reduce"] = c.text("reduce", "");
  }
  return out;
}
Lowered all_reduce(LoweringContext& c) {
  OPTP_TRY(x, c.need(0));
  OPTP_TRY(attributes, common(c));
  if (!attributes.contains("reduce")) return c.fail("reduce is missing");
  // "dims/batch": the ranks add up their parts of a named extent. Its value is that name, known without being summed.
  const std::string id = c.text("id", "");
  if (auto part = content_of(*x); part && part->elements.size() == 1 && llvm::StringRef(id).starts_with("dims/")) {
    OPTP_TRY(whole, parse_dim(llvm::StringRef(id).drop_front(5)));
    return Values{&c.build.dim_tensor(part->dims, {whole}, x->type.dtype)};
  }
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
Lowered reduce_scatter(LoweringContext& c) {
  OPTP_TRY(x, c.need(0));
  OPTP_TRY(attributes, common(c));
  if (!attributes.contains("reduce")) return c.fail("reduce is missing");
  OPTP_TRY(axis, c.axis(c.integer("axis", 0), x->ndim()));
  OPTP_TRY(whole, total(c));
  if (whole != x->type.dims[size_t(axis)])
    return c.fail("total: expected " + x->type.dims[size_t(axis)].text() + " as the input, found " + whole.text());
  const auto group = std::get<llvm::SmallVector<int64_t, 4>>(attributes["group"]);
  const auto* me = llvm::find(group, c.rank.value_or(-1));
  if (me == group.end())
    return c.fail("group: expected one with the rank that the file's metadata 'opt_partition.rank' names");
  const std::vector<std::string> members{"members"};
  attributes["axis"] = axis;
  attributes["total"] = whole;
  attributes["local"] =
      bind_rank(Dim::part(whole, members), Mesh{{{members[0], int64_t(group.size())}}}, me - group.begin());
  OPTP_TRY(y, c.op("reduce_scatter", {x}, attributes));
  return Values{y};
}
const LoweringRow rows[] = {
    {"AllReduce", 1, all_reduce, "opt_partition"},
    {"AllGather", 1, all_gather, "opt_partition"},
    {"ReduceScatter", 1, reduce_scatter, "opt_partition"},
};
const RegisteredLowerings registered{rows};
}  // namespace
}  // namespace optp
