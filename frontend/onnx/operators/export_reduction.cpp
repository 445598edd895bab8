// Reductions, norms, softmax, the running sum and the largest elements.
#include <cmath>

#include "frontend/ir/diagnostic.h"
#include "frontend/onnx/export_context.h"
#include "frontend/onnx/operators/dtype_range.h"

namespace optp {
namespace {
constexpr TypeSet reducible = float_types | wide_integers;
constexpr TypeSet comparable = reducible | types_of({DType::i8, DType::u8});

bool reduces_nothing(const Node& node) {
  return llvm::any_of(node.integers("axes"),
                      [&](int64_t axis) { return node.operand(0).type.dims[size_t(axis)].is(0); });
}
// What a sum or product over no elements gives.
double zero(DType) { return 0; }
double one(DType) { return 1; }
std::string reduced(ExportContext& c, llvm::StringRef op, const std::string& x) {
  const auto axes = c.node().integers("axes");
  const int64_t keep = c.node().integer("keepdims") != 0;
  // Only ReduceSum takes its axes as an input before opset 18.
  if (op == "ReduceSum") return c.step(op, {x, c.integers(axes)}, {{"keepdims", keep}});
  return c.step(op, {x}, {{"axes", llvm::SmallVector<int64_t, 4>(axes)}, {"keepdims", keep}});
}
template <double (*identity)(DType)>
void write_reduce(ExportContext& c) {
  const auto axes = c.node().integers("axes");
  if (axes.empty()) return c.finish("Identity", {c.operand(0)});
  if (reduces_nothing(c.node())) return c.finish_filled(identity(c.node().out().type.dtype));
  const llvm::StringRef op = c.row().onnx_op;
  const DType via = wider(c.dtype(), c.row().types);
  if (via != c.dtype()) return c.finish_cast(reduced(c, op, c.cast(c.operand(0), c.dtype(), via)), via);
  const int64_t keep = c.node().integer("keepdims") != 0;
  if (op == "ReduceSum") return c.finish(op, {c.operand(0), c.integers(axes)}, {{"keepdims", keep}});
  c.finish(op, {c.operand(0)}, {{"axes", llvm::SmallVector<int64_t, 4>(axes)}, {"keepdims", keep}});
}
// A mean over a split axis is this rank's part of it: its sum divided by how many there are on all ranks.
void write_mean(ExportContext& c) {
  const auto axes = c.node().integers("axes");
  Dim here = 1;
  for (int64_t axis : axes) here = here * c.node().operand(0).type.dims[size_t(axis)];
  const Dim count = c.node().dim("count", here);
  if (count == here && !here.is(0)) return write_reduce<zero>(c);
  if (axes.empty()) return c.finish("Identity", {c.operand(0)});
  if (reduces_nothing(c.node())) return c.finish_filled(count.is(0) ? NAN : 0);
  const DType dtype = c.dtype(), via = wider(dtype, reducible);
  const std::string sum = reduced(c, "ReduceSum", c.cast(c.operand(0), dtype, via));
  const std::string divisor =
      count.constant() ? c.scalar(via, double(*count.constant())) : c.cast(c.dim_scalar(count), DType::i64, via);
  if (via == dtype)
    c.finish("Div", {sum, divisor});
  else
    c.finish_cast(c.step("Div", {sum, divisor}), via);
}
void write_cumsum(ExportContext& c) {
  const DType dtype = c.dtype(), via = wider(dtype, reducible);
  const std::vector<std::string> inputs = {c.cast(c.operand(0), dtype, via),
                                           c.scalar(DType::i64, double(c.node().integer("axis")))};
  const ExportAttributes attributes = {{"exclusive", int64_t(c.node().integer("exclusive") != 0)},
                                       {"reverse", int64_t(c.node().integer("reverse") != 0)}};
  if (via == dtype)
    c.finish("CumSum", inputs, attributes);
  else
    c.finish_cast(c.step("CumSum", inputs, attributes), via);
}
void write_top_k(ExportContext& c) {
  constexpr TypeSet sortable = number_types & ~types_of({DType::bf16});
  const DType dtype = c.dtype(), via = wider(dtype, sortable);
  c.finish_second("TopK", {c.cast(c.operand(0), dtype, via), c.dim(c.node().dim("k"))},
                  {{"axis", c.node().integer("axis")}, {"largest", int64_t(c.node().integer("largest", 1) != 0)}});
}
void write_softmax(ExportContext& c) { c.finish("Softmax", {c.operand(0)}, {{"axis", c.node().integer("axis")}}); }
void write_layer_norm(ExportContext& c) {
  std::vector<std::string> inputs;
  for (unsigned k = 0; k < c.node().operands.size(); ++k) inputs.push_back(c.operand(k));
  ExportAttributes attributes = {{"axis", int64_t(-1)}, {"epsilon", c.node().number("epsilon", 1e-5)}};
  if (c.dtype() == DType::f64)
    attributes.push_back({"stash_type", int64_t(DType::f64)});  // else the mean is taken in f32
  c.finish("LayerNormalization", inputs, attributes);
}

const ExportRow rows[] = {
    {"reduce_sum", write_reduce<zero>, "ReduceSum", reducible},
    {"reduce_max", write_reduce<lowest>, "ReduceMax", comparable},
    {"reduce_min", write_reduce<highest>, "ReduceMin", comparable},
    {"reduce_prod", write_reduce<one>, "ReduceProd", reducible},
    {"reduce_mean", write_mean, "ReduceMean", reducible},
    {"cumsum", write_cumsum},
    {"top_k", write_top_k},
    {"softmax", write_softmax},
    {"layer_norm", write_layer_norm},
};
const RegisteredExports registered{rows};
}  // namespace
}  // namespace optp
