// com.microsoft's RotaryEmbedding, and GroupQueryAttention, which has one inside.
#include "frontend/onnx/operators/microsoft_attention.h"
#include "llvm/Support/FormatVariadic.h"

namespace optp {
namespace {
using namespace microsoft;
using Values = llvm::SmallVector<Value*, 2>;

// Rotation of x [batch, heads, n, head] by caches [positions, half] at `positions` [batch or 1, n]; columns behind the
// caches' stay (Su et al., arXiv:2104.09864).
Value* rotated(Formula& f, Value* x, Value* cos_cache, Value* sin_cache, Value* positions, bool interleaved) {
  if (!x || !positions) return nullptr;
  auto at_positions = [&](Value* cache) -> Value* {
    Value* rows = f.op("gather", {cache, positions}, {{"axis", int64_t(0)}});
    return rows ? f.reshape(rows, {rows->type.dims[0], Dim(1), rows->type.dims[1], rows->type.dims[2]}) : nullptr;
  };
  Value *cos = at_positions(cos_cache), *sin = at_positions(sin_cache);
  if (!cos || !sin) return nullptr;
  const Dim half = cos->type.dims[3], head = x->type.dims[3], turned = half * Dim(2);
  Value* rest = turned == head ? nullptr : slice(f, x, 3, turned, head - turned);
  Value* own = turned == head ? x : slice(f, x, 3, 0, turned);
  if (!own) return nullptr;
  Dims pairs = own->type.dims;
  pairs[3] = half;
  Dims apart = pairs;
  if (interleaved) apart.push_back(2);
  auto component = [&](int64_t which) {
    if (!interleaved) return slice(f, own, 3, which ? half : Dim(0), half);
    return f.reshape(slice(f, f.reshape(own, apart), 4, which, 1), pairs);
  };
  Value *a = component(0), *b = component(1);
  Value *bs = f.mul(b, sin), *real = f.sub(f.mul(a, cos), bs);
  Value *bc = f.mul(b, cos), *imaginary = f.add(f.mul(a, sin), bc);
  Value* y = nullptr;
  if (interleaved) {
    apart.back() = 1;
    y = f.reshape(f.op("concat", {f.reshape(real, apart), f.reshape(imaginary, apart)}, {{"axis", int64_t(4)}}),
                  own->type.dims);
  } else {
    y = f.op("concat", {real, imaginary}, {{"axis", int64_t(3)}});
  }
  return rest ? f.op("concat", {y, rest}, {{"axis", int64_t(3)}}) : y;
}
llvm::Error check_rotary_attributes(LoweringContext& c) {
  if (c.integer("is_packed_batching", 0) != 0)
    return c.fail(Code::not_supported, "is_packed_batching 1 is not supported");
  const double scale = c.number("scale", 1);
  if (scale == 1) return llvm::Error::success();
  return c.fail(Code::not_supported)
      .what(
          "scale is not supported, since engines differ: ONNX Runtime's documentation applies it, its CPU engine does "
          "not")
      .expected(1)
      .found(llvm::formatv("{0}", scale).str());
}
// x [batch, n, hidden] or [batch, heads, n, head], position ids [1] (the first one) or [batch, n], caches.
Lowered rotary_embedding(LoweringContext& c) {
  OPTP_TRY(x, c.need_float(0));
  OPTP_TRY(ids, c.need(1));
  for (size_t k : {2u, 3u}) {
    OPTP_TRY(cache, c.need(k));
    (void)cache;
    if (auto e = has_dims(c, k, 2)) return e;
  }
  if (auto e = check_rotary_attributes(c)) return e;
  const bool flat = x->ndim() == 3;
  if (!flat)
    if (auto e = has_dims(c, 0, 4)) return e;
  Formula f(c.build);
  Value* apart = x;
  if (flat) {
    const Dim hidden = x->type.dims[2], width = c.operands[2]->type.dims[1] * Dim(2);
    const int64_t stated = c.integer("num_heads", 0), turned = c.integer("rotary_embedding_dim", 0);
    std::optional<Dim> heads = stated > 0 ? std::optional<Dim>(Dim(stated)) : exact_div(hidden, width);
    if (turned > 0 && stated == 0)
      return c.fail(Code::malformed).what("num_heads").expected("a number, as rotary_embedding_dim is given");
    if (!heads || !exact_div(hidden, *heads))
      return c.fail(Code::malformed)
          .what("num_heads")
          .expected("a divisor of hidden size " + hidden.text())
          .found(stated);
    apart = heads_apart(f, x, *heads);
  } else {
    c.integer("num_heads", 0), c.integer("rotary_embedding_dim", 0);
  }
  if (auto e = f.take_error()) return e;
  const Dim n = apart->type.dims[2];
  Value* positions = f.cast(ids, DType::i64);
  if (ids->ndim() == 1) positions = f.reshape(f.add(iota(f, 0, n), positions), {Dim(1), n});
  if (positions && positions->ndim() != 2)
    return c.fail(Code::shape_mismatch)
        .operand(1, ids->name)
        .expected("[1] or [batch, sequence]")
        .found(to_string(ids->type.dims));
  Value* y = rotated(f, apart, c.operands[2], c.operands[3], positions, c.integer("interleaved", 0) != 0);
  return made_by(f, {flat ? heads_joined(f, y) : y});
}

struct GroupedHeads {
  Value *q = nullptr, *k = nullptr, *v = nullptr;
  Dim head = 0;  // the size of one
};
// What changes the numbers and is read nowhere else. A smooth_softmax of 0 or -1 is none.
llvm::Error check_grouped_attributes(LoweringContext& c) {
  for (const auto& [name, refused] : {std::pair{"smooth_softmax", 1}, {"sliding_window_cache", 1}, {"causal", 0}})
    if (c.integer(name, -1) == refused)
      return c.fail(Code::not_supported, llvm::Twine(name) + " " + llvm::Twine(refused) + " is not supported");
  for (const char* name : {"k_quant_type", "v_quant_type"})
    if (const std::string type = c.text(name, "NONE"); type != "NONE")
      return c.fail(Code::not_supported, llvm::Twine(name) + " " + quoted(type) + " is not supported");
  return llvm::Error::success();
}
// query [batch, n, heads · head], or packed with key and value behind; key, value [batch, n, key heads · head].
llvm::Expected<GroupedHeads> grouped_heads(LoweringContext& c, Formula& f, Value& query) {
  const bool packed = !c.has(1);
  c.has(2);
  const int64_t key_heads = c.integer("kv_num_heads", 0), stated = c.integer("num_heads", 0);
  const int64_t all = packed ? stated + 2 * key_heads : stated;
  const auto width = stated > 0 && key_heads > 0 ? exact_div(query.type.dims[2], all) : std::nullopt;
  if (!width || stated % key_heads != 0)
    return c.fail(Code::malformed)
        .what("num_heads " + llvm::Twine(stated) + " and kv_num_heads " + llvm::Twine(key_heads))
        .expected("divisors of hidden size " + query.type.dims[2].text() + ", the second of the first");
  GroupedHeads out{.head = *width};
  auto& [q, k, v, head] = out;
  if (packed) {
    Value* apart = heads_apart(f, &query, all);
    q = slice(f, apart, 1, 0, stated), k = slice(f, apart, 1, stated, key_heads);
    v = slice(f, apart, 1, stated + key_heads, key_heads);
  } else {
    OPTP_TRY(value, c.need(2));
    for (size_t o : {1u, 2u})
      if (c.operands[o]->ndim() != 3 || c.operands[o]->type.dims[2] != head * Dim(key_heads))
        return c.fail(Code::shape_mismatch)
            .operand(o, c.operands[o]->name)
            .expected("[batch, sequence, " + (head * Dim(key_heads)).text() + "]")
            .found(to_string(c.operands[o]->type.dims));
    q = heads_apart(f, &query, stated), k = heads_apart(f, c.operands[1], key_heads);
    v = heads_apart(f, value, key_heads);
  }
  return out;
}
// How long each sequence was before this step: [batch, 1, 1, 1]. Prompts that are padded have none: `counts`, of their
// tokens up to the end of this step, are less than this step's.
Value* lengths_before(Formula& f, Value* counts, Dim queries) {
  Value* before = f.sub(counts, f.extent(queries, DType::i64));
  return f.op("max", {before, f.scalar(DType::i64, 0)});
}
// The length of what a step leaves in the cache: the longest sequence's, or all of a buffer that has room for more.
Dim present_length(const Value& total, Dim past, Dim queries) {
  const auto content = content_of(total);
  if (!content || content->elements.size() != 1) return past + queries;
  const Dim longest = content->elements[0];
  if (proved_less_equal(longest, past)) return past;
  return proved_less_equal(past, longest) ? longest : past + queries;
}
// [batch, key heads, length, head]: of each sequence what the cache had up to `before`, then the new keys, then zeros.
// Which of the new ones goes where is a product with ones and zeros, since it differs by sequence.
Value* appended(Formula& f, Value* cache, Value* added, Value* before, Dim length) {
  if (!cache || !added || !before) return nullptr;
  const Dim past = cache->type.dims[2], queries = added->type.dims[2];
  Value* row = iota(f, 0, length);
  Value* first = f.reshape(before, {before->type.dims[0], 1, 1});
  Value* goes_to = f.add(f.reshape(iota(f, 0, queries), {1, queries}), first);
  Value* chosen = f.cast(f.op("equal", {f.reshape(row, {length, 1}), goes_to}), added->type.dtype);
  Value* moved = f.op("contract", {chosen, added}, {{"loops", contract_loops("b t s, b h s d -> b h t d")}});
  Value* is_old = f.op("less", {f.reshape(iota(f, 0, past), {past, 1}), before});
  Value* head = f.op("where", {is_old, cache, slice(f, moved, 2, 0, past)});
  return length == past ? head
                        : f.op("concat", {head, slice(f, moved, 2, past, length - past)}, {{"axis", int64_t(2)}});
}
// Operands: those of grouped_heads; caches [batch, key heads, past, head]; seqlens_k: the index of each sequence's last
// key; caches of angles. Always causal. The keys of a sequence are its first seqlens_k + 1, each at its own place:
// sequences of a batch may differ in length, and a cache may have room for more.
Lowered group_query_attention(LoweringContext& c) {
  OPTP_TRY(query, c.need_float(0));
  if (auto e = has_dims(c, 0, 3)) return e;
  if (auto e = check_grouped_attributes(c)) return e;
  Formula f(c.build);
  OPTP_TRY(heads, grouped_heads(c, f, *query));
  auto [q, k, v, head] = heads;
  OPTP_TRY(last_key, c.need(5));
  OPTP_TRY(total, c.need(6));
  Value* count = f.add(f.cast(last_key, DType::i64), 1);
  if (last_key->ndim() > 2 || !count)
    return c.fail(Code::shape_mismatch).operand(5, last_key->name).expected("[batch]");
  Value* counts = f.reshape(count, {product(last_key->type.dims), 1, 1, 1});
  const Dim queries = query->type.dims[1];
  const bool has_past = c.has(3) && c.has(4);
  if (has_past)
    if (auto e = has_dims(c, 3, 4)) return e;
  Value* before = has_past ? lengths_before(f, counts, queries) : nullptr;
  Value* positions = f.reshape(iota(f, 0, queries), {queries, 1});
  if (has_past) positions = f.add(positions, before);
  if (c.integer("do_rotary", 0) != 0) {
    OPTP_TRY(cos_cache, c.need(7));
    OPTP_TRY(sin_cache, c.need(8));
    for (size_t o : {7u, 8u})
      if (auto e = has_dims(c, o, 2)) return e;
    if (c.has(9))
      if (auto e = has_dims(c, 9, 2)) return e;
    Value* at = c.has(9) ? f.cast(c.operands[9], DType::i64)
                         : f.reshape(positions, {has_past ? counts->type.dims[0] : Dim(1), queries});
    const bool interleaved = c.integer("rotary_interleaved", 0) != 0;
    q = rotated(f, q, cos_cache, sin_cache, at, interleaved);
    k = rotated(f, k, cos_cache, sin_cache, at, interleaved);
  }
  Dim keys = queries;
  if (has_past) {
    keys = present_length(*total, c.operands[3]->type.dims[2], queries);
    k = appended(f, c.operands[3], k, before, keys);
    v = appended(f, c.operands[4], v, before, keys);
  }
  const DType dtype = query->type.dtype;
  Mask mask;
  keep_causal(f, mask, positions, keys, c.integer("local_window_size", -1), dtype);
  mask.keep(f, f.op("less", {iota(f, 0, keys), counts}), dtype, lowest);
  if (c.has(10)) mask.add(f, c.operands[10]);
  OPTP_TRY(scale, scale_of(c, head));
  return made_by(f, {heads_joined(f, attended(f, q, k, v, mask, scale, c.number("softcap", 0))), k, v});
}

const LoweringRow rows[] = {
    {"RotaryEmbedding", 1, rotary_embedding, "com.microsoft"},
    {"GroupQueryAttention", 1, group_query_attention, "com.microsoft"},
};
const RegisteredLowerings registered{rows};
}  // namespace
}  // namespace optp
