// ONNX's indexing operators against what their definitions say, on dims that are symbols.
#include "frontend/ir/diagnostic.h"
#include "frontend/ir/op.h"
#include "passes/passes.h"
#include "runtime/reference.h"
#include "tests/frontend/onnx/arrays.h"
#include "tests/frontend/onnx/model_file.h"
#include "tests/must.h"

using namespace optp;

namespace {
Array counting(llvm::ArrayRef<int64_t> dims) {
  Array a;
  a.resize(true, dims);
  for (size_t k = 0; k < a.f.size(); ++k) a.f[k] = double(k) + 0.5;
  return a;
}
// y = OP(x, index), both of symbolic dims.
onnx::ModelProto two_inputs(const char* op, size_t x_dims, Numbers index_dims) {
  auto m = empty_model();
  auto& x = add_input(m, "x", onnx::TensorProto::FLOAT, Numbers(x_dims, -1));
  for (size_t d = 0; d < x_dims; ++d)
    x.mutable_type()->mutable_tensor_type()->mutable_shape()->mutable_dim(int(d))->set_dim_param("x" +
                                                                                                 std::to_string(d));
  add_input(m, "index", onnx::TensorProto::INT64, index_dims);
  add_node(m, op, "the_node", {"x", "index"}, {"y"});
  m.mutable_graph()->add_output()->set_name("y");
  return m;
}
llvm::Expected<Array> result_of(const onnx::ModelProto& m, const Array& x, const Array& index) {
  auto graph = accept("indexing", m);
  REQUIRE(graph);
  DimValues extents;
  for (const auto& [value, array] : {std::pair{graph->inputs[0], &x}, {graph->inputs[1], &index}})
    for (size_t d = 0; d < array->dims.size(); ++d)
      if (!value->type.dims[d].constant()) extents[value->type.dims[d].text()] = array->dims[d];
  auto bound = bind_dims(*graph, extents);
  if (!bound) return bound.takeError();
  const NamedArrays inputs{{"x", x}, {"index", index}};
  auto results = run_reference({bound->get()}, {inputs});
  if (!results) return results.takeError();
  return (*results)[0].at("y");
}
}  // namespace

TEST_CASE("GatherElements takes each element by an index along one axis") {
  for (int64_t axis : {0, 1, 2, -1}) {
    CAPTURE(axis);
    const size_t along = size_t(axis < 0 ? axis + 3 : axis);
    auto m = two_inputs("GatherElements", 3, {-1, -1, -1});
    set(first_node(m), "axis", axis);
    const Array x = counting({3, 4, 5});
    std::vector<int64_t> dims{2, 4, 3};  // smaller than x's, as ONNX allows, and longer along the axis
    dims[along] = 6;
    Array index = integers(dims, {});  // from -extent to extent - 1
    for (size_t k = 0; k < size_t(count_of(dims)); ++k)
      index.i.push_back((int64_t(k) * 7) % (2 * x.dims[along]) - x.dims[along]);
    auto y = result_of(m, x, index);
    REQUIRE_MESSAGE(bool(y), llvm::toString(y.takeError()));
    REQUIRE(llvm::ArrayRef(y->dims) == llvm::ArrayRef(index.dims));
    size_t at = 0;
    for (int64_t a = 0; a < dims[0]; ++a)
      for (int64_t b = 0; b < dims[1]; ++b)
        for (int64_t c = 0; c < dims[2]; ++c, ++at) {
          int64_t from[] = {a, b, c};
          from[along] = index.i[at] < 0 ? index.i[at] + x.dims[along] : index.i[at];
          CHECK(y->f[at] == x.f[size_t((from[0] * x.dims[1] + from[1]) * x.dims[2] + from[2])]);
        }
  }
}

TEST_CASE("GatherND takes slices by index tuples") {
  const auto m = two_inputs("GatherND", 3, {-1, 2});
  const Array x = counting({3, 4, 2});
  auto y = result_of(m, x, integers({3, 2}, {0, 1, -1, 3, 2, -4}));
  REQUIRE_MESSAGE(bool(y), llvm::toString(y.takeError()));
  CHECK(llvm::ArrayRef(y->dims) == llvm::ArrayRef<int64_t>({3, 2}));
  CHECK(llvm::ArrayRef(y->f) == llvm::ArrayRef<double>({2.5, 3.5, 22.5, 23.5, 16.5, 17.5}));
}

