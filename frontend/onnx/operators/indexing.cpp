// ONNX operators that choose elements by indices: gathers and one-hot rows.
#include "frontend/onnx/operators/indexing.h"

#include "frontend/onnx/operators/steps.h"

namespace optp {
namespace {
using Values = llvm::SmallVector<Value*, 2>;

// Of an activation, known indices one after the other along a dim of known extent, or the last one of any: a slice,
// which leaves what is beside it as it is. Falcon takes its shared key and value so from behind the queries, and
// `logits[:, -1]` is what comes behind a text.
std::optional<Dim> first_of_slice(const Value& x, const Value& index, int64_t axis) {
  const Dim whole = x.type.dims[size_t(axis)];
  const auto extent = whole.constant();
  const auto known = content_of(index);
  if (x.is_data() || !is_float(x.type.dtype) || index.ndim() > 1 || !known || known->elements.empty())
    return std::nullopt;
  if (const Dim d = known->elements[0]; known->elements.size() == 1 && (d.is(-1) || d + Dim(1) == whole))
    return whole - Dim(1);
  if (!extent) return std::nullopt;
  std::optional<int64_t> first;
  int64_t next = 0;
  for (Dim d : known->elements) {
    if (!d.constant()) return std::nullopt;
    const int64_t at = *d.constant() + (*d.constant() < 0 ? *extent : 0);
    if (at < 0 || at >= *extent || (first && at != next)) return std::nullopt;
    if (!first) first = at;
    next = at + 1;
  }
  return Dim(*first);
}
llvm::Expected<Value*> rows_at(LoweringContext& c, Value& x, Value& index, int64_t axis) {
  const auto first = first_of_slice(x, index, axis);
  if (!first) return c.op("gather", {&x, &index}, {{"axis", axis}});
  OPTP_TRY(part, slice(c, &x, axis, *first, product(index.type.dims)));
  if (index.ndim() == 1) return part;
  Dims dims = x.type.dims;
  dims.erase(dims.begin() + axis);
  return c.reshape(*part, dims);
}
Lowered gather(LoweringContext& c) {
  OPTP_TRY(x, c.need(0));
  OPTP_TRY(index, c.need(1));
  OPTP_TRY(axis, c.axis(c.integer("axis", 0), x->ndim()));
  OPTP_TRY(y, rows_at(c, *x, *index, axis));
  return Values{y};
}
// An index below 0 counts from the end.
llvm::Expected<Value*> wrapped(LoweringContext& c, Value& index, Dim extent) {
  OPTP_TRY(end, c.cast(c.build.dim_tensor({}, {extent}), index.type.dtype));
  OPTP_TRY(negative, c.op("less", {&index, &c.scalar_like(index, 0)}));
  OPTP_TRY(from_end, c.op("add", {&index, end}));
  return c.op("where", {negative, from_end, &index});
}
// Elements of x's leading dims by an index along each: a gather of rows from those dims flattened.
llvm::Expected<Value*> gather_flat(LoweringContext& c, Value& x, llvm::ArrayRef<Value*> components) {
  OPTP_TRY(row, flat_row(c, llvm::ArrayRef<Dim>(x.type.dims).take_front(components.size()), components));
  OPTP_TRY(table, c.reshape(x, flattened(x.type.dims, components.size())));
  return c.op("gather", {table, row}, {{"axis", int64_t(0)}});
}
// The leading dims that x and the index tuples share. An index along each of them is its own, as one dim of the tuples.
llvm::Expected<Components> batch_components(LoweringContext& c, const Value& x, const Value& index) {
  const int64_t count = c.integer("batch_dims", 0), most = int64_t(std::min(x.ndim(), index.ndim())) - 1;
  if (count != 0 && (count < 0 || count > most))
    return c.fail(Code::malformed)
        .what("batch_dims")
        .expected("from 0 to " + llvm::Twine(std::max<int64_t>(most, 0)))
        .found(count);
  Components out;
  for (size_t d = 0; d < size_t(count); ++d) {
    if (x.type.dims[d] != index.type.dims[d])
      return c.must_equal(x.type.dims[d], index.type.dims[d], "batch dim " + llvm::Twine(d));
    Dims along(index.ndim() - 1, Dim(1));
    along[d] = x.type.dims[d];
    OPTP_TRY(own, iota(c, 0, along[d]));
    OPTP_TRY(component, c.reshape(*own, along));
    out.push_back(component);
  }
  return out;
}
Lowered gather_nd(LoweringContext& c) {
  OPTP_TRY(x, c.need(0));
  OPTP_TRY(index, index_operand(c));
  OPTP_TRY(components, batch_components(c, *x, *index));
  OPTP_TRY(own, components_of(c, *index, x->ndim() - components.size()));
  components.append(own.begin(), own.end());
  // Of one component gather itself counts indices below 0 from the end, and knows its range.
  OPTP_TRY(y, components.size() == 1 ? rows_at(c, *x, *components[0], 0) : gather_flat(c, *x, components));
  return Values{y};
}
Lowered gather_elements(LoweringContext& c) {
  OPTP_TRY(x, c.need(0));
  OPTP_TRY(index, index_operand(c));
  if (index->ndim() != x->ndim())
    return c.fail(Code::shape_mismatch)
        .operand(1, index->name)
        .expected(llvm::Twine(x->ndim()) + " dims as operand 0")
        .found(to_string(index->type.dims));
  OPTP_TRY(axis, c.axis(c.integer("axis", 0), x->ndim()));
  OPTP_TRY(y, elements_at(c, *x, *index, axis));
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
  OPTP_TRY(count, iota(c, 0, depth[0]));
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
                            {"OneHot", 9, one_hot}};
const RegisteredLowerings registered{rows};
}  // namespace

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
llvm::Expected<Value*> flat_row(LoweringContext& c, llvm::ArrayRef<Dim> dims, llvm::ArrayRef<Value*> components) {
  Value *row = nullptr, *outside = nullptr;
  for (size_t d = 0; d < components.size(); ++d) {
    Value& extent = c.build.dim_tensor({}, {dims[d]});
    OPTP_TRY(given, c.cast(*components[d], DType::i64));
    OPTP_TRY(at, wrapped(c, *given, dims[d]));
    OPTP_TRY(below, c.op("less", {at, &c.scalar_like(*at, 0)}));
    OPTP_TRY(above, c.op("greater_equal", {at, &extent}));
    OPTP_TRY(either, c.op("or", {below, above}));
    OPTP_TRY(any, outside ? c.op("or", {outside, either}) : either);
    outside = any;
    if (row) {
      OPTP_TRY(scaled, c.op("mul", {row, &extent}));
      OPTP_TRY(sum, c.op("add", {scaled, at}));
      row = sum;
    } else {
      row = at;
    }
  }
  return c.op("where", {outside, &c.build.dim_tensor({}, {product(dims)}), row});
}
Dims flattened(llvm::ArrayRef<Dim> dims, size_t leading) {
  Dims out{product(dims.take_front(leading))};
  out.append(dims.begin() + long(leading), dims.end());
  return out;
}
llvm::Expected<Components> components_of(LoweringContext& c, Value& index, size_t most) {
  auto depth = index.ndim() ? index.type.dims.back().constant() : std::nullopt;
  if (!depth || *depth < 1 || *depth > int64_t(most))
    return c.fail(Code::shape_mismatch)
        .operand(1, index.name)
        .expected("index tuples of 1 to " + llvm::Twine(most) + " in the last dim")
        .found(to_string(index.type.dims));
  const Dims row_dims(index.type.dims.begin(), index.type.dims.end() - 1);
  Components out;
  for (int64_t k = 0; k < *depth; ++k) {
    OPTP_TRY(part, slice(c, &index, int64_t(row_dims.size()), k, 1));
    OPTP_TRY(component, c.reshape(*part, row_dims));
    out.push_back(component);
  }
  return out;
}
llvm::Error check_beside(LoweringContext& c, const Value& data, const Value& index, int64_t axis) {
  for (size_t d = 0; d < data.ndim(); ++d)
    if (int64_t(d) != axis && proved_less(data.type.dims[d], index.type.dims[d]))
      return c.fail(Code::shape_mismatch)
          .operand(1, index.name)
          .dim_of(d)
          .expected("at most " + data.type.dims[d].text() + " as operand 0")
          .found(index.type.dims[d].text());
  return llvm::Error::success();
}
llvm::Expected<Value*> elements_at(LoweringContext& c, Value& x, Value& index, int64_t axis) {
  if (auto e = check_beside(c, x, index, axis)) return e;
  Value* table = &x;  // as far as the index goes
  for (size_t d = 0; d < x.ndim(); ++d) {
    const Dim wanted = index.type.dims[d];
    if (int64_t(d) == axis || x.type.dims[d] == wanted) continue;
    OPTP_TRY(leading, slice(c, table, int64_t(d), 0, wanted));
    table = leading;
  }
  return c.op("gather_elements", {table, &index}, {{"axis", axis}});
}
}  // namespace optp
