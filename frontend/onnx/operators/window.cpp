// Operators that slide a window over the dims behind [batch, channels]: Conv, MaxPool, AveragePool and their global
// forms. Each dim is unfolded to [places, window], by a view where windows do not overlap, else by a gather; then a
// convolution is a product, a pool a reduction, and both are split, differentiated and run as those are.
//   Conv  x: [b, c, h, w], w: [m, c, kh, kw]
//         unfolded [b, c, oh, kh, ow, kw];  "b c i p j q, m c p q -> b m i j"
#include "frontend/onnx/operators/dtype_range.h"
#include "frontend/onnx/operators/steps.h"

namespace optp {
namespace {
using Values = llvm::SmallVector<Value*, 2>;
using Ints = llvm::SmallVector<int64_t, 4>;

struct Window {
  int64_t size, stride, dilation;
  Dim before, after;  // padding
  Dim extent;         // of x along this dim
  Dim places;

  int64_t reach() const { return dilation * (size - 1) + 1; }  // from its first element to behind its last
};

llvm::Expected<Ints> spatial(LoweringContext& c, llvm::StringRef name, size_t count, int64_t otherwise, int64_t least) {
  Ints out = c.integers(name).value_or(Ints(count, otherwise));
  if (out.size() != count)
    return c.fail(Code::malformed).what(name).expected(llvm::Twine(count) + " numbers").found(out.size());
  for (int64_t n : out)
    if (n < least || n > INT32_MAX)
      return c.fail(Code::malformed).what(name).expected("at least " + llvm::Twine(least)).found(n);
  return out;
}
// How many places a window has: those that lie within the padded extent, with ceil_mode also one that begins in it and
// ends beyond, unless it begins in the padding behind (then `after` grows by what is missing).
llvm::Error count_places(LoweringContext& c, Window& w, bool ceil_mode) {
  const Dim room = w.extent + w.before + w.after - Dim(w.reach());
  if (room.constant() && *room.constant() < 0)
    return c.fail(Code::shape_mismatch)
        .what("a window of " + llvm::Twine(w.reach()))
        .expected("at most the padded extent " + (w.extent + w.before + w.after).text());
  w.places = floor_div(room, w.stride) + 1;
  if (!ceil_mode || w.stride == 1) return llvm::Error::success();
  const auto n = room.constant(), last_begin = (w.extent + w.before).constant();
  if (!n || !last_begin)
    return c.fail(Code::not_supported).what("ceil_mode").expected("extents that are numbers").found(w.extent.text());
  int64_t places = (*n + w.stride - 1) / w.stride + 1;
  if ((places - 1) * w.stride >= *last_begin) --places;
  w.places = places;
  w.after = w.after + std::max<int64_t>(0, (places - 1) * w.stride - *n);
  return llvm::Error::success();
}
// auto_pad: as many places as strides fit into the extent, the odd element behind (SAME_UPPER) or in front.
llvm::Error pad_same(LoweringContext& c, Window& w, bool upper) {
  Dim total = w.reach() - 1;
  if (w.stride != 1) {
    const auto n = w.extent.constant();
    if (!n)
      return c.fail(Code::not_supported).what("auto_pad").expected("an extent that is a number").found(w.extent.text());
    total = std::max<int64_t>(0, ((*n + w.stride - 1) / w.stride - 1) * w.stride + w.reach() - *n);
  }
  const int64_t all = *total.constant(), less = all / 2;
  w.before = upper ? less : all - less;
  w.after = upper ? all - less : less;
  return llvm::Error::success();
}
llvm::Expected<std::vector<Window>> windows_of(LoweringContext& c, const Value& x, llvm::ArrayRef<int64_t> kernel,
                                               bool ceil_mode) {
  const size_t count = kernel.size();
  if (count == 0 || x.ndim() != count + 2)
    return c.fail(Code::shape_mismatch)
        .operand(0, x.name)
        .expected("[batch, channels] and " + llvm::Twine(count) + " dims of the window")
        .found(to_string(x.type.dims));
  OPTP_TRY(strides, spatial(c, "strides", count, 1, 1));
  OPTP_TRY(dilations, spatial(c, "dilations", count, 1, 1));
  OPTP_TRY(pads, spatial(c, "pads", 2 * count, 0, 0));
  const std::string automatic = c.text("auto_pad", "NOTSET");
  const bool upper = automatic == "SAME_UPPER", lower = automatic == "SAME_LOWER";
  if (!upper && !lower && automatic != "NOTSET" && automatic != "VALID")
    return c.fail(Code::malformed)
        .what("auto_pad")
        .expected("NOTSET, VALID, SAME_UPPER or SAME_LOWER")
        .found(quoted(automatic));
  std::vector<Window> out;
  for (size_t k = 0; k < count; ++k) {
    const bool own = automatic == "NOTSET";
    Window w{kernel[k], strides[k], dilations[k], own ? pads[k] : 0, own ? pads[count + k] : 0, x.type.dims[2 + k], 0};
    if (upper || lower)
      if (auto e = pad_same(c, w, upper)) return e;
    if (auto e = count_places(c, w, ceil_mode)) return e;
    out.push_back(w);
  }
  return out;
}

// Dim `axis` of x becomes two: places, window.
Value* unfold(Formula& f, Value* x, int64_t axis, const Window& w, double padding) {
  if (!w.before.is(0) || !w.after.is(0))
    x = f.op("pad", {x}, {{"axis", axis}, {"before", w.before}, {"after", w.after}, {"value", padding}});
  if (!x) return nullptr;
  if (w.stride == w.size && w.dilation == 1) {  // each element is in one window at most
    const Dim used = w.places * Dim(w.size);
    if (x->type.dims[size_t(axis)] != used) x = slice(f, x, axis, 0, used);
    if (!x) return nullptr;
    Dims dims = x->type.dims;
    dims[size_t(axis)] = w.places;
    dims.insert(dims.begin() + axis + 1, Dim(w.size));
    return f.reshape(x, dims);
  }
  Value* first = f.reshape(iota(f, 0, w.places, w.stride), {w.places, Dim(1)});
  return f.op("gather", {x, f.add(first, iota(f, 0, w.size, w.dilation))}, {{"axis", axis}});
}
Value* unfolded(Formula& f, Value* x, llvm::ArrayRef<Window> windows, double padding) {
  for (size_t k = 0; k < windows.size(); ++k) x = unfold(f, x, int64_t(2 + 2 * k), windows[k], padding);
  return x;
}

Lowered conv(LoweringContext& c) {
  OPTP_TRY(x, c.need_float(0));
  OPTP_TRY(weight, c.need(1));
  if (weight->ndim() < 3)
    return c.fail(Code::shape_mismatch)
        .operand(1, weight->name)
        .expected("[out channels, channels of a group] and the window's dims")
        .found(to_string(weight->type.dims));
  Ints kernel;
  for (size_t d = 2; d < weight->ndim(); ++d) {
    const auto n = weight->type.dims[d].constant();
    if (!n || *n < 1) return c.fail(Code::shape_mismatch).operand(1, weight->name).dim_of(d).expected("1 or more");
    kernel.push_back(*n);
  }
  if (auto stated = c.integers("kernel_shape"); stated && *stated != kernel)
    return c.fail(Code::shape_mismatch)
        .what("kernel_shape")
        .expected("that of operand 1, " + to_string(llvm::ArrayRef<Dim>(weight->type.dims).drop_front(2)));
  OPTP_TRY(windows, windows_of(c, *x, kernel, false));
  const int64_t groups = c.integer("group", 1);
  const Dim channels = x->type.dims[1], each = weight->type.dims[1], made = weight->type.dims[0];
  const auto made_each = groups > 0 ? exact_div(made, groups) : std::nullopt;
  if (!made_each || channels != each * Dim(groups))
    return c.fail(Code::shape_mismatch)
        .what("channels in " + llvm::Twine(groups) + " groups")
        .expected((each * Dim(groups)).text() + " by operand 1 " + to_string(weight->type.dims))
        .found(to_string(x->type.dims));
  Formula f(c.build);
  Value* apart = unfolded(f, x, windows, 0);
  std::string places, window, g = groups > 1 ? "g " : "";
  Dims sizes, outer{x->type.dims[0], made};
  std::string both;
  for (size_t k = 0; k < windows.size(); ++k) {
    const std::string n = std::to_string(k);
    both += " i" + n + " p" + n, window += " p" + n, places += " i" + n;
    outer.push_back(windows[k].places);
  }
  if (groups > 1 && apart) {
    Dims dims = apart->type.dims, own = weight->type.dims;
    dims[1] = each, dims.insert(dims.begin() + 1, Dim(groups));
    own[0] = *made_each, own.insert(own.begin(), Dim(groups));
    apart = f.reshape(apart, dims);
    weight = f.reshape(weight, own);
  }
  Value* y = f.op(
      "contract", {apart, weight},
      {{"loops", contract_loops("b " + g + "c" + both + ", " + g + "m c" + window + " -> b " + g + "m" + places)}});
  y = f.reshape(y, outer);
  if (c.has(2)) {
    Dims column(windows.size() + 1, Dim(1));
    column[0] = made;
    y = f.add(y, f.reshape(c.operands[2], column));
  }
  return made_by(f, {y});
}

llvm::Expected<std::vector<Window>> pooling(LoweringContext& c, const Value& x) {
  const auto kernel = c.integers("kernel_shape");
  if (!kernel) return c.fail(Code::malformed).what("kernel_shape is missing");
  OPTP_TRY(sizes, spatial(c, "kernel_shape", kernel->size(), 1, 1));
  return windows_of(c, x, sizes, c.integer("ceil_mode", 0) != 0);
}
Ints window_axes(size_t count) {
  Ints out;
  for (size_t k = 0; k < count; ++k) out.push_back(int64_t(3 + 2 * k));
  return out;
}
Lowered max_pool(LoweringContext& c) {
  OPTP_TRY(x, c.need(0));
  if (c.output_count() > 1) return c.fail(Code::not_supported).what("output 'Indices' is not supported");
  c.integer("storage_order", 0);  // of the indices
  OPTP_TRY(windows, pooling(c, *x));
  Formula f(c.build);
  Value* apart = unfolded(f, x, windows, lowest(x->type.dtype));
  return made_by(f, {f.op("reduce_max", {apart}, {{"axes", window_axes(windows.size())}, {"keepdims", int64_t(0)}})});
}
// The mean of a window's elements: all of them, or without count_include_pad those within x. Elements beyond the
// padding, which ceil_mode adds, never count.
Lowered average_pool(LoweringContext& c) {
  OPTP_TRY(x, c.need_float(0));
  OPTP_TRY(windows, pooling(c, *x));
  const bool counts_padding = c.integer("count_include_pad", 0) != 0;
  Formula f(c.build);
  const DType dtype = x->type.dtype;
  Value* y = f.sum(unfolded(f, x, windows, 0), window_axes(windows.size()), /*keepdims=*/false);
  const auto pads = c.integers("pads").value_or(Ints(2 * windows.size(), 0));
  for (size_t k = 0; k < windows.size(); ++k) {
    const Window& w = windows[k];
    const Dim stated =
        counts_padding && c.text("auto_pad", "NOTSET") == "NOTSET" ? Dim(pads[windows.size() + k]) : w.after;
    const Dim before = counts_padding ? Dim(0) : w.before, after = counts_padding ? w.after - stated : w.after;
    Window counted = w;
    counted.before = before, counted.after = after;
    const Dim ones = counts_padding ? w.extent + w.before + stated : w.extent;
    if (before.is(0) && after.is(0)) {
      y = f.div(y, f.scalar(dtype, double(w.size)));
      continue;
    }
    Value* one = f.expand(f.scalar(dtype, 1), {ones});
    Value* count = f.sum(unfold(f, one, 0, counted, 0), {1}, /*keepdims=*/false);
    Dims along(windows.size(), Dim(1));
    along[k] = w.places;
    y = f.div(y, f.reshape(count, along));
  }
  return made_by(f, {y});
}
template <bool largest>
Lowered global_pool(LoweringContext& c) {
  OPTP_TRY(x, c.need_float(0));
  if (x->ndim() < 3)
    return c.fail(Code::shape_mismatch)
        .operand(0, x->name)
        .expected("[batch, channels] and at least one dim more")
        .found(to_string(x->type.dims));
  Ints axes;
  for (size_t d = 2; d < x->ndim(); ++d) axes.push_back(int64_t(d));
  OPTP_TRY(y, c.op(largest ? "reduce_max" : "reduce_mean", {x}, {{"axes", axes}, {"keepdims", int64_t(1)}}));
  return Values{y};
}

const LoweringRow rows[] = {
    {"Conv", 1, conv},
    {"MaxPool", 1, max_pool},
    {"AveragePool", 1, average_pool},
    {"GlobalAveragePool", 1, global_pool<false>},
    {"GlobalMaxPool", 1, global_pool<true>},
};
const RegisteredLowerings registered{rows};
}  // namespace
}  // namespace optp
