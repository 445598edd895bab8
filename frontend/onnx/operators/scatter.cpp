// ScatterND and ScatterElements: updates at chosen elements. ScatterND's are rows of the dims that are indexed,
// flattened.
//   add   data + scatter_add(updates)
//   none  data where nothing is written, else scatter_add(updates): indices are distinct, as ONNX demands (opset 11),
//         so one update meets one zero. A mask of what is written is scattered likewise. Where ScatterElements
//         replaces whole slices, an index_copy.
// Where the tuples of a ScatterND go over a slice of data in order, it is that slice between what is left of data.
#include "frontend/onnx/operators/assigned_slice.h"
#include "frontend/onnx/operators/indexing.h"
#include "frontend/onnx/operators/steps.h"

namespace optp {
namespace {
using Values = llvm::SmallVector<Value*, 2>;

// Made by expanding one number.
bool is_filled_with(const Value& v, double x) {
  if (!v.producer || !v.producer->op->is(Trait::repeats) || !v.producer->operand(0).is_data()) return false;
  const Tensor& tensor = *v.producer->operand(0).data;
  return tensor.elements() == 1 && !tensor.is_missing() && to_array(tensor).number(0) == x;
}

llvm::Error check_operands(LoweringContext& c, const Value& data, const Value& updates) {
  const std::string reduction = c.text("reduction", "none");
  if (reduction != "add" && reduction != "none")
    return c.fail(Code::not_supported).what("reduction " + quoted(reduction)).expected("none or add");
  const DType dtype = data.type.dtype;
  if (updates.type.dtype == dtype) return llvm::Error::success();
  return c.fail(Code::dtype_mismatch)
      .operand(2, updates.name)
      .what("dtype")
      .expected(long_name(dtype) + " as operand 0")
      .found(long_name(updates.type.dtype));
}
// `sums_of(values)` scatters values that have updates' dims into zeros of data's, `count_of(dtype)` as many ones for
// each element that is written.
Value* scattered(Formula& f, LoweringContext& c, Value& data, Value& updates,
                 llvm::function_ref<Value*(Value*)> sums_of, llvm::function_ref<Value*(DType)> count_of) {
  const DType dtype = data.type.dtype;
  if (c.text("reduction", "none") == "add") {
    Value* sums = sums_of(&updates);
    return is_filled_with(data, 0) && sums && data.type == sums->type ? sums : f.add(&data, sums);
  }
  // Truth values have no sum.
  Value* written = f.cast(sums_of(f.cast(&updates, dtype == DType::boolean ? DType::i32 : dtype)), dtype);
  Value* is_written = f.op("greater", {count_of(DType::i32), f.scalar(DType::i32, 0)});
  return f.op("where", {is_written, written, &data});
}
// By rows of data's leading `depth` dims.
Value* scattered_rows(Formula& f, LoweringContext& c, Value& data, Value& row, Value& updates, size_t depth) {
  const Dims flat = flattened(data.type.dims, depth);
  auto sums_of = [&](Value* values) {
    return f.op("scatter_add", {values, &row}, {{"axis", int64_t(0)}, {"rows", flat[0]}});
  };
  auto count_of = [&](DType dtype) {
    Dims row_dims = row.type.dims, mask_dims(data.type.dims.begin(), data.type.dims.begin() + long(depth));
    row_dims.append(flat.size() - 1, Dim(1));
    mask_dims.append(flat.size() - 1, Dim(1));
    return f.reshape(sums_of(f.expand(f.scalar(dtype, 1), row_dims)), mask_dims);
  };
  return scattered(
      f, c, data, updates, [&](Value* values) { return f.reshape(sums_of(values), data.type.dims); }, count_of);
}
// Whether updates are what a slice of data has: the dims that are indexed, then data's others.
bool is_all_of_rows(const Value& index, const Value& updates, const Value& data) {
  const size_t depth = index.ndim() - 1;
  Dims dims(index.type.dims.begin(), index.type.dims.end() - 1);
  dims.append(data.type.dims.begin() + long(depth), data.type.dims.end());
  return updates.type.dims == dims;
}
Value* assigned(Formula& f, Value& data, Value& updates, const AssignedSlice& to) {
  const auto axis = int64_t(to.axis);
  const Dim extent = data.type.dims[to.axis], end = to.start + updates.type.dims[to.axis];
  llvm::SmallVector<Value*, 3> parts;
  if (!to.start.is(0)) parts.push_back(slice(f, &data, axis, 0, to.start));
  parts.push_back(&updates);
  if (end != extent) parts.push_back(slice(f, &data, axis, end, extent - end));
  return parts.size() == 1 ? &updates : f.op("concat", parts, {{"axis", axis}});
}
Lowered scatter_nd(LoweringContext& c) {
  OPTP_TRY(data, c.need(0));
  OPTP_TRY(index, index_operand(c));
  OPTP_TRY(updates, c.need(2));
  if (auto e = check_operands(c, *data, *updates)) return e;
  Formula f(c.build);
  const auto slice = assigned_slice(*index, data->type.dims);
  if (slice && c.text("reduction", "none") == "none" && is_all_of_rows(*index, *updates, *data))
    return made_by(f, {assigned(f, *data, *updates, *slice)});
  OPTP_TRY(components, components_of(c, *index, data->ndim()));
  const size_t depth = components.size();
  // Of one component the op itself counts indices below 0 from the end, and knows its range.
  Value* row = components[0];
  if (depth > 1) {
    OPTP_TRY(flat, flat_row(c, llvm::ArrayRef<Dim>(data->type.dims).take_front(depth), components));
    row = flat;
  }
  return made_by(f, {scattered_rows(f, c, *data, *row, *updates, depth)});
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
  if (auto e = check_operands(c, *data, *updates)) return e;
  OPTP_TRY(axis, c.axis(c.integer("axis", 0), data->ndim()));
  const Dims &all = data->type.dims, &part = index->type.dims;
  if (auto e = check_beside(c, *data, *index, axis)) return e;
  Formula f(c.build);
  if (c.text("reduction", "none") == "none")
    if (Value* slices = index_of_slices(f, *index, *data, *updates, axis))
      return made_by(f, {f.op("index_copy", {data, slices, updates}, {{"axis", axis}})});
  // Zeros behind what the index goes over.
  auto sums_of = [&](Value* values) {
    Value* sums = f.op("scatter_add_elements", {values, index}, {{"axis", axis}, {"rows", all[size_t(axis)]}});
    for (size_t d = 0; d < all.size(); ++d)
      if (int64_t(d) != axis && part[d] != all[d])
        sums = f.op("pad", {sums},
                    {{"axis", int64_t(d)}, {"before", Dim(0)}, {"after", all[d] - part[d]}, {"value", 0.0}});
    return sums;
  };
  return made_by(f, {scattered(f, c, *data, *updates, sums_of,
                               [&](DType dtype) { return sums_of(f.expand(f.scalar(dtype, 1), part)); })});
}

const LoweringRow rows[] = {
    {"ScatterND", 11, scatter_nd},
    {"ScatterElements", 11, scatter_elements},
};
const RegisteredLowerings registered{rows};
}  // namespace
}  // namespace optp