TEST_CASE("GatherND takes slices of each batch by its own index tuples") {
  const Array x = counting({2, 3, 4});
  for (int64_t batch_dims : {1, 2}) {
    CAPTURE(batch_dims);
    auto m = two_inputs("GatherND", 3, {-1, -1, 1});
    set(first_node(m), "batch_dims", batch_dims);
    const std::vector<int64_t> at =
        batch_dims == 1 ? std::vector<int64_t>{2, -1, 0, 1, 1, -3} : std::vector<int64_t>{3, 0, -1, -4, 2, 1};
    const Array y = must(result_of(m, x, integers({2, 3, 1}, at)));
    std::vector<double> expected;
    for (size_t k = 0; k < at.size(); ++k) {
      const size_t extent = batch_dims == 1 ? 3 : 4, i = size_t(at[k] < 0 ? at[k] + int64_t(extent) : at[k]);
      if (batch_dims == 2) expected.push_back(x.f[k * 4 + i]);
      for (size_t c = 0; batch_dims == 1 && c < 4; ++c) expected.push_back(x.f[(k / 3 * 3 + i) * 4 + c]);
    }
    CHECK(y.f == expected);
    CHECK(llvm::ArrayRef(y.dims).take_front(2) == llvm::ArrayRef<int64_t>({2, 3}));
  }
  auto m = two_inputs("GatherND", 3, {-1, 3, 2});
  set(first_node(m), "batch_dims", int64_t(1));
  const Array index = integers({2, 3, 2}, {0, 0, 2, 3, -1, 1, 1, 1, -3, -4, 0, 2});
  const Array y = must(result_of(m, x, index));
  REQUIRE(y.f.size() == 6);
  for (size_t k = 0; k < 6; ++k) {
    const int64_t r = (index.i[2 * k] + 3) % 3, c = (index.i[2 * k + 1] + 4) % 4;
    CHECK(y.f[k] == x.f[(k / 3 * 3 + size_t(r)) * 4 + size_t(c)]);
  }
  auto outside = result_of(m, x, integers({2, 3, 2}, {0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0}));
  REQUIRE_FALSE(bool(outside));
  CHECK(has(llvm::toString(outside.takeError()), "is outside"));
  for (int64_t batch_dims : {-1, 3}) {
    auto wrong = two_inputs("GatherND", 3, {-1, -1, 1});
    set(first_node(wrong), "batch_dims", batch_dims);
    refuse("batch_dims", wrong,
           {"'the_node'", "batch_dims: expected from 0 to 2, found " + std::to_string(batch_dims)});
  }
}

TEST_CASE("an index outside of its own dim is refused, also where it is inside of the flattened ones") {
  const Array x = counting({3, 4, 2});
  for (const Array& index :
       {integers({1, 2}, {0, 4}), integers({1, 2}, {0, -5}), integers({1, 2}, {3, 0}), integers({1, 2}, {-4, 0}),
        integers({1, 2}, {1, INT64_MAX}), integers({1, 2}, {INT64_MIN, 1})}) {
    CAPTURE(index.i[0]);
    CAPTURE(index.i[1]);
    auto y = result_of(two_inputs("GatherND", 3, {-1, 2}), x, index);
    REQUIRE_FALSE(bool(y));
    CHECK(has(llvm::toString(y.takeError()), "is outside"));
  }
  auto m = two_inputs("GatherElements", 2, {-1, -1});
  set(first_node(m), "axis", int64_t(1));
  auto outside = result_of(m, counting({3, 4}), integers({1, 2}, {3, 4}));
  REQUIRE_FALSE(bool(outside));
  CHECK(has(llvm::toString(outside.takeError()), "index 4 of operand 1 'index' is outside 4 rows"));
  // The index has more rows than x.
  auto longer = result_of(m, counting({3, 4}), integers({4, 1}, {0, 0, 0, 0}));
  REQUIRE_FALSE(bool(longer));
  CHECK(has(llvm::toString(longer.takeError()), "slice from 0 to 3 of an axis of 3"));
}

