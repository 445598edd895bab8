// com.microsoft's Attention and MultiHeadAttention, as ONNX Runtime's optimizers fuse them. Taken apart, so that
// sharding sees projections, heads and products.
#include "frontend/onnx/operators/microsoft_attention.h"

namespace optp {
namespace {
using namespace microsoft;
using Values = llvm::SmallVector<Value*, 2>;

llvm::Expected<Dims> projection_sizes(LoweringContext& c, const Value& weights) {  // of q, k, v
  Dims sizes;
  if (auto given = c.integers("qkv_hidden_sizes"); given && !given->empty())
    sizes.append(given->begin(), given->end());
  else if (auto each = exact_div(weights.type.dims[1], 3))
    sizes.assign(3, *each);
  if (sizes.size() == 3 && sizes[0] + sizes[1] + sizes[2] == weights.type.dims[1] && sizes[0] == sizes[1]) return sizes;
  return c.fail(Code::shape_mismatch)
      .operand(1, weights.name)
      .expected("columns for queries, keys and values")
      .found(to_string(weights.type.dims));
}
// x [batch, n, hidden], weights [hidden, q + k + v], bias [q + k + v], mask, past [2, batch, heads, past, head],
// attention bias.
Lowered attention(LoweringContext& c) {
  OPTP_TRY(x, c.need_float(0));
  OPTP_TRY(weights, c.need(1));
  if (auto e = has_dims(c, 0, 3)) return e;
  if (auto e = has_dims(c, 1, 2)) return e;
  OPTP_TRY(sizes, projection_sizes(c, *weights));
  OPTP_TRY(heads, head_count(c, "num_heads", sizes[0]));
  for (const char* name : {"do_rotary", "past_present_share_buffer"})
    if (c.integer(name, 0) != 0) return c.fail(Code::not_supported, llvm::Twine(name) + " 1 is not supported");
  OPTP_TRY(product, c.matmul(*x, *weights));
  Formula f(c.build);
  Value* qkv = c.has(2) ? f.add(product, c.operands[2]) : product;
  Value *q = heads_apart(f, slice(f, qkv, 2, 0, sizes[0]), heads),
        *k = heads_apart(f, slice(f, qkv, 2, sizes[0], sizes[1]), heads),
        *v = heads_apart(f, slice(f, qkv, 2, sizes[0] + sizes[1], sizes[2]), heads);
  if (auto e = f.take_error()) return e;
  const Dim queries = x->type.dims[1];
  Dim past = 0;
  if (c.has(4)) {
    if (auto e = has_dims(c, 4, 5)) return e;
    const Dims d = c.operands[4]->type.dims;
    past = d[3];
    auto half = [&](int64_t which) {
      return f.reshape(slice(f, c.operands[4], 0, which, 1), llvm::ArrayRef<Dim>(d).drop_front(1));
    };
    k = joined(f, half(0), k), v = joined(f, half(1), v);
  }
  Mask mask;
  const DType dtype = x->type.dtype;
  const Dim keys = past + queries;
  if (c.has(3))
    if (auto e = keep_valid(c, f, mask, {3, "mask_index", true}, x->type.dims[0], keys, dtype)) return e;
  if (c.integer("unidirectional", 0) != 0) keep_causal(f, mask, past, queries, keys, 0, dtype);
  if (c.has(5)) mask.add(f, c.operands[5]);
  OPTP_TRY(scale, scale_of(c, *exact_div(sizes[0], heads)));
  Value* y = heads_joined(f, attended(f, q, k, v, mask, scale));
  Value* present = nullptr;
  if (!c.output_name(1).empty() && k && v) {
    Dims one = k->type.dims;
    one.insert(one.begin(), Dim(1));
    present = f.op("concat", {f.reshape(k, one), f.reshape(v, one)}, {{"axis", int64_t(0)}});
  }
  if (auto e = f.take_error()) return e;
  return Values{y, present};
}

struct Heads {
  Value *q = nullptr, *k = nullptr, *v = nullptr;
};
// query [batch, n, hidden], or packed [batch, n, heads, 3, head]; key, value [batch, keys, hidden], packed [batch,
// keys, heads, 2, head], or [batch, heads, keys, head] as a cache has them; bias [hidden of q, k and v].
llvm::Expected<Heads> heads_of(LoweringContext& c, Formula& f, Value& query) {
  auto unpacked = [&](Value* x, int64_t which) {
    Dims d = x->type.dims;
    Value* own = f.reshape(slice(f, x, 3, which, 1), {d[0], d[1], d[2], d[4]});
    return f.op("transpose", {own}, {{"perm", llvm::SmallVector<int64_t, 4>{0, 2, 1, 3}}});
  };
  Heads heads;
  auto& [q, k, v] = heads;
  Value* bias = c.has(3) ? c.operands[3] : nullptr;
  if (query.ndim() == 5) {
    q = unpacked(&query, 0), k = unpacked(&query, 1), v = unpacked(&query, 2);
    if (bias) return c.fail(Code::not_supported, "a bias of packed operands is not supported");
  } else {
    if (auto e = has_dims(c, 0, 3)) return e;
    const Dim hidden = query.type.dims[2];
    OPTP_TRY(count, head_count(c, "num_heads", hidden));
    OPTP_TRY(key, c.need(1));
    Dim start = 0;
    auto biased = [&](Value* x) {  // the bias holds those of q, k and v one after the other
      const Dim size = x->type.dims[2];
      Value* y = bias ? f.add(x, slice(f, bias, 0, start, size)) : x;
      start = start + size;
      return heads_apart(f, y, count);
    };
    if (bias && bias->ndim() != 1)
      return c.fail(Code::shape_mismatch).operand(3, bias->name).expected("1 dim").found(to_string(bias->type.dims));
    q = biased(&query);
    if (key->ndim() == 5) {
      if (bias) return c.fail(Code::not_supported, "a bias of packed operands is not supported");
      k = unpacked(key, 0), v = unpacked(key, 1);
    } else {
      OPTP_TRY(value, c.need(2));
      for (size_t o : {1u, 2u})
        if (c.operands[o]->ndim() != 3 && c.operands[o]->ndim() != 4)
          return c.fail(Code::shape_mismatch)
              .operand(o, c.operands[o]->name)
              .expected("3 or 4 dims")
              .found(to_string(c.operands[o]->type.dims));
      if (key->ndim() == 4) start = start + hidden;
      k = key->ndim() == 4 ? key : biased(key);
      v = value->ndim() == 4 ? value : biased(value);
    }
  }
  return heads;
}
// Operands: those of heads_of, key padding, attention bias, caches.
Lowered multi_head_attention(LoweringContext& c) {
  OPTP_TRY(query, c.need_float(0));
  Formula f(c.build);
  OPTP_TRY(heads, heads_of(c, f, *query));
  auto [q, k, v] = heads;
  if (c.has(6) != c.has(7)) return c.fail(Code::malformed).what("past_key and past_value").expected("both or none");
  Dim past = 0;
  if (c.has(6)) {
    for (size_t o : {6u, 7u})
      if (auto e = has_dims(c, o, 4)) return e;
    past = c.operands[6]->type.dims[2];
    k = joined(f, c.operands[6], k), v = joined(f, c.operands[7], v);
  }
  if (auto e = f.take_error()) return e;
  const DType dtype = query->type.dtype;
  const Dim keys = k->type.dims[2];
  Mask mask;
  if (c.has(4))
    if (auto e = keep_valid(c, f, mask, {4, "key_padding_mask"}, q->type.dims[0], keys, dtype)) return e;
  if (c.integer("unidirectional", 0) != 0) keep_causal(f, mask, past, q->type.dims[2], keys, 0, dtype);
  if (c.has(5)) mask.add(f, c.operands[5]);
  OPTP_TRY(scale, scale_of(c, q->type.dims[3]));
  return made_by(f, {heads_joined(f, attended(f, q, k, v, mask, scale)), k, v});
}

const LoweringRow rows[] = {
    {"Attention", 1, attention, "com.microsoft"},
    {"MultiHeadAttention", 1, multi_head_attention, "com.microsoft"},
};
const RegisteredLowerings registered{rows};
}  // namespace
}  // namespace optp
