// Resize, dim by dim: each place along a dim of the result looks at a coordinate along x's. Nearest, it takes one
// element: a gather. Linear and cubic, it sums a few by weights that depend on extents alone: a product with a constant
// matrix, which is split, differentiated and run as any product is.
//   x: [b, c, h, w]   "b c h w, p h -> b c p w", then "b c p w, q w -> b c p q"
#include <cmath>

#include "frontend/onnx/lowering.h"
#include "llvm/ADT/StringSwitch.h"

namespace optp {
namespace {
using Values = llvm::SmallVector<Value*, 2>;

// Where a place of the result lies along x, as ONNX' coordinate_transformation_mode says.
enum class Transform { half_pixel, half_pixel_symmetric, pytorch_half_pixel, align_corners, asymmetric, half_pixel_in };
enum class Mode { nearest, linear, cubic };
enum class Round { prefer_floor, prefer_ceil, floor, ceil };

struct Way {
  Transform transform;
  Mode mode;
  Round round;
  double a;  // the cubic's slope at distance 1
  bool excludes_outside, antialiases;
};
struct Along {
  int64_t axis, extent, places;
  double scale;  // places by extents
};

// Nearest reckons in float as engines do: between two elements a rounded number decides.
template <typename T>
T coordinate(Transform transform, const Along& d, int64_t place) {
  const T i = T(place), scale = T(d.scale), half = T(0.5), extent = T(d.extent), places = T(d.places);
  switch (transform) {
    case Transform::half_pixel:
      return (i + half) / scale - half;
    case Transform::half_pixel_symmetric:  // both ends lose as much where scale · extent is no whole number
      return extent / 2 * (1 - places / (scale * extent)) + (i + half) / scale - half;
    case Transform::pytorch_half_pixel:
      return d.places > 1 ? (i + half) / scale - half : T(0);
    case Transform::align_corners:
      return d.places > 1 ? i * (extent - 1) / (places - 1) : T(0);
    case Transform::asymmetric:
      return i / scale;
    case Transform::half_pixel_in:
      return (i + half) / scale;
  }
  llvm_unreachable("covered");
}
double rounded(Round round, double x) {
  switch (round) {
    case Round::prefer_floor:
      return std::ceil(x - 0.5);
    case Round::prefer_ceil:
      return std::floor(x + 0.5);
    case Round::floor:
      return std::floor(x);
    case Round::ceil:
      return std::ceil(x);
  }
  llvm_unreachable("covered");
}
int64_t within(const Along& d, double j) { return int64_t(std::clamp(j, 0.0, double(d.extent - 1))); }

// The weight at a distance: a tent, or Keys' cubic convolution.
double filter(const Way& way, double t) {
  t = std::abs(t);
  if (way.mode == Mode::linear) return std::max(0.0, 1 - t);
  const double a = way.a;
  if (t <= 1) return ((a + 2) * t - (a + 3)) * t * t + 1;
  return t < 2 ? ((a * t - 5 * a) * t + 8 * a) * t - 4 * a : 0;
}
// [places, extent]. What lies outside is the edge's, or left out. Against aliasing a filter is stretched to reach as
// many elements as fall to one place.
Array weights(const Way& way, const Along& d) {
  Array out;
  out.resize(/*floating=*/true, {d.places, d.extent});
  const double narrow = way.antialiases ? std::min(1.0, d.scale) : 1;
  const double reach = (way.mode == Mode::linear ? 1 : 2) / narrow;
  for (int64_t place = 0; place < d.places; ++place) {
    const double x = coordinate<double>(way.transform, d, place);
    double* row = out.f.data() + place * d.extent;
    double sum = 0;
    for (double j = std::ceil(x - reach); j <= x + reach; ++j) {
      const int64_t at = within(d, j);
      if (way.excludes_outside && double(at) != j) continue;
      const double w = filter(way, (j - x) * narrow);
      row[at] += w, sum += w;
    }
    if (way.excludes_outside || way.antialiases)
      for (int64_t j = 0; j < d.extent; ++j) row[j] /= sum;
  }
  return out;
}
llvm::Expected<Value*> nearest(LoweringContext& c, Value& x, const Way& way, const Along& d) {
  llvm::SmallVector<int64_t> index;
  for (int64_t place = 0; place < d.places; ++place)
    index.push_back(within(d, rounded(way.round, coordinate<float>(way.transform, d, place))));
  return c.op("gather", {&x, &c.build.integers(index)}, {{"axis", d.axis}});
}
llvm::Expected<Value*> weighted(LoweringContext& c, Value& x, const Way& way, const Along& d) {
  const Array matrix = weights(way, d);
  ContractLoops loops;
  for (size_t k = 0; k < x.ndim(); ++k) loops.operands[0].push_back("d" + std::to_string(k));
  loops.result = loops.operands[0];
  loops.operands[1] = {"p", loops.result[size_t(d.axis)]};
  loops.result[size_t(d.axis)] = "p";
  return c.op("contract", {&x, &c.build.constant(x.type.dtype, matrix.dims, matrix)}, {{"loops", loops}});
}

template <typename T>
struct Word {
  const char* text;
  T value;
};
template <typename T>
llvm::Expected<T> one_of(LoweringContext& c, llvm::StringRef name, llvm::StringRef otherwise,
                         std::initializer_list<Word<T>> words) {
  const std::string given = c.text(name, otherwise);
  std::string all;
  for (const Word<T>& w : words) {
    if (given == w.text) return w.value;
    all += (all.empty() ? "" : ", ") + std::string(w.text);
  }
  return c.fail(Code::not_supported).what(name).expected("one of " + all).found(quoted(given));
}
llvm::Expected<Way> way_of(LoweringContext& c) {
  OPTP_TRY(transform, one_of<Transform>(c, "coordinate_transformation_mode", "half_pixel",
                                        {{"half_pixel", Transform::half_pixel},
                                         {"half_pixel_symmetric", Transform::half_pixel_symmetric},
                                         {"pytorch_half_pixel", Transform::pytorch_half_pixel},
                                         {"align_corners", Transform::align_corners},
                                         {"asymmetric", Transform::asymmetric},
                                         {"tf_half_pixel_for_nn", Transform::half_pixel_in}}));
  OPTP_TRY(mode, one_of<Mode>(c, "mode", "nearest",
                              {{"nearest", Mode::nearest}, {"linear", Mode::linear}, {"cubic", Mode::cubic}}));
  OPTP_TRY(round, one_of<Round>(c, "nearest_mode", "round_prefer_floor",
                                {{"round_prefer_floor", Round::prefer_floor},
                                 {"round_prefer_ceil", Round::prefer_ceil},
                                 {"floor", Round::floor},
                                 {"ceil", Round::ceil}}));
  OPTP_TRY(policy, one_of<bool>(c, "keep_aspect_ratio_policy", "stretch", {{"stretch", true}}));
  (void)policy;
  c.number("extrapolation_value", 0);  // of tf_crop_and_resize
  return Way{transform,
             mode,
             round,
             c.number("cubic_coeff_a", -0.75),
             c.integer("exclude_outside", 0) != 0,
             c.integer("antialias", 0) != 0};
}

// An empty tensor stands for an operand that is not given.
bool is_given(const LoweringContext& c, size_t k) {
  return c.has(k) && !llvm::any_of(c.operands[k]->type.dims, [](Dim d) { return d.is(0); });
}
llvm::Error check_count(LoweringContext& c, size_t operand, size_t found, size_t axes) {
  if (found == axes) return llvm::Error::success();
  return c.fail(Code::shape_mismatch)
      .operand(operand, c.operands[operand]->name)
      .expected(llvm::Twine(axes) + " numbers, one for each dim that is resized")
      .found(found);
}
llvm::Error check_size(LoweringContext& c, const Value& x, const Along& d, const Way& way) {
  constexpr int64_t most = 1 << 24;  // elements of a matrix, which is made here
  const int64_t each = way.mode == Mode::nearest ? 1 : d.extent;
  if (d.extent < 1 || d.places < 1)
    return c.fail(Code::shape_mismatch)
        .operand(0, x.name)
        .dim_of(size_t(d.axis))
        .what("resized to " + llvm::Twine(d.places))
        .expected("1 or more of both")
        .found(d.extent);
  if (d.places > most / each)
    return c.fail(Code::too_large)
        .operand(0, x.name)
        .dim_of(size_t(d.axis))
        .what("weights from " + llvm::Twine(d.extent) + " to " + llvm::Twine(d.places))
        .expected("at most 2^24 elements");
  return llvm::Error::success();
}
llvm::Expected<int64_t> number_of_places(LoweringContext& c, const Value& x, int64_t axis) {
  if (auto n = x.type.dims[size_t(axis)].constant()) return *n;
  return c.fail(Code::not_supported)
      .operand(0, x.name)
      .dim_of(size_t(axis))
      .what("a dim that is resized")
      .expected("a number")
      .found(x.type.dims[size_t(axis)].text())
      .hint("export the model with a fixed size");
}
// The dims that change, by scales (operand 2) or sizes (operand 3). An open dim may stay as it is.
llvm::Expected<std::vector<Along>> by_scales(LoweringContext& c, const Value& x, llvm::ArrayRef<int64_t> axes) {
  const Value& scales = *c.operands[2];
  if (!scales.data || scales.data->is_missing() || !is_float(scales.type.dtype)) return c.not_known(2, "scales");
  if (auto e = check_count(c, 2, size_t(scales.data->elements()), axes.size())) return e;
  const Array array = to_array(*scales.data);
  std::vector<Along> out;
  for (size_t k = 0; k < axes.size(); ++k) {
    const double scale = array.f[k];
    if (scale == 1) continue;
    OPTP_TRY(extent, number_of_places(c, x, axes[k]));
    const float places = std::floor(float(scale) * float(extent));
    if (!(scale > 0) || !(places < 0x1p31f))
      return c.fail(Code::out_of_range)
          .operand(2, scales.name)
          .what("scale of dim " + llvm::Twine(axes[k]))
          .expected("above 0, and less than 2^31 places")
          .found(std::to_string(scale));
    out.push_back({axes[k], extent, int64_t(places), scale});
  }
  return out;
}
llvm::Expected<std::vector<Along>> by_sizes(LoweringContext& c, const Value& x, llvm::ArrayRef<int64_t> axes) {
  OPTP_TRY(sizes, c.known_dims(3, "sizes"));
  if (auto e = check_count(c, 3, sizes.size(), axes.size())) return e;
  std::vector<Along> out;
  for (size_t k = 0; k < axes.size(); ++k) {
    if (sizes[k] == x.type.dims[size_t(axes[k])]) continue;
    OPTP_TRY(extent, number_of_places(c, x, axes[k]));
    if (!sizes[k].constant())
      return c.fail(Code::not_supported)
          .operand(3, c.operands[3]->name)
          .what("size of dim " + llvm::Twine(axes[k]))
          .expected("a number")
          .found(sizes[k].text());
    const int64_t places = *sizes[k].constant();
    out.push_back({axes[k], extent, places, double(float(places) / float(extent))});
  }
  return out;
}
llvm::Expected<std::vector<Along>> resized_dims(LoweringContext& c, const Value& x) {
  auto axes = c.integers("axes").value_or(llvm::SmallVector<int64_t, 4>());
  if (!c.has_attribute("axes"))
    for (size_t k = 0; k < x.ndim(); ++k) axes.push_back(int64_t(k));
  OPTP_TRY(dims, c.axes(axes, x.ndim()));
  is_given(c, 1);  // what is cropped, of tf_crop_and_resize
  const bool scales = is_given(c, 2), sizes = is_given(c, 3);
  if (scales == sizes)
    return c.fail(Code::malformed).expected("either scales or sizes").found(scales ? "both" : "none");
  return scales ? by_scales(c, x, dims) : by_sizes(c, x, dims);
}

Lowered resize(LoweringContext& c) {
  OPTP_TRY(way, way_of(c));
  OPTP_TRY(x, way.mode == Mode::nearest ? c.need(0) : c.need_float(0));
  OPTP_TRY(dims, resized_dims(c, *x));
  Value* y = x;
  for (const Along& d : dims) {
    if (auto e = check_size(c, *x, d, way)) return e;
    OPTP_TRY(next, way.mode == Mode::nearest ? nearest(c, *y, way, d) : weighted(c, *y, way, d));
    y = next;
  }
  return Values{y};
}

const LoweringRow rows[] = {{"Resize", 11, resize}};
const RegisteredLowerings registered{rows};
}  // namespace
}  // namespace optp
