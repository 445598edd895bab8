// A decoder with caches, run over the tokens in steps, gives for each token what the plain graph gives for all of them
// at once.
#include "passes/cached_decoder.h"

#include <doctest/doctest.h>

#include <cmath>
#include <filesystem>
#include <map>
#include <random>

#include "frontend/ir/op.h"
#include "frontend/ir/parse.h"
#include "frontend/onnx/import.h"
#include "passes/pipeline.h"
#include "runtime/reference.h"
#include "tests/must.h"

using namespace optp;
namespace fs = std::filesystem;

namespace {
using Random = std::mt19937_64;
int64_t draw(Random& random, int64_t low, int64_t high) { return std::uniform_int_distribution(low, high)(random); }

constexpr int64_t rows = 2, tokens = 7;
const Dim capacity_dim = Dim::symbol("capacity");

bool is_state(const Graph& graph, llvm::StringRef output) {
  return llvm::any_of(graph.states, [&](const State& s) { return s.output == output; });
}
bool is_cache(const Graph& graph, const Value& input) {
  return llvm::any_of(graph.states, [&](const State& s) { return s.input == input.name; });
}
Array filled(const Value& v, const DimValues& dims, llvm::function_ref<int64_t(int64_t)> number) {
  Array out;
  llvm::SmallVector<int64_t, 4> extents;
  for (Dim d : v.type.dims) extents.push_back(must(evaluate(d, dims)));
  out.resize(is_float(v.type.dtype), extents);
  for (int64_t k = 0; k < out.elements(); ++k)
    if (out.is_float)
      out.f[size_t(k)] = double(number(k));
    else
      out.i[size_t(k)] = number(k);
  return out;
}
// `count` columns of a [rows, …, n, …] array, from `first` on along `axis`.
Array columns(const Array& a, size_t axis, int64_t first, int64_t count) {
  Array out;
  llvm::SmallVector<int64_t, 4> dims = a.dims;
  dims[axis] = count;
  out.resize(a.is_float, dims);
  const int64_t inner = count_of(llvm::ArrayRef<int64_t>(dims).drop_front(axis + 1));
  for (int64_t k = 0; k < out.elements(); ++k) {
    const int64_t i = k % inner, c = k / inner % count, o = k / inner / count;
    const size_t from = size_t((o * a.dims[axis] + first + c) * inner + i);
    if (out.is_float)
      out.f[size_t(k)] = a.f[from];
    else
      out.i[size_t(k)] = a.i[from];
  }
  return out;
}

// What the plain graph is given: ids at random, a mask whose first column is one, so that every token sees another.
class Texts {
 public:
  Texts(const Graph& plain, int64_t vocabulary, Random& random) : dims_{{"batch", rows}, {"sequence", tokens}} {
    for (const State& s : plain.states)
      if (const auto past = name_of(plain.find(s.input)->type.dims[size_t(s.axis)])) dims_[past->str()] = 0;
    for (const Value* v : plain.inputs)
      given_[v->name] = filled(*v, dims_, [&](int64_t k) -> int64_t {
        const llvm::StringRef name = v->name;
        if (name.contains("mask")) return k % tokens == 0 ? 1 : draw(random, 0, 1);
        if (name.contains("position")) return k % tokens;
        return draw(random, 0, (name.contains("type") ? 2 : vocabulary) - 1);
      });
    auto bound = must(bind_dims(plain, dims_));
    outputs_ = must(run_reference({bound.get()}, {given_}))[0];
  }
  const Array& output(llvm::StringRef name) const { return outputs_.find(name)->second; }
  // For `count` tokens from `taken` on. Of what is about all of them, those that come later may be anything.
  Array input(const Value& v, int64_t taken, int64_t count, int64_t capacity, Random& random) const {
    if (v.name == "cache_position") return filled(v, {{"sequence", count}}, [&](int64_t k) { return taken + k; });
    const Array& whole = given_.find(v.name)->second;
    if (v.type.dims[1] != capacity_dim) return columns(whole, 1, taken, count);
    return filled(v, {{"batch", rows}, {"capacity", capacity}}, [&](int64_t k) {
      const int64_t row = k / capacity, column = k % capacity;
      return column < tokens ? int64_t(whole.number(row * tokens + column)) : draw(random, 0, 1);
    });
  }

