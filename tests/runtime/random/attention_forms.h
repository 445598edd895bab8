// Attention as exporters leave it, in any form: for tests of it as one step, forward and backward.
#pragma once
#include "tests/properties.h"
#include "tests/runtime/kernel_case.h"

namespace optp {

enum class Mask { none, causal, window, padding, plain, chosen, shut_rows };
struct Form {
  int64_t batch = 1, heads = 2, shared = 1;  // so many heads share keys and values
  int64_t queries = 5, keys = 5, depth = 4, width = 4;
  Mask mask = Mask::causal;
  bool is_infinite = false;    // masks are -inf, not the lowest float
  bool is_joined = false;      // batch and heads are one dim in the products
  bool is_transposed = false;  // keys are laid out [depth, keys]
  bool repeats = false;        // shared heads by repeat, not by expand
  bool is_grouped = false;     // neither: queries' heads are a dim more in the products
  bool caps = false, cleans = false, is_half = false;
  bool trains = false;  // queries, keys, values and a bias are parameters, each beside an input
  int64_t whole_mask_bytes = 0, threads = 1;
  uint32_t seed = 0;
};

inline Value* reshape(Case& c, Value* v, llvm::ArrayRef<int64_t> dims) {
  return c.node("reshape", {v}, {{"dims", Dims(dims.begin(), dims.end())}});
}
inline Value* transpose(Case& c, Value* v, llvm::SmallVector<int64_t, 4> perm) {
  return c.node("transpose", {v}, {{"perm", std::move(perm)}});
}
// Small numbers, so that what a product loses to rounding stays small in the exponent.
inline Value* numbers(Case& c, llvm::ArrayRef<int64_t> dims, bool is_half = false, bool trains = false) {
  Value* v = c.input(is_half && !trains ? DType::bf16 : DType::f32, dims);
  for (double& x : c.arrays[v->name].f) x /= 4;
  if (trains) {
    Array small;
    small.resize(/*floating=*/true, dims);
    for (double& x : small.f) x = c.random.number() / 16;
    Value& parameter = c.graph.add_data(c.graph.unique_name("w"), to_tensor(small, DType::f32));
    parameter.is_parameter = true;
    v = c.node("add", {v, &parameter});
    if (is_half) v = c.node("cast", {v}, {{"to", int64_t(DType::bf16)}});
  }
  return is_half ? c.node("cast", {v}, {{"to", int64_t(DType::f32)}}) : v;
}
inline Value* positions(Case& c, int64_t count, int64_t start, llvm::ArrayRef<int64_t> dims) {
  Value* v = c.node("iota", {},
                    {{"size", Dim(count)}, {"start", Dim(start)}, {"step", Dim(1)}, {"dtype", int64_t(DType::i64)}});
  return reshape(c, v, dims);
}
// [batch or 1, 1, queries, keys]: what is allowed.
inline Value* allowed(Case& c, const Form& f) {
  if (f.mask == Mask::chosen || f.mask == Mask::shut_rows) {
    Value* v = c.input(DType::boolean, {f.batch, 1, f.queries, f.keys});
    Array& a = c.arrays[v->name];
    for (size_t k = 0; k < a.i.size(); ++k) {
      const int64_t row = int64_t(k) / f.keys % f.queries, key = int64_t(k) % f.keys;
      if (key == 0) a.i[k] = 1;
      if (f.mask == Mask::shut_rows && row % 3 == 1) a.i[k] = 0;
    }
    return v;
  }
  Value* row = positions(c, f.queries, f.keys - f.queries, {1, 1, f.queries, 1});
  Value* column = positions(c, f.keys, 0, {1, 1, 1, f.keys});
  Value* v = c.node("less_equal", {column, row});
  if (f.mask == Mask::window)
    v = c.node("and", {v, c.node("greater", {c.node("add", {column, &c.build.scalar(DType::i64, 7)}), row})});
  if (f.mask == Mask::padding) {
    Value* pad = c.input(DType::boolean, {f.batch, 1, 1, f.keys});
    for (int64_t& x : c.arrays[pad->name].i) x = x || c.random.below(4) ? 1 : 0;
    v = c.node("and", {v, pad});
  }
  return v;
}
inline Value* masked(Case& c, const Form& f, Value* scores) {
  if (f.mask == Mask::none) return scores;
  if (f.mask == Mask::plain) {  // a bias for each head, say
    auto either = [&](int64_t n) { return c.random.below(2) ? n : 1; };
    return c.node("add", {scores, numbers(c, {either(f.batch), either(f.heads), either(f.queries), either(f.keys)})});
  }
  Value* shut = &c.build.scalar(DType::f32, f.is_infinite ? -INFINITY : double(std::numeric_limits<float>::lowest()));
  Value* open = allowed(c, f);
  if (f.mask == Mask::chosen) return c.node("where", {c.node("not", {open}), shut, scores});
  return c.node("add", {scores, c.node("where", {open, &c.build.scalar(DType::f32, 0), shut})});
}
// Keys or values of fewer heads, [batch, heads, n, depth], each repeated for those that share it.
inline Value* shared(Case& c, const Form& f, int64_t n, int64_t depth) {
  const int64_t own = f.heads / f.shared;
  Value* v = transpose(c, numbers(c, {f.batch, n, own, depth}, f.is_half, f.trains), {0, 2, 1, 3});
  if (f.shared == 1 || f.is_grouped) return v;
  if (f.repeats) return c.node("repeat", {v}, {{"axis", int64_t(1)}, {"times", f.shared}});
  v = c.node("expand", {reshape(c, v, {f.batch, own, 1, n, depth})},
             {{"dims", Dims{Dim(f.batch), Dim(own), Dim(f.shared), Dim(n), Dim(depth)}}});
  return reshape(c, v, {f.batch, f.heads, n, depth});
}
inline Value* build(Case& c, const Form& f) {
  Value* q = transpose(c, numbers(c, {f.batch, f.queries, f.heads, f.depth}, f.is_half, f.trains), {0, 2, 1, 3});
  Value *k = shared(c, f, f.keys, f.depth), *v = shared(c, f, f.keys, f.width);
  const int64_t all = f.batch * f.heads;
  if (f.is_transposed) k = transpose(c, k, {0, 1, 3, 2});
  const std::string batch = f.is_joined ? "z" : f.is_grouped ? "b g h" : "b h", keys = f.is_transposed ? "d t" : "t d";
  const std::string of_keys = f.is_grouped ? "b g" : batch;
  if (f.is_joined) {
    q = reshape(c, q, {all, f.queries, f.depth});
    k = f.is_transposed ? reshape(c, k, {all, f.depth, f.keys}) : reshape(c, k, {all, f.keys, f.depth});
    v = reshape(c, v, {all, f.keys, f.width});
  }
  const int64_t own = f.heads / f.shared;
  if (f.is_grouped) q = reshape(c, q, {f.batch, own, f.shared, f.queries, f.depth});
  Value* s = c.node("contract", {q, k},
                    {{"loops", contract_loops(batch + " s d, " + of_keys + " " + keys + " -> " + batch + " s t")}});
  s = c.node("mul", {s, &c.build.scalar(DType::f32, 0.25)});
  if (f.caps)
    s = c.node("mul",
               {c.node("tanh", {c.node("div", {s, &c.build.scalar(DType::f32, 4)})}), &c.build.scalar(DType::f32, 4)});
  if (f.is_joined || f.is_grouped) s = reshape(c, s, {f.batch, f.heads, f.queries, f.keys});
  s = masked(c, f, s);
  if (f.is_joined) s = reshape(c, s, {all, f.queries, f.keys});
  Value* p = c.node("softmax", {s}, {{"axis", int64_t(f.is_joined ? 2 : 3)}});
  if (f.cleans) p = c.node("where", {c.node("is_nan", {p}), &c.build.scalar(DType::f32, 0), p});
  if (f.is_half)
    p = c.node("cast", {c.node("cast", {p}, {{"to", int64_t(DType::bf16)}})}, {{"to", int64_t(DType::f32)}});
  if (f.is_grouped) p = reshape(c, p, {f.batch, own, f.shared, f.queries, f.keys});
  const std::string result = f.is_joined ? "z s d" : f.is_grouped ? "b s g h d" : "b s h d";
  return c.node("contract", {p, v}, {{"loops", contract_loops(batch + " s t, " + of_keys + " t d -> " + result)}});
}

inline Form any_form() {
  auto below = [](int64_t n) { return *rc::gen::inRange<int64_t>(0, n); };
  auto either = [&] { return below(2) == 1; };
  static constexpr int64_t extents[] = {1, 2, 3, 6, 7, 16, 31, 49, 64, 65, 100, 130};
  auto extent = [&] { return extents[below(std::size(extents))]; };
  Form f;
  f.batch = 1 + below(3), f.shared = 1 + below(3), f.heads = f.shared * (1 + below(2));
  f.queries = extent(), f.keys = either() ? f.queries : f.queries + extent();
  f.depth = 1 + below(70), f.width = either() ? f.depth : 1 + below(140);
  f.mask = Mask(below(7));
  f.is_infinite = either(), f.is_joined = either(), f.is_transposed = either(), f.repeats = either();
  f.is_grouped = !f.is_joined && either();
  f.caps = either(), f.cleans = either(), f.is_half = below(4) == 0;
  f.whole_mask_bytes = either() ? 0 : 1 << 20, f.threads = 1 + below(3);
  f.seed = uint32_t(below(1 << 20));
  return f;
}

}  // namespace optp
