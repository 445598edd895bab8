// ONNX Attention-23, -24 and -25: softmax(softcap(q kᵀ · scale) + bias) v, with grouped heads and a cache. Taken apart
// here, so that sharding sees its products; the runtime fuses the scale and the bias into the softmax.
#include <cmath>
#include <limits>

#include "frontend/onnx/operators/steps.h"
#include "llvm/Support/FormatVariadic.h"

namespace optp {
namespace {
using Values = llvm::SmallVector<Value*, 2>;
using Ints = llvm::SmallVector<int64_t, 4>;
constexpr double minus_infinity = -std::numeric_limits<double>::infinity();

// q: [batch, heads, queries, head]; k, v: [batch, key heads, keys, head], the cache's before the new ones
struct Operands {
  Value *q = nullptr, *k = nullptr, *v = nullptr;
  Dim past = 0;                 // keys that came from the cache
  Value* key_counts = nullptr;  // nonpad_kv_seqlen as [batch, 1, 1, 1]: how many keys of each sequence are no padding
  Dim queries() const { return q->type.dims[2]; }
  Dim keys() const { return k->type.dims[2]; }
};
// What the masks come to: 0, -∞, or what the file's own mask adds; it broadcasts to [batch, heads, queries, keys].
struct Bias {
  Value* sum = nullptr;      // null: every query sees every key
  Value* keyless = nullptr;  // bool [.., queries, 1]: queries that see no key; null: there are none
};

llvm::Expected<Value*> heads_of(LoweringContext& c, Value& x, llvm::StringRef attribute) {
  if (x.ndim() == 4) return &x;
  const int64_t heads = c.integer(attribute, 0);
  if (x.ndim() != 3 || heads <= 0 || !exact_div(x.type.dims[2], heads))
    return c.fail(Code::malformed)
        .what(attribute + " " + llvm::Twine(heads) + " does not divide operand " + quoted(x.name) + " " +
              to_string(x.type.dims))
        .about({.tensor = x.name});
  return heads_apart(c, x, heads);
}
llvm::Expected<Operands> operands(LoweringContext& c) {
  OPTP_TRY(q_given, c.need_float(0));
  OPTP_TRY(k_given, c.need(1));
  OPTP_TRY(v_given, c.need(2));
  OPTP_TRY(q, heads_of(c, *q_given, "q_num_heads"));
  OPTP_TRY(k, heads_of(c, *k_given, "kv_num_heads"));
  OPTP_TRY(v, heads_of(c, *v_given, "kv_num_heads"));
  Operands o{.q = q, .k = k, .v = v};
  if (c.has(4) != c.has(5)) return c.fail(Code::malformed).what("past_key and past_value").expected("both or none");
  if (c.has(4)) {
    if (c.operands[4]->ndim() != 4)
      return c.fail(Code::shape_mismatch)
          .operand(4, c.operands[4]->name)
          .expected("4 dims")
          .found(to_string(c.operands[4]->type.dims));
    o.past = c.operands[4]->type.dims[2];
    OPTP_TRY(keys, c.op("concat", {c.operands[4], k}, {{"axis", int64_t(2)}}));
    OPTP_TRY(values, c.op("concat", {c.operands[5], v}, {{"axis", int64_t(2)}}));
    o.k = keys, o.v = values;
  }
  if (c.opset >= 24 && c.has(6)) {
    Value& counts = *c.operands[6];
    const Place place = tensor_place("operand 6", counts.name);
    if (c.has(4))
      return c.fail(Code::malformed).at(place).what("nonpad_kv_seqlen and past_key").expected("one of them");
    if (counts.type.dtype != DType::i64)
      return c.fail(Code::dtype_mismatch).at(place).what("dtype").expected("int64").found(long_name(counts.type.dtype));
    if (counts.ndim() != 1)
      return c.fail(Code::shape_mismatch).at(place).expected("1 dim, the batch").found(to_string(counts.type.dims));
    OPTP_TRY(wide, c.reshape(counts, {counts.type.dims[0], 1, 1, 1}));
    o.key_counts = wide;
  }
  return o;
}
// Each key head serves a group of consecutive query heads.
llvm::Expected<Value*> repeat_heads(LoweringContext& c, Value& x, Dim heads) {
  const Dims d = x.type.dims;
  if (d[1] == heads) return &x;
  auto group = exact_div(heads, d[1]);
  if (!group)
    return c.fail(Code::malformed).what("heads " + heads.text() + " are not a multiple of key heads " + d[1].text());
  OPTP_TRY(apart, c.reshape(x, {d[0], d[1], Dim(1), d[2], d[3]}));
  OPTP_TRY(repeated, c.expand(*apart, {d[0], d[1], *group, d[2], d[3]}));
  return c.reshape(*repeated, {d[0], heads, d[2], d[3]});
}

// The keys that attribute is_causal, a window and the keys' counts leave to each query, as bool; null: all of them.
// Query i stands at position i + offset, where the offset is how many valid keys precede the first query.
llvm::Expected<Value*> kept_keys(LoweringContext& c, const Operands& o) {
  const bool causal = c.integer("is_causal", 0) != 0;
  const int64_t left = c.opset >= 25 ? c.integer("left_window_size", -1) : -1;
  const int64_t right = c.opset >= 25 ? c.integer("right_window_size", -1) : -1;
  for (auto [name, size] : {std::pair{"left_window_size", left}, {"right_window_size", right}})
    if (size < -1)
      return c.fail(Code::malformed).what(llvm::Twine(name) + " " + llvm::Twine(size)).expected("-1 or more");
  Value* keep = nullptr;
  if (!causal && left < 0 && right < 0 && !o.key_counts) return keep;
  OPTP_TRY(column, iota(c, 0, o.keys()));
  auto also = [&](const char* test, Value& than) -> llvm::Error {
    OPTP_TRY(more, c.op(test, {column, &than}));
    if (keep) {
      OPTP_TRY(both, c.op("and", {keep, more}));
      keep = both;
    } else {
      keep = more;
    }
    return llvm::Error::success();
  };
  auto position = [&](int64_t shift) -> llvm::Expected<Value*> {
    OPTP_TRY(row, iota(c, o.past - (o.key_counts ? o.queries() : Dim(0)) + Dim(shift), o.queries()));
    OPTP_TRY(upright, c.reshape(*row, {o.queries(), 1}));
    return o.key_counts ? c.op("add", {o.key_counts, upright}) : llvm::Expected<Value*>(upright);
  };
  if (causal || right >= 0) {
    OPTP_TRY(last, position(causal ? 0 : right));
    if (auto e = also("less_equal", *last)) return e;
  }
  if (left >= 0) {
    OPTP_TRY(first, position(-left));
    if (auto e = also("greater_equal", *first)) return e;
  }
  if (o.key_counts)
    if (auto e = also("less", *o.key_counts)) return e;
  return keep;
}
// A mask that ends before the keys do masks the rest. Where an extent of 1 stands for all keys, as before opset 24, it
// does not; nor where the two are extents under different names, unless the keys have counts: then the names are one
// extent's.
llvm::Expected<Value*> padded(LoweringContext& c, Value& mask, const Operands& o) {
  const Dim have = mask.type.dims.back(), keys = o.keys();
  if (have == keys || (c.opset < 24 && have.is(1))) return &mask;
  if (proved_less(keys, have))
    return c.fail(Code::too_large)
        .operand(3, mask.name)
        .expected("at most " + keys.text() + " keys")
        .found(have.text());
  if (!proved_less_equal(have, keys) && !o.key_counts) return &mask;
  const double value = mask.type.dtype == DType::boolean ? 0 : minus_infinity;
  return c.op("pad", {&mask},
              {{"axis", int64_t(mask.ndim()) - 1}, {"before", Dim(0)}, {"after", keys - have}, {"value", value}});
}
// Masked keys are -∞: any finite number could be above what a mask of the file's leaves of the others. A row of nothing
// but -∞ has no softmax, and its result is 0; so its bias becomes 0 here, for numbers and gradients that are finite,
// and what comes of it is left out afterwards. Causality alone leaves each query the first key, and needs none of that.
llvm::Expected<Bias> bias(LoweringContext& c, const Operands& o) {
  const DType dtype = o.q->type.dtype;
  OPTP_TRY(keep, kept_keys(c, o));
  Value* added = nullptr;
  bool may_be_keyless = o.key_counts || (c.opset >= 25 && c.integer("left_window_size", -1) >= 0);
  if (c.has(3)) {
    Value& given = *c.operands[3];
    if (given.ndim() < 1 || given.ndim() > 4)
      return c.fail(Code::shape_mismatch)
          .operand(3, given.name)
          .expected("from 1 to 4 dims")
          .found(to_string(given.type.dims));
    may_be_keyless = true;
    const bool is_choice = given.type.dtype == DType::boolean;
    OPTP_TRY(mask, is_choice ? llvm::Expected<Value*>(&given) : c.cast(given, dtype));
    OPTP_TRY(whole, padded(c, *mask, o));
    if (!is_choice) {
      added = whole;
    } else if (keep) {
      OPTP_TRY(both, c.op("and", {keep, whole}));
      keep = both;
    } else {
      keep = whole;
    }
  }
  Bias out{.sum = added};
  Value& masked = c.scalar_like(*o.q, minus_infinity);
  if (keep) {
    OPTP_TRY(sum, c.op("where", {keep, added ? added : &c.scalar_like(*o.q, 0), &masked}));
    out.sum = sum;
  }
  if (!may_be_keyless) return out;
  const Ints last{int64_t(out.sum->ndim()) - 1};
  OPTP_TRY(most, c.op("reduce_max", {out.sum}, {{"axes", last}, {"keepdims", int64_t(1)}}));
  OPTP_TRY(keyless, c.op("equal", {most, &masked}));
  out.keyless = keyless;
  return out;
}

// What belongs to queries that see no key is 0.
llvm::Expected<Value*> without_keyless(LoweringContext& c, const Bias& masks, Value& x) {
  if (!masks.keyless) return &x;
  return c.op("where", {masks.keyless, &c.scalar_like(x, 0), &x});
}
llvm::Expected<double> scale_of(LoweringContext& c, Dim head) {
  const double given = c.number("scale", 0);
  if (c.has_attribute("scale")) return given;
  auto size = head.constant();
  if (!size) return c.fail(Code::malformed).what("head size " + head.text() + " is not known at compile time");
  return 1 / std::sqrt(double(*size));
}
llvm::Expected<Value*> soft_capped(LoweringContext& c, Value& product) {
  const double softcap = c.number("softcap", 0);
  if (!(softcap >= 0))
    return c.fail(Code::malformed).what(llvm::formatv("softcap {0}", softcap).str()).expected("0 or more");
  if (softcap == 0) return &product;
  OPTP_TRY(small, c.op("mul", {&product, &c.scalar_like(product, 1 / softcap)}));
  OPTP_TRY(bent, c.op("tanh", {small}));
  return c.op("mul", {bent, &c.scalar_like(*bent, softcap)});
}
llvm::Expected<Value*> softmax(LoweringContext& c, Value& scores, DType dtype) {
  const int64_t precision = c.integer("softmax_precision", int64_t(dtype));
  if (!is_float(DType(precision)))
    return c.fail(Code::malformed).what("softmax_precision " + llvm::Twine(precision)).expected("a floating type");
  OPTP_TRY(precise, c.cast(scores, DType(precision)));
  OPTP_TRY(shares, c.op("softmax", {precise}, {{"axis", int64_t(3)}}));
  return c.cast(*shares, dtype);
}
// As operand 0 came: [batch, heads, queries, head] or [batch, queries, hidden].
llvm::Expected<Value*> laid_out_as_given(LoweringContext& c, Value& y) {
  if (c.operands[0]->ndim() != 3) return &y;
  OPTP_TRY(turned, c.transpose(y, {0, 2, 1, 3}));
  const Dims d = turned->type.dims;
  return c.reshape(*turned, {d[0], d[1], d[2] * d[3]});
}
// The fourth output shows the scores at one of their stages. Of an unknown stage there is none: import says so where
// it is used.
llvm::Expected<Value*> shown_stage(LoweringContext& c, const Bias& masks, Value& product, Value& capped,
                                   Value& weights) {
  const int64_t stage = c.integer("qk_matmul_output_mode", 0);
  if (c.output_name(3).empty()) return nullptr;
  if (stage == 0) return &product;
  if (stage == 1 || (stage == 2 && !masks.sum)) return &capped;
  if (stage == 2) return c.op("add", {&capped, masks.sum});
  if (stage == 3) return without_keyless(c, masks, weights);
  return nullptr;
}

Lowered attention(LoweringContext& c) {
  OPTP_TRY(o, operands(c));
  OPTP_TRY(masks, bias(c, o));
  const DType dtype = o.q->type.dtype;
  const Dims q_dims = o.q->type.dims;

  OPTP_TRY(scale, scale_of(c, q_dims[3]));
  OPTP_TRY(k, repeat_heads(c, *o.k, q_dims[1]));
  OPTP_TRY(v, repeat_heads(c, *o.v, q_dims[1]));
  OPTP_TRY(scaled, c.op("mul", {o.q, &c.scalar_like(*o.q, scale)}));
  OPTP_TRY(product, c.op("contract", {scaled, k}, {{"loops", contract_loops("b h s d, b h t d -> b h s t")}}));
  OPTP_TRY(capped, soft_capped(c, *product));
  Value* scores = capped;
  if (masks.sum) {
    OPTP_TRY(safe, without_keyless(c, masks, *masks.sum));
    OPTP_TRY(sum, c.op("add", {capped, safe}));
    scores = sum;
  }
  OPTP_TRY(weights, softmax(c, *scores, dtype));
  OPTP_TRY(weights_of_v, c.cast(*weights, v->type.dtype));
  OPTP_TRY(context, c.op("contract", {weights_of_v, v}, {{"loops", contract_loops("b h s t, b h t d -> b h s d")}}));
  OPTP_TRY(seen, without_keyless(c, masks, *context));
  OPTP_TRY(y, c.cast(*seen, dtype));
  OPTP_TRY(out, laid_out_as_given(c, *y));
  OPTP_TRY(shown, shown_stage(c, masks, *product, *capped, *weights));
  return Values{out, o.k, o.v, shown};
}

const LoweringRow rows[] = {{"Attention", 23, attention}, {"Attention", 24, attention}, {"Attention", 25, attention}};
const RegisteredLowerings registered{rows};
}  // namespace
}  // namespace optp