 private:
  DimValues dims_;
  NamedArrays given_, outputs_;
};

// A sum over all of a cache adds zeros for what is not there yet; nothing else differs, so numbers are equal but for
// the order in which a float64 sum takes its terms.
void check_equal(const Array& found, const Array& expected) {
  REQUIRE(found.dims == expected.dims);
  for (int64_t k = 0; k < found.elements(); ++k) {
    const double x = found.number(k), y = expected.number(k);
    REQUIRE(std::isfinite(y));
    REQUIRE(std::fabs(x - y) <= 1e-11 * (1 + std::fabs(y)));
  }
}
enum class Rows { all, last };
void check_steps(const Graph& plain, const Graph& cached, Rows given, const Texts& texts, int64_t capacity,
                 Random& random) {
  NamedArrays caches;
  for (const Value* v : cached.inputs)
    if (is_cache(cached, *v))
      caches[v->name] = filled(*v, {{"batch", rows}, {"capacity", capacity}}, [](int64_t) { return 0; });
  for (int64_t taken = 0; taken < tokens;) {
    const int64_t count = draw(random, 1, std::min<int64_t>(3, tokens - taken));
    CAPTURE(taken);
    CAPTURE(count);
    NamedArrays inputs = caches;
    for (const Value* v : cached.inputs)
      if (!is_cache(cached, *v)) inputs[v->name] = texts.input(*v, taken, count, capacity, random);
    auto bound = must(bind_dims(cached, {{"batch", rows}, {"sequence", count}, {"capacity", capacity}}));
    NamedArrays outputs = must(run_reference({bound.get()}, {inputs}))[0];
    for (const GraphOutput& o : plain.outputs)
      if (!is_state(plain, o.name))
        check_equal(outputs[o.name], given == Rows::all ? columns(texts.output(o.name), 1, taken, count)
                                                        : columns(texts.output(o.name), 1, taken + count - 1, 1));
    for (const State& s : cached.states) caches[s.input] = outputs[s.output];
    taken += count;
  }
}
int64_t vocabulary_of(const Graph& graph) {
  const Value& ids = *must(ids_of(graph));
  int64_t out = 1;
  for (const Use& use : ids.uses)
    if (use.node->op->is(Trait::looks_up)) out = use.node->operand(0).type.dims[0].constant().value_or(1);
  return out;
}
void check_decoder(const Graph& plain) {
  auto cached = must(cached_decoder(plain, capacity_dim));
  must(verify(*cached));
  auto last = cached->clone();
  must(keep_last_logits(*last));
  last->erase_dead();
  must(verify(*last));
  Random random(404);
  const Texts texts(plain, vocabulary_of(plain), random);
  for (const int64_t capacity : {tokens, tokens + 3})
    for (int split = 0; split < 3; ++split) {
      CAPTURE(capacity);
      CAPTURE(split);
      check_steps(plain, *cached, Rows::all, texts, capacity, random);
      check_steps(plain, *last, Rows::last, texts, capacity, random);
    }
}

// A decoder of two layers with four heads of four. Its parts are where models differ; in them, KEYS is how many tokens
// are seen, @ the layer.
struct DecoderParts {
  std::string inputs = "";
  std::string embedding = "%h0 = relu(%x)\n";  // of %x: %h0
  std::string heads =
      "%kk@ = reshape(%k@) {dims = [batch, sequence, 4, 4]}\n"  // of %k@, %v@: %kk@, %vv@
      "%vv@ = reshape(%v@) {dims = [batch, sequence, 4, 4]}\n";
  std::string turn = "%qr@ = relu(%qq@)\n%kr@ = relu(%kk@)\n";  // of %qq@, %kk@: %qr@, %kr@
  std::string join = "%ka@ = cast(%kr@) {to = 1}\n%va@ = cast(%vv@) {to = 1}\n";
  std::string mask = causal;  // of %i, the tokens, and %j, all that are seen: %allowed
  std::string apply = "%m@ = where(%allowed, %s@, %least)\n";
  std::string outputs = "";
  int64_t key_heads = 4;
  std::string keys = "sequence", past = "0";

