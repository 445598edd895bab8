// ONNX operators that read, make or change shapes, and those that move elements. Shape itself becomes known dims.
#include "frontend/ir/dim_solve.h"
#include "frontend/onnx/operators/steps.h"

namespace optp {
namespace {
using Ints = llvm::SmallVector<int64_t, 4>;
using Values = llvm::SmallVector<Value*, 2>;
constexpr size_t most_dims = 64;

Lowered constant(LoweringContext& c) {
  std::shared_ptr<const Tensor> tensor;
  auto ints = c.integers("value_ints");
  if (c.has_attribute("value")) {
    OPTP_TRY(t, c.tensor("value"));
    tensor = t;
  } else if (c.has_attribute("value_int")) {
    Array a;
    a.resize(/*floating=*/false, {});
    a.i[0] = c.integer("value_int", 0);
    tensor = to_tensor(a, DType::i64);
  } else if (ints) {
    Array a;
    a.resize(/*floating=*/false, {int64_t(ints->size())});
    a.i.assign(ints->begin(), ints->end());
    tensor = to_tensor(a, DType::i64);
  } else if (c.has_attribute("value_float")) {
    Array a;
    a.resize(/*floating=*/true, {});
    a.f[0] = c.number("value_float", 0);
    tensor = to_tensor(a, DType::f32);
  } else if (c.has_attribute("value_floats")) {
    auto numbers = c.numbers("value_floats");
    Array a;
    a.resize(/*floating=*/true, {int64_t(numbers.size())});
    a.f.assign(numbers.begin(), numbers.end());
    tensor = to_tensor(a, DType::f32);
  } else {
    return c.fail(Code::malformed).expected("a tensor, integers or floats as its value");
  }
  Value& v = c.build.graph().add_data(c.output_name(0), tensor);
  v.is_literal = true;
  return Values{&v};
}

Lowered shape(LoweringContext& c) {
  OPTP_TRY(x, c.need(0));
  const int64_t n = int64_t(x->ndim());
  auto clamp = [&](int64_t k) { return std::clamp<int64_t>(k < 0 ? k + n : k, 0, n); };  // opset 15: start and end
  const int64_t start = clamp(c.integer("start", 0)), end = std::max(start, clamp(c.integer("end", n)));
  llvm::ArrayRef<Dim> dims = llvm::ArrayRef<Dim>(x->type.dims).slice(size_t(start), size_t(end - start));
  return Values{&c.build.dim_tensor({int64_t(dims.size())}, dims)};
}
Lowered size(LoweringContext& c) {
  OPTP_TRY(x, c.need(0));
  return Values{&c.build.dim_tensor({}, {product(x->type.dims)})};
}

Lowered reshape(LoweringContext& c) {
  OPTP_TRY(x, c.need(0));
  OPTP_TRY(target, c.known_dims(1, "the new shape"));
  const bool allow_zero = c.integer("allowzero", 0) != 0;
  int64_t wildcard = -1;
  Dims dims;
  for (size_t k = 0; k < target.size(); ++k) {
    Dim d = target[k];
    if (d.is(-1)) {
      if (wildcard >= 0) return c.fail(Code::shape_mismatch, "two extents of the new shape are -1");
      wildcard = int64_t(k);
      d = 1;
    } else if (d.is(0) && !allow_zero) {
      if (k >= x->ndim())
        return c.fail(Code::shape_mismatch)
            .what("extent 0 of the new shape copies dim " + llvm::Twine(k) + ", but operand 0 has shape " +
                  to_string(x->type.dims));
      d = x->type.dims[k];
    }
    dims.push_back(d);
  }
  if (wildcard >= 0) {
    if (allow_zero && llvm::is_contained(target, Dim(0)))
      return c.fail(Code::shape_mismatch)
          .what("the new shape " + to_string(target))
          .what("-1 beside 0 with allowzero leaves the extent open");
    const Dim all = product(x->type.dims), rest = product(dims);
    if (rest.is(0)) {
      dims[size_t(wildcard)] = 0;
    } else if (auto q = exact_div(all, rest)) {
      dims[size_t(wildcard)] = *q;
    } else if (all.constant() && rest.constant()) {
      return c.fail(Code::shape_mismatch)
          .operand(0, x->name)
          .what("shape " + to_string(x->type.dims) + " does not divide into " + to_string(target));
    } else {
      // Extents under different names that the model needs equal: those before the -1 stand where the operand's stand
      // from the left, those after it from the right.
      for (size_t k = 0; k < dims.size(); ++k) {
        const int64_t from = int64_t(k) < wildcard ? int64_t(k) : int64_t(x->ndim()) - int64_t(dims.size() - k);
        if (int64_t(k) == wildcard || from < 0 || from >= int64_t(x->ndim())) continue;
        const Dim have = x->type.dims[size_t(from)];
        if (have != dims[k] && !have.constant() && !dims[k].constant() && solve_equal(have, dims[k]))
          return c.must_equal(have, dims[k], "reshape to " + to_string(target));
      }
      return c.fail(Code::shape_mismatch)
          .operand(0, x->name)
          .what("shape " + to_string(x->type.dims) + " does not divide into " + to_string(target));
    }
  }
  OPTP_TRY(y, c.reshape(*x, dims));
  return Values{y};
}

llvm::Expected<Ints> axes_of(LoweringContext& c, size_t operand, size_t ndim, bool all_if_absent) {
  auto attribute = c.integers("axes");
  if (attribute) return c.axes(*attribute, ndim);
  if (!c.has(operand)) {
    Ints all;
    for (size_t k = 0; all_if_absent && k < ndim; ++k) all.push_back(int64_t(k));
    return all;
  }
  OPTP_TRY(known, c.known_integers(operand, "axes"));
  return c.axes(known, ndim);
}
Lowered unsqueeze(LoweringContext& c) {
  OPTP_TRY(x, c.need(0));
  auto attribute = c.integers("axes");
  Ints listed;
  if (attribute) {
    listed = *attribute;
  } else {
    OPTP_TRY(known, c.known_integers(1, "axes"));
    listed = known;
  }
  if (listed.size() > most_dims)
    return c.fail(Code::too_large).what("axes").expected("at most " + llvm::Twine(most_dims)).found(listed.size());
  OPTP_TRY(axes, c.axes(listed, x->ndim() + listed.size()));
  Dims dims;
  size_t from = 0;
  for (size_t k = 0; k < x->ndim() + axes.size(); ++k)
    dims.push_back(llvm::is_contained(axes, int64_t(k)) ? Dim(1) : x->type.dims[from++]);
  OPTP_TRY(y, c.reshape(*x, dims));
  return Values{y};
}
Lowered squeeze(LoweringContext& c) {
  OPTP_TRY(x, c.need(0));
  Ints axes;
  if (c.has_attribute("axes") || c.has(1)) {
    OPTP_TRY(listed, axes_of(c, 1, x->ndim(), false));
    axes = listed;
  } else {
    for (size_t k = 0; k < x->ndim(); ++k)
      if (x->type.dims[k].is(1)) axes.push_back(int64_t(k));
  }
  Dims dims;
  for (size_t k = 0; k < x->ndim(); ++k) {
    if (!llvm::is_contained(axes, int64_t(k)))
      dims.push_back(x->type.dims[k]);
    else if (!x->type.dims[k].is(1))
      return c.fail(Code::shape_mismatch)
          .what("squeeze of dim " + llvm::Twine(k))
          .expected("extent 1")
          .found(x->type.dims[k].text());
  }
  OPTP_TRY(y, c.reshape(*x, dims));
  return Values{y};
}
Lowered flatten(LoweringContext& c) {
  OPTP_TRY(x, c.need(0));
  const int64_t n = int64_t(x->ndim());
  int64_t axis = c.integer("axis", 1);
  if (axis < -n || axis > n)
    return c.fail(Code::shape_mismatch)
        .what("axis " + llvm::Twine(axis) + " of a tensor with " + llvm::Twine(n) + " dims");
  if (axis < 0) axis += n;
  llvm::ArrayRef<Dim> dims(x->type.dims);
  OPTP_TRY(y, c.reshape(*x, {product(dims.take_front(size_t(axis))), product(dims.drop_front(size_t(axis)))}));
  return Values{y};
}
Lowered transpose(LoweringContext& c) {
  OPTP_TRY(x, c.need(0));
  auto perm = c.integers("perm");
  if (!perm) {
    perm.emplace();
    for (size_t k = x->ndim(); k-- > 0;) perm->push_back(int64_t(k));
  }
  OPTP_TRY(y, c.transpose(*x, *perm));
  return Values{y};
}
// Expand broadcasts both ways: an extent 1 of the target keeps the operand's.
Lowered expand(LoweringContext& c) {
  OPTP_TRY(x, c.need(0));
  OPTP_TRY(target, c.known_dims(1, "the target shape"));
  const size_t n = std::max(target.size(), x->ndim());
  Dims dims;
  for (size_t k = 0; k < n; ++k) {
    const Dim t = k + target.size() >= n ? target[k + target.size() - n] : Dim(1);
    const Dim d = k + x->ndim() >= n ? x->type.dims[k + x->ndim() - n] : Dim(1);
    dims.push_back(t.is(1) ? d : t);
  }
  OPTP_TRY(y, c.expand(*x, dims));
  return Values{y};
}
Lowered tile(LoweringContext& c) {
  OPTP_TRY(x, c.need(0));
  OPTP_TRY(repeats, c.known_dims(1, "repeats"));
  if (repeats.size() != x->ndim())
    return c.fail(Code::malformed).what("repeats").expected(llvm::Twine(x->ndim()) + " numbers").found(repeats.size());
  Dims apart, wide, joined;
  for (size_t k = 0; k < x->ndim(); ++k) {
    apart.append({Dim(1), x->type.dims[k]});
    wide.append({repeats[k], x->type.dims[k]});
    joined.push_back(repeats[k] * x->type.dims[k]);
  }
  OPTP_TRY(a, c.reshape(*x, apart));
  OPTP_TRY(b, c.expand(*a, wide));
  OPTP_TRY(y, c.reshape(*b, joined));
  return Values{y};
}
Lowered constant_of_shape(LoweringContext& c) {
  OPTP_TRY(dims, c.known_dims(0, "the shape"));
  Value* value = nullptr;
  if (c.has_attribute("value")) {
    OPTP_TRY(t, c.tensor("value"));
    if (t->is_missing()) return c.missing({words("value")}, t->missing);
    if (t->elements() != 1) return c.fail(Code::malformed).what("value").expected("one element");
    auto scalar = std::make_shared<Tensor>(*t);
    scalar->dims.clear();
    value = &c.build.graph().add_data(c.output_name(0) + ".value", scalar);
    value->is_literal = true;
  } else {
    value = &c.build.scalar(DType::f32, 0);
  }
  OPTP_TRY(y, c.expand(*value, dims));
  return Values{y};
}

// Where a bound of Slice lands, with numpy's rules: negative counts from the end, beyond the ends is clamped.
Dim clamp_bound(Dim at, Dim extent) {
  if (auto n = at.constant()) {
    if (*n >= INT32_MAX) return extent;
    if (*n < 0) at = *n <= INT32_MIN ? Dim(0) : at + extent;
  } else if (proved_less(at, 0)) {
    at = at + extent;
  }
  if (proved_less(at, 0)) return 0;
  if (proved_less_equal(extent, at)) return extent;
  return at;  // in range as far as is known; the run checks it
}
struct Range {
  Dim start, size;
};
Range forwards(Dim start, Dim end, Dim extent, int64_t step) {
  const Dim first = clamp_bound(start, extent), last = clamp_bound(end, extent);
  if (proved_less_equal(last, first)) return {first, 0};
  return {first, step == 1 ? last - first : floor_div(last - first + Dim(step - 1), step)};
}
// Backwards a bound lands on an element, or before the first one: torch.flip goes from the last element to there.
Dim clamp_backwards(Dim at, Dim extent) {
  if (auto n = at.constant()) {
    if (*n >= INT32_MAX) return extent - 1;
    if (*n <= INT32_MIN) return -1;
  }
  if (proved_less(at, 0)) at = at + extent;
  if (proved_less(at, 0)) return -1;
  return proved_less_equal(extent, at) ? extent - 1 : at;
}
Range backwards(Dim start, Dim end, Dim extent, int64_t step) {
  const Dim first = clamp_backwards(start, extent), last = clamp_backwards(end, extent);
  if (proved_less_equal(first, last)) return {0, 0};
  return {first, floor_div(first - last - 1, -step) + 1};
}
Lowered slice(LoweringContext& c) {
  OPTP_TRY(x, c.need(0));
  Dims starts, ends;
  Ints axes, steps;
  if (c.opset < 10) {
    auto s = c.integers("starts"), e = c.integers("ends");
    if (!s || !e) return c.fail(Code::malformed, "starts and ends are missing");
    starts.append(s->begin(), s->end());
    ends.append(e->begin(), e->end());
    axes = c.integers("axes").value_or(Ints());
  } else {
    OPTP_TRY(s, c.known_dims(1, "starts"));
    OPTP_TRY(e, c.known_dims(2, "ends"));
    starts = s, ends = e;
    if (c.has(3)) {
      OPTP_TRY(a, c.known_integers(3, "axes"));
      axes = a;
    }
    if (c.has(4)) {
      OPTP_TRY(t, c.known_integers(4, "steps"));
      steps = t;
    }
  }
  if (axes.empty())
    for (size_t k = 0; k < starts.size(); ++k) axes.push_back(int64_t(k));
  OPTP_TRY(checked, c.axes(axes, x->ndim()));
  if (ends.size() != starts.size() || checked.size() != starts.size() ||
      (!steps.empty() && steps.size() != starts.size()))
    return c.fail(Code::malformed, "starts, ends, axes and steps differ in length");
  Value* y = x;
  for (size_t k = 0; k < starts.size(); ++k) {
    const int64_t step = steps.empty() ? 1 : steps[k];
    const Dim extent = y->type.dims[size_t(checked[k])];
    if (step == 0 || step == INT64_MIN) return c.fail(Code::malformed).what("step " + llvm::Twine(step));
    const Range r = step > 0 ? forwards(starts[k], ends[k], extent, step) : backwards(starts[k], ends[k], extent, step);
    if (step == 1 && r.start.is(0) && r.size == extent) continue;
    OPTP_TRY(z, slice(c, y, checked[k], r.start, r.size, step));
    y = z;
  }
  return Values{y};
}
Lowered split(LoweringContext& c) {
  OPTP_TRY(x, c.need(0));
  OPTP_TRY(axis, c.axis(c.integer("axis", 0), x->ndim()));
  const Dim extent = x->type.dims[size_t(axis)];
  Dims sizes;
  if (auto listed = c.integers("split")) {
    sizes.append(listed->begin(), listed->end());
  } else if (c.has(1)) {
    OPTP_TRY(known, c.known_dims(1, "sizes"));
    sizes = known;
  } else {
    const int64_t parts = c.integer("num_outputs", int64_t(c.output_count()));
    if (parts <= 0 || parts > 65536) return c.fail(Code::malformed).what("num_outputs " + llvm::Twine(parts));
    const Dim each = floor_div(extent + Dim(parts - 1), parts);
    for (int64_t k = 0; k + 1 < parts; ++k) sizes.push_back(each);
    sizes.push_back(extent - each * Dim(parts - 1));
  }
  Dim sum = 0;
  for (Dim s : sizes) sum = sum + s;
  if (sum != extent || sizes.size() != c.output_count())
    return c.fail(Code::malformed)
        .what("sizes " + to_string(sizes))
        .expected("a sum of " + extent.text() + " in " + llvm::Twine(c.output_count()) + " parts");
  Values out;
  Dim start = 0;
  for (Dim s : sizes) {
    OPTP_TRY(part, slice(c, x, axis, start, s));
    out.push_back(part);
    start = start + s;
  }
  return out;
}
Lowered concat(LoweringContext& c) {
  llvm::SmallVector<Value*, 4> in;
  for (size_t k = 0; k < c.operands.size(); ++k) {
    OPTP_TRY(v, c.need(k));
    in.push_back(v);
  }
  if (in.empty()) return c.fail(Code::malformed, "concat of nothing");
  OPTP_TRY(axis, c.axis(c.integer("axis", 0), in[0]->ndim()));
  if (in.size() == 1) return Values{in[0]};
  OPTP_TRY(y, c.op("concat", in, {{"axis", axis}}));
  return Values{y};
}
// Trilu keeps one triangle: row ≥ column - k (lower), column ≥ row + k (upper); computed where it is used.
Lowered trilu(LoweringContext& c) {
  OPTP_TRY(x, c.need(0));
  if (x->ndim() < 2) return c.fail(Code::shape_mismatch).expected("at least two dims").found(to_string(x->type.dims));
  Dim k = 0;
  if (c.has(1)) {
    OPTP_TRY(d, c.known_dims(1, "k"));
    if (d.size() == 1) k = d[0];
  }
  const bool upper = c.integer("upper", 1) != 0;
  const Dim rows = x->type.dims[x->ndim() - 2], columns = x->type.dims[x->ndim() - 1];
  OPTP_TRY(row, iota(c, 0, rows));
  OPTP_TRY(row_column, c.reshape(*row, {rows, 1}));
  OPTP_TRY(column, iota(c, Dim(-1) * k, columns));
  OPTP_TRY(keep, c.op(upper ? "greater_equal" : "less_equal", {column, row_column}));
  if (x->type.dtype == DType::boolean) {
    OPTP_TRY(y, c.op("and", {x, keep}));
    return Values{y};
  }
  OPTP_TRY(y, c.op("where", {keep, x, &c.scalar_like(*x, 0)}));
  return Values{y};
}
const LoweringRow rows[] = {
    {"Constant", 1, constant},
    {"Shape", 1, shape},
    {"Size", 1, size},
    {"Reshape", 5, reshape},
    {"Unsqueeze", 1, unsqueeze},
    {"Squeeze", 1, squeeze},
    {"Flatten", 1, flatten},
    {"Transpose", 1, transpose},
    {"Expand", 8, expand},
    {"Tile", 6, tile},
    {"ConstantOfShape", 9, constant_of_shape},
    {"Slice", 1, slice},
    {"Split", 2, split},
    {"Concat", 4, concat},
    {"Trilu", 14, trilu},
};
const RegisteredLowerings registered{rows};
}  // namespace
}  // namespace optp
