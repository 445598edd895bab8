// Which tensors are parameters, which are one parameter, and which were merged: small graphs, and the twins where a
// pass must not act.
#include <doctest/doctest.h>

#include <cmath>

#include "frontend/ir/builder.h"
#include "passes/formulas.h"
#include "passes/pipeline.h"
#include "tests/must.h"

using namespace optp;

namespace {
const Dim b = Dim::symbol("b"), s = Dim::symbol("s");
Attributes loops(const char* text) { return {{"loops", contract_loops(text)}}; }

std::shared_ptr<const Tensor> tensor(llvm::ArrayRef<int64_t> dims, llvm::function_ref<double(int64_t)> element,
                                     DType dtype = DType::f32) {
  Array a;
  a.resize(true, dims);
  for (int64_t k = 0; k < a.elements(); ++k) a.f[size_t(k)] = element(k);
  return to_tensor(a, dtype);
}
// No two elements are alike, and no row follows from others.
double learned(int64_t k) { return std::sin(double(k * k % 9973) + 0.1 * double(k)); }
double position(int64_t row, int64_t column, int64_t width) {
  return double(row) * std::pow(10000.0, -double(column / 2 * 2) / double(width));
}

// hidden [b, s, 8]: rows of a table, looked up by ids.
struct Model {
  Graph graph;
  Builder build{graph};
  Value& ids = graph.add_input("ids", {DType::i64, {b, s}});
  Value* hidden = &op("gather", {&weight("table", {11, 8}), &ids}, {{"axis", int64_t(0)}});

  Value& add(const char* name, std::shared_ptr<const Tensor> data) { return graph.add_data(name, std::move(data)); }
  Value& weight(const char* name, llvm::ArrayRef<int64_t> dims, double scale = 1) {
    return add(name, tensor(dims, [&](int64_t k) { return scale * learned(k); }));
  }
  Value& filled(const char* name, llvm::ArrayRef<int64_t> dims, double value) {
    return add(name, tensor(dims, [&](int64_t) { return value; }));
  }
  Value& op(const char* name, llvm::ArrayRef<Value*> in, Attributes attributes = {}) {
    return *must(build.create(name, in, std::move(attributes)));
  }
  Value& view(Value& v, Dims dims) { return op("reshape", {&v}, {{"dims", std::move(dims)}}); }
  // hidden · w, of a module.
  Value& linear(Value& w, const char* module, bool counts_calls = true) {
    build.at(module, "MatMul", {module, true, counts_calls});
    hidden = &op("contract", {hidden, &w}, loops("b s k, k n -> b s n"));
    build.at("", "");
    return *hidden;
  }
  void output(Value& v) { graph.outputs.push_back({"y", &v}); }
  llvm::Error run(const PassOptions& options = {}, bool finish = true) {
    if (finish && graph.outputs.empty()) output(*hidden);
    for (const char* pass : {"unshare-parameters", "tie-weights", "find-parameters"})
      if (auto e = run_stages(graph, pass, pass, options)) return e;
    return llvm::Error::success();
  }
  // "name(alias)" of every parameter, and what was remarked.
  std::string parameters(const PassOptions& options = {}) {
    if (auto e = run(options)) return llvm::toString(std::move(e));
    std::string out;
    for (const Value* v : graph.data()) {
      if (!v->is_parameter) continue;
      out += (out.empty() ? "" : " ") + v->name;
      for (const std::string& a : v->aliases) out += "(" + a + ")";
    }
    return out;
  }
  bool remarked(llvm::StringRef text) const {
    return llvm::any_of(graph.remarks, [&](const Remark& r) { return llvm::StringRef(r.text).contains(text); });
  }
};
}  // namespace

