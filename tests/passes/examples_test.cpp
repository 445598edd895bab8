// The dims at which a plan's plain numbers are given are such that a run could have them.
#include <doctest/doctest.h>

#include "frontend/ir/parse.h"
#include "passes/plan/make_plan.h"
#include "tests/must.h"

using namespace optp;

TEST_CASE("open dims are shown at the least extents that make sense of the graph, unless they are asked for") {
  const auto graph = must(parse_graph(R"(
input %x: f32[batch, samples]
%y = slice(%x) {axis = 1, size = samples - 9, start = 4, step = 1} : f32[batch, samples - 9]
output y = %y
)",
                                      "g.ir"));
  CHECK(example_dims(*graph, {}) == DimValues{{"batch", 1}, {"samples", 16}});
  CHECK(example_dims(*graph, {{"samples", 11}, {"batch", 3}}) == DimValues{{"batch", 3}, {"samples", 11}});
}
