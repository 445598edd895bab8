// Operators that stand for a block of others: normalisations, rotary embedding, gelu. Taken apart here, so that
// sharding sees their products; the runtime fuses what it can when it compiles.
#include <cmath>

#include "frontend/onnx/operators/steps.h"

namespace optp {
namespace {
using Values = llvm::SmallVector<Value*, 2>;
using Ints = llvm::SmallVector<int64_t, 4>;

constexpr double microsoft_epsilon = 1e-12;  // of com.microsoft's operators that add before they normalise

// ONNX LayerNormalization-17 with its axis last; other axes fold the trailing dims into one.
llvm::Expected<Value*> layer_norm(LoweringContext& c, Value& x, Value& scale, Value* bias, double epsilon = 1e-5) {
  OPTP_TRY(axis, c.axis(c.integer("axis", -1), x.ndim()));
  Dims flat(x.type.dims.begin(), x.type.dims.begin() + axis);
  const Dim hidden = product(llvm::ArrayRef<Dim>(x.type.dims).drop_front(size_t(axis)));
  flat.push_back(hidden);
  OPTP_TRY(folded, c.reshape(x, flat));
  OPTP_TRY(s, c.reshape(scale, {hidden}));
  llvm::SmallVector<Value*, 3> in{folded, s};
  if (bias) {
    OPTP_TRY(b, c.reshape(*bias, {hidden}));
    in.push_back(b);
  }
  OPTP_TRY(y, c.op("layer_norm", in, {{"epsilon", c.number("epsilon", epsilon)}}));
  return c.reshape(*y, x.type.dims);
}
Lowered layer_normalization(LoweringContext& c) {
  OPTP_TRY(x, c.need(0));
  OPTP_TRY(scale, c.need(1));
  OPTP_TRY(y, layer_norm(c, *x, *scale, c.has(2) ? c.operands[2] : nullptr));
  return Values{y, nullptr, nullptr};  // mean and deviation, which training in other runtimes reads
}
llvm::Expected<Value*> rms_norm(LoweringContext& c, Value& x, Value& scale, double epsilon = 1e-5) {
  OPTP_TRY(axis, c.axis(c.integer("axis", -1), x.ndim()));
  Ints axes;
  for (int64_t k = axis; k < int64_t(x.ndim()); ++k) axes.push_back(k);
  const DType dtype = x.type.dtype;
  OPTP_TRY(wide, c.cast(x, is_half(dtype) ? DType::f32 : dtype));
  OPTP_TRY(square, c.op("mul", {wide, wide}));
  OPTP_TRY(mean, c.op("reduce_mean", {square}, {{"axes", axes}, {"keepdims", int64_t(1)}}));
  OPTP_TRY(safe, c.op("add", {mean, &c.scalar_like(*mean, c.number("epsilon", epsilon))}));
  OPTP_TRY(root, c.op("sqrt", {safe}));
  OPTP_TRY(normal, c.op("div", {wide, root}));
  OPTP_TRY(narrow, c.cast(*normal, dtype));
  return c.op("mul", {narrow, &scale});
}
Lowered rms_normalization(LoweringContext& c) {
  OPTP_TRY(x, c.need(0));
  OPTP_TRY(scale, c.need(1));
  OPTP_TRY(y, rms_norm(c, *x, *scale));
  return Values{y};
}
// x + skip [+ bias]
llvm::Expected<Value*> skipped_sum(LoweringContext& c, size_t bias) {
  OPTP_TRY(x, c.need(0));
  OPTP_TRY(skip, c.need(1));
  OPTP_TRY(sum, c.op("add", {x, skip}));
  if (!c.has(bias)) return sum;
  return c.op("add", {sum, c.operands[bias]});
}
// com.microsoft SkipLayerNormalization: (x + skip [+ bias]) normalised; the sum is output 3.
Lowered skip_layer_normalization(LoweringContext& c) {
  OPTP_TRY(sum, skipped_sum(c, 4));
  OPTP_TRY(scale, c.need(2));
  OPTP_TRY(y, layer_norm(c, *sum, *scale, c.has(3) ? c.operands[3] : nullptr, microsoft_epsilon));
  return Values{y, nullptr, nullptr, sum};
}

// com.microsoft SkipSimplifiedLayerNormalization: the same with the root mean square; the bias is operand 3.
Lowered skip_rms_normalization(LoweringContext& c) {
  OPTP_TRY(sum, skipped_sum(c, 3));
  OPTP_TRY(scale, c.need(2));
  OPTP_TRY(y, rms_norm(c, *sum, *scale, microsoft_epsilon));
  return Values{y, nullptr, nullptr, sum};
}
// com.microsoft EmbedLayerNormalization: the sum of the rows that token, position and segment ids choose, normalised;
// output 1 counts the mask, output 2 is the sum.
Lowered embed_layer_normalization(LoweringContext& c) {
  OPTP_TRY(ids, c.need(0));
  OPTP_TRY(words, c.need(2));
  OPTP_TRY(positions, c.need(3));
  OPTP_TRY(scale, c.need(5));
  OPTP_TRY(bias, c.need(6));
  if (ids->ndim() != 2)
    return c.fail(Code::shape_mismatch)
        .operand(0, ids->name)
        .expected("[batch, sequence]")
        .found(to_string(ids->type.dims));
  if (c.has(1) != c.has(4))
    return c.fail(Code::malformed).what("segment_ids and segment_embedding").expected("both or none");
  const Dim sequence = ids->type.dims[1];
  Formula f(c.build);
  auto rows = [&](Value* table, Value* index) { return f.op("gather", {table, index}, {{"axis", int64_t(0)}}); };
  Value* position = c.has(8) ? c.operands[8] : iota(f, 0, sequence);
  Value* sum = f.add(rows(words, ids), rows(positions, position));
  if (c.has(1)) sum = f.add(sum, rows(c.operands[4], c.operands[1]));
  Value* y = f.op("layer_norm", {sum, scale, bias}, {{"epsilon", c.number("epsilon", microsoft_epsilon)}});
  c.integer("mask_index_type", 1);
  Value* count = c.has(7) ? f.sum(f.cast(c.operands[7], DType::i32), {1}, /*keepdims=*/false)
                          : f.expand(f.scalar(DType::i32, 0), {ids->type.dims[0]});
  return made_by(f, {y, count, sum});
}

// Gelu-20: x/2 · (1 + erf(x/√2)), or its tanh approximation (Hendrycks and Gimpel, arXiv:1606.08415).
llvm::Expected<Value*> gelu(LoweringContext& c, Value& x, bool approximate) {
  Value* bent = nullptr;
  if (approximate) {
    OPTP_TRY(square, c.op("mul", {&x, &x}));
    OPTP_TRY(cube, c.op("mul", {square, &x}));
    OPTP_TRY(small, c.op("mul", {cube, &c.scalar_like(x, 0.044715)}));
    OPTP_TRY(sum, c.op("add", {&x, small}));
    OPTP_TRY(inner, c.op("mul", {sum, &c.scalar_like(x, std::sqrt(2 / M_PI))}));
    OPTP_TRY(t, c.op("tanh", {inner}));
    bent = t;
  } else {
    OPTP_TRY(inner, c.op("mul", {&x, &c.scalar_like(x, M_SQRT1_2)}));
    OPTP_TRY(t, c.op("erf", {inner}));
    bent = t;
  }
  OPTP_TRY(raised, c.op("add", {bent, &c.scalar_like(x, 1)}));
  OPTP_TRY(half, c.op("mul", {&x, &c.scalar_like(x, 0.5)}));
  return c.op("mul", {half, raised});
}
Lowered gelu_20(LoweringContext& c) {
  OPTP_TRY(x, c.need(0));
  OPTP_TRY(y, gelu(c, *x, c.text("approximate", "none") == "tanh"));
  return Values{y};
}
template <bool approximate>
Lowered bias_gelu(LoweringContext& c) {  // com.microsoft BiasGelu, FastGelu, Gelu: the bias is optional
  OPTP_TRY(x, c.need(0));
  Value* in = x;
  if (c.has(1)) {
    OPTP_TRY(sum, c.op("add", {x, c.operands[1]}));
    in = sum;
  }
  OPTP_TRY(y, gelu(c, *in, approximate));
  return Values{y};
}
template <bool quick>
Lowered swish(LoweringContext& c) {  // x · sigmoid(alpha · x): Swish-24 and com.microsoft QuickGelu
  OPTP_TRY(x, c.need(0));
  const double alpha = c.number("alpha", quick ? 1.702 : 1);
  Value* inner = x;
  if (alpha != 1) {
    OPTP_TRY(scaled, c.op("mul", {x, &c.scalar_like(*x, alpha)}));
    inner = scaled;
  }
  OPTP_TRY(gate, c.op("sigmoid", {inner}));
  OPTP_TRY(y, c.op("mul", {x, gate}));
  return Values{y};
}

llvm::Expected<Value*> heads_of(LoweringContext& c, Value& x) {
  const int64_t heads = c.integer("num_heads", 0);
  if (heads <= 0 || !exact_div(x.type.dims[2], heads))
    return c.fail(Code::malformed)
        .what("num_heads " + llvm::Twine(heads) + " does not divide hidden size " + x.type.dims[2].text());
  return heads_apart(c, x, heads);
}
llvm::Expected<Value*> heads_joined(LoweringContext& c, Value& x, const Dims& dims) {
  OPTP_TRY(back, c.transpose(x, {0, 2, 1, 3}));
  return c.reshape(*back, dims);
}
// The rows of the positions, as [batch or 1, 1, sequence, rotary/2].
llvm::Expected<Value*> cache_rows(LoweringContext& c, Value& cache, Value* position_ids) {
  Value* rows = &cache;
  if (position_ids) {
    OPTP_TRY(chosen, c.op("gather", {&cache, position_ids}, {{"axis", int64_t(0)}}));
    rows = chosen;
  }
  if (rows->ndim() != 3)
    return c.fail(Code::shape_mismatch).what("caches").expected("3 dims").found(to_string(rows->type.dims));
  return c.reshape(*rows, {rows->type.dims[0], Dim(1), rows->type.dims[1], rows->type.dims[2]});
}

// Points of planes: all first coordinates and all second ones, [batch, heads, sequence, rotary/2] each.
struct Points {
  Value *first, *second;
};
// A point is two neighbours where they are interleaved, else one number of each half.
llvm::Expected<Points> points_of(LoweringContext& c, Value& x, Dim half, bool interleaved) {
  if (!interleaved) {
    OPTP_TRY(first, slice(c, &x, 3, 0, half));
    OPTP_TRY(second, slice(c, &x, 3, half, half));
    return Points{first, second};
  }
  Dims dims = x.type.dims;
  dims[3] = half;
  Dims pairs = dims;
  pairs.push_back(2);
  OPTP_TRY(split, c.reshape(x, pairs));
  OPTP_TRY(a, slice(c, split, 4, 0, 1));
  OPTP_TRY(b, slice(c, split, 4, 1, 1));
  OPTP_TRY(first, c.reshape(*a, dims));
  OPTP_TRY(second, c.reshape(*b, dims));
  return Points{first, second};
}
llvm::Expected<Value*> from_points(LoweringContext& c, const Points& p, const Dims& dims, bool interleaved) {
  if (!interleaved) return c.op("concat", {p.first, p.second}, {{"axis", int64_t(3)}});
  Dims apart = p.first->type.dims;
  apart.push_back(1);
  OPTP_TRY(a, c.reshape(*p.first, apart));
  OPTP_TRY(b, c.reshape(*p.second, apart));
  OPTP_TRY(both, c.op("concat", {a, b}, {{"axis", int64_t(4)}}));
  return c.reshape(*both, dims);
}
llvm::Expected<Points> rotated(LoweringContext& c, const Points& p, Value* cos, Value* sin) {
  OPTP_TRY(first_cos, c.op("mul", {p.first, cos}));
  OPTP_TRY(second_sin, c.op("mul", {p.second, sin}));
  OPTP_TRY(first, c.op("sub", {first_cos, second_sin}));
  OPTP_TRY(first_sin, c.op("mul", {p.first, sin}));
  OPTP_TRY(second_cos, c.op("mul", {p.second, cos}));
  OPTP_TRY(second, c.op("add", {first_sin, second_cos}));
  return Points{first, second};
}
// RotaryEmbedding-23 (Su et al., arXiv:2104.09864). x: [batch, heads, sequence, head] or [batch, sequence, hidden];
// caches: [batch or 1, sequence, rotary/2], or [positions, rotary/2] with position ids.
Lowered rotary_embedding(LoweringContext& c) {
  OPTP_TRY(given, c.need(0));
  OPTP_TRY(cos_cache, c.need(1));
  OPTP_TRY(sin_cache, c.need(2));
  const bool flat = given->ndim() == 3;
  OPTP_TRY(x, flat ? heads_of(c, *given) : llvm::Expected<Value*>(given));
  if (x->ndim() != 4)
    return c.fail(Code::shape_mismatch).what("operand 0").expected("3 or 4 dims").found(to_string(x->type.dims));
  Value* position_ids = c.has(3) ? c.operands[3] : nullptr;
  OPTP_TRY(cos, cache_rows(c, *cos_cache, position_ids));
  OPTP_TRY(sin, cache_rows(c, *sin_cache, position_ids));

  const Dim head = x->type.dims[3], half = cos->type.dims[3], size = half * Dim(2);
  Value *turning = x, *rest = nullptr;
  if (size != head) {
    OPTP_TRY(a, slice(c, x, 3, 0, size));
    OPTP_TRY(b, slice(c, x, 3, size, head - size));
    turning = a, rest = b;
  }
  const bool interleaved = c.integer("interleaved", 0) != 0;
  OPTP_TRY(points, points_of(c, *turning, half, interleaved));
  OPTP_TRY(turned, rotated(c, points, cos, sin));
  OPTP_TRY(y, from_points(c, turned, turning->type.dims, interleaved));
  Value* out = y;
  if (rest) {
    OPTP_TRY(whole, c.op("concat", {out, rest}, {{"axis", int64_t(3)}}));
    out = whole;
  }
  if (flat) {
    OPTP_TRY(joined, heads_joined(c, *out, given->type.dims));
    out = joined;
  }
  return Values{out};
}

const LoweringRow rows[] = {
    {"LayerNormalization", 17, layer_normalization},
    {"LayerNormalization", 1, layer_normalization, "com.microsoft"},
    {"RMSNormalization", 23, rms_normalization},
    {"SimplifiedLayerNormalization", 1, rms_normalization},
    {"SimplifiedLayerNormalization", 1, rms_normalization, "com.microsoft"},
    {"SkipLayerNormalization", 1, skip_layer_normalization, "com.microsoft"},
    {"SkipSimplifiedLayerNormalization", 1, skip_rms_normalization, "com.microsoft"},
    {"EmbedLayerNormalization", 1, embed_layer_normalization, "com.microsoft"},
    {"Gelu", 20, gelu_20},
    {"Gelu", 1, bias_gelu<false>, "com.microsoft"},
    {"BiasGelu", 1, bias_gelu<false>, "com.microsoft"},
    {"FastGelu", 1, bias_gelu<true>, "com.microsoft"},
    {"QuickGelu", 1, swish<true>, "com.microsoft"},
    {"Swish", 24, swish<false>},
    {"RotaryEmbedding", 23, rotary_embedding},
};
const RegisteredLowerings registered{rows};
}  // namespace
}  // namespace optp