TEST_CASE("a tensor that is learned is a parameter, however it meets an activation") {
  Model m;
  SUBCASE("positions that are sliced and added") {
    Value& part = m.op("slice", {&m.weight("pos", {1, 64, 8})},
                       {{"axis", int64_t(1)}, {"start", Dim(0)}, {"size", Dim(5)}, {"step", int64_t(1)}});
    m.ids.type.dims = {b, 5};
    m.output(m.op("add", {&m.op("gather", {&m.weight("t2", {11, 8}), &m.ids}, {{"axis", int64_t(0)}}), &part}));
    CHECK(m.parameters() == "pos t2");
  }
  SUBCASE("a bias of two dims, and one that is expanded") {
    Value& heads = m.op("add", {&m.view(*m.hidden, {b, s, 2, 4}), &m.weight("bias", {2, 4})});
    Value& wide = m.op("expand", {&m.view(m.weight("bias.1", {4}), {1, 1, 1, 4})}, {{"dims", Dims{b, s, 2, 4}}});
    m.output(m.op("add", {&wide, &heads}));
    CHECK(m.parameters() == "table bias bias.1");
  }
  SUBCASE("a table that a norm reads, and its scale") {
    Value& rows = m.op("layer_norm", {&m.weight("rel", {6, 8}), &m.weight("rel.scale", {8})}, {{"epsilon", 1e-5}});
    Value& keys = m.op("contract", {&rows, &m.weight("proj", {8, 8})}, loops("t k, k n -> t n"));
    m.output(m.op("contract", {m.hidden, &keys}, loops("b s n, t n -> b s t")));
    CHECK(m.parameters() == "table rel rel.scale proj");
  }
  SUBCASE("scales: of the last dim, of each head, one number") {
    Value& heads = m.op("mul", {&m.view(*m.hidden, {b, s, 2, 4}), &m.weight("head.scale", {2, 1})});
    Value& all = m.op("mul", {&heads, &m.filled("block.alpha", {}, 0.3)});
    m.output(m.op("mul", {&all, &m.filled("gamma", {4}, 0.1)}));
    CHECK(m.parameters() == "table head.scale block.alpha gamma");
    CHECK(m.remarked("'block.alpha' is one number with a name of the model's: trained"));
  }
  SUBCASE("rows before the model's own: a token that is joined on") {
    Value& token = m.op("expand", {&m.weight("token", {1, 1, 8})}, {{"dims", Dims{b, 1, 8}}});
    m.output(m.op("concat", {&token, m.hidden}, {{"axis", int64_t(1)}}));
    CHECK(m.parameters() == "table token");
  }
  SUBCASE("a scale of zeros or ones, as layers begin") {
    Value& zero = m.op("add", {m.hidden, &m.filled("x.bias", {8}, 0)});
    m.output(m.op("mul", {&zero, &m.filled("x.weight", {8}, 1)}));
    CHECK(m.parameters() == "table x.bias x.weight");
  }
}

