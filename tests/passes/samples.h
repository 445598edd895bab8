// Small graphs for every op of the registry: what the property tests of rules run on.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "frontend/ir/builder.h"

namespace optp::samples {

struct Input {
  Dims dims;
  DType dtype = DType::f64;
  double low = -2, high = 2;  // of its elements
  bool distinct = false;      // no two integers of it are equal
};
using Make = std::function<llvm::Expected<Value*>(Builder&, llvm::ArrayRef<Value*>)>;
struct Sample {
  std::string op;
  std::vector<Input> inputs;
  Make make;
  bool single = true;  // one node: what is said of its inputs can be said of its operands
};
// The values of the named dims that samples use.
inline const DimValues& named_dims() {
  static const DimValues values{{"b", 2}, {"s", 5}};
  return values;
}

class Table {
 public:
  Table() {
    elementwise();
    products();
    lookups();
    reductions();
    views();
    parts();
    sources();
    several_nodes();
  }
  std::vector<Sample> of(llvm::StringRef op) const {
    std::vector<Sample> out;
    for (const Sample& s : samples_)
      if (s.op == op) out.push_back(s);
    return out;
  }

 private:
  using Ints = llvm::SmallVector<int64_t, 4>;
  void node(const std::string& op, std::vector<Input> inputs, Attributes attributes = {}) {
    samples_.push_back({op, std::move(inputs), [op, attributes](Builder& build, llvm::ArrayRef<Value*> x) {
                          return build.create(op, x, attributes, "y");
                        }});
  }
  void graph(const std::string& op, std::vector<Input> inputs, Make make) {
    samples_.push_back({op, std::move(inputs), std::move(make), false});
  }

  void elementwise() {
    for (const char* op :
         {"neg", "abs", "exp", "tanh", "sigmoid", "erf", "sin", "cos", "floor", "ceil", "round", "relu", "sign"})
      for (const Dims& dims : {Dims{5, 3}, Dims{12}, Dims{}, Dims{2, 1, 9}, Dims{b * 12, 4}}) node(op, {{dims}});
    for (const char* op : {"neg", "abs", "relu", "sign"}) node(op, {{{7, 2}, DType::i64, -9, 9}});
    for (const char* op : {"log", "sqrt", "reciprocal"})
      for (const Dims& dims : {Dims{5, 3}, Dims{1}, Dims{2, s}}) node(op, {{dims, DType::f64, 0.5, 3}});
    for (const char* op : {"is_nan", "is_inf"}) node(op, {{{5, 3}}});
    node("not", {{{5, 3}, DType::boolean, 0, 1}});
    const std::vector<std::pair<Dims, Dims>> pairs{{{5, 3}, {5, 3}},          {{4, 1, 6}, {3, 1}}, {{7}, {}},
                                                   {{1, 5}, {5, 1}},          {{b, s, 4}, {4}},    {{1}, {2, 1}},
                                                   {{3, b * 12}, {1, b * 12}}};
    for (const char* op :
         {"add", "sub", "mul", "max", "min", "equal", "less", "less_equal", "greater", "greater_equal"})
      for (const auto& [a, c] : pairs) {
        node(op, {{a}, {c}});
        node(op, {{a, DType::i64, -3, 3}, {c, DType::i64, -3, 3}});
      }
    for (const char* op : {"div", "mod", "pow"})
      for (const auto& [a, c] : pairs) {
        node(op, {{a, DType::f64, 0.5, 3}, {c, DType::f64, 0.5, 3}});
        node(op, {{a, DType::i64, llvm::StringRef(op) == "pow" ? 0.0 : -9.0, 9}, {c, DType::i64, 1, 3}});
      }
    for (const char* op : {"and", "or", "xor"})
      for (const auto& [a, c] : pairs) node(op, {{a, DType::boolean, 0, 1}, {c, DType::boolean, 0, 1}});
    for (const auto& [a, c] : pairs) {
      node("where", {{a, DType::boolean, 0, 1}, {c}, {a}});
      node("where", {{c, DType::boolean, 0, 1}, {a, DType::i64, -9, 9}, {{1}, DType::i64, -9, 9}});
    }
    for (const Dims& dims : {Dims{5, 3}, Dims{b, s, 4}, Dims{}})
      for (size_t addends : {1u, 2u, 4u}) {
        node("sum", std::vector<Input>(addends, {dims}));
        node("sum", std::vector<Input>(addends, {dims, DType::i64, -9, 9}));
      }
    for (DType to : {DType::f32, DType::i64, DType::boolean}) node("cast", {{{5, 3}}}, {{"to", int64_t(to)}});
    for (DType to : {DType::f64, DType::i32, DType::boolean})
      node("cast", {{{b, 7}, DType::i64, -2, 2}}, {{"to", int64_t(to)}});
    node("cast", {{{9}, DType::boolean, 0, 1}}, {{"to", int64_t(DType::f64)}});
  }

