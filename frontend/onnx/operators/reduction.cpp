// Reductions, softmax and running sums.
#include <limits>

#include "frontend/onnx/lowering.h"

namespace optp {
namespace {
using Values = llvm::SmallVector<Value*, 2>;
using Ints = llvm::SmallVector<int64_t, 4>;

// The axes that are reduced: all of them where none is named, unless that is to mean none.
llvm::Expected<Ints> reduced_axes(LoweringContext& c, const Value& x) {
  Ints axes;
  if (auto listed = c.integers("axes")) {
    axes = *listed;
  } else if (c.has(1)) {
    OPTP_TRY(known, c.known_integers(1, "axes"));
    axes = known;
  }
  if (axes.empty() && !c.integer("noop_with_empty_axes", 0))
    for (size_t k = 0; k < x.ndim(); ++k) axes.push_back(int64_t(k));
  return c.axes(axes, x.ndim());
}
llvm::Expected<Value*> reduced(LoweringContext& c, llvm::StringRef op, Value& x) {
  OPTP_TRY(axes, reduced_axes(c, x));
  if (axes.empty() && x.ndim() > 0) return &x;
  return c.op(op, {&x}, {{"axes", axes}, {"keepdims", c.integer("keepdims", 1)}});
}
template <const char* name>
Lowered reduce(LoweringContext& c) {
  OPTP_TRY(x, c.need(0));
  OPTP_TRY(y, reduced(c, name, *x));
  return Values{y};
}
Lowered reduce_l2(LoweringContext& c) {
  OPTP_TRY(x, c.need(0));
  OPTP_TRY(square, c.op("mul", {x, x}));
  OPTP_TRY(sum, reduced(c, "reduce_sum", *square));
  OPTP_TRY(y, c.op("sqrt", {sum}));
  return Values{y};
}
Lowered reduce_sum_square(LoweringContext& c) {
  OPTP_TRY(x, c.need(0));
  OPTP_TRY(square, c.op("mul", {x, x}));
  OPTP_TRY(y, reduced(c, "reduce_sum", *square));
  return Values{y};
}
Lowered reduce_l1(LoweringContext& c) {
  OPTP_TRY(x, c.need(0));
  OPTP_TRY(size, c.op("abs", {x}));
  OPTP_TRY(y, reduced(c, "reduce_sum", *size));
  return Values{y};
}
Lowered reduce_log_sum(LoweringContext& c) {
  OPTP_TRY(x, c.need_float(0));
  OPTP_TRY(sum, reduced(c, "reduce_sum", *x));
  OPTP_TRY(y, c.op("log", {sum}));
  return Values{y};
}
// log Σ exp(x) = most + log Σ exp(x - most): no power is above 1. Where the largest is infinite it is taken as 0, since
// ∞ - ∞ is no number.
Lowered reduce_log_sum_exp(LoweringContext& c) {
  OPTP_TRY(x, c.need_float(0));
  OPTP_TRY(axes, reduced_axes(c, *x));
  if (axes.empty()) return Values{x};
  const Attributes over{{"axes", axes}, {"keepdims", int64_t(1)}};
  Formula f(c.build);
  Value* most = f.op("reduce_max", {x}, over);
  Value* infinity = f.scalar(x->type.dtype, std::numeric_limits<double>::infinity());
  most = f.op("where", {f.op("less", {f.op("abs", {most}), infinity}), most, f.scalar(x->type.dtype, 0)});
  Value* sum = f.op("reduce_sum", {f.exp(f.sub(x, most))}, over);
  Value* y = f.add(f.op("log", {sum}), most);
  Dims kept;
  for (size_t d = 0; d < x->ndim(); ++d)
    if (!llvm::is_contained(axes, int64_t(d))) kept.push_back(x->type.dims[d]);
  return made_by(f, {c.integer("keepdims", 1) ? y : f.reshape(y, kept)});
}

// Before opset 13 softmax runs over all dims from `axis` on, flattened; the default axis was 1.
llvm::Expected<Value*> softmaxed(LoweringContext& c, Value& x,
                                 llvm::function_ref<llvm::Expected<Value*>(Value&, int64_t)> softmax) {
  OPTP_TRY(axis, c.axis(c.integer("axis", c.opset < 13 ? 1 : -1), x.ndim()));
  if (c.opset >= 13 || axis == int64_t(x.ndim()) - 1) return softmax(x, axis);
  Dims flat(x.type.dims.begin(), x.type.dims.begin() + axis);
  flat.push_back(product(llvm::ArrayRef<Dim>(x.type.dims).drop_front(size_t(axis))));
  OPTP_TRY(folded, c.reshape(x, flat));
  OPTP_TRY(y, softmax(*folded, axis));
  return c.reshape(*y, x.type.dims);
}
Lowered softmax(LoweringContext& c) {
  OPTP_TRY(x, c.need(0));
  OPTP_TRY(y, softmaxed(c, *x, [&](Value& v, int64_t axis) { return c.op("softmax", {&v}, {{"axis", axis}}); }));
  return Values{y};
}
Lowered log_softmax(LoweringContext& c) {
  OPTP_TRY(x, c.need(0));
  OPTP_TRY(y, softmaxed(c, *x, [&](Value& v, int64_t axis) -> llvm::Expected<Value*> {
             const Attributes over{{"axes", Ints{axis}}, {"keepdims", int64_t(1)}};
             OPTP_TRY(most, c.op("reduce_max", {&v}, over));
             OPTP_TRY(shifted, c.op("sub", {&v, most}));
             OPTP_TRY(powers, c.op("exp", {shifted}));
             OPTP_TRY(sum, c.op("reduce_sum", {powers}, over));
             OPTP_TRY(log, c.op("log", {sum}));
             return c.op("sub", {shifted, log});
           }));
  return Values{y};
}
Lowered cumsum(LoweringContext& c) {
  OPTP_TRY(x, c.need(0));
  OPTP_TRY(listed, c.known_integers(1, "axis"));
  if (listed.size() != 1) return c.fail(Code::malformed).what("axis").expected("one number");
  OPTP_TRY(axis, c.axis(listed[0], x->ndim()));
  OPTP_TRY(y, c.op("cumsum", {x},
                   {{"axis", axis}, {"exclusive", c.integer("exclusive", 0)}, {"reverse", c.integer("reverse", 0)}}));
  return Values{y};
}
constexpr char sum[] = "reduce_sum", mean[] = "reduce_mean", max[] = "reduce_max", min[] = "reduce_min",
               prod[] = "reduce_prod";
const LoweringRow rows[] = {
    {"ReduceSum", 1, reduce<sum>},
    {"ReduceMean", 1, reduce<mean>},
    {"ReduceMax", 1, reduce<max>},
    {"ReduceMin", 1, reduce<min>},
    {"ReduceProd", 1, reduce<prod>},
    {"ReduceL1", 1, reduce_l1},
    {"ReduceL2", 1, reduce_l2},
    {"ReduceLogSum", 1, reduce_log_sum},
    {"ReduceLogSumExp", 1, reduce_log_sum_exp},
    {"ReduceSumSquare", 1, reduce_sum_square},
    {"Softmax", 1, softmax},
    {"LogSoftmax", 1, log_softmax},
    {"CumSum", 11, cumsum},
};
const RegisteredLowerings registered{rows};
}  // namespace
}  // namespace optp