TEST_CASE("what was computed is no parameter, and a remark says so where it has a name") {
  Model m;
  SUBCASE("what a Constant node holds") {
    Value& ones = m.filled("c", {8}, 1);
    Value& two = m.weight("d", {8});
    ones.is_literal = two.is_literal = true;
    m.output(m.op("add", {&m.op("mul", {m.hidden, &ones}), &two}));
    CHECK(m.parameters() == "table");
  }
  SUBCASE("the ones and zeros that a normalization is given, under no name") {
    Value &ones = m.filled("val_5", {8}, 1), &zeros = m.filled("val_6", {8}, 0), &own = m.filled("ln.weight", {8}, 1);
    ones.is_anonymous = zeros.is_anonymous = true;
    m.build.at("n", "LayerNormalization");
    Value& y = m.op("layer_norm", {m.hidden, &ones, &zeros}, {{"epsilon", 1e-5}});
    m.output(m.op("layer_norm", {&y, &own}, {{"epsilon", 1e-5}}));
    CHECK(m.parameters() == "table ln.weight");
    CHECK(m.remarked("'val_5', 'val_6': each is all ones or zeros"));
  }
  SUBCASE("and is given as a column, for the channels before others") {
    Value &ones = m.filled("val_5", {8}, 1), &zeros = m.filled("val_6", {8}, 0), &own = m.filled("norm.weight", {8}, 1);
    ones.is_anonymous = zeros.is_anonymous = true;
    m.build.at("n", "InstanceNormalization");
    m.hidden = &m.op("transpose", {m.hidden}, {{"perm", llvm::SmallVector<int64_t, 4>{0, 2, 1}}});
    for (auto [op, v] : {std::pair{"mul", &ones}, {"add", &zeros}, {"mul", &own}})
      m.hidden = &m.op(op, {m.hidden, &m.view(*v, {8, 1})});
    CHECK(m.parameters() == "table norm.weight");
  }
  SUBCASE("a bias of scores that only choose: no gradient comes to it") {
    Value& scores = m.op("contract", {m.hidden, &m.weight("gate", {8, 4})}, loops("b s k, k n -> b s n"));
    Value& biased = m.op("add", {&scores, &m.weight("gate.balance", {4})});
    Value& chosen = m.op("top_k", {&biased}, {{"axis", int64_t(2)}, {"k", Dim(2)}, {"largest", int64_t(1)}});
    m.output(m.op("gather_elements", {&scores, &chosen}, {{"axis", int64_t(2)}}));
    CHECK(m.parameters() == "table gate");
  }
  SUBCASE("but one that the chosen scores keep is learned") {
    Value& scores = m.op("contract", {m.hidden, &m.weight("gate", {8, 4})}, loops("b s k, k n -> b s n"));
    Value& biased = m.op("add", {&scores, &m.weight("gate.bias", {4})});
    Value& chosen = m.op("top_k", {&biased}, {{"axis", int64_t(2)}, {"k", Dim(2)}, {"largest", int64_t(1)}});
    m.output(m.op("gather_elements", {&biased, &chosen}, {{"axis", int64_t(2)}}));
    CHECK(m.parameters() == "table gate gate.bias");
  }
  SUBCASE("sines that positions look up, and frequencies that multiply them") {
    Value& sines = m.add("rope.sin", tensor({16, 8}, [](int64_t k) { return std::sin(position(k / 8, k % 8, 8)); }));
    Value& positions = m.graph.add_input("positions", {DType::i64, {b, s}});
    Value& rows = m.op("gather", {&sines, &positions}, {{"axis", int64_t(0)}});
    Value& steps = m.op("cast", {&positions}, {{"to", int64_t(DType::f32)}});
    Value& angles = m.op("mul", {&m.view(steps, {b, s, 1}), &m.weight("inv_freq", {8})});
    m.output(m.op("add", {&m.op("mul", {m.hidden, &rows}), &m.op("mul", {m.hidden, &m.op("cos", {&angles})})}));
    CHECK(m.parameters() == "table");
    CHECK(m.remarked("'rope.sin' holds sines of positions or a progression: a constant (--trainable NAME"));
  }
  SUBCASE("unless the user names it") {
    Value& sines = m.add("pos.weight", tensor({16, 8}, [](int64_t k) { return std::cos(position(k / 8, k % 8, 8)); }));
    m.output(m.op("add", {m.hidden, &m.op("gather", {&sines, &m.ids}, {{"axis", int64_t(0)}})}));
    PassOptions options;
    options.trainable = {"*", "pos.weight"};
    CHECK(m.parameters(options) == "table pos.weight");
    CHECK(!m.remarked("pos.weight"));
  }
  SUBCASE("masks and configured numbers") {
    Value& scores = m.op("contract", {m.hidden, m.hidden}, loops("b s k, b t k -> b s t"));
    m.ids.type.dims = {b, s};
    Value& scaled = m.op("div", {&scores, &m.filled("attn.norm_factor", {}, std::sqrt(32.0))});
    m.output(m.op("add", {&m.op("slice", {&scaled},
                                {{"axis", int64_t(2)}, {"start", Dim(0)}, {"size", Dim(4)}, {"step", int64_t(1)}}),
                          &m.add("mask", tensor({4}, [](int64_t k) { return k < 2 ? 0.0 : -1e9; }))}));
    CHECK(m.parameters() == "table");
    CHECK(m.remarked("'attn.norm_factor' is one number as configurations give"));
  }
}

TEST_CASE("a formula is told from what is learned") {
  const auto sines = [](int64_t rows, int64_t width, DType dtype, double amplitude) {
    return tensor(
        {rows, width},
        [&](int64_t k) {
          return amplitude * (k % width % 2 ? std::cos(position(k / width, k % width, width))
                                            : std::sin(position(k / width, k % width, width)));
        },
        dtype);
  };
  CHECK(follows_recurrence(*sines(2048, 64, DType::f32, 1)));
  CHECK(follows_recurrence(*sines(8, 4, DType::f32, 1)));
  CHECK(follows_recurrence(*sines(64, 32, DType::f16, 1)));
  CHECK(follows_recurrence(*sines(64, 32, DType::bf16, 1.3)));
  CHECK(follows_recurrence(*tensor(
      {4, 1, 64}, [](int64_t k) { return std::pow(2.0, -2.0 * double(k / 64 + 1)) * double(k % 64 - 63); })));  // ALiBi
  CHECK(follows_recurrence(*tensor({16}, [](int64_t k) { return std::pow(10000.0, -double(k) / 16); })));
  // A padding's row of zeros.
  CHECK(follows_recurrence(
      *tensor({32, 8}, [](int64_t k) { return k / 8 == 1 ? 0 : std::sin(position(k / 8, k % 8, 8)); })));

  CHECK(!follows_recurrence(*tensor({2048, 64}, learned)));
  CHECK(!follows_recurrence(*tensor({8}, learned)));
  CHECK(!follows_recurrence(*tensor({64, 8}, [](int64_t) { return 0.0; })));
  CHECK(!follows_recurrence(
      *tensor({768}, [](int64_t k) { return 1 + 1e-4 * learned(k); })));  // a norm's scales after a step
  CHECK(!follows_recurrence(*tensor({6, 6}, [](int64_t k) { return k / 6 == k % 6 ? 1.0 : 0.0; })));
  // Sines that were trained on.
  CHECK(!follows_recurrence(
      *tensor({64, 8}, [](int64_t k) { return std::sin(position(k / 8, k % 8, 8)) + 0.05 * learned(k); })));

  CHECK(is_mask(*tensor({1, 1, 4, 4}, [](int64_t k) { return k % 4 <= k / 4 ? 0 : -INFINITY; })));
  CHECK(is_mask(*tensor({4, 4}, [](int64_t k) { return k % 4 <= k / 4 ? 1.0 : 0.0; })));
  CHECK(!is_mask(*tensor({4, 4}, [](int64_t k) { return k % 4 == k / 4 ? 1.0 : 0.0; })));
  CHECK(!is_mask(*tensor({4, 4}, [](int64_t) { return 0.0; })));
  CHECK(!is_mask(*tensor({4, 4}, learned)));

  for (double x : {std::sqrt(32.0), 8.0, 1 / std::sqrt(8.0), 0.125, 1e-5, -1e9, -HUGE_VAL})
    CHECK(is_configured_number(*tensor({}, [&](int64_t) { return x; })));
  for (double x : {0.0, 1.0, 0.1, 0.5, 2.6592, 0.4322, 12.8493})
    CHECK(!is_configured_number(*tensor({}, [&](int64_t) { return x; })));
}

