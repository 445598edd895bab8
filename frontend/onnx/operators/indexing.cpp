// ONNX operators that choose elements by indices: gathers, their transpose, and one-hot rows.
#include "frontend/onnx/lowering.h"

namespace optp {
namespace {
using Values = llvm::SmallVector<Value*, 2>;

Lowered gather(LoweringContext& c) {
  OPTP_TRY(x, c.need(0));
  OPTP_TRY(index, c.need(1));
  OPTP_TRY(axis, c.axis(c.integer("axis", 0), x->ndim()));
  OPTP_TRY(y, c.op("gather", {x, index}, {{"axis", axis}}));
  return Values{y};
}
// ScatterND that adds, by the rows of dim 0: data + scatter_add(updates).
Lowered scatter_nd(LoweringContext& c) {
  OPTP_TRY(data, c.need(0));
  OPTP_TRY(index, c.need(1));
  OPTP_TRY(updates, c.need(2));
  if (c.text("reduction", "none") != "add")
    return c.fail(Code::not_supported)
        .what("reduction " + quoted(c.text("reduction", "none")))
        .what("only 'add' is supported");
  if (data->ndim() == 0 || index->ndim() == 0 || !index->type.dims.back().is(1))
    return c.fail(Code::shape_mismatch)
        .operand(1, index->name)
        .expected("index tuples of 1 in the last dim")
        .found(to_string(index->type.dims));
  OPTP_TRY(rows, c.reshape(*index, llvm::ArrayRef<Dim>(index->type.dims).drop_back()));
  OPTP_TRY(sums, c.op("scatter_add", {updates, rows}, {{"axis", int64_t(0)}, {"rows", data->type.dims[0]}}));
  const bool zeros = data->producer && data->producer->op->name == "expand" && data->producer->operand(0).is_data() &&
                     data->producer->operand(0).data->elements() == 1 &&
                     !data->producer->operand(0).data->is_missing() &&
                     to_array(*data->producer->operand(0).data).number(0) == 0;
  if (zeros && data->type == sums->type) return Values{sums};
  OPTP_TRY(y, c.op("add", {data, sums}));
  return Values{y};
}
// An index below 0 counts from the end.
llvm::Expected<Value*> wrapped(LoweringContext& c, Value& index, Dim extent) {
  OPTP_TRY(end, c.cast(c.build.dim_tensor({}, {extent}), index.type.dtype));
  OPTP_TRY(negative, c.op("less", {&index, &c.scalar_like(index, 0)}));
  OPTP_TRY(from_end, c.op("add", {&index, end}));
  return c.op("where", {negative, from_end, &index});
}
llvm::Expected<Value*> index_operand(LoweringContext& c) {
  OPTP_TRY(index, c.need(1));
  const DType dtype = index->type.dtype;
  if (dtype != DType::i64 && dtype != DType::i32)
    return c.fail(Code::dtype_mismatch)
        .operand(1, index->name)
        .what("dtype")
        .expected("int64 or int32")
        .found(long_name(dtype));
  return index;
}
struct Component {
  Value* index;
  bool inside;  // known to be at least 0 and below the dim's extent
};
// Elements of x's leading dims by an index along each: a gather of rows from those dims flattened. An index outside of
// its dim gives a row outside of all.
llvm::Expected<Value*> gather_flat(LoweringContext& c, Value& x, llvm::ArrayRef<Component> components) {
  const llvm::ArrayRef<Dim> dims = llvm::ArrayRef<Dim>(x.type.dims).take_front(components.size());
  Value *row = nullptr, *outside = nullptr;
  for (size_t d = 0; d < components.size(); ++d) {
    Value& extent = c.build.dim_tensor({}, {dims[d]});
    OPTP_TRY(at, c.cast(*components[d].index, DType::i64));
    if (!components[d].inside) {
      OPTP_TRY(positive, wrapped(c, *at, dims[d]));
      OPTP_TRY(below, c.op("less", {positive, &c.scalar_like(*positive, 0)}));
      OPTP_TRY(above, c.op("greater_equal", {positive, &extent}));
      OPTP_TRY(either, c.op("or", {below, above}));
      OPTP_TRY(any, outside ? c.op("or", {outside, either}) : either);
      at = positive, outside = any;
    }
    if (row) {
      OPTP_TRY(scaled, c.op("mul", {row, &extent}));
      OPTP_TRY(sum, c.op("add", {scaled, at}));
      row = sum;
    } else {
      row = at;
    }
  }
  Dims flat{product(dims)};
  flat.append(x.type.dims.begin() + long(components.size()), x.type.dims.end());
  if (outside) {
    OPTP_TRY(checked, c.op("where", {outside, &c.build.dim_tensor({}, {flat[0]}), row}));
    row = checked;
  }
  OPTP_TRY(table, c.reshape(x, flat));
  return c.op("gather", {table, row}, {{"axis", int64_t(0)}});
}
Lowered gather_nd(LoweringContext& c) {
  OPTP_TRY(x, c.need(0));
  OPTP_TRY(index, index_operand(c));
  if (c.integer("batch_dims", 0) != 0)
    return c.fail(Code::not_supported)
        .what("batch_dims " + llvm::Twine(c.integer("batch_dims", 0)))
        .what("only 0 is supported");
  auto depth = index->ndim() ? index->type.dims.back().constant() : std::nullopt;
  if (!depth || *depth < 1 || *depth > int64_t(x->ndim()))
    return c.fail(Code::shape_mismatch)
        .operand(1, index->name)
        .expected("index tuples of 1 to " + llvm::Twine(x->ndim()) + " in the last dim")
        .found(to_string(index->type.dims));
  const Dims row_dims(index->type.dims.begin(), index->type.dims.end() - 1);
  llvm::SmallVector<Component, 4> components;
  for (int64_t k = 0; k < *depth; ++k) {
    OPTP_TRY(part,
             c.op("slice", {index},
                  {{"axis", int64_t(row_dims.size())}, {"start", Dim(k)}, {"size", Dim(1)}, {"step", int64_t(1)}}));
    OPTP_TRY(component, c.reshape(*part, row_dims));
    components.push_back({component, false});
  }
  OPTP_TRY(y, gather_flat(c, *x, components));
  return Values{y};
}
// GatherElements: y[i, j] = x[index[i, j], j] along axis 0, and so on.
Lowered gather_elements(LoweringContext& c) {
  OPTP_TRY(x, c.need(0));
  OPTP_TRY(index, index_operand(c));
  if (index->ndim() != x->ndim())
    return c.fail(Code::shape_mismatch)
        .operand(1, index->name)
        .expected(llvm::Twine(x->ndim()) + " dims as operand 0")
        .found(to_string(index->type.dims));
  OPTP_TRY(axis, c.axis(c.integer("axis", 0), x->ndim()));
  llvm::SmallVector<Component, 4> components;
  for (size_t d = 0; d < x->ndim(); ++d) {
    if (int64_t(d) == axis) {
      components.push_back({index, false});
      continue;
    }
    if (proved_less(x->type.dims[d], index->type.dims[d]))
      return c.fail(Code::shape_mismatch)
          .operand(1, index->name)
          .dim_of(d)
          .expected("at most " + x->type.dims[d].text() + " as operand 0")
          .found(index->type.dims[d].text());
    Dims along(x->ndim(), Dim(1));
    along[d] = index->type.dims[d];
    OPTP_TRY(count, c.op("iota", {},
                         {{"start", Dim(0)}, {"size", along[d]}, {"step", Dim(1)}, {"dtype", int64_t(DType::i64)}}));
    OPTP_TRY(counted, c.reshape(*count, along));
    components.push_back({counted, proved_less_equal(along[d], x->type.dims[d])});
  }
  OPTP_TRY(y, gather_flat(c, *x, components));
  return Values{y};
}
Lowered one_hot(LoweringContext& c) {
  OPTP_TRY(index, c.need(0));
  OPTP_TRY(depth, c.known_dims(1, "depth"));
  OPTP_TRY(values, c.need(2));
  if (depth.size() != 1) return c.fail(Code::malformed).what("depth").expected("one number");
  const int64_t given = c.integer("axis", -1);
  OPTP_TRY(axis, c.axis(given, index->ndim() + 1));
  Dims wide = index->type.dims, classes(index->ndim() + 1, Dim(1));
  wide.insert(wide.begin() + axis, Dim(1));
  classes[size_t(axis)] = depth[0];
  OPTP_TRY(at, c.cast(*index, DType::i64));
  OPTP_TRY(at_wide, c.reshape(*at, wide));
  OPTP_TRY(count,
           c.op("iota", {}, {{"start", Dim(0)}, {"size", depth[0]}, {"step", Dim(1)}, {"dtype", int64_t(DType::i64)}}));
  OPTP_TRY(count_wide, c.reshape(*count, classes));
  OPTP_TRY(positive, wrapped(c, *at_wide, depth[0]));
  OPTP_TRY(hit, c.op("equal", {positive, count_wide}));
  OPTP_TRY(off, c.op("gather", {values, &c.build.integers({0})}, {{"axis", int64_t(0)}}));
  OPTP_TRY(on, c.op("gather", {values, &c.build.integers({1})}, {{"axis", int64_t(0)}}));
  OPTP_TRY(y, c.op("where", {hit, on, off}));
  return Values{y};
}

const LoweringRow rows[] = {{"Gather", 1, gather},
                            {"GatherElements", 11, gather_elements},
                            {"GatherND", 11, gather_nd},
                            {"ScatterND", 16, scatter_nd},
                            {"OneHot", 9, one_hot}};
const RegisteredLowerings registered{rows};
}  // namespace
}  // namespace optp
