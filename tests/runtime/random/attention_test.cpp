// Attention as one step computes what its nodes mean one by one: any form that exporters leave, masks of all kinds,
// extents that are no multiple of a block. Whatever the number of threads, it computes the same bits.
#include "tests/runtime/random/attention_forms.h"

namespace optp {
namespace {

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
    c.output(build(c, f));
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
      c.output(build(
          c, {.heads = 6, .shared = 3, .keys = 9, .mask = Mask::none, .is_joined = is_joined, .repeats = repeats}));
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
    c.output(build(c, {.heads = 2, .queries = n, .keys = n, .depth = 16, .width = 16, .mask = Mask::padding}));
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
      {"what is made of the scores is read beside the probabilities",
       [&](Case& c, Value* q, Value* k, Value* v) {
         Value* s = scores(c, q, k, "b s d, b t d -> b s t");
         Value* open = c.node("greater", {s, &c.build.scalar(DType::f32, 0)});
         Value* p = softmax(c, c.node("where", {open, s, &c.build.scalar(DType::f32, -1)}), 2);
         p = c.node("where", {open, p, &c.build.scalar(DType::f32, 0)});
         return sum(c, p, v, "b s t, b t d -> b s d");
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