TEST_CASE("copies of the weight of one module are one parameter; those of other modules are others") {
  Model m;
  auto copy = [&](const char* name) -> Value& {
    Value& w = m.weight(name, {8, 8}, 0.5);
    w.is_anonymous = true;
    return w;
  };
  SUBCASE("a module's second and third call") {
    for (auto [name, module] : {std::pair{"w.1", "/block/fc"}, {"w.2", "/block/fc_1"}, {"w.3", "/block/fc_2"}})
      m.linear(copy(name), module);
    CHECK(m.parameters() == "table w.1(w.2)(w.3)");
    CHECK(
        m.remarked("2 weights are tied to what another use of the same module has, and trained as one, such as 'w.2' "
                   "to 'w.1' (--untie PATTERN)"));
  }
  SUBCASE("one that the exporter notes") {
    m.linear(copy("w.1"), "block.fc", false), m.linear(copy("w.2"), "block.fc", false),
        m.linear(copy("w.3"), "block.fc_1", false);
    CHECK(m.parameters() == "table w.1(w.2) w.3");
  }
  SUBCASE("layers that were duplicated") {
    m.linear(copy("w.1"), "/layers.0/fc"), m.linear(copy("w.2"), "/layers.1/fc"),
        m.linear(copy("w.3"), "/layers.1/fc2");
    CHECK(m.parameters() == "table w.1 w.2 w.3");
    CHECK(m.remarked("2 weights are equal to others'"));
  }
  SUBCASE("a module that is named like a second call") {
    m.linear(copy("w.1"), "/block/fc");
    m.linear(copy("w.2"), "/block/fc_1");
    m.hidden = &m.op("add", {m.hidden, &m.weight("block.fc_1.bias", {8})});
    CHECK(m.parameters() == "table w.1 w.2 block.fc_1.bias");
  }
  SUBCASE("what is constant-valued") {
    m.linear(m.filled("w.1", {8, 8}, 0), "/block/fc"), m.linear(m.filled("w.2", {8, 8}, 0), "/block/fc_1");
    CHECK(m.parameters() == "table w.1 w.2");
  }
  SUBCASE("one that is transposed, under the model's own name") {
    Value& w = m.weight("block.fc.weight", {8, 8}, 0.5);
    Value& turned = m.add("w.1", tensor({8, 8}, [](int64_t k) { return 0.5 * learned(k % 8 * 8 + k / 8); }));
    turned.is_anonymous = true;
    m.linear(turned, "/block/fc");
    m.build.at("", "Gemm", {"/block/fc_1", true, true});
    m.hidden = &m.op("contract", {m.hidden, &w}, loops("b s k, n k -> b s n"));
    CHECK(m.parameters() == "table block.fc.weight(w.1)");
    CHECK(m.graph.find("block.fc.weight")->transposed_aliases.size() == 1);
    for (const Use& use : m.graph.find("block.fc.weight")->uses)
      CHECK(to_string(use.node->loops()) == "b s k, n k -> b s n");
  }
  SUBCASE("as the user says") {
    for (auto [name, module] : {std::pair{"w.1", "/a/fc"}, {"w.2", "/a/fc_1"}, {"w.3", "/b/fc"}, {"w.4", "/c/fc"}})
      m.linear(copy(name), module);
    PassOptions options;
    SUBCASE("tie") {
      options.tie = {"w.[34]"};
      CHECK(m.parameters(options) == "table w.1(w.2) w.3(w.4)");
    }
    SUBCASE("untie") {
      options.untie = {"w.2"};
      CHECK(m.parameters(options) == "table w.1 w.2 w.3 w.4");
    }
    SUBCASE("no tie") {
      options.tie_weights = false;
      CHECK(m.parameters(options) == "table w.1 w.2 w.3 w.4");
    }
    SUBCASE("a pattern that matches nothing") {
      options.tie = {"x*"};
      CHECK(m.parameters(options) == "--tie 'x*': matches no weight");
    }
  }
}

