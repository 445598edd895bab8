#include "frontend/ir/dim.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "frontend/ir/dim_solve.h"
#include "frontend/ir/dtype.h"
#include "frontend/ir/sharding.h"
#include "tests/properties.h"

using namespace optp;

namespace {
Dim dim(const char* text) {
  auto d = parse_dim(text);
  REQUIRE(bool(d));
  return *d;
}
// A dim of the names n ≥ 1 and past ≥ 0, and how its value is computed from theirs; nothing where it divides by 0.
struct Computed {
  Dim dim;
  std::function<std::optional<int64_t>(int64_t n, int64_t past)> value;
};
Computed random_computed(int depth = 4) {
  const int kind = *rc::gen::inRange(0, depth > 0 ? 8 : 3);
  if (kind == 0) return {Dim::symbol("n"), [](int64_t n, int64_t) { return n; }};
  if (kind == 1) return {Dim::symbol("past", 0), [](int64_t, int64_t past) { return past; }};
  const int64_t k = *rc::gen::inRange<int64_t>(-4, 5);
  if (kind == 2) return {Dim(k), [k](int64_t, int64_t) { return k; }};
  const Computed a = random_computed(depth - 1), b = random_computed(depth - 1);
  auto made = [&](Dim dim, auto compute) {
    return Computed{dim, [a, b, compute](int64_t n, int64_t past) -> std::optional<int64_t> {
                      const auto x = a.value(n, past), y = b.value(n, past);
                      return x && y ? compute(*x, *y) : std::nullopt;
                    }};
  };
  using Number = std::optional<int64_t>;
  if (kind == 3) return made(a.dim + b.dim, [](int64_t x, int64_t y) -> Number { return x + y; });
  if (kind == 4) return made(a.dim - b.dim, [](int64_t x, int64_t y) -> Number { return x - y; });
  if (kind == 5) return made(minimum(a.dim, b.dim), [](int64_t x, int64_t y) -> Number { return std::min(x, y); });
  if (kind == 6) return made(maximum(a.dim, b.dim), [](int64_t x, int64_t y) -> Number { return std::max(x, y); });
  return made(floor_div(a.dim, b.dim), [](int64_t x, int64_t y) -> Number {
    if (y == 0) return std::nullopt;
    return int64_t(std::floor(double(x) / double(y)));
  });
}
}  // namespace

TEST_CASE("a dim has the value that its parts compute, and what is proved of it holds for every value of its names") {
  check_property("values and bounds", [] {
    const Computed a = random_computed(), b = random_computed();
    for (int64_t n = 1; n < 5; ++n)
      for (int64_t past = 0; past < 4; ++past) {
        const auto x = a.value(n, past), y = b.value(n, past);
        const DimValues values{{"n", n}, {"past", past}};
        if (x && !a.dim.is_overflow()) {
          auto found = evaluate(a.dim, values);
          if (!found) RC_FAIL(llvm::toString(found.takeError()));
          RC_ASSERT(*found == *x);
          if (auto least = lower_bound(a.dim)) RC_ASSERT(*least <= *x);
        }
        if (x && y && proved_less_equal(a.dim, b.dim)) RC_ASSERT(*x <= *y);
      }
  });
}

