// Our own domain (docs/collectives.md), so that rank graphs can be read back and run.
#include "frontend/ir/collective.h"

#include "frontend/ir/mesh.h"
#include "frontend/onnx/lowering.h"
#include "frontend/onnx/own_domain.h"

namespace optp {
namespace {
using Values = llvm::SmallVector<Value*, 2>;

llvm::Expected<int64_t> axis_of(LoweringContext& c, const char* name, const Value& x) {
  if (!c.has_attribute(name)) return c.fail(Code::malformed).what(llvm::Twine(name) + " is missing");
  return c.axis(c.integer(name, 0), x.ndim());
}
llvm::Expected<Dim> total_of(LoweringContext& c) {
  if (c.has_attribute("total")) return Dim(c.integer("total", 0));
  OPTP_TRY(dims, c.known_dims(1, "total"));
  if (dims.size() != 1) return c.fail(Code::malformed).what("total").expected("one number");
  return dims[0];
}
llvm::Error read_axes(LoweringContext& c, const Value& x, CollectiveCall& call) {
  const bool both = cuts(call.kind) && joins(call.kind);
  if (cuts(call.kind)) {
    OPTP_TRY(axis, axis_of(c, both ? "split_axis" : "axis", x));
    call.cut_axis = axis;
  }
  if (joins(call.kind)) {
    OPTP_TRY(axis, axis_of(c, both ? "concat_axis" : "axis", x));
    call.join_axis = axis;
  }
  if (both && call.cut_axis == call.join_axis)
    return c.fail(Code::malformed).what("concat_axis").expected("another than split_axis").found(call.join_axis);
  if (!cuts(call.kind) && !joins(call.kind)) return llvm::Error::success();
  OPTP_TRY(total, total_of(c));
  if (joins(call.kind))
    call.dims[size_t(call.join_axis)] = total;
  else if (const Dim own = call.dims[size_t(call.cut_axis)]; total != own)
    return c.fail(Code::malformed).what("total").expected(own.text() + " as the input").found(total.text());
  if (!cuts(call.kind)) return llvm::Error::success();
  const auto* me = llvm::find(call.group, c.rank.value_or(-1));
  if (me == call.group.end())
    return c.fail(Code::malformed)
        .what("group")
        .expected("one with the rank that the file's metadata 'opt_partition.rank' names");
  const MeshAxis members{"members", int64_t(call.group.size())};
  call.local =
      bind_rank(Dim::part(call.dims[size_t(call.cut_axis)], {members.name}), Mesh{{members}}, me - call.group.begin());
  return llvm::Error::success();
}

Lowered lower(LoweringContext& c, Collective kind) {
  OPTP_TRY(x, c.need(0));
  CollectiveCall call{.kind = kind, .id = c.text("id", ""), .dtype = x->type.dtype, .dims = x->type.dims};
  auto group = c.integers("group");
  if (!group || group->empty()) return c.fail(Code::malformed).what("group").expected("ranks");
  call.group.assign(group->begin(), group->end());
  if (reduces(kind)) {
    if (!c.has_attribute("reduce")) return c.fail(Code::malformed, "reduce is missing");
    auto reduce = reduce_from(c.text("reduce", ""));
    if (!reduce)
      return c.fail(Code::malformed).what("reduce").expected("sum, max or min").found(quoted(c.text("reduce", "")));
    call.reduce = *reduce;
  }
  if (auto e = read_axes(c, *x, call)) return e;
  // The ranks add up their parts of a named extent. Its value is that name, known without being summed.
  auto part = content_of(*x);
  if (kind == Collective::all_reduce && c.has_attribute("extent") && part && part->elements.size() == 1) {
    OPTP_TRY(extent, parse_dim(c.text("extent", ""), *c.bounds));
    call.extent = extent;
  }
  OPTP_TRY(y, c.op(to_string(kind), {x}, attributes_of(call)));
  if (call.extent) return Values{&c.build.dim_tensor(part->dims, {*call.extent}, x->type.dtype)};
  return Values{y};
}
template <Collective kind>
Lowered lower(LoweringContext& c) {
  return lower(c, kind);
}
const LoweringRow rows[] = {
    {"AllReduce", own_domain_version, lower<Collective::all_reduce>, own_domain},
    {"AllGather", own_domain_version, lower<Collective::all_gather>, own_domain},
    {"AllToAll", own_domain_version, lower<Collective::all_to_all>, own_domain},
    {"ReduceScatter", own_domain_version, lower<Collective::reduce_scatter>, own_domain},
};
const RegisteredLowerings registered{rows};
}  // namespace
}  // namespace optp
