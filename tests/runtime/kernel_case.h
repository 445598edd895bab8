// A graph of a few nodes, run by kernels and by the reference, and what both say compared.
#pragma once
#include <doctest/doctest.h>

#include <cmath>
#include <map>
#include <random>

#include "frontend/ir/builder.h"
#include "runtime/executable.h"
#include "runtime/kernel.h"
#include "runtime/reference.h"

namespace optp {
inline std::string text(llvm::Error e) { return llvm::toString(std::move(e)); }

struct Random {
  std::mt19937 engine{404};
  int64_t below(int64_t n) { return int64_t(engine() % uint64_t(n)); }
  double number() { return double(below(4001) - 2000) / 512; }  // sums of a few thousand are exact in f32
};

// One graph: inputs and data as asked, run by kernels and by the reference.
struct Case {
  Graph graph;
  Builder build{graph};
  NamedArrays arrays;
  Random& random;
  std::vector<std::string> steps;  // of the last run
  explicit Case(Random& r) : random(r) { build.set_fold(false); }

  Array draw(DType dtype, llvm::ArrayRef<int64_t> dims, double low = -1e9) {
    Array a;
    a.resize(is_float(dtype), dims);
    for (double& v : a.f) v = std::max(low, random.number());
    for (int64_t& v : a.i) v = dtype == DType::boolean ? random.below(2) : random.below(9) - 4;
    return to_array(*to_tensor(a, dtype));  // rounded as stored
  }
  Value* input(DType dtype, llvm::ArrayRef<int64_t> dims, double low = -1e9) {
    const std::string name = "in" + std::to_string(graph.inputs.size());
    Dims d(dims.begin(), dims.end());
    arrays[name] = draw(dtype, dims, low);
    return &graph.add_input(name, {dtype, d});
  }
  Value* data(DType dtype, llvm::ArrayRef<int64_t> dims) {
    return &graph.add_data(graph.unique_name("w"), to_tensor(draw(dtype, dims), dtype));
  }
  Value* node(llvm::StringRef op, llvm::ArrayRef<Value*> operands, Attributes attributes = {}) {
    auto v = build.create(op, operands, std::move(attributes), graph.unique_name("v"));
    REQUIRE_MESSAGE(bool(v), text(v.takeError()));
    return *v;
  }
  void output(Value* v) { graph.outputs.push_back({"out" + std::to_string(graph.outputs.size()), v}); }

  HostArrays run(ExecutableOptions options = {}) {
    auto executable = Executable::compile(graph, options);
    REQUIRE_MESSAGE(bool(executable), text(executable.takeError()));
    steps = (*executable)->steps();
    std::map<std::string, HostArray> host;
    HostInputs inputs;
    for (const Value* v : graph.inputs) {
      host[v->name] = host_array(arrays.find(v->name)->second, v->type.dtype);
      inputs[v->name] = &host[v->name];
    }
    HostArrays outputs;
    for (int again = 0; again < 2; ++again) {  // a second run finds what the first left
      const std::string e = text((*executable)->run(inputs, outputs));
      REQUIRE(e == "");
    }
    return outputs;
  }
  // Numbers are ≤ 4 in size. An element may be off by `relative` of itself or of 1, whichever is more: 1e-5 is 84 ulp
  // of f32, for sums of up to 130 terms; halves round their result. `sums`: for sums of `terms` products that may
  // cancel, of Σ|a·b| instead, by the bound of a sum in any order, n·u; and `roundings` results in half precision each
  // by its u.
  void compare(ExecutableOptions options = {}, int64_t terms = 0, const Case* sums = nullptr, int64_t roundings = 1) {
    std::string dump;
    llvm::raw_string_ostream stream(dump);
    print(stream, graph);
    CAPTURE(dump);
    const Graph* whole = &graph;
    auto expected = run_reference({whole}, {arrays});
    REQUIRE_MESSAGE(bool(expected), text(expected.takeError()));
    std::vector<NamedArrays> scales;
    if (sums) {
      auto scale = run_reference({&sums->graph}, {sums->arrays});
      REQUIRE_MESSAGE(bool(scale), text(scale.takeError()));
      scales = *scale;
    }
    const HostArrays found = run(options);
    for (const GraphOutput& o : graph.outputs) {
      const Array e = (*expected)[0].find(o.name)->second, f = to_array(found.find(o.name)->second);
      REQUIRE(e.elements() == f.elements());
      const double relative =
          o.value->type.dtype == DType::bf16 ? 1.0 / 64 : (o.value->type.dtype == DType::f16 ? 1.0 / 512 : 1e-5);
      for (int64_t k = 0; k < e.elements(); ++k) {
        // The reference is float64: what overflows here is infinite.
        const double a = o.value->type.dtype == DType::f32 ? double(float(e.number(k))) : e.number(k), b = f.number(k);
        if (std::isnan(a) ? std::isnan(b) : a == b) continue;
        double allowed = relative * std::max(1.0, std::fabs(a));
        const double u = o.value->type.dtype == DType::bf16 ? 0x1p-8 : o.value->type.dtype == DType::f16 ? 0x1p-11 : 0;
        if (sums)
          allowed = (double(terms) * 0x1p-24 + double(roundings) * u) * scales[0].find(o.name)->second.number(k);
        const bool close = std::fabs(a - b) <= allowed;
        if (!close) {
          CAPTURE(o.name);
          CAPTURE(k);
          REQUIRE(a == b);
        }
      }
    }
  }
};
}  // namespace optp
