// Attention as one step computes what its nodes mean one by one: any form that exporters leave, masks of all kinds,
// extents that are no multiple of a block. Whatever the number of threads, it computes the same bits.
#include "tests/properties.h"
#include "tests/runtime/kernel_case.h"

namespace optp {
namespace {

enum class Mask { none, causal, window, padding, plain, chosen, shut_rows };
struct Form {
  int64_t batch = 1, heads = 2, shared = 1;  // so many heads share keys and values
  int64_t queries = 5, keys = 5, depth = 4, width = 4;
  Mask mask = Mask::causal;
  bool is_infinite = false;    // masks are -inf, not the lowest float
  bool is_joined = false;      // batch and heads are one dim in the products
  bool is_transposed = false;  // keys are laid out [depth, keys]
  bool repeats = false;        // shared heads by repeat, not by expand
  bool caps = false, cleans = false, is_half = false;
  int64_t whole_mask_bytes = 0, threads = 1;
  uint32_t seed = 0;
};

Value* reshape(Case& c, Value* v, llvm::ArrayRef<int64_t> dims) {
  return c.node("reshape", {v}, {{"dims", Dims(dims.begin(), dims.end())}});
}
Value* transpose(Case& c, Value* v, llvm::SmallVector<int64_t, 4> perm) {
  return c.node("transpose", {v}, {{"perm", std::move(perm)}});
}
// Small numbers, so that what a product loses to rounding stays small in the exponent.
Value* numbers(Case& c, llvm::ArrayRef<int64_t> dims, bool is_half = false) {
  Value* v = c.input(is_half ? DType::bf16 : DType::f32, dims);
  for (double& x : c.arrays[v->name].f) x /= 4;
  return is_half ? c.node("cast", {v}, {{"to", int64_t(DType::f32)}}) : v;
}
Value* positions(Case& c, int64_t count, int64_t start, llvm::ArrayRef<int64_t> dims) {
  Value* v = c.node("iota", {},
                    {{"size", Dim(count)}, {"start", Dim(start)}, {"step", Dim(1)}, {"dtype", int64_t(DType::i64)}});
  return reshape(c, v, dims);
}
// [batch or 1, 1, queries, keys]: what is allowed.
Value* allowed(Case& c, const Form& f) {
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
Value* masked(Case& c, const Form& f, Value* scores) {
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
Value* shared(Case& c, const Form& f, int64_t n, int64_t depth) {
  const int64_t own = f.heads / f.shared;
  Value* v = transpose(c, numbers(c, {f.batch, n, own, depth}, f.is_half), {0, 2, 1, 3});
  if (f.shared == 1) return v;
  if (f.repeats) return c.node("repeat", {v}, {{"axis", int64_t(1)}, {"times", f.shared}});
  v = c.node("expand", {reshape(c, v, {f.batch, own, 1, n, depth})},
             {{"dims", Dims{Dim(f.batch), Dim(own), Dim(f.shared), Dim(n), Dim(depth)}}});
  return reshape(c, v, {f.batch, f.heads, n, depth});
}
void build(Case& c, const Form& f) {
  Value* q = transpose(c, numbers(c, {f.batch, f.queries, f.heads, f.depth}, f.is_half), {0, 2, 1, 3});
  Value *k = shared(c, f, f.keys, f.depth), *v = shared(c, f, f.keys, f.width);
  const int64_t all = f.batch * f.heads;
  if (f.is_transposed) k = transpose(c, k, {0, 1, 3, 2});
  const std::string batch = f.is_joined ? "z" : "b h", keys = f.is_transposed ? "d t" : "t d";
  if (f.is_joined) {
    q = reshape(c, q, {all, f.queries, f.depth});
    k = f.is_transposed ? reshape(c, k, {all, f.depth, f.keys}) : reshape(c, k, {all, f.keys, f.depth});
    v = reshape(c, v, {all, f.keys, f.width});
  }
  Value* s = c.node("contract", {q, k},
                    {{"loops", contract_loops(batch + " s d, " + batch + " " + keys + " -> " + batch + " s t")}});
  s = c.node("mul", {s, &c.build.scalar(DType::f32, 0.25)});
  if (f.caps)
    s = c.node("mul",
               {c.node("tanh", {c.node("div", {s, &c.build.scalar(DType::f32, 4)})}), &c.build.scalar(DType::f32, 4)});
  if (f.is_joined) s = reshape(c, s, {f.batch, f.heads, f.queries, f.keys});
  s = masked(c, f, s);
  if (f.is_joined) s = reshape(c, s, {all, f.queries, f.keys});
  Value* p = c.node("softmax", {s}, {{"axis", int64_t(f.is_joined ? 2 : 3)}});
  if (f.cleans) p = c.node("where", {c.node("is_nan", {p}), &c.build.scalar(DType::f32, 0), p});
  if (f.is_half)
    p = c.node("cast", {c.node("cast", {p}, {{"to", int64_t(DType::bf16)}})}, {{"to", int64_t(DType::f32)}});
  const std::string result = f.is_joined ? "z s d" : "b s h d";
  c.output(c.node("contract", {p, v}, {{"loops", contract_loops(batch + " s t, " + batch + " t d -> " + result)}}));
}

Form any_form() {
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
  f.caps = either(), f.cleans = either(), f.is_half = below(4) == 0;
  f.whole_mask_bytes = either() ? 0 : 1 << 20, f.threads = 1 + below(3);
  f.seed = uint32_t(below(1 << 20));
  return f;
}

int64_t attentions(const Case& c) {
  return llvm::count_if(c.steps, [](const std::string& s) {
    const size_t softmax = s.find("softmax");
    return softmax != std::string::npos && s.find("contract", softmax) != std::string::npos;
  });
}

// Inputs are at most 1, values too. A score's error is that of a sum of depth terms and a few steps, of size depth / 4
// at most; twice that is the relative error of a probability, and exp and the sums over the keys add theirs. A
// probability in bfloat16 is off by 2^-9 of itself, and where the one in float64 is rounded another way by as much
// again.
double allowed_error(const Form& f) {
  constexpr double u = 0x1p-24;
  const double score = double(f.depth + 8) * u * (double(f.depth) / 4 + 5);
  return 2 * score + double(2 * f.keys + 24) * u + (f.is_half ? 0x1p-7 : 0);
}
bool agrees(Case& c, const Form& f) {
  const HostArrays found = c.run({.threads = int(f.threads), .whole_mask_bytes = f.whole_mask_bytes});
  auto expected = run_reference({&c.graph}, {c.arrays});
  REQUIRE_MESSAGE(bool(expected), text(expected.takeError()));
  for (const GraphOutput& o : c.graph.outputs) {
    const Array e = (*expected)[0].find(o.name)->second, g = to_array(found.find(o.name)->second);
    for (int64_t k = 0; k < e.elements(); ++k) {
      const double a = e.number(k), b = g.number(k);
      if (std::isnan(a) != std::isnan(b) || std::fabs(a - b) > allowed_error(f)) {
        std::printf("%s[%lld]: expected %.9g, found %.9g, allowed %.3g\n", o.name.c_str(), static_cast<long long>(k), a,
                    b, allowed_error(f));
        return false;
      }
    }
  }
  return true;
}
}  // namespace

TEST_CASE("attention as one step computes what its nodes mean") {
  check_property("any form, mask and extents", [] {
    const Form f = any_form();
    Random random;
    random.engine.seed(f.seed);
    Case c(random);
    build(c, f);
    RC_ASSERT(agrees(c, f));
    RC_ASSERT(attentions(c) == 1);
    RC_ASSERT(c.steps.size() <= (f.mask == Mask::none || f.mask == Mask::plain ? 1u : 12u));
    const HostArrays alone = c.run({.threads = 1, .whole_mask_bytes = 0}),
                     several = c.run({.threads = 4, .whole_mask_bytes = 1 << 20});
    for (const auto& [name, array] : alone) RC_ASSERT(array.bytes == several.find(name)->second.bytes);
  });
}

TEST_CASE("heads that share keys and values cost no copies, however the sharing is written") {
  for (bool repeats : {false, true})
    for (bool is_joined : {false, true}) {
      Random random;
      Case c(random);
      build(c, {.heads = 6, .shared = 3, .keys = 9, .mask = Mask::none, .is_joined = is_joined, .repeats = repeats});
      c.run();
      CHECK(c.steps.size() == 1);
    }
}

TEST_CASE("attention's memory does not grow with the square of the sequence, nor does its mask's") {
  int64_t bytes[2] = {};
  for (int64_t k : {0, 1}) {
    const int64_t n = k ? 4096 : 1024;
    Random random;
    Case c(random);
    build(c, {.heads = 2, .queries = n, .keys = n, .depth = 16, .width = 16, .mask = Mask::padding});
    auto memory = Executable::plan_memory_of(c.graph);
    REQUIRE(bool(memory));
    bytes[k] = memory->arena_actual_bytes;
  }
  CHECK(bytes[1] < 4 * bytes[0] + (bytes[0] / 4));
  CHECK(bytes[1] < 4096 * 4096);  // a byte for each pair
}

TEST_CASE("keys that no query of a block may see are not read") {
  for (int64_t queries : {1, 60})
    for (bool is_infinite : {false, true}) {
      Random random;
      Case c(random);
      const int64_t keys = 640, seen = 200;
      Value* q = numbers(c, {1, queries, 2, 4});
      Value *k = numbers(c, {1, keys, 2, 4}), *v = numbers(c, {1, keys, 2, 4});
      for (Value* x : {k, v})
        for (size_t at = 256 * 8; at < c.arrays[x->name].f.size(); ++at) c.arrays[x->name].f[at] = NAN;
      Value* open = c.node("less", {positions(c, keys, 0, {1, 1, 1, keys}), &c.build.scalar(DType::i64, seen)});
      Value* shut = &c.build.scalar(DType::f32, is_infinite ? -INFINITY : double(std::numeric_limits<float>::lowest()));
      Value* s = c.node("contract", {q, k}, {{"loops", contract_loops("b s h d, b t h d -> b h s t")}});
      s = c.node("add", {s, c.node("where", {open, &c.build.scalar(DType::f32, 0), shut})});
      Value* p = c.node("softmax", {s}, {{"axis", int64_t(3)}});
      c.output(c.node("contract", {p, v}, {{"loops", contract_loops("b h s t, b t h d -> b s h d")}}));
      const Array found = to_array(c.run().find("out0")->second);
      CHECK(attentions(c) == 1);
      CHECK(llvm::none_of(found.f, [](double x) { return std::isnan(x); }));
    }
}

TEST_CASE("what is not attention is not run as one") {
  using Change = std::function<Value*(Case&, Value*, Value*, Value*)>;
  auto scores = [](Case& c, Value* q, Value* k, const char* loops) {
    return c.node("contract", {q, k}, {{"loops", contract_loops(loops)}});
  };
  auto sum = [](Case& c, Value* p, Value* v, const char* loops) {
    return c.node("contract", {p, v}, {{"loops", contract_loops(loops)}});
  };
  auto softmax = [](Case& c, Value* s, int64_t axis) { return c.node("softmax", {s}, {{"axis", axis}}); };
  const std::pair<const char*, Change> changes[] = {
      {"softmax over queries",
       [&](Case& c, Value* q, Value* k, Value* v) {
         return sum(c, softmax(c, scores(c, q, k, "b s d, b t d -> b s t"), 1), v, "b s t, b t d -> b s d");
       }},
      {"probabilities are an output",
       [&](Case& c, Value* q, Value* k, Value* v) {
         Value* p = softmax(c, scores(c, q, k, "b s d, b t d -> b s t"), 2);
         c.output(p);
         return sum(c, p, v, "b s t, b t d -> b s d");
       }},
      {"scores are used again",
       [&](Case& c, Value* q, Value* k, Value* v) {
         Value* s = scores(c, q, k, "b s d, b t d -> b s t");
         c.output(c.node("neg", {s}));
         return sum(c, softmax(c, s, 2), v, "b s t, b t d -> b s d");
       }},
      {"the values are summed over queries",
       [&](Case& c, Value* q, Value* k, Value* v) {
         return sum(c, softmax(c, scores(c, q, k, "b s d, b t d -> b s t"), 2), v, "b t s, b t d -> b s d");
       }},
      {"the probabilities are made into values",
       [&](Case& c, Value* q, Value* k, Value* v) {
         return sum(c, softmax(c, scores(c, q, k, "b s d, b t d -> b s t"), 2), v, "b s t, b t d -> b s t d");
       }},
      {"nothing is summed over depth",
       [&](Case& c, Value* q, Value* k, Value* v) {
         Value* s = scores(c, q, k, "b s d, b s t -> b s t d");
         return sum(c, softmax(c, s, 3), v, "b s t d, b t d -> b s t");
       }},
  };
  for (const auto& [what, change] : changes) {
    CAPTURE(what);
    Random random;
    Case c(random);
    Value *q = numbers(c, {2, 5, 5}), *k = numbers(c, {2, 5, 5}), *v = numbers(c, {2, 5, 5});
    c.output(change(c, q, k, v));
    c.compare();
    CHECK(attentions(c) == 0);
  }
}

TEST_CASE("attention without queries, keys or numbers is what its nodes make of it") {
  for (int64_t empty : {0, 1, 2, 3, 4}) {
    Random random;
    Case c(random);
    const int64_t batch = empty == 0 ? 0 : 2, queries = empty == 1 ? 0 : 3, keys = empty == 2 ? 0 : 4,
                  depth = empty == 3 ? 0 : 5, width = empty == 4 ? 0 : 6;
    Value* s = c.node("contract", {numbers(c, {batch, queries, depth}), numbers(c, {batch, keys, depth})},
                      {{"loops", contract_loops("b s d, b t d -> b s t")}});
    Value* p = c.node("softmax", {s}, {{"axis", int64_t(2)}});
    c.output(c.node("contract", {p, numbers(c, {batch, keys, width})},
                    {{"loops", contract_loops("b s t, b t d -> b s d")}}));
    c.compare();
  }
}
}  // namespace optp
