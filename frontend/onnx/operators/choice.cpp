// Operators that say which elements are largest or smallest: ArgMax, ArgMin, TopK.
#include "frontend/onnx/operators/indexing.h"
#include "frontend/onnx/operators/steps.h"

namespace optp {
namespace {
using Values = llvm::SmallVector<Value*, 2>;
using Ints = llvm::SmallVector<int64_t, 4>;

// The least index (or the greatest) among the elements that equal the extreme one, so that an axis may be split: the
// extreme is a maximum over the ranks, and so is the index. A NaN is the extreme element where there is one.
template <bool largest>
Lowered arg_extreme(LoweringContext& c) {
  OPTP_TRY(x, c.need(0));
  OPTP_TRY(axis, c.axis(c.integer("axis", 0), x->ndim()));
  const bool last = c.integer("select_last_index", 0) != 0, keeps = c.integer("keepdims", 1) != 0;
  const Dim extent = x->type.dims[size_t(axis)];
  if (extent.is(0))
    return c.fail(Code::shape_mismatch).operand(0, x->name).dim_of(size_t(axis)).expected("1 or more").found(0);
  Formula f(c.build);
  const auto over = [&](bool keep) { return Attributes{{"axes", Ints{axis}}, {"keepdims", int64_t(keep)}}; };
  Value* extreme = f.op(largest ? "reduce_max" : "reduce_min", {x}, over(true));
  Value* is_it = f.op("equal", {x, extreme});
  if (is_float(x->type.dtype)) is_it = f.op("where", {f.op("is_nan", {extreme}), f.op("is_nan", {x}), is_it});
  Dims along(x->ndim(), Dim(1));
  along[size_t(axis)] = extent;
  Value* index = f.reshape(iota(f, 0, extent), along);
  Value* none = last ? f.scalar(DType::i64, -1) : f.extent(extent, DType::i64);
  Value* found = f.op("where", {is_it, index, none});
  return made_by(f, {f.op(last ? "reduce_max" : "reduce_min", {found}, over(keeps))});
}

// Values are gathered by the indices, so that a gradient finds its way back to them.
Lowered top_k(LoweringContext& c) {
  OPTP_TRY(x, c.need(0));
  OPTP_TRY(axis, c.axis(c.integer("axis", -1), x->ndim()));
  OPTP_TRY(k, c.known_dims(1, "k"));
  if (k.size() != 1) return c.fail(Code::malformed).what("k").expected("one number").found(k.size());
  c.integer("sorted", 1);  // otherwise any order will do
  OPTP_TRY(index,
           c.op("top_k", {x}, {{"axis", axis}, {"k", k[0]}, {"largest", int64_t(c.integer("largest", 1) != 0)}}));
  OPTP_TRY(values, elements_at(c, *x, *index, axis));
  return Values{values, index};
}

const LoweringRow rows[] = {
    {"ArgMax", 1, arg_extreme<true>},
    {"ArgMin", 1, arg_extreme<false>},
    {"TopK", 10, top_k},
};
const RegisteredLowerings registered{rows};
}  // namespace
}  // namespace optp