  static const char* const causal;
};
const char* const DecoderParts::causal = R"(
%rows = reshape(%i) {dims = [1, 1, sequence, 1]}
%columns = reshape(%j) {dims = [1, 1, 1, KEYS]}
%allowed = less_equal(%columns, %rows)
)";
std::string replaced(std::string text, const std::string& from, const std::string& to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
  return text;
}
std::string text_of(const DecoderParts& p) {
  const std::string width = std::to_string(4 * p.key_heads);
  std::string text = "input %input_ids: i64[batch, sequence]\n" + p.inputs +
                     "data %table: f32[13, 16]\ndata %zero: f32[] = 0\ndata %least: f32[] = -1e9\n"
                     "data %one: i64[] = 1\n"
                     "%x = gather(%table, %input_ids) {axis = 0}\n"
                     "%i = iota() {dtype = 7, size = sequence, start = PAST, step = 1}\n"
                     "%j = iota() {dtype = 7, size = KEYS, start = 0, step = 1}\n" +
                     p.mask + p.embedding;
  for (int layer = 0; layer < 2; ++layer) {
    const std::string one =
        "data %wq@: f32[16, 16]\ndata %wk@: f32[16, WIDTH]\ndata %wv@: f32[16, WIDTH]\ndata %wo@: f32[4, 4, 16]\n"
        "%q@ = contract(%h@, %wq@) {loops = \"b s k, k n -> b s n\"}\n"
        "%k@ = contract(%h@, %wk@) {loops = \"b s k, k n -> b s n\"}\n"
        "%v@ = contract(%h@, %wv@) {loops = \"b s k, k n -> b s n\"}\n"
        "%qq@ = reshape(%q@) {dims = [batch, sequence, 4, 4]}\n" +
        p.heads + p.turn + p.join + "%s@ = contract(%qr@, %ka@) {loops = \"b s h d, b t h d -> b h s t\"}\n" + p.apply +
        "%p@ = softmax(%m@) {axis = 3}\n"
        "%o@ = contract(%p@, %va@) {loops = \"b h s t, b t h d -> b s h d\"}\n"
        "%r@ = contract(%o@, %wo@) {loops = \"b s h d, h d n -> b s n\"}\n"
        "%hNEXT = add(%h@, %r@)\n";
    text += replaced(replaced(one, "NEXT", std::to_string(layer + 1)), "@", std::to_string(layer));
  }
  text += "%logits = contract(%h2, %table) {loops = \"b s k, n k -> b s n\"}\noutput logits = %logits\n" + p.outputs;
  return replaced(replaced(replaced(text, "KEYS", p.keys), "PAST", p.past), "WIDTH", width);
}
// Weights that the text leaves open are drawn.
std::unique_ptr<Graph> graph_of(const DecoderParts& parts) {
  auto graph = must(parse_graph(text_of(parts), "a decoder"));
  Random random(7);
  for (Value* v : graph->data()) {
    if (!v->data->is_missing()) continue;
    Array a = filled(*v, {}, [](int64_t) { return 0; });
    for (double& x : a.f) x = std::normal_distribution(0.0, 0.5)(random);
    v->data = to_tensor(a, v->type.dtype);
  }
  return graph;
}

using Decoders = std::map<std::string, DecoderParts>;
const std::string mask_input = "input %attention_mask: i64[batch, KEYS]\n";
const std::string padding =
    "%some = cast(%attention_mask) {to = 9}\n%seen = reshape(%some) {dims = [batch, 1, 1, KEYS]}\n";
const std::string causal = replaced(DecoderParts::causal, "%allowed", "%earlier");