  void products() {
    auto contract = [&](const char* loops, Dims a, Dims c) {
      node("contract", {{a}, {c}}, {{"loops", contract_loops(loops)}});
      node("contract", {{a, DType::i64, -3, 3}, {c, DType::i64, -3, 3}}, {{"loops", contract_loops(loops)}});
    };
    contract("m k, k n -> m n", {5, 7}, {7, 3});
    contract("b s k, k n -> b s n", {b, s, 6}, {6, 4});
    contract("m k, n k -> n m", {2, 3}, {5, 3});
    contract("b h s d, b h t d -> b h s t", {2, 3, 4, 2}, {2, 3, 5, 2});
    contract("k, k ->", {6}, {6});
    contract("m, n -> m n", {3}, {5});
    contract("b k, k n -> n", {3, 4}, {4, 2});
    contract("m 1 k, k 1 -> m 1", {3, 1, 4}, {4, 1});
    contract("1 k, k n -> 1 n", {1, 5}, {5, 9});
    contract("m k, 1 n -> m 1 n", {3, 2}, {1, 4});
    contract("i i, i n -> i n", {3, 3}, {3, 2});
    contract("i i, n -> n", {3, 3}, {2});
    contract("a c d, d c e -> a e", {2, 3, 4}, {4, 3, 5});
    contract("m k, k n -> m n", {3, 1}, {1, 3});
  }

  void lookups() {
    for (DType dtype : {DType::f64, DType::i64, DType::boolean}) {
      const double low = dtype == DType::boolean ? 0 : -4, high = dtype == DType::boolean ? 1 : 4;
      auto gather = [&](const Dims& table, int64_t axis, const Dims& index, DType index_dtype = DType::i64) {
        const double rows = double(*table[size_t(axis)].constant());
        node("gather", {{table, dtype, low, high}, {index, index_dtype, -rows, rows - 1}}, {{"axis", axis}});
      };
      gather({7, 3}, 0, {2, 5});
      gather({4, 6}, 1, {3});
      gather({11}, 0, {b, s}, DType::i32);
      gather({3, 2, 5}, 1, {});
      gather({1, 4}, 0, {3});
      gather({2, 3, 4}, 2, {2, 1});
      auto index_copy = [&](const Dims& data, int64_t axis, Dim count, DType index_dtype = DType::i64) {
        const double last = double(*data[size_t(axis)].constant()) - 1;
        Dims rows = data;
        rows[size_t(axis)] = count;
        node("index_copy",
             {{data, dtype, low, high}, {{count}, index_dtype, 0, last, /*distinct=*/true}, {rows, dtype, low, high}},
             {{"axis", axis}});
      };
      index_copy({b, 7, 3}, 1, 2);
      index_copy({9, 6}, 0, s, DType::i32);
      index_copy({6}, 0, 3);
      index_copy({2, 3, 1, 4}, 1, 1);
    }
    for (DType dtype : {DType::f64, DType::i64}) {
      auto scatter = [&](const Dims& values, int64_t axis, const Dims& index, int64_t rows,
                         DType index_dtype = DType::i64) {
        node("scatter_add", {{values, dtype, -4, 4}, {index, index_dtype, double(-rows), double(rows - 1)}},
             {{"axis", axis}, {"rows", Dim(rows)}});
      };
      scatter({2, 5, 3}, 0, {2, 5}, 7);
      scatter({4, 3}, 1, {3}, 6);
      scatter({b, s}, 0, {b, s}, 11, DType::i32);
      scatter({3, 5}, 1, {}, 2);
      scatter({3, 4}, 0, {3}, 1);
      scatter({2, 3, 2, 1}, 2, {2, 1}, 4);
      // An index for each element: all dims but the axis are loops of both.
      auto elements = [&](const Dims& dims, int64_t axis, Dim count, int64_t rows, DType index_dtype = DType::i64) {
        Dims index = dims;
        index[size_t(axis)] = count;
        const Input at{index, index_dtype, double(-rows), double(rows - 1)};
        node("gather_elements", {{dims, dtype, -4, 4}, at}, {{"axis", axis}});
        node("scatter_add_elements", {{index, dtype, -4, 4}, at}, {{"axis", axis}, {"rows", Dim(rows)}});
      };
      elements({7}, 0, 5, 7);
      elements({3, 7, 2}, 1, 4, 7, DType::i32);
      elements({5, 3}, 0, 6, 5);
      elements({b, 3, s, 6}, 3, s, 6);
    }
  }

