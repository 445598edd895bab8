// Views, slices, and tensors made of extents. Targets of Reshape are exact: never -1, and 0 means 0.
#include "frontend/onnx/export_context.h"

namespace optp {
namespace {
void write_reshape(ExportContext& c) {
  c.finish("Reshape", {c.operand(0), c.dims(c.node().out().type.dims)}, {{"allowzero", int64_t(1)}});
}
void write_expand(ExportContext& c) { c.finish("Expand", {c.operand(0), c.dims(c.node().out().type.dims)}); }
// The dims of a repeat with its copies apart, `times` or 1 of them behind the axis.
Dims copies_apart(const Node& node, const Value& coarse, int64_t times) {
  Dims dims = coarse.type.dims;
  dims.insert(dims.begin() + node.integer("axis") + 1, Dim(times));
  return dims;
}
void write_repeat(ExportContext& c) {
  const Value& x = c.node().operand(0);
  std::string v = c.step("Reshape", {c.operand(0), c.dims(copies_apart(c.node(), x, 1))}, {{"allowzero", int64_t(1)}});
  v = c.step("Expand", {v, c.dims(copies_apart(c.node(), x, c.node().integer("times")))});
  c.finish("Reshape", {v, c.dims(c.node().out().type.dims)}, {{"allowzero", int64_t(1)}});
}
void write_sum_repeats(ExportContext& c) {
  const Dims apart = copies_apart(c.node(), c.node().out(), c.node().integer("times"));
  const std::string v = c.step("Reshape", {c.operand(0), c.dims(apart)}, {{"allowzero", int64_t(1)}});
  c.finish("ReduceSum", {v, c.integers({c.node().integer("axis") + 1})}, {{"keepdims", int64_t(0)}});
}
void write_transpose(ExportContext& c) {
  c.finish("Transpose", {c.operand(0)}, {{"perm", llvm::SmallVector<int64_t, 4>(c.node().integers("perm"))}});
}
void write_slice(ExportContext& c) {
  const int64_t axis = c.node().integer("axis"), step = c.node().integer("step", 1);
  const Dim start = c.node().dim("start");
  Dim end = start + c.node().dim("size") * Dim(step);
  // An end of -1 would be the last index. Counted from the end, where a step backwards stops is always negative.
  if (step < 0) end = end - c.node().operand(0).type.dims[size_t(axis)];
  c.finish("Slice", {c.operand(0), c.dim(start), c.dim(end), c.integers({axis}), c.integers({step})});
}
void write_concat(ExportContext& c) {
  std::vector<std::string> inputs;
  for (unsigned k = 0; k < c.node().operands.size(); ++k) inputs.push_back(c.operand(k));
  c.finish("Concat", inputs, {{"axis", c.node().integer("axis")}});
}
void write_pad(ExportContext& c) {
  const size_t ndim = c.node().out().ndim(), axis = size_t(c.node().integer("axis"));
  Dims pads(2 * ndim, Dim(0));
  pads[axis] = c.node().dim("before");
  pads[ndim + axis] = c.node().dim("after");
  c.finish("Pad", {c.operand(0), c.dims(pads), c.scalar(c.dtype(), c.node().number("value"))},
           {{"mode", std::string("constant")}});
}
// Counted in int64, which is exact for each element, and converted once.
void write_iota(ExportContext& c) {
  const Dim start = c.node().dim("start"), size = c.node().dim("size"), step = c.node().dim("step", 1);
  if (step.is(0)) return c.finish_cast(c.step("Expand", {c.dim(start), c.dim(size)}), DType::i64);
  const std::vector<std::string> bounds = {c.dim_scalar(start), c.dim_scalar(start + size * step), c.dim_scalar(step)};
  if (c.node().out().type.dtype == DType::i64) return c.finish("Range", bounds);
  c.finish_cast(c.step("Range", bounds), DType::i64);
}
void write_dim_tensor(ExportContext& c) {
  std::string values = c.dims(c.node().dims("values"));
  if (c.node().integers("shape").size() != 1)
    values = c.step("Reshape", {values, c.integers(c.node().integers("shape"))}, {{"allowzero", int64_t(1)}});
  c.finish_cast(values, DType::i64);
}

const ExportRow rows[] = {
    {"reshape", write_reshape},     {"expand", write_expand},
    {"transpose", write_transpose}, {"slice", write_slice},
    {"concat", write_concat},       {"pad", write_pad},
    {"iota", write_iota},           {"dim_tensor", write_dim_tensor},
    {"repeat", write_repeat},       {"sum_repeats", write_sum_repeats},
};
const RegisteredExports registered{rows};
}  // namespace
}  // namespace optp
