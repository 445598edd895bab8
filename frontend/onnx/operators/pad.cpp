// Pad (ONNX opset 11): a constant before and behind an axis, or copies of what is there already. Copies are slices,
// joined to what they stand beside, so that each piece can be split on its own and extents may be open. Pads below 0
// leave elements out, before anything is added: RWKV shifts its tokens so, one more before and one less behind.
//   edge      a a [a b c d] d d    the last slice repeated
//   reflect   c b [a b c d] c b    the slice beside the last, turned round
//   wrap      c d [a b c d] a b    the slice at the other end
#include "frontend/onnx/operators/steps.h"

namespace optp {
namespace {
using Values = llvm::SmallVector<Value*, 2>;

enum class Mode { constant, edge, reflect, wrap };
struct Pads {
  int64_t axis;
  Dim before, after;
};

// What the pads of an axis take from it must be there. Of an open extent that is demanded of a run.
llvm::Error needs(LoweringContext& c, const Value& x, int64_t axis, Dim least, Code code, const llvm::Twine& what) {
  const Dim extent = x.type.dims[size_t(axis)], room = extent - least;
  if (known_less_equal(0, room)) return llvm::Error::success();
  if (room.is_overflow() || proved_less(room, 0))
    return c.fail(code)
        .operand(0, c.operands[0]->name)
        .dim_of(size_t(axis))
        .what(what)
        .expected("an extent of at least " + least.text())
        .found(extent.text());
  return c.must_equal(minimum(room, 0), 0, what);
}
llvm::Expected<Value*> cropped(LoweringContext& c, Value& x, Pads& p) {
  Dim first = 0, last = 0;
  if (proved_less(p.before, 0)) first = Dim(0) - p.before, p.before = 0;
  if (proved_less(p.after, 0)) last = Dim(0) - p.after, p.after = 0;
  if (first.is(0) && last.is(0)) return &x;
  if (auto e = needs(c, x, p.axis, first + last, Code::malformed, "negative pads")) return e;
  return slice(c, &x, p.axis, first, x.type.dims[size_t(p.axis)] - first - last);
}
// What stands before the axis, or behind it.
llvm::Expected<Value*> copies(LoweringContext& c, Value& x, const Pads& p, Mode mode, bool before) {
  const Dim size = before ? p.before : p.after, extent = x.type.dims[size_t(p.axis)];
  if (mode == Mode::edge) {
    OPTP_TRY(last, slice(c, &x, p.axis, before ? Dim(0) : extent - 1, 1));
    Dims dims = x.type.dims;
    dims[size_t(p.axis)] = size;
    return c.expand(*last, dims);
  }
  if (mode == Mode::wrap) return slice(c, &x, p.axis, before ? extent - size : Dim(0), size);
  OPTP_TRY(beside, slice(c, &x, p.axis, before ? Dim(1) : extent - 1 - size, size));
  return size.is(1) ? llvm::Expected<Value*>(beside) : slice(c, beside, p.axis, size - 1, size, -1);
}
llvm::Expected<Value*> copied(LoweringContext& c, Value& x, const Pads& p, Mode mode) {
  for (Dim size : {p.before, p.after}) {
    if (!known_less_equal(0, size))
      return c.fail(Code::not_supported)
          .operand(1, c.operands[1]->name)
          .what("pads of axis " + llvm::Twine(p.axis))
          .expected("numbers where elements are copied")
          .found(size.text());
    // To wrap goes on round after round; nothing that is exported asks for more than one.
    const Dim least = mode == Mode::edge ? Dim(1) : mode == Mode::reflect ? size + 1 : size;
    const Code code = mode == Mode::wrap ? Code::not_supported : Code::malformed;
    if (!size.is(0))
      if (auto e = needs(c, x, p.axis, least, code, "pads of " + size.text())) return e;
  }
  llvm::SmallVector<Value*, 3> parts{&x};
  if (!p.before.is(0)) {
    OPTP_TRY(part, copies(c, x, p, mode, /*before=*/true));
    parts.insert(parts.begin(), part);
  }
  if (!p.after.is(0)) {
    OPTP_TRY(part, copies(c, x, p, mode, /*before=*/false));
    parts.push_back(part);
  }
  return parts.size() == 1 ? llvm::Expected<Value*>(&x) : c.op("concat", parts, {{"axis", p.axis}});
}

llvm::Expected<Mode> mode_of(LoweringContext& c) {
  const std::string text = c.text("mode", "constant");
  for (const auto& [name, mode] :
       {std::pair{"constant", Mode::constant}, {"edge", Mode::edge}, {"reflect", Mode::reflect}, {"wrap", Mode::wrap}})
    if (text == name) return mode;
  return c.fail(Code::malformed).what("mode").expected("constant, edge, reflect or wrap").found(quoted(text));
}
llvm::Expected<double> padding_value(LoweringContext& c, const Value& x) {
  if (!c.has(2)) return 0;
  const Value& given = *c.operands[2];
  if (given.type.dtype != x.type.dtype)
    return c.fail(Code::dtype_mismatch)
        .operand(2, given.name)
        .what("dtype")
        .expected(long_name(x.type.dtype) + " as operand 0")
        .found(long_name(given.type.dtype));
  if (!given.data || given.data->is_missing() || given.data->elements() != 1)
    return c.not_known(2, "the padding value");
  return to_array(*given.data).number(0);
}
llvm::Expected<llvm::SmallVector<Pads, 4>> pads_of(LoweringContext& c, const Value& x) {
  OPTP_TRY(pads, c.known_dims(1, "pads"));
  llvm::SmallVector<int64_t, 4> axes;
  if (c.has(3)) {
    OPTP_TRY(known, c.known_integers(3, "axes"));
    OPTP_TRY(checked, c.axes(known, x.ndim()));
    axes = checked;
  } else {
    for (size_t k = 0; k < x.ndim(); ++k) axes.push_back(int64_t(k));
  }
  if (pads.size() != 2 * axes.size())
    return c.fail(Code::malformed).what("pads").expected(llvm::Twine(2 * axes.size()) + " numbers").found(pads.size());
  llvm::SmallVector<Pads, 4> out;
  for (size_t k = 0; k < axes.size(); ++k) out.push_back({axes[k], pads[k], pads[k + axes.size()]});
  return out;
}
Lowered pad(LoweringContext& c) {
  OPTP_TRY(x, c.need(0));
  OPTP_TRY(mode, mode_of(c));
  OPTP_TRY(all, pads_of(c, *x));
  OPTP_TRY(value, mode == Mode::constant ? padding_value(c, *x) : llvm::Expected<double>(0));
  Value* y = x;
  for (Pads& p : all) {
    OPTP_TRY(kept, cropped(c, *y, p));
    y = kept;
    if (p.before.is(0) && p.after.is(0)) continue;
    OPTP_TRY(z, mode != Mode::constant
                    ? copied(c, *y, p, mode)
                    : c.op("pad", {y}, {{"axis", p.axis}, {"before", p.before}, {"after", p.after}, {"value", value}}));
    y = z;
  }
  return Values{y};
}

const LoweringRow rows[] = {{"Pad", 11, pad}};
const RegisteredLowerings registered{rows};
}  // namespace
}  // namespace optp
