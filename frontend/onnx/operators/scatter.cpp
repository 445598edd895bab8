// ScatterND and ScatterElements: updates at chosen elements, by the rows of the dims that are indexed, flattened.
//   add   data + scatter_add(updates)
//   none  data where nothing is written, else scatter_add(updates): indices are distinct, as ONNX demands (opset 11),
//   so
//         one update meets one zero. A mask of what is written is scattered likewise. Where ScatterElements replaces
//         whole slices, an index_copy.
#include "frontend/onnx/operators/indexing.h"

namespace optp {
namespace {
using Values = llvm::SmallVector<Value*, 2>;

// Made by expanding one number.
bool is_filled_with(const Value& v, double x) {
  if (!v.producer || !v.producer->op->is(Trait::repeats) || !v.producer->operand(0).is_data()) return false;
  const Tensor& tensor = *v.producer->operand(0).data;
  return tensor.elements() == 1 && !tensor.is_missing() && to_array(tensor).number(0) == x;
}

// updates: the dims of `row`, then those of data behind the leading `depth`.
Lowered scattered(LoweringContext& c, Value& data, Value& row, Value& updates, size_t depth) {
  const std::string reduction = c.text("reduction", "none");
  if (reduction != "add" && reduction != "none")
    return c.fail(Code::not_supported).what("reduction " + quoted(reduction)).expected("none or add");
  const DType dtype = data.type.dtype;
  if (updates.type.dtype != dtype)
    return c.fail(Code::dtype_mismatch)
        .operand(2, updates.name)
        .what("dtype")
        .expected(long_name(dtype) + " as operand 0")
        .found(long_name(updates.type.dtype));
  const Dims flat = flattened(data.type.dims, depth);
  Formula f(c.build);
  auto sums_of = [&](Value* values) {
    return f.op("scatter_add", {values, &row}, {{"axis", int64_t(0)}, {"rows", flat[0]}});
  };
  if (reduction == "add") {
    Value* sums = f.reshape(sums_of(&updates), data.type.dims);
    return made_by(f, {is_filled_with(data, 0) && sums && data.type == sums->type ? sums : f.add(&data, sums)});
  }
  // Truth values have no sum.
  Value* sums = sums_of(f.cast(&updates, dtype == DType::boolean ? DType::i32 : dtype));
  Value* written = f.cast(f.reshape(sums, data.type.dims), dtype);
  Dims row_dims = row.type.dims;
  row_dims.append(flat.size() - 1, Dim(1));
  Dims mask_dims(data.type.dims.begin(), data.type.dims.begin() + long(depth));
  mask_dims.append(flat.size() - 1, Dim(1));
  Value* count = sums_of(f.expand(f.scalar(DType::i32, 1), row_dims));
  Value* is_written = f.op("greater", {f.reshape(count, mask_dims), f.scalar(DType::i32, 0)});
  return made_by(f, {f.op("where", {is_written, written, &data})});
}
Lowered scatter_nd(LoweringContext& c) {
  OPTP_TRY(data, c.need(0));
  OPTP_TRY(index, index_operand(c));
  OPTP_TRY(updates, c.need(2));
  OPTP_TRY(components, components_of(c, *index, data->ndim()));
  const size_t depth = components.size();
  // Of one component the op itself counts indices below 0 from the end, and knows its range.
  if (depth == 1) return scattered(c, *data, *components[0].index, *updates, depth);
  OPTP_TRY(row, flat_row(c, llvm::ArrayRef<Dim>(data->type.dims).take_front(depth), components));
  return scattered(c, *data, *row, *updates, depth);
}
// The indices along the axis, where each is the same all over its slice: expanded from [1, .., n, .., 1].
Value* index_of_slices(Formula& f, Value& index, const Value& data, const Value& updates, int64_t axis) {
  for (size_t d = 0; d < data.ndim(); ++d)
    if (int64_t(d) != axis && (index.type.dims[d] != data.type.dims[d] || updates.type.dims[d] != data.type.dims[d]))
      return nullptr;
  if (index.type.dims != updates.type.dims) return nullptr;
  Value* column = index.producer && index.producer->op->is(Trait::repeats) ? &index.producer->operand(0) : &index;
  const Dim n = index.type.dims[size_t(axis)];
  Dims wanted(index.ndim(), Dim(1));
  wanted[size_t(axis)] = n;
  if (column->type.dims != wanted) return nullptr;
  if (column->producer && column->producer->op->is(Trait::reshapes) && column->producer->operand(0).ndim() == 1)
    return &column->producer->operand(0);
  return f.reshape(column, {n});
}
Lowered scatter_elements(LoweringContext& c) {
  OPTP_TRY(data, c.need(0));
  OPTP_TRY(index, index_operand(c));
  OPTP_TRY(updates, c.need(2));
  for (const auto& [k, v] : {std::pair<size_t, Value*>{1, index}, {2, updates}})
    if (v->ndim() != data->ndim() || v->ndim() == 0)
      return c.fail(Code::shape_mismatch)
          .operand(k, v->name)
          .expected(llvm::Twine(std::max<size_t>(1, data->ndim())) + " dims as operand 0")
          .found(to_string(v->type.dims));
  OPTP_TRY(axis, c.axis(c.integer("axis", 0), data->ndim()));
  if (c.text("reduction", "none") == "none" && updates->type.dtype == data->type.dtype) {
    Formula f(c.build);
    if (Value* slices = index_of_slices(f, *index, *data, *updates, axis))
      return made_by(f, {f.op("index_copy", {data, slices, updates}, {{"axis", axis}})});
  }
  OPTP_TRY(components, components_along(c, *data, *index, axis, /*inside=*/false));
  OPTP_TRY(row, flat_row(c, data->type.dims, components));
  return scattered(c, *data, *row, *updates, data->ndim());
}

const LoweringRow rows[] = {
    {"ScatterND", 11, scatter_nd},
    {"ScatterElements", 11, scatter_elements},
};
const RegisteredLowerings registered{rows};
}  // namespace
}  // namespace optp