TEST_CASE("equal extents are one object and print canonically") {
  for (auto [in, out] :
       std::initializer_list<std::pair<const char*, const char*>>{{"past + sequence", "past + sequence"},
                                                                  {"sequence+past", "past + sequence"},
                                                                  {"64*part(12, tensor)", "64*part(12, tensor)"},
                                                                  {"12*64", "768"},
                                                                  {"batch*12", "12*batch"},
                                                                  {"(a + b)*2 - a", "a + 2*b"},
                                                                  {"a - a", "0"},
                                                                  {"floor(a*4, 2)", "2*a"},
                                                                  {"min(3, 5)", "3"},
                                                                  {"max(a, 0)", "a"}}) {
    CAPTURE(in);
    CHECK(dim(in).text() == out);
    CHECK(dim(in) == dim(out));
  }
  for (const char* bad : {"", "a +", "(a", "a b", "3x", "part(12)", "a/0"}) {
    CAPTURE(bad);
    auto d = parse_dim(bad);
    CHECK_FALSE(bool(d));
    llvm::consumeError(d.takeError());
  }
}
TEST_CASE("division is exact or refused") {
  CHECK(*exact_div(dim("12*batch*sequence"), dim("4*batch")) == dim("3*sequence"));
  CHECK(*exact_div(dim("a*a - b*b"), dim("a - b")) == dim("a + b"));
  CHECK_FALSE(exact_div(dim("12"), dim("8")).has_value());
  CHECK_FALSE(exact_div(dim("past + sequence"), dim("past")).has_value());
  CHECK_FALSE(exact_div(dim("5"), dim("0")).has_value());
}
TEST_CASE("floors of floors are one, as the windows of a chain of convolutions are") {
  CHECK(dim("floor(floor(n, 3) - 2, 2) + 1") == dim("floor(n, 6)"));
  CHECK(dim("floor(floor(n - 4, 3) + 1, 2)") == dim("floor(n - 1, 6)"));
  CHECK(dim("floor(2*n + m, 2)") == dim("n + floor(m, 2)"));
  CHECK(dim("floor(n, -2)") == dim("floor(-n, 2)"));
  CHECK(dim("floor(n - 1, 2)").text() == "floor(n - 1, 2)");
}
TEST_CASE("arithmetic beyond 64 bits is caught") {
  const Dim big = Dim(INT64_MAX);
  CHECK((big + 1).is_overflow());
  CHECK((big * big * 0).is_overflow());
  CHECK((dim("a") * big * big).is_overflow());
  CHECK(floor_div(Dim(INT64_MIN), Dim(-1)).is_overflow());
  CHECK_FALSE(solve_equal(dim("a") * Dim(INT64_MIN), dim("a") * big).has_value());
  CHECK((Dim(INT64_MIN) * dim("a")).text() == "-9223372036854775808*a");
  CHECK((dim("b") + Dim(INT64_MIN)).text() == "b - 9223372036854775808");
  CHECK(dim("-9223372036854775808*a") == Dim(INT64_MIN) * dim("a"));
  CHECK(dim("b - 9223372036854775808") == dim("b") + Dim(INT64_MIN));
  CHECK(dim("b - 7/2") == dim("b - 3"));
  CHECK(dim("b + -7/2") == dim("b - 4"));
}
TEST_CASE("bounds follow from dims being at least 1") {
  CHECK(proved_less(dim("0"), dim("batch")));
  CHECK(proved_less_equal(dim("sequence"), dim("batch*sequence")));
  CHECK_FALSE(proved_less(dim("batch"), dim("sequence")));
  const Dim past = Dim::symbol("past_length", 0);
  CHECK_FALSE(proved_less(dim("0"), past));
  CHECK(proved_less_equal(dim("sequence"), past + dim("sequence")));
}
TEST_CASE("chunks of a dim, however many, have no negative extents") {
  const Dim n = dim("n");
  for (int64_t chunks = 2; chunks < 12; ++chunks)
    for (int64_t k = 0; k < chunks; ++k) {
      CAPTURE(chunks);
      CAPTURE(k);
      const Dim start = floor_div(Dim(k) * n, chunks), end = floor_div(Dim(k + 1) * n, chunks);
      CHECK(proved_less_equal(start, end));
      CHECK(maximum(end - start, 0) == end - start);
    }
  CHECK_FALSE(proved_less_equal(floor_div(n, 2), floor_div(n, 3)));
}
TEST_CASE("a symbol that may be 0 is another than one of its name that may not, in whatever it stands") {
  const Dim strict = dim("past"), open = Dim::symbol("past", 0), n = dim("n");
  CHECK(strict != open);
  CHECK(strict.text() == open.text());
  for (const auto& [a, b] : {std::pair{strict + n, open + n},
                             {strict * n, open * n},
                             {floor_div(strict, Dim(3)), floor_div(open, Dim(3))},
                             {minimum(strict, n), minimum(open, n)},
                             {Dim::part(strict, {"tensor"}), Dim::part(open, {"tensor"})}}) {
    CAPTURE(a.text());
    CHECK(a != b);
    CHECK(a.text() == b.text());
  }
  CHECK(lower_bound(strict + n) == 2);
  CHECK(lower_bound(open + n) == 1);
  DimBounds bounds;
  bounds.may_be_zero.insert("past");
  CHECK(*parse_dim("past + n", bounds) == open + n);
  CHECK(*parse_dim("max(past, 1)", bounds) == maximum(open, 1));
  CHECK(symbols_of(open + n) == symbols_of(strict + n));
}
TEST_CASE("a clash of names is solved for the side without a minus") {
  auto s = solve_equal(dim("total"), dim("past + sequence"));
  REQUIRE(s.has_value());
  CHECK(s->first == dim("total"));
  CHECK(s->second == dim("past + sequence"));
  s = solve_equal(dim("batch*total"), dim("batch*past + batch*sequence"));
  REQUIRE(s.has_value());
  CHECK(s->first == dim("total"));
  CHECK_FALSE(solve_equal(dim("4"), dim("5")).has_value());
}
TEST_CASE("a minimum is solved by an order of its arguments, and is gone where the order is assumed") {
  // A table of 16 rows is cut to the sequence, from its end.
  const Dim n = dim("sequence"), cut = dim("min(0, sequence - 16) + 16");
  for (auto order : {solve_order(n, cut), solve_order(cut, n)}) {
    REQUIRE(order.has_value());
    CHECK(order->first == n - 16);
    CHECK(order->second == Dim(0));
    const std::pair<Dim, Dim> all[] = {*order};
    {
      const AssumedOrders assumed(all);
      CHECK(minimum(Dim(0), n - 16) + 16 == n);
      CHECK(minimum(n, 16) == n);
      CHECK(minimum(n, 15) != n);
      CHECK(maximum(Dim(16) - n, 0) == Dim(16) - n);
    }
    CHECK(minimum(n, 16) != n);
  }
  CHECK_FALSE(solve_order(n, dim("batch")).has_value());
  CHECK_FALSE(solve_order(n, dim("min(batch, 16)")).has_value());
}
TEST_CASE("chunks are balanced, cover everything and nest") {
  auto mesh = parse_mesh("data=2, tensor=3");
  REQUIRE(bool(mesh));
  CHECK(chunk_size(50257, 2, 0) == 25129);
  CHECK(chunk_size(50257, 2, 1) == 25128);
  const AxisUse axes[] = {"data", "tensor"};
  for (int64_t n : {0, 1, 2, 5, 6, 7, 12, 50257}) {
    int64_t next = 0;
    for (int64_t r = 0; r < 6; ++r) {
      CHECK(*bind_rank(Dim::start(n, axes), *mesh, r).constant() == next);
      next += *bind_rank(Dim::part(n, axes), *mesh, r).constant();
    }
    CHECK(next == n);
  }
  // A symbolic extent is bound to terms that give the same numbers.
  for (int64_t r = 0; r < 6; ++r)
    for (int64_t n : {0, 1, 4, 11}) {
      auto size = evaluate(bind_rank(Dim::part(dim("n"), axes), *mesh, r), {{"n", n}});
      auto start = evaluate(bind_rank(Dim::start(dim("n"), axes), *mesh, r), {{"n", n}});
      REQUIRE((bool(size) && bool(start)));
      CHECK(*size == *bind_rank(Dim::part(n, axes), *mesh, r).constant());
      CHECK(*start == *bind_rank(Dim::start(n, axes), *mesh, r).constant());
    }
}
TEST_CASE("a split factor makes a dim's local extent a product with the rank's part") {
  Sharding s;  // a fused qkv: 3 × 5 heads × 4
  s.dims = {DimSharding(), DimSharding{{{3, {}}, {5, {"tensor"}}, {4, {}}}}};
  CHECK(to_string(s) == "[_, (_ tensor _)]");
  CHECK(to_string(local_dims({Dim(7), Dim(60)}, s)) == "[7, 12*part(5, tensor)]");
}
TEST_CASE("half precision rounds to nearest even, with infinities, NaN and subnormals") {
  CHECK(f32_to_f16(1.0f) == 0x3c00);
  CHECK(f32_to_f16(65504.0f) == 0x7bff);
  CHECK(f32_to_f16(65520.0f) == 0x7c00);
  CHECK(f32_to_f16(0x1p-24f) == 1);
  CHECK(f32_to_f16(0x1p-25f) == 0);
  CHECK(f32_to_bf16(1.0f) == 0x3f80);
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float h = f16_to_f32(uint16_t(bits)), b = bf16_to_f32(uint16_t(bits));
    if (h == h) CHECK(f32_to_f16(h) == bits);
    if (b == b) CHECK(f32_to_bf16(b) == bits);
  }
}
