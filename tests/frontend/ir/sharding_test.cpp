#include "frontend/ir/sharding.h"

#include <doctest/doctest.h>

using namespace optp;

namespace {
const Dim batch = Dim::symbol("batch");
// The text, and the extents of each dim's words.
std::string written(llvm::ArrayRef<Dim> dims, const Sharding& s) {
  std::string out = to_string(s);
  for (const Dims& extents : factor_extents(dims, s)) out += " " + to_string(llvm::ArrayRef<Dim>(extents));
  return out;
}
DimSharding dim(std::initializer_list<FactorSharding> factors) {
  DimSharding out;
  out.factors().assign(factors.begin(), factors.end());
  return out;
}
DimSharding one_after_the_other(std::initializer_list<FactorShardings> parts) {
  DimSharding out;
  for (const FactorShardings& factors : parts) out.parts.push_back({factors});
  return out;
}
}  // namespace

TEST_CASE("a sharding that is printed and parsed places every element where it was") {
  struct Row {
    Dims dims;
    Sharding sharding;
    std::string text;
  };
  const DimSharding whole, cut = dim({{768, {"tensor"}}}), twice = dim({{768, {"data", "tensor"}}});
  const Row rows[] = {
      {{}, {}, "[]"},
      {{7}, {.dims = {whole}}, "[_] [7]"},
      {{batch, 768}, {.dims = {whole, cut}}, "[_, tensor] [batch] [768]"},
      {{768}, {.dims = {twice}}, "[data*tensor] [768]"},
      // A fused q, k, v; whole neighbours are one word, and one extent.
      {{Dim(2304)}, {.dims = {dim({{3, {}}, {12, {"tensor"}}, {8, {}}, {8, {}}})}}, "[(_ tensor _)] [3, 12, 64]"},
      {{batch * Dim(12), 64},
       {.dims = {dim({{batch, {"data"}}, {12, {"tensor"}}}), dim({{8, {}}, {8, {}}})}},
       "[(data tensor), _] [batch, 12] [64]"},
      // Four query heads, one of keys and one of values, which every device has.
      {{384, 7},
       {.dims = {one_after_the_other({{{4, {"tensor"}}, {64, {}}}, {{2, {}}, {8, {}}, {8, {}}}}), whole}},
       "[(tensor _) + (_), _] [4, 64, 128] [7]"},
      {{batch * Dim(6)},
       {.dims = {one_after_the_other({{{batch, {"data"}}, {4, {"tensor"}}}, {{batch * Dim(2), {"tensor"}}}})}},
       "[(data tensor) + (tensor)] [batch, 4, 2*batch]"},
      {{batch, 768},
       {.dims = {whole, whole}, .reduce = Reduce::sum, .partial = {"data", "tensor"}},
       "[_, _] partial(sum: data*tensor) [batch] [768]"},
      {{768}, {.dims = {whole}, .reduce = Reduce::max, .partial = {"tensor"}}, "[_] partial(max: tensor) [768]"},
  };
  for (const Row& row : rows) {
    CAPTURE(row.text);
    CHECK(written(row.dims, row.sharding) == row.text);
    auto parsed = parse_sharding(to_string(row.sharding), row.dims, factor_extents(row.dims, row.sharding));
    REQUIRE(bool(parsed));
    CHECK(written(row.dims, *parsed) == row.text);
    CHECK(same_placement(*parsed, row.sharding));
    CHECK(local_dims(row.dims, *parsed) == local_dims(row.dims, row.sharding));
  }
}

TEST_CASE("a text that is no sharding of the dims is refused with what was expected") {
  struct Row {
    const char* text;
    llvm::SmallVector<Dims, 4> extents;
  };
  const Row rows[] = {{"", {}},
                      {"_, _", {}},
                      {"[_]", {}},
                      {"[_, _, _]", {}},
                      {"[_, _", {}},
                      {"[_, ]", {}},
                      {"[_, tensor*]", {}},
                      {"[_, tensor*_]", {}},
                      {"[_, (_ tensor)]", {}},            // without the factors' extents
                      {"[_, (_ tensor)]", {{4}}},         // of one dim only
                      {"[_, (_ tensor)]", {{4}, {768}}},  // of one word only
                      {"[_, (_ tensor]", {{4}, {2, 384}}},
                      {"[_, (_ tensor) + ]", {{4}, {2, 384}}},
                      {"[_, (_) + tensor]", {{4}, {384, 384}}},
                      {"[_, (_) + (tensor)]", {{4}, {384}}},
                      {"[_, (_) + (tensor)]", {{4}, {384, 384, 1}}},
                      {"[_, tensor + (_)]", {{4}, {384, 384}}},
                      {"[_, _] partial", {}},
                      {"[_, _] partial(sum: )", {}},
                      {"[_, _] partial(sum: _)", {}},
                      {"[_, _] partial(mean: tensor)", {}},
                      {"[_, _] partial(sum: tensor", {}},
                      {"[_, _] beside", {}}};
  for (const Row& row : rows) {
    CAPTURE(row.text);
    auto parsed = parse_sharding(row.text, {Dim(4), Dim(768)}, row.extents);
    REQUIRE(!parsed);
    CHECK(llvm::toString(parsed.takeError()) ==
          "expected a sharding of 2 dims, such as '[_, tensor]' or, with the extents of the factors, '[(_ tensor), "
          "_]', found '" +
              std::string(row.text) + "'");
  }
}
