// The bound of a value's rounding, by numbers that can be worked out by hand; u = 2^-53.
#include "tools/check/rounding.h"

#include <doctest/doctest.h>

#include "frontend/ir/builder.h"

using namespace optp;

namespace {
constexpr double u = 0x1p-53;
struct Sums {
  Graph graph;
  Roundings roundings{2};
  Value& input(const char* name, Dims dims, Roundings::Size size) {
    Value& v = graph.add_input(name, {DType::f64, dims});
    roundings.record(v, size);
    return v;
  }
  Roundings::Bound bound(llvm::StringRef op, llvm::ArrayRef<Value*> operands, Attributes attributes = {}) {
    Builder build(graph);
    build.set_fold(false);
    return roundings.of(*llvm::cantFail(build.create(op, operands, std::move(attributes)))->producer);
  }
};
}  // namespace

TEST_CASE("a sum is off by what its addends are off by, and a rounding of each") {
  Sums s;
  Value &a = s.input("a", {4, 3}, {.largest = 2, .smallest = 1, .error = 1e-9, .addend = 2}),
        &b = s.input("b", {4, 3}, {.largest = 1e-18, .smallest = 1e-20, .error = 7e-18, .addend = 5});
  const auto add = s.bound("add", {&a, &b});
  CHECK(add.error == doctest::Approx(1e-9 + 7e-18 + 2 * u * 2).epsilon(1e-12));
  CHECK(add.addend == 5);  // b is what is left of a sum of larger numbers
  const auto sum = s.bound("sum", {&b, &b, &b});
  CHECK(sum.error == doctest::Approx(3 * 7e-18 + 3 * u * 3e-18).epsilon(1e-12));
  const auto rows = s.bound("reduce_sum", {&a}, {{"axes", llvm::SmallVector<int64_t, 4>{0}}, {"keepdims", int64_t(0)}});
  CHECK(rows.error == doctest::Approx(4 * (1e-9 + 4 * u * 2)).epsilon(1e-12));
}

TEST_CASE("a product is off by each operand's error times the other's size") {
  Sums s;
  Value &a = s.input("a", {5, 3}, {.largest = 2, .smallest = 1, .error = 1e-15, .addend = 2}),
        &b = s.input("b", {3, 4}, {.largest = 10, .smallest = 0.5, .error = 0, .addend = 10});
  const auto product = s.bound("contract", {&a, &b}, {{"loops", contract_loops("m k, k n -> m n")}});
  CHECK(product.error == doctest::Approx(3 * (1e-15 * 10 + 4 * u * 20)).epsilon(1e-12));
  CHECK(product.addend == 20);
  Value& c = s.input("c", {3, 4}, {.largest = 1e-3, .smallest = 1e-4, .error = 1e-12, .addend = 1});
  const auto quotient = s.bound("div", {&c, &b});
  CHECK(quotient.error == doctest::Approx(1e-12 / 0.5 + u * 1e-3 / 0.5).epsilon(1e-12));
  CHECK(quotient.addend == 2);
}

TEST_CASE("of what is not linear nothing is said, and a value with a size of its own forgets its addends") {
  Sums s;
  Value& a = s.input("a", {4}, {.largest = 2, .smallest = 1, .error = 1e-9, .addend = 2});
  CHECK(s.bound("exp", {&a}).error == 0);
  CHECK(Roundings::addend_of(1e-3, {.error = 0, .addend = 1}) == 1e-3);
  CHECK(Roundings::addend_of(1e-5, {.error = 0, .addend = 1}) == 1);
}