Decoders of_positions() {
  const std::string learned = "data %places: f32[12, 16]\n%e = gather(%places, %place) {axis = 0}\n%h0 = add(%x, %e)\n";
  return {
      {"no positions", {}},
      {"positions from a running sum of the mask",
       {.inputs = mask_input,
        .embedding = "%sum = cumsum(%attention_mask) {axis = 1}\n%place = sub(%sum, %one)\n" + learned,
        .mask = causal + padding + "%allowed = and(%earlier, %seen)\n"}},
      {"positions as an input",
       {.inputs = "input %position_ids: i64[batch, sequence]\n",
        .embedding = replaced(learned, "%place)", "%position_ids)")}},
      {"positions counted", {.embedding = replaced(learned, "%place)", "%i)")}},
      {"a stretch of a table of positions",
       {.embedding = "data %places: f32[12, 16]\n%e = slice(%places) {axis = 0, start = 0, size = sequence, step = 1}\n"
                     "%h0 = add(%x, %e)\n"}},
      {"token types",
       {.inputs = "input %token_type_ids: i64[batch, sequence]\n",
        .embedding = "data %types: f32[2, 16]\n%e = gather(%types, %token_type_ids) {axis = 0}\n"
                     "%h0 = add(%x, %e)\n"}},
      {"rotary positions",
       {.embedding = "data %speeds: f32[2] = [1, 0.1]\n%if = cast(%i) {to = 1}\n"
                     "%angle = contract(%if, %speeds) {loops = \"s, d -> s d\"}\n"
                     "%c = cos(%angle)\n%cos = reshape(%c) {dims = [1, sequence, 1, 2]}\n"
                     "%d = sin(%angle)\n%sin = reshape(%d) {dims = [1, sequence, 1, 2]}\n%h0 = relu(%x)\n",
        .turn =
            [] {
              const std::string one =
                  "%X1@ = slice(%XX@) {axis = 3, start = 0, size = 2, step = 1}\n"
                  "%X2@ = slice(%XX@) {axis = 3, start = 2, size = 2, step = 1}\n"
                  "%X7a@ = mul(%X1@, %cos)\n%X7b@ = mul(%X2@, %sin)\n%X7c@ = sub(%X7a@, %X7b@)\n"
                  "%X7d@ = mul(%X2@, %cos)\n%X7e@ = mul(%X1@, %sin)\n%X7f@ = add(%X7d@, %X7e@)\n"
                  "%Xr@ = concat(%X7c@, %X7f@) {axis = 3}\n";
              return replaced(one, "X", "q") + replaced(one, "X", "k");
            }()}},
      {"ALiBi: scores fall with the distance",
       {.embedding = "data %slopes: f32[4, 1, 1] = [0.5, 0.25, 0.125, 0.0625]\n"
                     "%away = sub(%columns, %rows)\n%far = cast(%away) {to = 1}\n%bias = mul(%far, %slopes)\n"
                     "%h0 = relu(%x)\n",
        .apply = "%t@ = add(%s@, %bias)\n%m@ = where(%allowed, %t@, %least)\n"}},
  };
}
Decoders of_heads_and_masks() {
  return {
      {"two heads for keys",
       {.heads =
            [] {
              const std::string one =
                  "%Xg@ = reshape(%X@) {dims = [batch, sequence, 2, 1, 4]}\n"
                  "%Xe@ = expand(%Xg@) {dims = [batch, sequence, 2, 2, 4]}\n"
                  "%XX@ = reshape(%Xe@) {dims = [batch, sequence, 4, 4]}\n";
              return replaced(one, "X", "k") + replaced(one, "X", "v");
            }(),
        .key_heads = 2}},
      {"a sliding window",
       {.mask = causal + "data %window: i64[] = 3\n%away = sub(%rows, %columns)\n%near = less(%away, %window)\n"
                         "%allowed = and(%earlier, %near)\n"}},
      {"an additive mask",
       {.mask = std::string(DecoderParts::causal) + "%mask = where(%allowed, %zero, %least)\n",
        .apply = "%m@ = add(%s@, %mask)\n"}},
      {"a mask of minus infinity",
       {.mask = std::string(DecoderParts::causal) +
                "data %never: f32[] = 0xff800000\n%mask = where(%allowed, %zero, %never)\n",
        .apply = "%m@ = add(%s@, %mask)\n"}},
      {"scores less their largest",
       {.apply = "%t@ = where(%allowed, %s@, %least)\n%top@ = reduce_max(%t@) {axes = [3], keepdims = 1}\n"
                 "%m@ = sub(%t@, %top@)\n"}},
      {"a mask made of ids, 0 being padding",
       {.mask = causal + "data %pad: i64[] = 0\n%is_pad = equal(%input_ids, %pad)\n%is_text = not(%is_pad)\n"
                         "%seen = reshape(%is_text) {dims = [batch, 1, 1, sequence]}\n"
                         "%first = equal(%columns, %pad)\n%either = or(%seen, %first)\n"
                         "%allowed = and(%earlier, %either)\n"}},
      {"caches of its own",
       {.inputs = "dim past >= 0\n" + mask_input +
                  "input %past.0.key: f32[batch, past, 4, 4]\ninput %past.0.value: f32[batch, past, 4, 4]\n"
                  "input %past.1.key: f32[batch, past, 4, 4]\ninput %past.1.value: f32[batch, past, 4, 4]\n",
        .join = "%ka@ = concat(%past.@.key, %kr@) {axis = 1}\n%va@ = concat(%past.@.value, %vv@) {axis = 1}\n",
        .mask = causal + padding + "%allowed = and(%earlier, %seen)\n",
        .outputs = "output present.0.key = %ka0\noutput present.0.value = %va0\noutput present.1.key = %ka1\n"
                   "output present.1.value = %va1\nstate %past.0.key -> present.0.key axis 1\n"
                   "state %past.0.value -> present.0.value axis 1\nstate %past.1.key -> present.1.key axis 1\n"
                   "state %past.1.value -> present.1.value axis 1\n",
        .keys = "past + sequence",
        .past = "past"}},
  };
}