TEST_CASE("an index is int64 or int32") {
  for (const char* op : {"GatherND", "GatherElements"}) {
    auto m = two_inputs(op, 2, {2, 2});
    m.mutable_graph()->mutable_input(1)->mutable_type()->mutable_tensor_type()->set_elem_type(onnx::TensorProto::INT32);
    accept(op, m);
    m.mutable_graph()->mutable_input(1)->mutable_type()->mutable_tensor_type()->set_elem_type(onnx::TensorProto::FLOAT);
    refuse(op, m, {"'the_node'", "operand 1 'index': dtype: expected int64 or int32, found float32"});
  }
}

TEST_CASE("known indices one after the other of an activation's known dim are a slice, and no others are") {
  struct Row {
    const char* op;
    Numbers dims, values;
    bool is_slice;
  };
  for (const Row& row :
       {Row{"Gather", {1}, {-1}, true}, Row{"Gather", {}, {4}, true}, Row{"Gather", {3}, {1, 2, -2}, true},
        Row{"Gather", {2}, {2, 1}, false}, Row{"Gather", {1, 2}, {1, 2}, false}, Row{"GatherND", {1, 1}, {-2}, true},
        Row{"GatherND", {2, 1}, {0, 2}, false}}) {
    const std::string first = "index " + std::to_string(row.values[0]);
    CAPTURE(row.op);
    CAPTURE(first);
    auto m = empty_model();
    auto& x = add_input(m, "x", onnx::TensorProto::FLOAT, {5, -1});
    x.mutable_type()->mutable_tensor_type()->mutable_shape()->mutable_dim(1)->set_dim_param("batch");
    add_node(m, "Relu", "relu", {"x"}, {"r"});
    auto& index = *m.mutable_graph()->add_initializer();
    index.set_name("index");
    index.set_data_type(onnx::TensorProto::INT64);
    for (int64_t d : row.dims) index.add_dims(d);
    for (int64_t v : row.values) index.add_int64_data(v);
    add_node(m, row.op, "the_node", {"r", "index"}, {"y"});
    m.mutable_graph()->add_output()->set_name("y");
    auto graph = accept("gather", m);
    REQUIRE(graph);
    bool looks_up = false;
    for (const auto& node : graph->nodes) looks_up |= node->op->is(Trait::looks_up);
    CHECK(looks_up != row.is_slice);
    auto bound = bind_dims(*graph, {{"batch", 2}});
    REQUIRE(bool(bound));
    const Array given_x = counting({5, 2});
    auto results = run_reference({bound->get()}, {NamedArrays{{"x", given_x}}});
    REQUIRE(bool(results));
    std::vector<double> expected;
    for (int64_t v : row.values)
      for (size_t k : {0u, 1u}) expected.push_back(given_x.f[size_t(v < 0 ? v + 5 : v) * 2 + k]);
    CHECK((*results)[0].at("y").f == expected);
  }
}

TEST_CASE("the last one along a dim of any extent is cut off, however its index is written") {
  const Array x = counting({2, 3, 4});
  for (const bool from_end : {true, false}) {
    CAPTURE(from_end);
    auto m = empty_model();
    add_input(m, "x", onnx::TensorProto::FLOAT, {-1, -1, -1});
    if (from_end) {
      add_integers(m, "last", {-1}, /*scalar=*/true);
    } else {
      add_integers(m, "one", {1});
      add_node(m, "Shape", "shape", {"x"}, {"extents"});
      add_node(m, "Gather", "extent", {"extents", "one"}, {"extent"});
      add_node(m, "Sub", "less_one", {"extent", "one"}, {"last"});
    }
    set(add_node(m, "Gather", "the_node", {"x", "last"}, {"y"}), "axis", int64_t(1));
    m.mutable_graph()->add_output()->set_name("y");
    auto graph = accept("indexing", m);
    REQUIRE(graph);
    CHECK(llvm::any_of(graph->nodes, [](const auto& n) { return n->op->is(Trait::cuts); }));
    CHECK(llvm::none_of(graph->nodes, [](const auto& n) { return n->op->is(Trait::looks_up); }));
    const auto bound = must(bind_dims(*graph, {{"n0", 2}, {"n1", 3}, {"n2", 4}}));
    const NamedArrays inputs{{"x", x}};
    const Array y = must(run_reference({bound.get()}, {inputs}))[0].at("y");
    CHECK(y.f == std::vector<double>{8.5, 9.5, 10.5, 11.5, 20.5, 21.5, 22.5, 23.5});
    CHECK(y.dims.size() == (from_end ? 2 : 3));
  }
}
