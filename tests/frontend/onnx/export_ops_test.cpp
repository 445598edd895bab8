// Each core op, written as ONNX and read back, must mean the same: both graphs run in the float64 reference
// interpreter.
#include <doctest/doctest.h>

#include <cmath>
#include <random>

#include "frontend/ir/builder.h"
#include "frontend/onnx/export.h"
#include "frontend/onnx/export_context.h"
#include "frontend/onnx/import.h"
#include "passes/passes.h"
#include "runtime/reference.h"
#include "tests/frontend/io/scratch_folder.h"

namespace optp {
namespace {
using Ints = llvm::SmallVector<int64_t, 4>;
constexpr DType f32 = DType::f32, f64 = DType::f64, f16 = DType::f16, bf16 = DType::bf16, i64 = DType::i64,
                i32 = DType::i32, i8 = DType::i8, u8 = DType::u8, boolean = DType::boolean;

// One node of an op; its operands are inputs of the graph.
struct Sample {
  const char* op;
  std::vector<Type> operands;
  Attributes attributes;
  std::vector<std::vector<double>> values = {};  // of operands; what is not given is made up
};
Dim dim(const char* text) { return get(parse_dim(text)); }
const Dim batch = Dim::symbol("batch"), sequence = Dim::symbol("sequence"), total = dim("past + sequence");
const DimValues bound = {{"batch", 2}, {"sequence", 3}, {"past", 4}};

std::vector<Sample> samples() {
  std::vector<Sample> out;
  const Type x{f32, {batch, 5}}, y{f32, {5}}, n{i64, {batch, 5}}, p{boolean, {batch, 5}};
  for (const char* op : {"neg", "abs", "exp", "sqrt", "log", "reciprocal", "tanh", "sigmoid", "erf", "sin", "cos",
                         "floor", "ceil", "round", "relu", "sign"})
    for (DType t : {f32, f64, f16, bf16}) out.push_back({op, {{t, {batch, 5}}}, {}});
  for (const char* op : {"neg", "abs", "relu", "sign"})
    for (DType t : {i64, i32, i8}) out.push_back({op, {{t, {batch, 5}}}, {}});
  for (const char* op : {"is_nan", "is_inf"}) {
    for (DType t : {f32, f16, bf16, f64}) out.push_back({op, {{t, {5}}}, {}, {{1, NAN, INFINITY, -INFINITY, 0}}});
    out.push_back({op, {n}, {}});
  }
  out.push_back({"not", {p}, {}});
  for (const char* op : {"add", "sub", "mul", "div", "mod", "pow", "max", "min", "equal", "less", "less_equal",
                         "greater", "greater_equal"})
    for (DType t : {f32, bf16, i64, i32}) out.push_back({op, {{t, {batch, 5}}, {t, {5}}}, {}});
  out.push_back({"mod", {{i64, {4}}, {i64, {4}}}, {}, {{7, -7, 7, -7}, {3, 3, -3, -3}}});
  out.push_back({"div", {{i64, {4}}, {i64, {4}}}, {}, {{7, -7, 7, -7}, {3, 3, -3, -3}}});
  out.push_back({"max", {{f32, {3}}, {f32, {3}}}, {}, {{NAN, 1, 2}, {0, NAN, 3}}});
  for (const char* op : {"and", "or", "xor", "equal", "max", "min"}) out.push_back({op, {p, {boolean, {5}}}, {}});
  out.push_back({"where", {p, x, {f32, {}}}, {}});
  out.push_back({"where", {{boolean, {5}}, n, n}, {}});
  for (DType from : {f32, i64, boolean, bf16})
    for (DType to : {f32, i64, boolean, f16, i8}) out.push_back({"cast", {{from, {batch, 5}}}, {{"to", int64_t(to)}}});

  // A product's loops in all the orders that passes make.
  struct Product {
    const char* loops;
    Dims a, b;
  };
  const Product products[] = {
      {"b s k, k n -> b s n", {batch, sequence, 5}, {5, 7}},
      {"b s k, n k -> b s n", {batch, sequence, 5}, {7, 5}},
      {"n k, b s k -> b s n", {7, 5}, {batch, sequence, 5}},
      {"k n, b s k -> b s n", {5, 7}, {batch, sequence, 5}},
      {"b h s d, b h t d -> b h s t", {batch, 2, sequence, 3}, {batch, 2, total, 3}},
      {"b h s t, b h t d -> b s h d", {batch, 2, sequence, total}, {batch, 2, total, 3}},
      {"b s h d, b t h d -> b h s t", {batch, sequence, 2, 3}, {batch, total, 2, 3}},
      {"b s h d, h d e -> b s e", {batch, sequence, 2, 3}, {2, 3, 4}},
      {"b s e, e h d -> b h s d", {batch, sequence, 4}, {4, 2, 3}},
      {"b g q s d, b g t d -> b g q s t", {batch, 2, 3, sequence, 4}, {batch, 2, total, 4}},
      {"b h s k, 1 1 k n -> b h s n", {batch, 2, sequence, 5}, {1, 1, 5, 7}},
      {"1 s k, k n -> 1 s n", {1, sequence, 5}, {5, 7}},
      {"1 1 s k, b k n -> 1 b s n", {1, 1, sequence, 5}, {batch, 5, 7}},
      {"1 1 s k, k n -> s n", {1, 1, sequence, 5}, {5, 7}},
      {"s k, k n -> 1 s 1 n", {sequence, 5}, {5, 7}},
      {"k, k n -> n", {5}, {5, 7}},
      {"b m k, k -> b m", {batch, 3, 5}, {5}},
      {"k, k -> ", {5}, {5}},
      {"b k, b k -> b", {batch, 5}, {batch, 5}},
      {"b k, b k n -> b n", {batch, 5}, {batch, 5, 7}},
      {"m, n -> m n", {sequence}, {5}},
      {"m, n -> n m", {sequence}, {5}},
      {"b m, b m -> m b", {batch, 5}, {batch, 5}},
      {"b m 1, b 1 n -> b m n", {batch, 5, 1}, {batch, 1, 3}},
      {"m k, n k -> n m", {5, sequence}, {4, sequence}},
      {"b m k, k n -> m n", {batch, 5, 3}, {3, 4}},
      {"b m k, b k n -> m n", {batch, 5, 3}, {batch, 3, 4}},
      {"m j k, k j n -> m n", {2, 3, 4}, {4, 3, 5}},
      {"t a k, k n b -> a t n b", {2, 3, 4}, {4, 5, 6}},
      {"m k, 1 k -> m", {5, 3}, {1, 3}},
      {"1 m k, 1 k n -> m n", {1, 2, 3}, {1, 3, 4}},
  };
  for (const Product& c : products)
    for (DType t : {f32, i64, bf16, i8})
      out.push_back({"contract", {{t, c.a}, {t, c.b}}, {{"loops", contract_loops(c.loops)}}});

  const Type table{f32, {7, 3}}, index{i64, {batch, 3}};
  const std::vector<double> wanted = {0, 6, -1, 2, -7, 4};
  out.push_back({"sum", {x, x, x}, {}});
  for (DType t : {f32, i64, bf16}) {
    out.push_back({"repeat", {{t, {batch, 2, sequence}}}, {{"axis", int64_t(1)}, {"times", int64_t(4)}}});
    out.push_back({"sum_repeats", {{t, {batch, 6, sequence}}}, {{"axis", int64_t(1)}, {"times", int64_t(3)}}});
  }
  for (DType i : {i64, i32}) {
    out.push_back({"scatter_add",
                   {{f32, {batch, 3, 4}}, {i, {batch, 3}}},
                   {{"axis", int64_t(0)}, {"rows", Dim(7)}},
                   {{}, wanted}});
    out.push_back({"scatter_add",
                   {{f32, {5, batch, 3, 4}}, {i, {batch, 3}}},
                   {{"axis", int64_t(1)}, {"rows", Dim(7)}},
                   {{}, wanted}});
    for (DType t : {f32, i64, bf16, boolean}) {
      out.push_back(
          {"index_copy", {{t, {batch, 7, 4}}, {i, {2}}, {t, {batch, 2, 4}}}, {{"axis", int64_t(1)}}, {{}, {0, 5}}});
      out.push_back({"index_copy", {{t, {7}}, {i, {3}}, {t, {3}}}, {{"axis", int64_t(0)}}, {{}, {0, 5, 1}}});
    }
    out.push_back({"index_copy", {{f32, {7, 1}}, {i, {3}}, {f32, {3, 1}}}, {{"axis", int64_t(0)}}, {{}, {0, -1, 1}}});
    out.push_back({"gather", {table, {i, {batch, 3}}}, {{"axis", int64_t(0)}}, {{}, wanted}});
    out.push_back({"gather", {{f32, {2, 7, 3}}, {i, {batch, 3}}}, {{"axis", int64_t(1)}}, {{}, wanted}});
    // Ranks with rows 0 to 2, 3 to 4 and none of 7; what they don't hold must not leak, though it is NaN.
    const std::vector<double> rows = {NAN, NAN, NAN, 1, 2, 3, 4, 5, 6};
    out.push_back({"gather",
                   {{f32, {3, 3}}, {i, {batch, 3}}},
                   {{"axis", int64_t(0)}, {"row_start", Dim(3)}, {"rows", Dim(7)}},
                   {rows, {0, 6, -1, 4, -7, 5}}});
    out.push_back({"gather",
                   {{f32, {3, 3}}, {i, {batch, 3}}},
                   {{"axis", int64_t(0)}, {"row_start", Dim(0)}, {"rows", Dim(7)}},
                   {{}, wanted}});
    out.push_back({"gather",
                   {{f32, {2, 2, 3}}, {i, {batch, 3}}},
                   {{"axis", int64_t(1)}, {"row_start", Dim(5)}, {"rows", Dim(7)}},
                   {{}, wanted}});
    out.push_back({"gather",
                   {{f32, {2, 2}}, {i, {}}},
                   {{"axis", int64_t(1)}, {"row_start", Dim(5)}, {"rows", Dim(7)}},
                   {{}, {-2}}});
    out.push_back({"gather",
                   {{f32, {0, 3}}, {i, {batch, 3}}},
                   {{"axis", int64_t(0)}, {"row_start", Dim(7)}, {"rows", Dim(7)}},
                   {{}, wanted}});
    const Attributes whole{{"axis", int64_t(1)}, {"rows", Dim(7)}};
    auto held_from = [&](int64_t start, int64_t count) {
      Attributes held = whole;
      held["row_start"] = Dim(start), held["local_rows"] = Dim(count);
      return held;
    };
    const Type index{i, {batch, 3}};
    out.push_back({"gather_elements", {{f32, {batch, 7}}, index}, {{"axis", int64_t(1)}}, {{}, wanted}});
    out.push_back({"gather_elements", {{f32, {7, 3}}, {i, {2, 3}}}, {{"axis", int64_t(0)}}, {{}, wanted}});
    out.push_back({"scatter_add_elements", {{f32, {batch, 3}}, index}, whole, {{}, wanted}});
    // As above, of 7 along the axis.
    const std::vector<double> elements = {NAN, 1, 2, NAN, 3, 4};
    out.push_back({"gather_elements",
                   {{f32, {batch, 3}}, index},
                   {{"axis", int64_t(1)}, {"row_start", Dim(3)}, {"rows", Dim(7)}},
                   {elements, {0, 6, -1, 4, -7, 5}}});
    out.push_back({"gather_elements",
                   {{f32, {batch, 0}}, index},
                   {{"axis", int64_t(1)}, {"row_start", Dim(7)}, {"rows", Dim(7)}},
                   {{}, wanted}});
    out.push_back({"scatter_add_elements", {{f32, {batch, 3}}, index}, held_from(5, 2), {{}, wanted}});
    out.push_back({"scatter_add_elements", {{f32, {batch, 3}}, index}, held_from(0, 5), {{}, wanted}});
    out.push_back({"scatter_add_elements", {{f32, {batch, 3}}, index}, held_from(7, 0), {{}, wanted}});
  }

  for (const char* op : {"reduce_sum", "reduce_max", "reduce_min", "reduce_mean", "reduce_prod"})
    for (int64_t keep : {0, 1}) {
      for (DType t : {f32, i64, bf16})
        if (t != i64 || op != std::string("reduce_mean"))
          for (const Ints& axes : {Ints{1}, Ints{0, 2}, Ints{}})
            out.push_back({op, {{t, {batch, 5, sequence}}}, {{"axes", axes}, {"keepdims", keep}}});
      // Nothing to reduce on this rank.
      if (op != std::string("reduce_mean"))
        out.push_back({op, {{f32, {batch, 0}}}, {{"axes", Ints{1}}, {"keepdims", keep}}});
      else
        out.push_back({op, {{f32, {batch, 0}}}, {{"axes", Ints{1}}, {"keepdims", keep}, {"count", Dim(10)}}});
    }
  // A part of a mean: 5 of 10 are here.
  out.push_back({"reduce_mean", {x}, {{"axes", Ints{1}}, {"keepdims", int64_t(1)}, {"count", Dim(10)}}});
  out.push_back({"reduce_mean",
                 {{f32, {batch, total}}},
                 {{"axes", Ints{1}}, {"keepdims", int64_t(0)}, {"count", Dim(2) * total}}});
  out.push_back(
      {"reduce_mean", {{bf16, {batch, 5}}}, {{"axes", Ints{1}}, {"keepdims", int64_t(0)}, {"count", Dim(10)}}});
  for (DType t : {f32, i64, i8})
    for (int64_t exclusive : {0, 1})
      for (int64_t reverse : {0, 1})
        out.push_back({"cumsum",
                       {{t, {batch, sequence}}},
                       {{"axis", int64_t(1)}, {"exclusive", exclusive}, {"reverse", reverse}}});
  for (DType t : {f32, f64, f16, bf16, i64, i8})
    for (int64_t largest : {0, 1})
      out.push_back({"top_k",
                     {{t, {batch, sequence}}},
                     {{"axis", int64_t(1)}, {"k", Dim(largest ? sequence : Dim(2))}, {"largest", largest}}});
  for (int64_t axis : {0, 1}) out.push_back({"softmax", {x}, {{"axis", axis}}});
  for (DType t : {f32, f64, f16, bf16}) {
    out.push_back({"layer_norm", {{t, {batch, 5}}, {t, {5}}, {t, {5}}}, {{"epsilon", 1e-3}}});
    out.push_back({"layer_norm", {{t, {batch, 5}}, {t, {5}}}, {{"epsilon", 1e-3}}});
  }

  out.push_back({"reshape", {{f32, {batch, sequence, 12}}}, {{"dims", Dims{batch * sequence, 3, 4}}}});
  out.push_back({"reshape", {{f32, {batch, 0, 4}}}, {{"dims", Dims{0, batch, 4}}}});
  out.push_back({"reshape", {{f32, {1}}}, {{"dims", Dims{}}}});
  out.push_back({"transpose", {{f32, {batch, sequence, 4}}}, {{"perm", Ints{2, 0, 1}}}});
  out.push_back({"expand", {{f32, {sequence, 1}}}, {{"dims", Dims{batch, sequence, 5}}}});
  out.push_back({"expand", {{boolean, {}}}, {{"dims", Dims{batch, sequence}}}});
  auto slice = [&](Dim extent, Dim start, Dim size, int64_t step) {
    out.push_back(
        {"slice", {{f32, {batch, extent}}}, {{"axis", int64_t(1)}, {"start", start}, {"size", size}, {"step", step}}});
  };
  slice(12, 4, 4, 1);
  slice(12, 1, 4, 3);
  slice(7, 6, 7, -1);
  slice(7, 5, 3, -2);
  slice(7, 3, 0, 1);
  slice(total, dim("past"), sequence, 1);
  slice(total, 0, sequence, 1);
  slice(total, total - 1, 1, 1);
  out.push_back({"concat", {{f32, {batch, dim("past"), 3}}, {f32, {batch, sequence, 3}}}, {{"axis", int64_t(1)}}});
  out.push_back({"concat", {x}, {{"axis", int64_t(0)}}});
  for (DType t : {f32, i64})
    out.push_back({"pad",
                   {{t, {batch, sequence}}},
                   {{"axis", int64_t(1)}, {"before", dim("past")}, {"after", Dim(2)}, {"value", 3.0}}});
  for (DType t : {i64, i32, f32, f16, u8})
    out.push_back({"iota", {}, {{"start", dim("past")}, {"size", sequence}, {"step", Dim(2)}, {"dtype", int64_t(t)}}});
  out.push_back({"iota", {}, {{"start", Dim(5)}, {"size", Dim(6)}, {"step", Dim(-1)}, {"dtype", int64_t(i64)}}});
  out.push_back({"iota", {}, {{"start", Dim(5)}, {"size", Dim(6)}, {"step", Dim(0)}, {"dtype", int64_t(f32)}}});
  for (DType t : {i64, i32}) {
    out.push_back(
        {"dim_tensor",
         {},
         {{"shape", Ints{4}}, {"values", Dims{batch, 7, batch * sequence, dim("past")}}, {"dtype", int64_t(t)}}});
    out.push_back({"dim_tensor",
                   {},
                   {{"shape", Ints{2, 2}},
                    {"values", Dims{floor_div(sequence + 1, 2), minimum(batch, sequence), sequence - batch - 9, 1}},
                    {"dtype", int64_t(t)}}});
    out.push_back({"dim_tensor",
                   {},
                   {{"shape", Ints{}}, {"values", Dims{floor_div(Dim(-7) - sequence, 4)}}, {"dtype", int64_t(t)}}});
  }
  return out;
}

std::unique_ptr<Graph> graph_of(const Sample& s) {
  auto graph = std::make_unique<Graph>();
  graph->name = s.op;
  Builder build(*graph);
  build.set_fold(false);
  build.at("the node", "");
  std::vector<Value*> operands;
  for (const Type& t : s.operands)
    operands.push_back(&graph->add_input("operand." + std::to_string(operands.size()), t));
  graph->add_input("shapes", {f32, {batch, sequence, total}});  // where dims get their values that no operand has
  Value* y = get(build.create(s.op, operands, s.attributes, "y"));
  graph->outputs.push_back({"result", y});
  return graph;
}
NamedArrays inputs_of(const Graph& graph, const Sample& s, std::mt19937& random) {
  NamedArrays out;
  for (size_t k = 0; k < graph.inputs.size(); ++k) {
    const Value& v = *graph.inputs[k];
    Array a;
    Ints dims;
    for (Dim d : v.type.dims) dims.push_back(get(evaluate(d, bound)));
    a.resize(is_float(v.type.dtype), dims);
    const bool positive = s.op == std::string("sqrt") || s.op == std::string("log") || s.op == std::string("pow") ||
                          (s.op == std::string("div") && k == 1) || s.op == std::string("mod");
    for (double& x : a.f) x = std::normal_distribution<double>()(random);
    for (int64_t& x : a.i) x = int64_t(random() % 7) - (positive || !is_integer(v.type.dtype) ? 0 : 3);
    if (v.type.dtype == boolean)
      for (int64_t& x : a.i) x &= 1;
    if (positive)
      for (double& x : a.f) x = std::abs(x) + 0.1;
    if (positive)
      for (int64_t& x : a.i) x += 1;
    for (size_t e = 0; k < s.values.size() && e < s.values[k].size(); ++e) {
      if (a.is_float)
        a.f[e] = s.values[k][e];
      else
        a.i[e] = int64_t(s.values[k][e]);
    }
    // Only values that the dtype has: those of half precision are few.
    out[v.name] = to_array(*to_tensor(a, v.type.dtype));
  }
  return out;
}
std::unique_ptr<Graph> round_trip(const Graph& graph, const ScratchFolder& scratch) {
  auto out = get(OutputTransaction::begin(scratch / "out", {.overwrite = true}));
  good(write_rank_model(graph, out, "rank0"));
  good(out.commit());
  return get(import_onnx(scratch / "out/rank0/model.onnx"));
}
Array run(const Graph& graph, const NamedArrays& inputs) {
  auto numbers = get(bind_dims(graph, bound));
  return get(run_reference({numbers.get()}, {inputs}))[0]["result"];
}
// Attributes of ONNX are float32 and half types pass through float32: what follows from that is far below this.
bool same(const Array& a, const Array& b) {
  if (a.dims != b.dims || a.is_float != b.is_float || a.i != b.i) return false;
  for (size_t k = 0; k < a.f.size(); ++k)
    if (!(a.f[k] == b.f[k] || (std::isnan(a.f[k]) && std::isnan(b.f[k])) ||
          std::abs(a.f[k] - b.f[k]) <= 1e-6 * (1 + std::abs(a.f[k]))))
      return false;
  return true;
}
}  // namespace

TEST_CASE("every core op has an ONNX form") {
  for (const OpDef* op : all_ops()) {
    CAPTURE(op->name);
    CHECK(find_export(op->name) != nullptr);
  }
}

TEST_CASE("every core op but collectives has a sample here") {
  const auto all = samples();
  for (const OpDef* op : all_ops()) {
    CAPTURE(op->name);
    CHECK((op->collective || llvm::any_of(all, [&](const Sample& s) { return op->name == s.op; })));
  }
}

TEST_CASE("what is written and read back computes the same") {
  const ScratchFolder scratch;
  std::mt19937 random(404);
  for (const Sample& sample : samples()) {
    const auto graph = graph_of(sample);
    std::string text;
    llvm::raw_string_ostream stream(text);
    print(stream, *graph);
    CAPTURE(text);
    const NamedArrays inputs = inputs_of(*graph, sample, random);
    const auto read = round_trip(*graph, scratch);
    REQUIRE(read->outputs.size() == 1);
    // As text: an operand that concat extends is read as a cache, whose `past` may be 0.
    CHECK(to_string(read->outputs[0].value->type) == to_string(graph->outputs[0].value->type));
    CHECK(same(run(*graph, inputs), run(*read, inputs)));
#ifdef OPTP_AFTER_ROUND_TRIP
    OPTP_AFTER_ROUND_TRIP(*graph, inputs, run(*graph, inputs));
#endif
  }
}
}  // namespace optp
