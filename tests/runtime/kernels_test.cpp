// Every kernel computes what its op's evaluate says, on random shapes with broadcasting and empty extents.
#include <doctest/doctest.h>

#include <bit>
#include <cmath>

#include "runtime/memory_plan.h"
#include "tests/runtime/kernel_case.h"

namespace optp {

TEST_CASE("elementwise kernels compute what evaluate says") {
  Random random;
  const std::vector<std::vector<std::vector<int64_t>>> shapes = {{{4, 3, 37}, {4, 3, 37}},
                                                                 {{4, 3, 37}, {37}},
                                                                 {{1}, {5, 1, 33}},
                                                                 {{2, 1, 5, 1}, {3, 1, 40}},
                                                                 {{}, {}},
                                                                 {{}, {700}},
                                                                 {{0, 3}, {3}},
                                                                 {{2, 3}, {2, 1}},
                                                                 {{40000}, {40000}}};
  for (const auto& s : shapes)
    for (DType dtype : {DType::f32, DType::f64, DType::f16, DType::bf16, DType::i32, DType::i64}) {
      for (const char* op : {"add", "sub", "mul", "div", "max", "min", "equal", "less", "less_equal", "greater",
                             "greater_equal", "mod"}) {
        Case c(random);
        c.output(c.node(op, {c.input(dtype, s[0]), c.input(dtype, s[1])}));
        c.compare({.threads = 2});
      }
      Case c(random);
      c.output(c.node("where", {c.input(DType::boolean, s[0]), c.input(dtype, s[1]), c.input(dtype, s[0])}));
      c.output(c.node("neg", {c.input(dtype, s[1])}));
      c.output(c.node("abs", {c.input(dtype, s[1])}));
      c.output(c.node("relu", {c.input(dtype, s[1])}));
      for (DType to : {DType::f32, DType::f64, DType::f16, DType::bf16, DType::i32, DType::i64, DType::boolean})
        c.output(c.node("cast", {c.input(dtype, s[1])}, {{"to", int64_t(to)}}));
      c.compare();
      if (!is_float(dtype)) continue;
      Case f(random);
      for (const char* op : {"exp", "tanh", "sigmoid", "erf", "sin", "cos", "floor", "ceil", "round", "is_nan"})
        f.output(f.node(op, {f.input(dtype, s[1])}));
      Value* zero = f.node("floor", {f.input(dtype, s[1], 0.25)});
      f.output(f.node("is_nan", {f.node("div", {zero, zero})}));
      for (const char* op : {"log", "sqrt", "reciprocal"}) f.output(f.node(op, {f.input(dtype, s[1], 0.25)}));
      f.output(f.node("pow", {f.input(dtype, s[0], 0.25), f.input(dtype, s[1])}));
      f.compare();
    }
  for (const char* op : {"and", "or", "xor"}) {
    Case c(random);
    c.output(c.node("not", {c.node(op, {c.input(DType::boolean, {3, 1, 5}), c.input(DType::boolean, {4, 1})})}));
    c.compare();
  }
}

TEST_CASE("moves, norms and reductions compute what evaluate says") {
  Random random;
  for (const std::vector<int64_t>& s :
       std::vector<std::vector<int64_t>>{{2, 3, 5}, {1, 4, 40}, {3, 0, 2}, {2, 3, 1}, {5, 70, 130}})
    for (DType dtype : {DType::f32, DType::bf16, DType::i64}) {
      Case c(random);
      Value* x = c.input(dtype, s);
      const Dim n = s[1];
      for (const auto& perm : {llvm::SmallVector<int64_t, 4>{2, 0, 1}, {0, 2, 1}, {1, 0, 2}})
        c.output(c.node("transpose", {x}, {{"perm", perm}}));
      c.output(c.node("reshape", {x}, {{"dims", Dims{Dim(s[0]), Dim(s[1] * s[2])}}}));
      c.output(c.node("expand", {c.node("reshape", {x}, {{"dims", Dims{Dim(s[0]), Dim(s[1]), Dim(1), Dim(s[2])}}})},
                      {{"dims", Dims{Dim(s[0]), Dim(s[1]), Dim(3), Dim(s[2])}}}));
      for (int64_t axis : {0, 1, 2}) {
        const Attributes how{{"axis", axis}, {"times", int64_t(3)}};
        c.output(c.node("repeat", {x}, how));
        c.output(c.node("sum_repeats", {c.node("concat", {x, x, x}, {{"axis", axis}})}, how));
      }
      if (s[1] > 1) {
        c.output(c.node("slice", {x}, {{"axis", int64_t(1)}, {"start", Dim(1)}, {"size", n - 1}}));
        c.output(c.node("slice", {x}, {{"axis", int64_t(1)}, {"start", n - 1}, {"size", n}, {"step", int64_t(-1)}}));
        c.output(c.node("slice", {x}, {{"axis", int64_t(0)}, {"start", Dim(s[0] - 1)}, {"size", Dim(1)}}));
      }
      c.output(c.node(
          "concat", {x, x, c.node("slice", {x}, {{"axis", int64_t(1)}, {"start", Dim(0)}, {"size", floor_div(n, 2)}})},
          {{"axis", int64_t(1)}}));
      c.output(c.node("pad", {x}, {{"axis", int64_t(1)}, {"before", Dim(2)}, {"after", Dim(1)}, {"value", 3.0}}));
      for (const char* op : {"reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "reduce_mean"})
        for (const auto& axes : {llvm::SmallVector<int64_t, 4>{2}, {1}, {0, 2}, {0, 1}, {0, 1, 2}})
          if (!(op == std::string("reduce_prod") && s[1] > 40) &&
              !(op == std::string("reduce_mean") && dtype == DType::i64) && !(dtype == DType::bf16 && s[1] > 40))
            c.output(c.node(op, {x}, {{"axes", axes}, {"keepdims", int64_t(axes.size() % 2)}}));
      if (dtype != DType::bf16)
        c.output(c.node("cumsum", {x}, {{"axis", int64_t(1)}, {"exclusive", int64_t(1)}, {"reverse", int64_t(1)}}));
      for (int64_t largest : {0, 1})
        for (int64_t axis : {1, 2})
          c.output(
              c.node("top_k", {x}, {{"axis", axis}, {"k", floor_div(s[size_t(axis)] + 1, 2)}, {"largest", largest}}));
      if (is_float(dtype)) {
        c.output(c.node("layer_norm", {x, c.data(dtype, {s[2]}), c.data(dtype, {s[2]})}, {{"epsilon", 1e-2}}));
        c.output(c.node("softmax", {x}, {{"axis", int64_t(2)}}));
        c.output(c.node("softmax", {x}, {{"axis", int64_t(1)}}));
      }
      c.compare({.threads = 2});
    }
}

TEST_CASE("index_copy replaces slices, in the caller's buffer where that is the result's, too") {
  Random random;
  for (DType dtype : {DType::f32, DType::bf16, DType::i64, DType::boolean})
    for (DType index : {DType::i64, DType::i32})
      for (int64_t axis : {0, 1, 2}) {
        Case c(random);
        llvm::SmallVector<int64_t, 3> rows{5, 5, 5};
        rows[size_t(axis)] = 3;
        c.output(c.node("index_copy", {c.input(dtype, {5, 5, 5}), c.input(index, {3}), c.input(dtype, rows)},
                        {{"axis", axis}}));
        c.compare({.threads = 2});
      }
  Case c(random);
  c.output(c.node("index_copy",
                  {c.input(DType::f32, {2, 4, 3}), c.input(DType::i64, {1}), c.input(DType::f32, {2, 1, 3})},
                  {{"axis", int64_t(1)}}));
  c.arrays["in1"].i[0] = 2;
  auto executable = Executable::compile(c.graph);
  REQUIRE(bool(executable));
  HostArrays inputs;
  for (const auto& [name, array] : c.arrays) inputs[name] = host_array(array, name == "in1" ? DType::i64 : DType::f32);
  HostArrays outputs;
  REQUIRE_FALSE(bool((*executable)->run(inputs_of(inputs), outputs)));
  const std::string name = outputs.begin()->first;
  HostArrays cache{{name, inputs["in0"]}};
  HostInputs given = inputs_of(inputs);
  given["in0"] = &cache[name];
  const char* bytes = cache[name].bytes.data();
  REQUIRE_FALSE(bool((*executable)->run(given, cache)));
  CHECK(cache[name].bytes.data() == bytes);
  CHECK(cache[name].bytes == outputs[name].bytes);
}

TEST_CASE("gather masks rows of other ranks, and names the node of a bad index") {
  Random random;
  for (DType index : {DType::i64, DType::i32})
    for (int64_t axis : {0, 1}) {
      Case c(random);
      Value *table = c.input(DType::f32, {9, 9}), *at = c.input(index, {2, 3});
      c.output(c.node("gather", {table, at}, {{"axis", axis}}));
      c.output(c.node("gather", {table, at}, {{"axis", axis}, {"row_start", Dim(5)}, {"rows", Dim(14)}}));
      for (DType dtype : {DType::f32, DType::f64, DType::i32, DType::i64})
        c.output(c.node("scatter_add", {c.input(dtype, {2, 3, 5}), at}, {{"axis", int64_t(0)}, {"rows", Dim(14)}}));
      c.compare();
    }
  Case c(random);
  Value* v = c.node("gather", {c.input(DType::f32, {2, 3}), c.input(DType::i64, {1})}, {{"axis", int64_t(0)}});
  v->producer->name = "embed";
  c.output(v);
  c.arrays["in1"].i[0] = 2;
  auto executable = Executable::compile(c.graph);
  REQUIRE(bool(executable));
  const HostArray table = host_array(c.arrays["in0"], DType::f32), index = host_array(c.arrays["in1"], DType::i64);
  HostArrays outputs;
  const std::string e = text((*executable)->run({{"in0", &table}, {"in1", &index}}, outputs));
  CHECK(e.find("'embed'") != std::string::npos);
  CHECK(e.find("index 2") != std::string::npos);
}

TEST_CASE("elements by an index each are gathered and added up in every place of the axis, those of other ranks not") {
  Random random;
  const Attributes part{{"row_start", Dim(5)}, {"rows", Dim(14)}};
  for (DType index : {DType::i64, DType::i32})
    for (int64_t axis : {0, 1, 2}) {
      llvm::SmallVector<int64_t, 4> dims{4, 3, 5}, table = dims;
      table[size_t(axis)] = 9;
      Case c(random);
      Value* at = c.input(index, dims);
      auto with = [&](Attributes a) {
        a["axis"] = axis;
        return a;
      };
      for (DType dtype : {DType::f32, DType::f64, DType::i32, DType::i64, DType::u8}) {
        Value* x = c.input(dtype, table);
        c.output(c.node("gather_elements", {x, at}, with({})));
        c.output(c.node("gather_elements", {x, at}, with(part)));
        if (dtype == DType::u8) continue;
        Value* values = c.input(dtype, dims);
        c.output(c.node("scatter_add_elements", {values, at}, with({{"rows", Dim(14)}})));
        Attributes held = part;
        held["local_rows"] = Dim(6);
        c.output(c.node("scatter_add_elements", {values, at}, with(held)));
      }
      c.compare({.threads = 2});
    }
  Case c(random);
  Value* v =
      c.node("gather_elements", {c.input(DType::f32, {2, 3}), c.input(DType::i64, {2, 1})}, {{"axis", int64_t(1)}});
  v->producer->name = "positions";
  c.output(v);
  c.arrays["in1"].i[1] = 3;
  auto executable = Executable::compile(c.graph);
  REQUIRE(bool(executable));
  const HostArray table = host_array(c.arrays["in0"], DType::f32), index = host_array(c.arrays["in1"], DType::i64);
  HostArrays outputs;
  const std::string e = text((*executable)->run({{"in0", &table}, {"in1", &index}}, outputs));
  CHECK(e.find("'positions'") != std::string::npos);
  CHECK(e.find("index 3") != std::string::npos);
}

TEST_CASE("a node that no kernel runs is listed with the reason, and one that a kernel runs is not") {
  Random random;
  Case c(random);
  Value *single = c.input(DType::f32, {2, 3}), *wide = c.input(DType::f64, {2, 3}), *whole = c.input(DType::i64, {3});
  c.output(c.node("exp", {single}));
  c.output(c.node("sign", {single}));
  c.output(c.node("softmax", {wide}, {{"axis", int64_t(1)}}));
  c.output(c.node("pow", {whole, whole}));
  c.output(c.node("cast", {c.data(DType::f32, {2})}, {{"to", int64_t(DType::i32)}}));  // computed once, while compiling
  auto executable = Executable::compile(c.graph);
  REQUIRE(bool(executable));
  CHECK((*executable)->slow_nodes() ==
        std::vector<SlowNode>{{"sign", "v.1", DType::f32, "it has no kernel"},
                              {"softmax", "v.2", DType::f64, "its kernels are for other dtypes"},
                              {"pow", "v.3", DType::i64, "its kernel does not take this form"}});
}

TEST_CASE("contract computes what evaluate says for loop lists in any order") {
  Random random;
  const char* lists[] = {"b m k, k n -> b m n",
                         "b m k, n k -> b m n",
                         "m k, n k -> n m",
                         "k m, k n -> m n",
                         "b0 m b1 k, b0 n b1 k -> b0 b1 m n",
                         "b0 b1 m k, b0 k b1 n -> b0 m b1 n",
                         "b s h d, h d n -> b s n",
                         "b s h d, d h n -> b s n",
                         "m k, k -> m",
                         "k, k n -> n",
                         "k, k -> ",
                         "m, n -> m n",
                         "b m k, b k n -> m b n",
                         "m k b, k n b -> m n b",
                         "a b c, c b a -> b",
                         "b m k, k n p -> b n m p",
                         "b s k, k h d -> b h s d",
                         "a c b, d c b -> a d",
                         "b, b -> b",
                         "m k, 1 k n -> m n",
                         "i k, k j -> j i",
                         "b0 b1 m, b1 b0 n -> b1 m n b0"};
  for (const char* list : lists)
    for (int round = 0; round < 12; ++round) {
      std::map<std::string, int64_t> extents;
      std::string left, right;
      llvm::StringRef whole(list);
      auto operand = [&](llvm::StringRef part) {
        llvm::SmallVector<llvm::StringRef, 4> names;
        part.split(names, ' ', -1, false);
        llvm::SmallVector<int64_t, 4> dims;
        for (llvm::StringRef n : names)
          dims.push_back(n == "1" ? 1
                                  : extents
                                        .try_emplace(n.str(), round == 0  ? 3 + int64_t(extents.size())
                                                              : round < 9 ? 1 + random.below(7)
                                                                          : random.below(round == 9 ? 40 : 3))
                                        .first->second);
        return dims;
      };
      const auto a = operand(whole.split(',').first), b = operand(whole.split(',').second.split("->").first);
      for (DType dtype : {DType::f32, DType::f64, DType::bf16, DType::f16}) {
        Case c(random);
        // The second operand as a weight that is packed, or not; the first too. And Σ|a·b| beside it.
        const Array left = c.draw(dtype, a), right = c.draw(dtype, b);
        Case sums(random);
        auto add = [&](Case& to, Array array, llvm::ArrayRef<int64_t> dims, bool weight) -> Value* {
          if (&to == &sums)
            for (double& v : array.f) v = std::fabs(v);
          if (weight) return &to.graph.add_data(to.graph.unique_name("w"), to_tensor(array, dtype));
          const std::string name = "in" + std::to_string(to.graph.inputs.size());
          to.arrays[name] = array;
          return &to.graph.add_input(name, {dtype, Dims(dims.begin(), dims.end())});
        };
        for (Case* to : {&c, &sums}) {
          Value *x = add(*to, left, a, round % 4 == 1), *w = add(*to, right, b, round % 2 == 0);
          to->output(to->node("contract", {x, w}, {{"loops", contract_loops(list)}}));
        }
        CAPTURE(std::string(list));
        int64_t terms = 1;
        for (const auto& [name, extent] : extents) terms *= extent;
        const int64_t results = spec_of(*c.graph.outputs[0].value).elements();
        c.compare({.threads = 1 + round % 2}, results ? terms / results + 2 : 0, &sums);
      }
    }
}

TEST_CASE("products of many rows, columns and terms, by one thread and by several, with steps fused") {
  Random random;
  // Beyond each block of a packed product, and at their edges; k of 1; one row, as in decoding; so many rows, or rows
  // of weights so far apart, that weights are packed at each run.
  for (const auto& [m, k, n] : std::vector<std::array<int64_t, 3>>{{1, 300, 50},
                                                                   {6, 256, 16},
                                                                   {7, 257, 17},
                                                                   {200, 40, 530},
                                                                   {195, 520, 33},
                                                                   {5, 1, 100},
                                                                   {400, 70, 8},
                                                                   {600, 70, 50}})
    for (int threads : {1, 2, 3})
      for (bool weight : {true, false}) {
        Case c(random), sums(random);
        const Array x = c.draw(DType::f32, {m, k}), w = c.draw(DType::f32, {n, k}), bias = c.draw(DType::f32, {n}),
                    rest = c.draw(DType::f32, {m, n}), column = c.draw(DType::f32, {m, 1});
        for (Case* to : {&c, &sums}) {
          auto add = [&](const char* name, Array a, bool data) {
            if (to == &sums)
              for (double& v : a.f) v = std::fabs(v);
            if (data) return &to->graph.add_data(name, to_tensor(a, DType::f32));
            to->arrays[name] = a;
            return &to->graph.add_input(name, {DType::f32, Dims(a.dims.begin(), a.dims.end())});
          };
          Value* product = to->node("contract", {add("x", x, false), add("w", w, weight)},
                                    {{"loops", contract_loops("m k, n k -> m n")}});
          Value* y = to->node("relu", {to->node("mul", {to->node("add", {product, add("bias", bias, true)}),
                                                        &to->build.scalar(DType::f32, 0.5)})});
          to->output(to->node("add", {to->node("add", {add("rest", rest, false), y}), add("column", column, false)}));
        }
        const std::string which = std::to_string(m) + " " + std::to_string(k) + " " + std::to_string(n) + ", threads " +
                                  std::to_string(threads) + (weight ? ", weight" : "");
        CAPTURE(which);
        c.compare({.threads = threads}, k + 5, &sums);
        auto executable = Executable::compile(c.graph, {.threads = threads});
        REQUIRE(bool(executable));
        CHECK((*executable)->steps()[0].find(" contract+add") != std::string::npos);
        CHECK(((*executable)->memory().packed_bytes > 0) == weight);
      }
}

TEST_CASE("of two weights the small one is packed, beside one that has most of all bytes") {
  Random random;
  for (int64_t rows : {4, 64, 300})
    for (bool large_first : {true, false}) {
      CAPTURE(rows);
      CAPTURE(large_first);
      Case c(random);
      Value *large = c.data(DType::f32, {rows, 48}), *small = c.data(DType::f32, {48, 8});
      Value* y = large_first ? c.node("contract", {large, small}, {{"loops", contract_loops("m k, k n -> m n")}})
                             : c.node("contract", {small, large}, {{"loops", contract_loops("k n, m k -> m n")}});
      y = c.node("add", {y, c.data(DType::f32, {8})});
      c.output(c.node("mul", {y, c.input(DType::f32, {rows, 8})}));
      c.compare();
    }
}

TEST_CASE("a product takes operands that were widened from bfloat16 as they were, for few rows and for many") {
  Random random;
  for (DType dtype : {DType::bf16, DType::f32})
    for (int64_t rows : {1, 2, 3, 4, 5, 70})
      for (int64_t columns : {1, 16, 40, 64, 130})
        for (int64_t terms : {1, 31, 96}) {
          Case c(random);
          Value *x = c.input(dtype, {rows, terms}), *w = c.data(dtype, {terms, columns});
          for (Value** v : {&x, &w})
            if (dtype == DType::bf16) *v = c.node("cast", {*v}, {{"to", int64_t(DType::f32)}});
          Value* y = c.node("contract", {x, w}, {{"loops", contract_loops("m k, k n -> m n")}});
          y = c.node("mul", {y, &c.build.scalar(DType::f32, 0.5)});
          y = c.node("add", {y, c.data(DType::f32, {columns})});
          c.output(c.node("add", {y, c.input(DType::f32, {rows, columns})}));
          c.compare({.threads = rows % 2 ? 1 : 2}, terms);
        }
}

TEST_CASE("what a product takes as it was before it was widened stands, whatever becomes of the rest") {
  Random random;
  for (const bool is_output : {false, true})
    for (int64_t rows : {1, 3, 70})
      for (const char* other : {"neg", "reduce_sum", "contract"}) {
        CAPTURE(other);
        Case c(random);
        auto widened = [&](Value* half) { return c.node("cast", {half}, {{"to", int64_t(DType::f32)}}); };
        Value* w = widened(c.data(DType::bf16, {64, 40}));
        Value* x = c.node("neg", {widened(c.input(DType::bf16, {rows, 64}))});  // nothing is rounded
        Value* wide = widened(c.node("cast", {x}, {{"to", int64_t(DType::bf16)}}));
        c.output(c.node("contract", {wide, w}, {{"loops", contract_loops("m k, k n -> m n")}}));
        if (other == std::string("neg"))
          c.output(c.node("neg", {wide}));
        else if (other == std::string("reduce_sum"))
          c.output(
              c.node("reduce_sum", {wide}, {{"axes", llvm::SmallVector<int64_t, 4>{0}}, {"keepdims", int64_t(0)}}));
        else
          c.output(
              c.node("contract", {wide, c.data(DType::f32, {64, 40})}, {{"loops", contract_loops("m k, k n -> m n")}}));
        if (is_output) c.output(wide);
        c.compare({.threads = 1}, 64);
      }
}

TEST_CASE("memory for weights comes piece by piece, apart from each other, on cache lines, zeros") {
  HugePageMemory memory;
  std::vector<std::pair<char*, size_t>> pieces;
  for (size_t bytes : {size_t(1), size_t(64), size_t(5'000'000), size_t(3), (size_t(1) << 30) + 7, size_t(100)}) {
    char* at = memory.allocate(bytes);
    CHECK(reinterpret_cast<uintptr_t>(at) % 64 == 0);
    CHECK((at[0] == 0 && at[bytes - 1] == 0));
    at[0] = at[bytes - 1] = char(1 + pieces.size());
    pieces.emplace_back(at, bytes);
  }
  for (size_t k = 0; k < pieces.size(); ++k)
    CHECK((pieces[k].first[0] == char(1 + k) && pieces[k].first[pieces[k].second - 1] == char(1 + k)));
}

TEST_CASE("weights that only a run knows are packed then, where that pays") {
  Random random;
  for (const auto& [m, k, n] : std::vector<std::array<int64_t, 3>>{{600, 33, 70}, {130, 33, 1024}, {130, 40, 2048}})
    for (const char* loops : {"m k, k n -> m n", "m k, n k -> m n", "k m, k n -> m n"})
      for (int threads : {1, 2}) {
        Case c(random);
        const bool turned = llvm::StringRef(loops).starts_with("k m"), across = llvm::StringRef(loops).contains("n k");
        Value* x = c.input(DType::f32, turned ? std::vector<int64_t>{k, m} : std::vector<int64_t>{m, k});
        Value* w = c.input(DType::f32, across ? std::vector<int64_t>{n, k} : std::vector<int64_t>{k, n});
        Value* y = c.node("contract", {x, w}, {{"loops", contract_loops(loops)}});
        c.output(c.node("add", {y, c.input(DType::f32, {n})}));
        c.compare({.threads = threads}, k);
      }
}

TEST_CASE("executables of other shapes share packed weights") {
  Random random;
  for (DType dtype : {DType::f32, DType::bf16}) {
    const auto packed = std::make_shared<PackedWeights>();
    std::shared_ptr<const Tensor> weights;
    int64_t first = 0;
    for (int64_t rows : {70, 1, 9}) {
      Case c(random);
      Value* w = c.data(dtype, {96, 130});
      if (weights) w->data = weights;
      weights = w->data;
      Value* x = c.input(dtype, {rows, 96});
      if (dtype == DType::bf16) {
        x = c.node("cast", {x}, {{"to", int64_t(DType::f32)}});
        w = c.node("cast", {w}, {{"to", int64_t(DType::f32)}});
      }
      c.output(c.node("contract", {x, w}, {{"loops", contract_loops("m k, k n -> m n")}}));
      c.compare({.packed = packed}, 96);
      auto executable = Executable::compile(c.graph, {.packed = packed});
      REQUIRE(bool(executable));
      if (first == 0) first = packed->bytes();
      CHECK(packed->bytes() <= 2 * first);  // at most a second layout, where the first does not serve few rows
      CHECK((*executable)->memory().packed_bytes == 0);
    }
  }
}

TEST_CASE("NaN and infinities pass through fused steps as through unfused ones") {
  Random random;
  const double inf = INFINITY, nan = NAN;
  const std::vector<double> odd = {nan, inf, -inf, 0.0, -0.0, 3e38, -3e38, 1e-40, -1e-40, 2, -2};
  for (bool fuse : {true, false})
    for (int64_t n : {1, 17}) {
      Case c(random);
      Value* x = c.input(DType::f32, {int64_t(odd.size()), 1});
      c.arrays["in0"].f.assign(odd.begin(), odd.end());
      Array ones;
      ones.resize(true, {1, n});
      for (double& v : ones.f) v = 1;
      Value* p = c.node("contract", {x, &c.graph.add_data("w", to_tensor(ones, DType::f32))},
                        {{"loops", contract_loops("m k, k n -> m n")}});
      c.output(c.node("relu", {c.node("add", {p, c.data(DType::f32, {n})})}));
      // Softmax with masks of -inf, a row of nothing else, and NaN.
      Value* scores = c.input(DType::f32, {5, 19});
      Value* mask = c.input(DType::f32, {5, 19});
      Array& m = c.arrays["in2"];
      for (int64_t k = 0; k < 19; ++k)
        m.f[size_t(k)] = k > 3 ? -inf : 0, m.f[size_t(19 + k)] = -inf, m.f[size_t(38 + k)] = k == 7 ? nan : 0,
        m.f[size_t(57 + k)] = k == 9 ? inf : 0, m.f[size_t(76 + k)] = -3e38;
      c.output(c.node("softmax", {c.node("add", {scores, mask})}, {{"axis", int64_t(1)}}));
      for (const char* op : {"exp", "tanh", "sigmoid", "erf", "abs", "neg", "relu", "sqrt", "reciprocal", "log"})
        c.output(c.node(op, {x}));
      for (const char* op : {"max", "min", "div", "mul", "add"})
        c.output(c.node(op, {x, c.node("transpose", {x}, {{"perm", llvm::SmallVector<int64_t, 4>{1, 0}}})}));
      c.compare({.fuse = fuse});
    }
}

TEST_CASE("exp, tanh, sigmoid and erf are right within a few ulp over all floats that matter") {
  // Cephes states 2 ulp for expf; a sigmoid is an exp, a sum and a quotient; tanh's and erf's subtraction from 1 costs
  // at most what it cancels above 1/2.
  const std::pair<const char*, std::pair<double (*)(double), double>> functions[] = {
      {"exp", {[](double x) { return std::exp(x); }, 2}},
      {"tanh", {[](double x) { return std::tanh(x); }, 3}},
      {"sigmoid", {[](double x) { return 1 / (1 + std::exp(-x)); }, 4}},
      {"erf", {[](double x) { return std::erf(x); }, 3}}};
  std::vector<float> numbers;
  for (uint32_t bits = 0x2f800000; bits < 0x42b00000; bits += 4099)
    numbers.push_back(std::bit_cast<float>(bits));  // 2^-32 … 88
  const size_t positive = numbers.size();
  for (size_t k = 0; k < positive; ++k) numbers.push_back(-numbers[k]);
  const int64_t count = int64_t(numbers.size());
  for (const auto& [op, exact] : functions) {
    Random random;
    Case c(random);
    c.output(c.node(op, {c.input(DType::f32, {count})}));
    c.arrays["in0"].f.assign(numbers.begin(), numbers.end());
    const Array found = to_array(c.run().find("out0")->second);
    double worst = 0, at = 0;
    for (int64_t k = 0; k < count; ++k) {
      const double expected = exact.first(double(numbers[size_t(k)]));
      if (std::fabs(expected) < 0x1p-125) continue;  // flushed near the smallest normal number
      const double ulp = std::exp2(std::floor(std::log2(std::fabs(expected))) - 23),
                   off = std::fabs(found.number(k) - expected) / ulp;
      if (off > worst) worst = off, at = double(numbers[size_t(k)]);
    }
    CAPTURE(op);
    CAPTURE(at);
    CHECK(worst <= exact.second);
  }
}

TEST_CASE("fused and unfused runs agree with evaluate") {
  Random random;
  for (bool fuse : {true, false})
    for (int64_t batch : {1, 2}) {
      Case c(random);
      const int64_t s = 17, h = 4, d = 8;
      Value* x = c.input(DType::f32, {batch, s, h * d});
      Value* mask = c.input(DType::f32, {batch, 1, s, s});
      auto heads = [&](Value* v) {
        return c.node("reshape", {v}, {{"dims", Dims{Dim(batch), Dim(s), Dim(h), Dim(d)}}});
      };
      auto linear = [&](Value* v, int64_t in, int64_t out) {
        return c.node("add", {c.data(DType::f32, {out}), c.node("contract", {v, c.data(DType::f32, {in, out})},
                                                                {{"loops", contract_loops("b m k, k n -> b m n")}})});
      };
      Value* q = heads(c.node("mul", {linear(x, h * d, h * d), &c.build.scalar(DType::f32, 0.01)}));
      Value* k = heads(linear(x, h * d, h * d));
      Value* v = heads(linear(x, h * d, h * d));
      Value* scores = c.node("contract", {q, k}, {{"loops", contract_loops("b0 m b1 k, b0 n b1 k -> b0 b1 m n")}});
      Value* p = c.node("softmax", {c.node("add", {c.node("div", {scores, &c.build.scalar(DType::f32, 2)}), mask})},
                        {{"axis", int64_t(3)}});
      Value* o = c.node("contract", {p, v}, {{"loops", contract_loops("b0 b1 m k, b0 k b1 n -> b0 m b1 n")}});
      Value* merged = c.node("reshape", {o}, {{"dims", Dims{Dim(batch), Dim(s), Dim(h * d)}}});
      Value* y = c.node(
          "add",
          {x, c.node("relu", {linear(c.node("mul", {merged, &c.build.scalar(DType::f32, 0.05)}), h * d, h * d)})});
      c.output(c.node("mul", {y, &c.build.scalar(DType::f32, 0.01)}));
      c.output(c.node("mul", {merged, &c.build.scalar(DType::f32, 0.01)}));
      c.output(x);
      c.compare({.fuse = fuse});
      auto executable = Executable::compile(c.graph, {.fuse = fuse});
      REQUIRE(bool(executable));
      bool fused = false;
      for (const std::string& step : (*executable)->steps()) fused |= step.find("contract+add") != std::string::npos;
      CHECK(fused == fuse);
    }
}

TEST_CASE("each of two factors after one product is applied once, whether fused or not") {
  Random random;
  for (bool fuse : {true, false})
    for (int64_t rows : {1, 5, 128}) {
      Case c(random);
      Value* p = c.node("contract", {c.input(DType::f32, {rows, 32}), c.data(DType::f32, {32, 48})},
                        {{"loops", contract_loops("m k, k n -> m n")}});
      Value* doubled = c.node("mul", {p, &c.build.scalar(DType::f32, 0.25)});
      c.output(c.node("mul", {c.node("add", {doubled, c.data(DType::f32, {48})}), &c.build.scalar(DType::f32, 3)}));
      c.compare({.fuse = fuse});
    }
}

TEST_CASE("memory is planned for products of more rows than 32 bits count") {
  Random random;
  for (const auto& [loops, rows] : std::vector<std::pair<const char*, llvm::SmallVector<int64_t, 4>>>{
           {"b m k, k n -> b m n", {int64_t{1} << 31, 128, 8}}, {"b m k, b n k -> b m n", {int64_t{1} << 33, 16, 8}}}) {
    Case c(random);
    Value* x = c.input(DType::f32, {0, 0, 0});
    for (size_t d = 0; d < 3; ++d) x->type.dims[d] = rows[d];
    Value* w = llvm::StringRef(loops).contains("b n k") ? x : c.data(DType::f32, {8, 16});
    c.output(c.node("contract", {x, w}, {{"loops", contract_loops(loops)}}));
    auto memory = Executable::plan_memory_of(c.graph);
    REQUIRE_MESSAGE(bool(memory), text(memory.takeError()));
    CHECK(memory->arena_actual_bytes >= 0);
  }
}

TEST_CASE("a fused intermediate that is an output is still written") {
  Random random;
  Case c(random);
  Value* p = c.node("contract", {c.input(DType::f32, {3, 4}), c.data(DType::f32, {4, 5})},
                    {{"loops", contract_loops("m k, k n -> m n")}});
  c.output(p);
  c.output(c.node("relu", {p}));
  c.compare();
}

TEST_CASE("buffers that live at the same time do not overlap") {
  Random random;
  for (int round = 0; round < 200; ++round) {
    std::vector<Lifetime> lives;
    for (int64_t k = random.below(30); k >= 0; --k) {
      const int64_t first = random.below(20);
      lives.push_back({random.below(5) == 0 ? 0 : random.below(1000), first, first + random.below(6)});
    }
    const MemoryPlan plan = plan_memory(lives);
    CHECK(plan.bytes >= plan.lower_bound_bytes);
    for (size_t a = 0; a < lives.size(); ++a) {
      CHECK(plan.offsets[a] % 64 == 0);
      CHECK(plan.offsets[a] + lives[a].bytes <= plan.bytes);
      for (size_t b = 0; b < a; ++b) {
        const bool together = lives[a].first <= lives[b].last && lives[b].first <= lives[a].last;
        const bool apart = plan.offsets[a] + lives[a].bytes <= plan.offsets[b] ||
                           plan.offsets[b] + lives[b].bytes <= plan.offsets[a] || !lives[a].bytes || !lives[b].bytes;
        CHECK((!together || apart));
      }
    }
  }
}
}  // namespace optp