Decoders decoders() {
  Decoders out = of_positions();
  out.merge(of_heads_and_masks());
  return out;
}

std::string refusal(const Graph& graph) {
  auto made = cached_decoder(graph, capacity_dim);
  return made ? "" : llvm::toString(made.takeError());
}
}  // namespace

TEST_CASE(
    "a cached decoder gives for each token what the plain graph gives, however tokens are shared out over steps") {
  for (const auto& [name, parts] : decoders()) {
    SUBCASE(name.c_str()) { check_decoder(*graph_of(parts)); }
  }
}

TEST_CASE("each layer of a decoder has a cache of keys and one of values, and no more") {
  for (const auto& [name, parts] : decoders()) {
    CAPTURE(name);
    auto cached = must(cached_decoder(*graph_of(parts), Dim(9)));
    std::vector<std::string> names;
    for (const State& s : cached->states) {
      names.push_back(s.input);
      const Dims dims = cached->find(s.input)->type.dims;
      if (llvm::StringRef(s.input).ends_with(".key") && names.size() <= 4) CHECK(dims[size_t(s.axis)].is(9));
    }
    std::vector<std::string> expected;
    for (const char* n : {"0.key", "0.value", "1.key", "1.value"})
      expected.push_back(std::string("past_key_values.") + n);
    // What is made of ids and seen by later tokens is cached like keys.
    if (name == "a mask made of ids, 0 being padding") {
      CHECK(names.size() == 5);
      continue;
    }
    CHECK(names == expected);
  }
}

TEST_CASE("each causal model of the test data becomes a decoder that gives what it gives; others are refused") {
  const std::map<std::string, std::string> refused = {{"bert-tiny", "scores that let them in"},
                                                      {"albert-tiny", "scores that let them in"}};
  for (const char* room : {"/exports", "/parameters"})
    for (const auto& entry : fs::directory_iterator(std::string(OPTP_TEST_DATA) + room)) {
      const std::string name = entry.path().filename();
      CAPTURE(name);
      auto graph = must(import_onnx((entry.path() / "model.onnx").string()));
      must(run_stages(*graph, "absorb-transposes", "find-states"));
      if (const auto why = refused.find(name); why != refused.end()) {
        CHECK(refusal(*graph).find(why->second) != std::string::npos);
        continue;
      }
      const bool has_weights = llvm::none_of(graph->data(), [](const Value* v) { return v->data->is_missing(); });
      if (has_weights)
        check_decoder(*graph);
      else
        CHECK(refusal(*graph) == "");
    }
}

TEST_CASE("how many tokens a decoder's tables have room for is known, and a cache for more is refused") {
  const std::map<std::string, std::string> limits = {
      {"positions from a running sum of the mask", "places"},
      {"positions as an input", "places"},
      {"positions counted", "places"},
      {"a stretch of a table of positions", "places"},
  };
  for (const auto& [name, parts] : decoders()) {
    CAPTURE(name);
    auto graph = graph_of(parts);
    const auto limit = must(token_limit(*must(cached_decoder(*graph, capacity_dim))));
    const auto table = limits.find(name);
    REQUIRE(limit.has_value() == (table != limits.end()));
    if (!limit) continue;
    CHECK(limit->tokens == 12);
    CHECK(limit->table == table->second);
    CHECK(bool(must(cached_decoder(*graph, Dim(12)))));
    auto larger = cached_decoder(*graph, Dim(13));
    REQUIRE(!larger);
    CHECK(llvm::toString(larger.takeError()) == "table 'places': expected rows for 13 tokens, found for 12");
  }
}

TEST_CASE("rows of a table of positions that stand for something else are no room for tokens") {
  DecoderParts parts{.inputs = "data %two: i64[] = 2\n",
                     .embedding =
                         "data %places: f32[12, 16]\n%place = add(%i, %two)\n%e = gather(%places, %place) {axis = 0}\n"
                         "%h0 = add(%x, %e)\n"};
  const auto limit = must(token_limit(*must(cached_decoder(*graph_of(parts), capacity_dim))));
  REQUIRE(limit);
  CHECK(limit->tokens == 10);
}