  void reductions() {
    const std::vector<std::pair<Dims, Ints>> cases{{{5, 3}, {1}}, {{5, 3}, {0}},    {{2, 3, 4}, {0, 2}},
                                                   {{7}, {0}},    {{b, s, 4}, {2}}, {{b * 12, 2}, {0}},
                                                   {{3, 1}, {1}}, {{4, 2}, {}}};
    for (const char* op : {"reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "reduce_mean"})
      for (const auto& [dims, axes] : cases)
        for (int64_t keep : {0, 1}) {
          node(op, {{dims}}, {{"axes", axes}, {"keepdims", keep}});
          node(op, {{dims, DType::i64, -3, 3}}, {{"axes", axes}, {"keepdims", keep}});
        }
    for (int64_t exclusive : {0, 1})
      for (int64_t reverse : {0, 1}) {
        node("cumsum", {{{5, 3}}}, {{"axis", int64_t(0)}, {"exclusive", exclusive}, {"reverse", reverse}});
        node("cumsum", {{{b, s}, DType::i64, 0, 1}},
             {{"axis", int64_t(1)}, {"exclusive", exclusive}, {"reverse", reverse}});
      }
    for (int64_t largest : {0, 1}) {
      node("top_k", {{{5, 7}}}, {{"axis", int64_t(1)}, {"k", Dim(3)}, {"largest", largest}});
      node("top_k", {{{b, s, 4}, DType::i64, -2, 2}}, {{"axis", int64_t(1)}, {"k", Dim(2)}, {"largest", largest}});
    }
    node("softmax", {{{5, 3}}}, {{"axis", int64_t(1)}});
    node("softmax", {{{2, 3, 4}}}, {{"axis", int64_t(1)}});
    node("softmax", {{{b, 3, s, s}}}, {{"axis", int64_t(3)}});
    for (const Dims& dims : {Dims{5, 6}, Dims{b, s, 4}, Dims{7}}) {
      node("layer_norm", {{dims}, {{dims.back()}}, {{dims.back()}}}, {{"epsilon", 1e-5}});
      node("layer_norm", {{dims}, {{dims.back()}}});
    }
  }

  void views() {
    const std::vector<std::pair<Dims, Dims>> reshapes{
        {{36}, {3, 12}},
        {{3, 12}, {36}},
        {{5, 36}, {5, 3, 12}},
        {{b * 12, 4}, {b, 12, 4}},
        {{b, s, 12}, {b, s, 3, 4}},
        {{b, s, 3, 4}, {b * s, 12}},
        {{12, 8}, {8, 12}},
        {{6, 4}, {4, 6}},
        {{1, 5, 1}, {5}},
        {{5}, {1, 1, 5}},
        {{2, 3, 5}, {6, 5}},
        {{b, 3, s, 4}, {b * 3, s, 4}},
        {{1}, {}},
        {{2, 2, 3, 3}, {4, 9}},
        {{4, 9}, {2, 2, 3, 3}},
        {{2, 15}, {10, 3}},
        {{7, 1, 2}, {14}},
        {{b * 12, 3}, {b, 4, 9}},
    };
    for (const auto& [from, to] : reshapes) {
      node("reshape", {{from}}, {{"dims", to}});
      node("reshape", {{from, DType::i64, -9, 9}}, {{"dims", to}});
    }
    node("transpose", {{{5, 3}}}, {{"perm", Ints{1, 0}}});
    node("transpose", {{{2, 3, 4, 5}}}, {{"perm", Ints{0, 2, 1, 3}}});
    node("transpose", {{{b, 7, 2}, DType::i64, -9, 9}}, {{"perm", Ints{2, 0, 1}}});
    node("expand", {{{1, 3}}}, {{"dims", Dims{5, 3}}});
    node("expand", {{{4, 1}}}, {{"dims", Dims{2, 4, 7}}});
    node("expand", {{{}}}, {{"dims", Dims{b, s}}});
    node("expand", {{{b, 1, 1, s}, DType::i64, -9, 9}}, {{"dims", Dims{b, 1, s, s}}});
    auto repeat = [&](const Dims& dims, int64_t axis, int64_t times) {
      Dims repeated = dims;
      repeated[size_t(axis)] = repeated[size_t(axis)] * Dim(times);
      for (DType dtype : {DType::f64, DType::i64}) {
        node("repeat", {{dims, dtype, -9, 9}}, {{"axis", axis}, {"times", times}});
        node("sum_repeats", {{repeated, dtype, -9, 9}}, {{"axis", axis}, {"times", times}});
      }
    };
    repeat({2}, 0, 4);
    repeat({b, 2, s, 3}, 1, 4);
    repeat({3, 4}, 0, 2);
    repeat({b, 1, 5}, 1, 6);
    repeat({b, s, 3, 2}, 2, 5);
    repeat({2, 8}, 1, 4);
  }

  void parts() {
    auto slice = [&](Dims dims, int64_t axis, Dim start, Dim size, int64_t step = 1) {
      node("slice", {{dims}}, {{"axis", axis}, {"start", start}, {"size", size}, {"step", step}});
      node("slice", {{dims, DType::i64, -9, 9}}, {{"axis", axis}, {"start", start}, {"size", size}, {"step", step}});
    };
    slice({12}, 0, 4, 4);
    slice({2, 15}, 1, 10, 5);
    slice({2, 15}, 1, 0, 5);
    slice({9, 3}, 0, 2, 5);
    slice({9, 3}, 0, 0, 9);
    slice({9, 3}, 0, 8, 5, -2);
    slice({9, 3}, 0, 8, 9, -1);
    slice({4, 7}, 1, 1, 3, 2);
    slice({4, 10}, 1, 1, 5, 2);  // a column of each pair
    slice({b * 12, 3}, 0, 2, b * 4, 3);
    slice({6, 2}, 0, 3, 1);
    slice({b, s, 12}, 2, 4, 4);
    slice({s * 3, 2}, 0, s, s);
    slice({5, 2}, 0, 1, 0);
    auto concat = [&](std::vector<Dims> operands, int64_t axis) {
      for (DType dtype : {DType::f64, DType::i64}) {
        std::vector<Input> inputs;
        for (const Dims& dims : operands) inputs.push_back({dims, dtype, -9, 9});
        node("concat", inputs, {{"axis", axis}});
      }
    };
    concat({{5, 3}, {5, 3}}, 0);
    concat({{5, 3}, {5, 3}, {5, 3}}, 1);
    concat({{5, 3}, {2, 3}}, 0);
    concat({{2, 1, 4}, {2, 6, 4}}, 1);
    concat({{b, s, 2}, {b, s, 2}}, 2);
    concat({{b, s}, {b, 3}}, 1);
    concat({{7}}, 0);
    for (double value : {0.0, 2.0}) {
      node("pad", {{{5, 3}}}, {{"axis", int64_t(0)}, {"before", Dim(2)}, {"after", Dim(1)}, {"value", value}});
      node("pad", {{{b, 4}, DType::i64, -9, 9}},
           {{"axis", int64_t(1)}, {"before", Dim(0)}, {"after", s}, {"value", value}});
    }
  }

  void sources() {
    for (DType dtype : {DType::i64, DType::f64})
      for (Dim size : {Dim(7), Dim(1), Dim(16), s, b * 12})
        for (int64_t step : {1, -3})
          node("iota", {}, {{"start", Dim(2)}, {"step", Dim(step)}, {"size", size}, {"dtype", int64_t(dtype)}});
    node("dim_tensor", {}, {{"values", Dims{b, s, b * 12}}, {"shape", Ints{3}}, {"dtype", int64_t(DType::i64)}});
    node("dim_tensor", {}, {{"values", Dims{s}}, {"shape", Ints{}}, {"dtype", int64_t(DType::i64)}});
  }

  // What one node alone can't show: factors that come from elsewhere, a loop that occurs twice in a value, two users.
  // Scores of heads that share keys, made of activations and of weights, and the way back: sums over the heads of keys,
  // which several ranks may have copies of.
  void grouped_heads() {
    auto made = [](Builder& build, const char* op, llvm::ArrayRef<Value*> x, Attributes attributes = {}) {
      return llvm::cantFail(build.create(op, x, std::move(attributes)));
    };
    for (int64_t times : {2, 4}) {
      const Dim heads = 2 * times;
      const Attributes how{{"axis", int64_t(1)}, {"times", times}};
      graph("repeat", {{{b, heads, s, 3}}, {{b, s, 5}}, {{5, 6}}}, [=, this](Builder& build, llvm::ArrayRef<Value*> x) {
        Value* k = made(build, "contract", {x[1], x[2]}, {{"loops", contract_loops("b s k, k n -> b s n")}});
        k = made(build, "reshape", {k}, {{"dims", Dims{b, s, 2, 3}}});
        k = made(build, "transpose", {k}, {{"perm", Ints{0, 2, 1, 3}}});
        return build.create("contract", {x[0], made(build, "repeat", {k}, how)},
                            {{"loops", contract_loops("b h s d, b h t d -> b h s t")}}, "y");
      });
      for (const char* loops : {"b s n, m n -> b s m", "b s n, b s m -> n m"}) {
        const bool by_weight = llvm::StringRef(loops).starts_with("b s n, m n");
        graph("sum_repeats", {{{b, heads, s, 3}}, {{6}}, {by_weight ? Dims{5, 6} : Dims{b, s, 5}}},
              [=, this](Builder& build, llvm::ArrayRef<Value*> x) {
                Value* dk = made(build, "sum_repeats", {x[0]}, how);
                dk = made(build, "transpose", {dk}, {{"perm", Ints{0, 2, 1, 3}}});
                dk = made(build, "reshape", {dk}, {{"dims", Dims{b, s, 6}}});
                dk = made(build, "mul", {dk, x[1]});
                return build.create("contract", {dk, x[2]}, {{"loops", contract_loops(loops)}}, "y");
              });
      }
      graph("sum_repeats", {{{heads, 3}}, {{2, 3}}}, [=](Builder& build, llvm::ArrayRef<Value*> x) {
        Value* d = made(build, "sum_repeats", {x[0]}, {{"axis", int64_t(0)}, {"times", times}});
        d = made(build, "mul", {d, x[1]});
        return build.create("reduce_sum", {d}, {{"axes", Ints{0}}, {"keepdims", int64_t(0)}}, "y");
      });
    }
  }

  void several_nodes() {
    grouped_heads();
    auto made = [](Builder& build, const char* op, llvm::ArrayRef<Value*> x, Attributes attributes = {}) {
      return llvm::cantFail(build.create(op, x, std::move(attributes)));
    };
    auto reshape = [made](Builder& build, Value& x, Dims dims) {
      return made(build, "reshape", {&x}, {{"dims", dims}});
    };
    graph("gather", {{{3, 12, 2}}, {{5}, DType::i64, -36, 35}}, [=](Builder& build, llvm::ArrayRef<Value*> x) {
      return build.create("gather", {reshape(build, *x[0], {36, 2}), x[1]}, {{"axis", int64_t(0)}}, "y");
    });
    graph("gather", {{{6, 4}}, {{6}, DType::i64, 0, 5}},
          [=](Builder& build, llvm::ArrayRef<Value*> x) {  // rows and index are one loop elsewhere
            Value* index = made(
                build, "add",
                {x[1], made(build, "cast",
                            {made(build, "reduce_sum", {made(build, "mul", {x[0], made(build, "sub", {x[0], x[0]})})},
                                  {{"axes", Ints{1}}})},
                            {{"to", int64_t(DType::i64)}})});
            return build.create("gather", {x[0], index}, {{"axis", int64_t(0)}}, "y");
          });
    graph("iota", {}, [=](Builder& build, llvm::ArrayRef<Value*>) {
      Value* all = made(build, "iota", {},
                        {{"start", Dim(1)}, {"step", Dim(2)}, {"size", Dim(30)}, {"dtype", int64_t(DType::i64)}});
      return build.create("reshape", {all}, {{"dims", Dims{5, 6}}}, "y");
    });
    auto symmetric = [made](Builder& build, Value& x) {
      return made(build, "add", {&x, made(build, "transpose", {&x}, {{"perm", Ints{1, 0}}})});
    };
    graph("softmax", {{{5, 5}}}, [=](Builder& build, llvm::ArrayRef<Value*> x) {
      return build.create("softmax", {symmetric(build, *x[0])}, {{"axis", int64_t(1)}}, "y");
    });
    graph("relu", {{{5, 5}}}, [=](Builder& build, llvm::ArrayRef<Value*> x) {
      return build.create("relu", {symmetric(build, *x[0])}, {}, "y");
    });
    graph("contract", {{{4, 4}}, {{4, 3}}}, [=](Builder& build, llvm::ArrayRef<Value*> x) {
      return build.create("contract", {symmetric(build, *x[0]), x[1]}, {{"loops", contract_loops("i k, k n -> i n")}},
                          "y");
    });
    graph("reshape", {{{4, 4}}}, [=](Builder& build, llvm::ArrayRef<Value*> x) {
      return build.create("reshape", {symmetric(build, *x[0])}, {{"dims", Dims{16}}}, "y");
    });
    // A fused qkv: each third is split within itself, by whole heads.
    graph("slice", {{{b, 5, 36}}}, [=, b = b](Builder& build, llvm::ArrayRef<Value*> x) {
      Value* v = made(build, "slice", {x[0]}, {{"axis", int64_t(2)}, {"start", Dim(12)}, {"size", Dim(12)}});
      return build.create("reshape", {v}, {{"dims", Dims{b, 5, 3, 4}}}, "y");
    });
    graph("concat", {{{3, 4}}, {{3, 4}}}, [=](Builder& build, llvm::ArrayRef<Value*> x) {
      Value* joined = made(build, "concat", {x[0], x[1]}, {{"axis", int64_t(1)}});
      return build.create("slice", {joined}, {{"axis", int64_t(1)}, {"start", Dim(4)}, {"size", Dim(4)}}, "y");
    });
    // Gates between the columns that they gate: both are one column of [5, 2], and the 5 is split.
    graph("slice", {{{b, 10}}, {{5, 3}}}, [=](Builder& build, llvm::ArrayRef<Value*> x) {
      auto column = [&](int64_t start) {
        return made(build, "slice", {x[0]},
                    {{"axis", int64_t(1)}, {"start", Dim(start)}, {"size", Dim(5)}, {"step", int64_t(2)}});
      };
      return build.create("contract", {made(build, "mul", {column(0), column(1)}), x[1]},
                          {{"loops", contract_loops("b f, f n -> b n")}}, "y");
    });
    // Parts of unequal widths, each split within itself: heads that share keys and values; one that another cut falls
    // into; pieces put together in another order; a gradient of both.
    graph("slice", {{{b, 5, 28}}}, [=, b = b](Builder& build, llvm::ArrayRef<Value*> x) {
      auto piece = [&](int64_t start, int64_t size) {
        return made(build, "slice", {x[0]}, {{"axis", int64_t(2)}, {"start", Dim(start)}, {"size", Dim(size)}});
      };
      Value* q = made(build, "reshape", {piece(0, 20)}, {{"dims", Dims{b, 5, 5, 4}}});
      Value* k = made(build, "reshape", {piece(20, 4)}, {{"dims", Dims{b, 5, 1, 4}}});
      return build.create(
          "mul", {made(build, "add", {q, k}), made(build, "reshape", {piece(24, 4)}, {{"dims", Dims{b, 5, 1, 4}}})}, {},
          "y");
    });
    graph("slice", {{{5, 14}}}, [=](Builder& build, llvm::ArrayRef<Value*> x) {
      auto piece = [&](Value* of, int64_t start, int64_t size) {
        return made(build, "slice", {of}, {{"axis", int64_t(1)}, {"start", Dim(start)}, {"size", Dim(size)}});
      };
      Value* most = piece(x[0], 3, 11);
      return build.create("add", {piece(x[0], 0, 6), piece(most, 4, 6)}, {}, "y");
    });
    graph("concat", {{{3, 6}}, {{3, 4}}}, [=](Builder& build, llvm::ArrayRef<Value*> x) {
      Value* joined = made(build, "concat", {x[0], x[1], x[0]}, {{"axis", int64_t(1)}});
      return build.create("slice", {joined}, {{"axis", int64_t(1)}, {"start", Dim(6)}, {"size", Dim(10)}}, "y");
    });
    graph("pad", {{{b, 6}}, {{b, 4}}}, [=](Builder& build, llvm::ArrayRef<Value*> x) {
      auto among = [&](Value* v, int64_t before, int64_t after) {
        return made(build, "pad", {v},
                    {{"axis", int64_t(1)}, {"before", Dim(before)}, {"after", Dim(after)}, {"value", 0.0}});
      };
      return build.create("add", {among(x[0], 0, 4), among(x[1], 6, 0)}, {}, "y");
    });
    // Heads of queries before those of keys, cut after they are heads.
    graph("reshape", {{{b, 20}}}, [=, b = b](Builder& build, llvm::ArrayRef<Value*> x) {
      Value* heads = made(build, "reshape", {x[0]}, {{"dims", Dims{b, 5, 4}}});
      Value* q = made(build, "slice", {heads}, {{"axis", int64_t(1)}, {"start", Dim(0)}, {"size", Dim(3)}});
      return build.create("reshape", {q}, {{"dims", Dims{b, 12}}}, "y");
    });
    // A product that makes parts of unequal widths, and one that sums them: all cut, or some.
    graph("contract", {{{3, 5}}, {{5, 10}}, {{10, 4}}}, [=](Builder& build, llvm::ArrayRef<Value*> x) {
      Value* fused = made(build, "contract", {x[0], x[1]}, {{"loops", contract_loops("m k, k n -> m n")}});
      auto piece = [&](int64_t start, int64_t size) {
        return made(build, "slice", {fused}, {{"axis", int64_t(1)}, {"start", Dim(start)}, {"size", Dim(size)}});
      };
      Value* joined = made(build, "concat", {piece(7, 3), made(build, "relu", {piece(0, 7)})}, {{"axis", int64_t(1)}});
      return build.create("contract", {joined, x[2]}, {{"loops", contract_loops("m n, n k -> m k")}}, "y");
    });
    // Sums of parts that go different ways.
    graph("add", {{{5, 7}}, {{7, 3}}, {{3}}}, [=](Builder& build, llvm::ArrayRef<Value*> x) {
      Value* p = made(build, "contract", {x[0], x[1]}, {{"loops", contract_loops("m k, k n -> m n")}});
      Value* q = made(build, "add", {made(build, "relu", {p}), made(build, "mul", {p, x[2]})});
      return build.create("add", {q, made(build, "neg", {p})}, {}, "y");
    });
    // Pieces of today's models: SiLU, both gelus, an RMS norm, a rotary embedding, a clipped value, a softmax behind a
    // mask.
    auto number = [](Builder& build, double x) { return &build.scalar(DType::f64, x); };
    graph("sigmoid", {{{b, 6}}}, [=](Builder& build, llvm::ArrayRef<Value*> x) {
      return build.create("mul", {x[0], made(build, "sigmoid", {x[0]})}, {}, "y");
    });
    graph("erf", {{{b, 6}}}, [=](Builder& build, llvm::ArrayRef<Value*> x) {
      Value* e = made(build, "erf", {made(build, "div", {x[0], number(build, 1.4142135623730951)})});
      return build.create(
          "mul", {made(build, "mul", {x[0], made(build, "add", {e, number(build, 1)})}), number(build, 0.5)}, {}, "y");
    });
    graph("tanh", {{{b, 6}}}, [=](Builder& build, llvm::ArrayRef<Value*> x) {
      Value* cube = made(build, "mul", {made(build, "pow", {x[0], number(build, 3)}), number(build, 0.044715)});
      Value* t = made(build, "tanh",
                      {made(build, "mul", {made(build, "add", {x[0], cube}), number(build, 0.7978845608028654)})});
      return build.create(
          "mul", {made(build, "mul", {x[0], number(build, 0.5)}), made(build, "add", {t, number(build, 1)})}, {}, "y");
    });
    graph("reduce_mean", {{{b, 3, 6}}, {{6}}}, [=](Builder& build, llvm::ArrayRef<Value*> x) {
      Value* mean = made(build, "reduce_mean", {made(build, "pow", {x[0], number(build, 2)})},
                         {{"axes", Ints{2}}, {"keepdims", int64_t(1)}});
      Value* r = made(build, "reciprocal", {made(build, "sqrt", {made(build, "add", {mean, number(build, 1e-5)})})});
      return build.create("mul", {x[1], made(build, "mul", {x[0], r})}, {}, "y");
    });
    graph("concat", {{{2, 3, 4}}, {{3, 4}}}, [=](Builder& build, llvm::ArrayRef<Value*> x) {
      auto half = [&](int64_t start) {
        return made(build, "slice", {x[0]}, {{"axis", int64_t(2)}, {"start", Dim(start)}, {"size", Dim(2)}});
      };
      Value* turned = made(build, "concat", {made(build, "neg", {half(2)}), half(0)}, {{"axis", int64_t(2)}});
      return build.create("add",
                          {made(build, "mul", {x[0], made(build, "cos", {x[1]})}),
                           made(build, "mul", {turned, made(build, "sin", {x[1]})})},
                          {}, "y");
    });
    graph("min", {{{5, 4}}}, [=](Builder& build, llvm::ArrayRef<Value*> x) {
      return build.create("min", {made(build, "max", {x[0], number(build, -0.75)}), number(build, 1.25)}, {}, "y");
    });
    graph("where", {{{2, 3, 4}}, {{3, 4}, DType::boolean, 0, 1}}, [=](Builder& build, llvm::ArrayRef<Value*> x) {
      return build.create("softmax", {made(build, "where", {x[1], x[0], number(build, -1e9)})}, {{"axis", int64_t(2)}},
                          "y");
    });
    graph("expand", {{{4, 1, 3}}}, [=](Builder& build, llvm::ArrayRef<Value*> x) {  // grouped heads: each is repeated
      return build.create("reshape", {made(build, "expand", {x[0]}, {{"dims", Dims{4, 2, 3}}})}, {{"dims", Dims{8, 3}}},
                          "y");
    });
  }

  const Dim b = Dim::symbol("b"), s = Dim::symbol("s");
  std::vector<Sample> samples_;
};
}  // namespace optp::samples
