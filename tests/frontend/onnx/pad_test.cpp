// Pad and backward Slice, index by index, along extents that are numbers and extents that are symbols.
#include "passes/passes.h"
#include "runtime/reference.h"
#include "tests/frontend/onnx/arrays.h"
#include "tests/frontend/onnx/model_file.h"
#include "tests/must.h"

using namespace optp;

namespace {
constexpr int64_t padding = -1;
// y = OP(x, constants …), x of [2, extent, 3].
onnx::ModelProto model_of(const char* op, int64_t extent, const std::vector<Numbers>& constants) {
  auto m = empty_model(19);
  add_input(m, "x", onnx::TensorProto::FLOAT, {2, extent, 3});
  auto& node = add_node(m, op, "the_node", {"x"}, {"y"});
  for (size_t k = 0; k < constants.size(); ++k) {
    node.add_input("c" + std::to_string(k));
    add_integers(m, node.input(int(k) + 1), constants[k]);
  }
  m.mutable_graph()->add_output()->set_name("y");
  return m;
}
onnx::ModelProto padded(const char* mode, int64_t extent, int64_t before, int64_t after) {
  auto m = model_of("Pad", extent, {{0, before, 0, 0, after, 0}});
  add_floats(m, "seven", {}, 7);
  first_node(m).add_input("seven");
  set(first_node(m), "mode", mode);
  return m;
}
llvm::Expected<Array> run(const onnx::ModelProto& m, const Array& x) {
  auto graph = accept("a model of one node", m);
  REQUIRE(graph);
  DimValues extents;
  if (!graph->inputs[0]->type.dims[1].constant()) extents["n1"] = x.dims[1];
  auto bound = bind_dims(*graph, extents);
  if (!bound) return bound.takeError();
  auto results = run_reference({bound->get()}, {NamedArrays{{"x", x}}});
  if (!results) return results.takeError();
  return (*results)[0].at("y");
}
// Along dim 1 of x, [2, 5, 3], the result has the elements at `from`.
void check_moved(const onnx::ModelProto& m, const std::vector<int64_t>& from) {
  const Array x = some({2, 5, 3}), y = must(run(m, x));
  REQUIRE(llvm::ArrayRef(y.dims) == llvm::ArrayRef<int64_t>({2, int64_t(from.size()), 3}));
  size_t at = 0;
  for (size_t b = 0; b < 2; ++b)
    for (int64_t row : from)
      for (size_t c = 0; c < 3; ++c) CHECK(y.f[at++] == (row == padding ? 7 : x.f[(b * 5 + size_t(row)) * 3 + c]));
}
}  // namespace

TEST_CASE("Pad adds a constant or copies of what is there; a pad below 0 leaves elements out first") {
  struct Row {
    const char* mode;
    int64_t before, after;
    std::vector<int64_t> from;
  };
  for (const Row& row : {Row{"constant", 1, 2, {padding, 0, 1, 2, 3, 4, padding, padding}},
                         {"constant", 1, -1, {padding, 0, 1, 2, 3}},  // RWKV's token shift
                         {"constant", -2, 0, {2, 3, 4}},
                         {"constant", -1, 2, {1, 2, 3, 4, padding, padding}},
                         {"constant", -3, -1, {3}},
                         {"edge", 2, 1, {0, 0, 0, 1, 2, 3, 4, 4}},
                         {"edge", -1, 2, {1, 2, 3, 4, 4, 4}},
                         {"reflect", 2, 3, {2, 1, 0, 1, 2, 3, 4, 3, 2, 1}},
                         {"reflect", 4, 1, {4, 3, 2, 1, 0, 1, 2, 3, 4, 3}},
                         {"reflect", 1, -2, {1, 0, 1, 2}},
                         {"wrap", 2, 1, {3, 4, 0, 1, 2, 3, 4, 0}},
                         {"wrap", 5, 0, {0, 1, 2, 3, 4, 0, 1, 2, 3, 4}},
                         {"wrap", -2, 1, {2, 3, 4, 2}}})
    for (int64_t extent : {5, -1}) {
      CAPTURE(row.mode);
      CAPTURE(row.before);
      CAPTURE(row.after);
      CAPTURE(extent);
      check_moved(padded(row.mode, extent, row.before, row.after), row.from);
    }
}

TEST_CASE("pads that take more than there is are refused, of an open extent when it is known") {
  struct Row {
    const char* mode;
    int64_t before, after, least;
  };
  for (const Row& row : {Row{"constant", -4, -2, 6}, {"reflect", 5, 0, 6}, {"reflect", 0, 7, 8}, {"wrap", 0, 6, 6}}) {
    CAPTURE(row.mode);
    refuse(row.mode, padded(row.mode, 5, row.before, row.after),
           {"'the_node' (Pad)", "dim 1", "expected an extent of at least " + std::to_string(row.least) + ", found 5"});
    const auto open = padded(row.mode, -1, row.before, row.after);
    must(run(open, some({2, row.least, 3})));
    auto y = run(open, some({2, row.least - 1, 3}));
    REQUIRE_FALSE(bool(y));
    CHECK(has(llvm::toString(y.takeError()), "'the_node'"));
  }
  refuse("nothing to repeat", padded("edge", 0, 1, 0), {"'the_node'", "at least 1, found 0"});
  refuse("an unknown mode", padded("mirror", 5, 1, 0), {"mode: expected constant, edge, reflect or wrap"});
}

TEST_CASE("Slice goes backwards along a number and along a symbol: torch.flip") {
  struct Row {
    int64_t start, end, step;
    std::vector<int64_t> from;
  };
  for (const Row& row : {Row{-1, INT64_MIN + 1, -1, {4, 3, 2, 1, 0}},
                         {INT64_MAX, INT64_MIN, -1, {4, 3, 2, 1, 0}},
                         {-1, INT64_MIN, -2, {4, 2, 0}},
                         {-2, INT64_MIN, -3, {3, 0}},
                         {-1, -3, -1, {4, 3}},
                         {3, 0, -1, {3, 2, 1}}})
    for (int64_t extent : {5, -1}) {
      CAPTURE(row.start);
      CAPTURE(row.end);
      CAPTURE(row.step);
      CAPTURE(extent);
      check_moved(model_of("Slice", extent, {{row.start}, {row.end}, {1}, {row.step}}), row.from);
    }
}
