#include "frontend/io/limits.h"

#include <doctest/doctest.h>

#include <string>

#include "frontend/io/json.h"

namespace optp {
TEST_CASE("sizes are exact or nothing") {
  constexpr int64_t max = INT64_MAX, min = INT64_MIN, p32 = int64_t{1} << 32;
  CHECK(checked_mul(p32, p32) == std::nullopt);
  CHECK(checked_mul(p32, p32 / 2 - 1) == (p32 / 2 - 1) * p32);
  CHECK(checked_mul(min, -1) == std::nullopt);
  CHECK(checked_mul(0, min) == 0);

  CHECK(element_count({}) == 1);  // a scalar
  CHECK(element_count({2, 3, 5}) == 30);
  CHECK(element_count({max}) == max);
  CHECK(element_count({p32, p32}) == std::nullopt);
  CHECK(element_count({-1}) == std::nullopt);
  CHECK(element_count({0, -1}) == std::nullopt);
  CHECK(element_count({-1, 0}) == std::nullopt);
  CHECK(element_count({0, p32, p32}) == 0);
  CHECK(element_count({p32, p32, 0}) == 0);

  CHECK(size_bytes(DType::f32, {2, 3}) == 24);
  CHECK(size_bytes(DType::f32, {max / 4}) == max / 4 * 4);
  CHECK(size_bytes(DType::f32, {max / 4 + 1}) == std::nullopt);  // fits in elements, not in bytes
}

TEST_CASE("json nests at most as deep as the limit, and brackets in strings do not count") {
  const auto nested = [](int depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  CHECK(bool(parse_json("plan.json", nested(32))));
  const auto message = [](llvm::StringRef text) {
    auto value = parse_json("plan.json", text);
    return value ? std::string("(success)") : llvm::toString(value.takeError());
  };
  CHECK(message(nested(33)) == "plan.json: nesting: expected at most 32 levels, found more");
  CHECK(message(std::string(10'000'000, '[')) == "plan.json: nesting: expected at most 32 levels, found more");
  CHECK(message("[\"" + std::string(100, '[') + "\\\"" + std::string(100, '[') + "\"]") == "(success)");
  CHECK(message("{").find("plan.json: expected JSON, found ") == 0);
  CHECK(message("").find("plan.json: expected JSON, found ") == 0);
  CHECK(message("\"\\").find("plan.json: expected JSON, found ") == 0);
}
}  // namespace optp
