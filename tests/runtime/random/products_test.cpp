// Random products with every chain of steps that may be fused into them: loops in any order, so that every strided form
// is asked for; one row, empty extents, rests of blocks; weights known or not; float32 and bfloat16.
#include "tests/runtime/kernel_case.h"
#include "tests/runtime/random/random_cases.h"

namespace optp {
namespace {

struct Loops {
  std::vector<std::string> a, b, y;
  std::map<std::string, int64_t> extents;
  std::string text() const {
    auto list = [](const std::vector<std::string>& names) {
      std::string out;
      for (const std::string& n : names) out += (out.empty() ? "" : " ") + n;
      return out;
    };
    return list(a) + ", " + list(b) + " -> " + list(y);
  }
  llvm::SmallVector<int64_t, 6> dims(const std::vector<std::string>& names) const {
    llvm::SmallVector<int64_t, 6> out;
    for (const std::string& n : names) out.push_back(extents.find(n)->second);
    return out;
  }
  int64_t product() const {
    int64_t all = 1;
    for (const auto& [name, n] : extents) all *= n;
    return all;
  }
};

Loops random_loops(Random& random) {
  static constexpr int64_t usual[] = {1,  2,  3,  4,  5,  6,  7,  8,  9,  12, 13,  15,  16,  17,  24, 31,
                                      32, 33, 47, 48, 49, 63, 64, 65, 66, 96, 100, 127, 128, 129, 200};
  for (;;) {
    Loops l;
    auto add = [&](const char* name, bool in_a, bool in_b, bool in_y, int64_t extent) {
      if (in_a) l.a.push_back(name);
      if (in_b) l.b.push_back(name);
      if (in_y) l.y.push_back(name);
      l.extents[name] = extent;
    };
    auto extent = [&] { return random.below(60) == 0 ? 0 : usual[random.below(std::size(usual))]; };
    auto few = [&] { return random.below(60) == 0 ? 0 : 1 + random.below(4); };
    const int64_t batches = random.below(3), rows = random.below(10) == 0 ? 0 : 1 + random.below(6) / 5,
                  columns = random.below(10) == 0 ? 0 : 1 + random.below(6) / 5,
                  terms = random.below(20) == 0 ? 0 : 1 + random.below(6) / 5;
    for (int64_t k = 0; k < batches; ++k) add(k ? "b1" : "b0", true, true, true, few());
    for (int64_t k = 0; k < rows; ++k) add(k ? "m1" : "m0", true, false, true, k ? few() : extent());
    for (int64_t k = 0; k < columns; ++k) add(k ? "n1" : "n0", false, true, true, k ? few() : extent());
    for (int64_t k = 0; k < terms; ++k) add(k ? "k1" : "k0", true, true, false, k ? few() : extent());
    if (l.a.empty() || l.b.empty() || l.product() > (random.below(8) ? 12000 : 120000)) continue;
    // Half of them in the orders that models use: as made, or with batches between rows and columns.
    if (random.below(2))
      for (auto* list : {&l.a, &l.b, &l.y}) std::shuffle(list->begin(), list->end(), random.engine);
    else
      for (auto* list : {&l.a, &l.b, &l.y})
        if (list->size() > 2 && random.below(2))
          std::swap((*list)[batches ? size_t(batches) - 1 : 0], (*list)[size_t(batches)]);
    return l;
  }
}

// What may follow a product, applied to the case and, in absolute values, to the sums beside it.
struct Step {
  enum Kind { add, multiply, divide, relu } kind;
  double factor = 1;
  Array addend;
  bool is_weight = false, swapped = false;
};

std::vector<Step> random_steps(Random& random, Case& draw, llvm::ArrayRef<int64_t> dims) {
  static constexpr double factors[] = {2, 0.5, 0.125, 3, -1, 0.1, -0.25, 1.0 / 3, 7};
  std::vector<Step> steps(size_t(random.below(2) ? random.below(3) : random.below(9)));
  for (Step& s : steps) {
    s.kind = Step::Kind(random.below(8) == 0 ? 3 : random.below(2) ? 0 : 1 + random.below(2));
    s.factor = factors[random.below(std::size(factors))];
    s.is_weight = random.below(2);
    s.swapped = random.below(2);
    if (s.kind != Step::add) continue;
    llvm::SmallVector<int64_t, 6> own(dims.begin(), dims.end());
    switch (random.below(5)) {
      case 0:
        break;  // a residual
      case 1:   // a bias
        own.assign(dims.begin() + (dims.empty() ? 0 : int64_t(dims.size()) - 1), dims.end());
        break;
      case 2:
        for (int64_t& n : own)
          if (random.below(2)) n = 1;
        break;
      case 3:
        if (!own.empty()) own.back() = 1;
        break;
      default:
        own.assign(own.empty() ? 0 : 1, 1);
    }
    s.addend = draw.draw(DType::f32, own);
  }
  return steps;
}

void apply(Case& to, bool absolute, Value*& v, const std::vector<Step>& steps, DType dtype) {
  for (const Step& s : steps) {
    Value* other = nullptr;
    if (s.kind == Step::add) {
      Array a = s.addend;
      if (absolute)
        for (double& x : a.f) x = std::fabs(x);
      if (s.is_weight) {
        other = &to.graph.add_data(to.graph.unique_name("w"), to_tensor(a, dtype));
      } else {
        const std::string name = "in" + std::to_string(to.graph.inputs.size());
        to.arrays[name] = to_array(*to_tensor(a, dtype));
        other = &to.graph.add_input(name, {dtype, Dims(a.dims.begin(), a.dims.end())});
      }
    } else if (s.kind != Step::relu) {
      other = &to.build.scalar(dtype, absolute ? std::fabs(s.factor) : s.factor);
    }
    switch (s.kind) {
      case Step::add:
        v = s.swapped ? to.node("add", {other, v}) : to.node("add", {v, other});
        break;
      case Step::multiply:
        v = s.swapped ? to.node("mul", {other, v}) : to.node("mul", {v, other});
        break;
      case Step::divide:
        v = to.node("div", {v, other});
        break;
      case Step::relu:
        v = to.node("relu", {v});
        break;
    }
  }
}
}  // namespace

TEST_CASE("random products with chains of steps compute what evaluate says") {
  Random random;
  random.engine.seed(random_seed());
  Covered covered("products");
  const int64_t cases = random_cases(1000);
  for (int64_t k = 0; k < cases; ++k) {
    CAPTURE(k);
    const Loops loops = random_loops(random);
    const DType dtype = random.below(4) == 0 ? DType::bf16 : DType::f32;
    const bool widens = dtype == DType::bf16 && random.below(2);  // as --compute bf16 writes its products
    Case c(random), sums(random);
    const auto a = loops.dims(loops.a), b = loops.dims(loops.b), y = loops.dims(loops.y);
    const Array left = c.draw(dtype, a), right = c.draw(dtype, b);
    const auto steps = random_steps(random, c, y);
    const int64_t weight = random.below(4), threads = 1 + random.below(2);
    for (Case* to : {&c, &sums}) {
      auto operand = [&](Array array, llvm::ArrayRef<int64_t> dims, bool is_weight) -> Value* {
        if (to == &sums)
          for (double& v : array.f) v = std::fabs(v);
        if (is_weight) return &to->graph.add_data(to->graph.unique_name("w"), to_tensor(array, dtype));
        const std::string name = "in" + std::to_string(to->graph.inputs.size());
        to->arrays[name] = array;
        return &to->graph.add_input(name, {dtype, Dims(dims.begin(), dims.end())});
      };
      Value *x = operand(left, a, weight == 1), *w = operand(right, b, weight >= 2);
      if (widens)
        for (Value** v : {&x, &w}) *v = to->node("cast", {*v}, {{"to", int64_t(DType::f32)}});
      Value* v = to->node("contract", {x, w}, {{"loops", contract_loops(loops.text())}});
      apply(*to, to == &sums, v, steps, widens ? DType::f32 : dtype);
      to->output(v);
    }
    int64_t results = 1;
    for (int64_t n : y) results *= n;
    c.compare({.threads = int(threads)}, results ? loops.product() / results + int64_t(steps.size()) + 2 : 0, &sums,
              1 + int64_t(steps.size()));
    covered.count("cases");
    covered.count(std::string(to_string(dtype)));
    if (widens) covered.count("widened");
    covered.count("steps", int64_t(steps.size()));
    covered.count(std::to_string(steps.size()) + " steps");
    if (loops.product() == 0) covered.count("empty");
    if (weight) covered.count("weight");
    covered.count("fused steps", int64_t(steps.size() + 1 - c.steps.size()));
  }
  if (cases >= 1000) {
    CHECK(covered.of("fused steps") > cases / 4);
    CHECK(covered.of("8 steps") > 0);
    CHECK(covered.of("empty") > 0);
    CHECK(covered.of("bf16") > 0);
    CHECK(covered.of("widened") > cases / 16);
  }
}

TEST_CASE("a product of operands that are widened from half precision has a kernel on every processor") {
  for (const DType half : {DType::bf16, DType::f16})
    for (const bool is_weight : {false, true}) {
      CAPTURE(to_string(half));
      CAPTURE(is_weight);
      Random random;
      Case c(random);
      auto widened = [&](Value& v) { return c.node("cast", {&v}, {{"to", int64_t(DType::f32)}}); };
      Value &x = *c.input(half, {5, 48}), &w = is_weight ? *c.data(half, {48, 40}) : *c.input(half, {48, 40});
      c.output(c.node("contract", {widened(x), widened(w)}, {{"loops", contract_loops("m k, k n -> m n")}}));
      auto executable = Executable::compile(c.graph);
      REQUIRE(bool(executable));
      CHECK((*executable)->slow_nodes().empty());
    }
}
}  // namespace optp