TEST_CASE("where nothing names modules, whole blocks with all weights equal are one block") {
  Model m;
  auto product = [&](Value& w, const char* name) {
    w.is_anonymous = true;
    m.build.at(name, "MatMul");
    m.hidden = &m.op("relu", {&m.op("contract", {m.hidden, &w}, loops("b s k, k n -> b s n"))});
  };
  auto bias = [&](Value& v) { m.hidden = &m.op("add", {m.hidden, &v}); };
  const char* names[] = {"u0", "v0", "u1", "v1", "u2", "v2"};
  SUBCASE("three times") {
    for (int k = 0; k < 6; ++k) product(m.weight(names[k], {8, 8}, k % 2 ? 0.5 : 0.25), "");
    CHECK(m.parameters() == "table u0(u1)(u2) v0(v1)(v2)");
  }
  SUBCASE("one weight more differs") {
    for (int k = 0; k < 4; ++k) {
      product(m.weight(names[k], {8, 8}, k % 2 ? 0.5 : 0.25), "");
      if (k % 2) bias(m.weight(k == 1 ? "b0" : "b1", {8}, k));
    }
    CHECK(m.parameters() == "table u0 v0 b0 u1 v1 b1");
  }
  SUBCASE("one product alone is no block") {
    for (int k : {0, 2, 4}) product(m.weight(names[k], {8, 8}, 0.25), "");
    CHECK(m.parameters() == "table u0 u1 u2");
  }
  SUBCASE("the model names two") {
    for (int k = 0; k < 4; ++k) {
      product(m.weight(names[k], {8, 8}, k % 2 ? 0.5 : 0.25), "");
      if (k % 2) bias(m.weight(k == 1 ? "layers.0.bias" : "layers.1.bias", {8}, 1));
    }
    CHECK(m.parameters() == "table u0 v0 layers.0.bias u1 v1 layers.1.bias");
  }
}

TEST_CASE("what an exporter merged is as many parameters as modules use it") {
  Model m;
  auto norm = [&](Value& scale, const char* node, const char* module, bool counts_calls) {
    m.build.at(node, "LayerNormalization", {module, true, counts_calls});
    m.hidden = &m.op("layer_norm", {m.hidden, &scale}, {{"epsilon", 1e-5}});
  };
  SUBCASE("ones: a module's second call has no scale of its own") {
    Value& ones = m.filled("ln.weight", {8}, 1);
    norm(ones, "n1", "/ln", true), norm(ones, "n2", "/ln2", true), norm(ones, "n3", "/ln_1", true),
        norm(ones, "n4", "/ln2_1", true);
    CHECK(m.parameters() == "table ln.weight n2.weight(n4.weight)");
  }
  SUBCASE("small tensors of duplicated layers, where the exporter notes modules") {
    Value& scale = m.weight("l.0.ln.weight", {8});
    norm(scale, "n1", "l.0.ln", false), norm(scale, "n2", "l.1.ln", false), norm(scale, "n3", "l.1.ln", false);
    CHECK(m.parameters() == "table l.0.ln.weight n2.weight(n3.weight)");
  }
  SUBCASE("but not where it is names alone that tell them: those exporters merge nothing unnamed") {
    Value& scale = m.weight("l.0.ln.weight", {8});
    norm(scale, "n1", "/l.0/ln", true), norm(scale, "n2", "/l.1/ln", true);
    CHECK(m.parameters() == "table l.0.ln.weight");
  }
  SUBCASE("and as one where the user says so") {
    Value& ones = m.filled("ln.weight", {8}, 1);
    norm(ones, "n1", "/ln", true), norm(ones, "n2", "/ln2", true);
    PassOptions options;
    options.keep_shared = true;
    CHECK(m.parameters(options) == "table ln.weight");
  }
}
