// Losses of classes: NegativeLogLikelihoodLoss and SoftmaxCrossEntropyLoss (ONNX opset 13).
//   scores: [batch, classes, …]; labels: [batch, …]; weights: [classes]
//   loss = -weights[label] · log p[label], 0 where the label is ignore_index; "mean" divides by the sum of the weights
#include "frontend/onnx/lowering.h"
#include "frontend/onnx/operators/indexing.h"

namespace optp {
namespace {
using Ints = llvm::SmallVector<int64_t, 4>;

// log p: [batch, classes, …]
llvm::Expected<Value*> loss_of(LoweringContext& c, Value& log_p) {
  OPTP_TRY(labels, c.need(1));
  const DType dtype = log_p.type.dtype;
  if (labels->type.dtype != DType::i64 && labels->type.dtype != DType::i32)
    return c.fail(Code::dtype_mismatch)
        .operand(1, labels->name)
        .what("dtype")
        .expected("int64 or int32")
        .found(long_name(labels->type.dtype));
  if (log_p.ndim() < 2 || labels->ndim() + 1 != log_p.ndim())
    return c.fail(Code::shape_mismatch)
        .operand(1, labels->name)
        .expected("the dims of operand 0 " + to_string(log_p.type.dims) + " without its classes")
        .found(to_string(labels->type.dims));
  const std::string reduction = c.text("reduction", "mean");
  if (reduction != "none" && reduction != "sum" && reduction != "mean")
    return c.fail(Code::malformed).what("reduction").expected("none, sum or mean").found(quoted(reduction));
  const Dim classes = log_p.type.dims[1];
  Formula f(c.build);
  Value* label = f.cast(labels, DType::i64);
  Value* counted = nullptr;
  if (c.has_attribute("ignore_index")) {
    counted = f.op("not", {f.op("equal", {label, f.scalar(DType::i64, double(c.integer("ignore_index", 0)))})});
    label = f.op("where", {counted, label, f.scalar(DType::i64, 0)});
  }
  // A label below 0 is no class counted from the end: the lookup refuses it as it refuses those above.
  label = f.op("where", {f.op("less", {label, f.scalar(DType::i64, 0)}), f.extent(classes, DType::i64), label});
  Dims column = labels->type.dims;
  column.insert(column.begin() + 1, Dim(1));
  Value* column_label = f.reshape(label, column);
  if (auto e = f.take_error()) return e;
  OPTP_TRY(chosen, elements_at(c, log_p, *column_label, 1));
  Value* weight = c.has(2) ? f.op("gather", {c.operands[2], label}, {{"axis", int64_t(0)}})
                           : f.expand(f.scalar(dtype, 1), labels->type.dims);
  if (counted) weight = f.op("where", {counted, weight, f.scalar(dtype, 0)});
  Value* loss = f.neg(f.mul(f.reshape(chosen, labels->type.dims), weight));
  if (counted) loss = f.op("where", {counted, loss, f.scalar(dtype, 0)});  // also where log p is -∞
  Ints all;
  for (size_t d = 0; d < labels->ndim(); ++d) all.push_back(int64_t(d));
  if (reduction != "none") loss = f.sum(loss, all, /*keepdims=*/false);
  if (reduction == "mean") loss = f.div(loss, f.sum(weight, all, /*keepdims=*/false));
  if (auto e = f.take_error()) return e;
  return loss;
}
Lowered negative_log_likelihood(LoweringContext& c) {
  OPTP_TRY(log_p, c.need_float(0));
  OPTP_TRY(loss, loss_of(c, *log_p));
  return llvm::SmallVector<Value*, 2>{loss};
}
Lowered softmax_cross_entropy(LoweringContext& c) {
  OPTP_TRY(scores, c.need_float(0));
  if (scores->ndim() < 2)
    return c.fail(Code::shape_mismatch)
        .operand(0, scores->name)
        .expected("[batch, classes, …]")
        .found(to_string(scores->type.dims));
  Formula f(c.build);
  const Attributes over{{"axes", Ints{1}}, {"keepdims", int64_t(1)}};
  Value* shifted = f.sub(scores, f.op("reduce_max", {scores}, over));
  Value* log_p = f.sub(shifted, f.op("log", {f.sum(f.exp(shifted), {1}, /*keepdims=*/true)}));
  if (auto e = f.take_error()) return e;
  OPTP_TRY(loss, loss_of(c, *log_p));
  return llvm::SmallVector<Value*, 2>{loss, log_p};
}

const LoweringRow rows[] = {
    {"NegativeLogLikelihoodLoss", 12, negative_log_likelihood},
    {"SoftmaxCrossEntropyLoss", 12, softmax_cross_entropy},
};
const RegisteredLowerings registered{rows};
}  // namespace
}  // namespace optp
