// Resize against the examples of ONNX' specification (onnx/backend/test/case/node/resize.py), where ONNX Runtime agrees
// with them, and what it becomes.
#include "passes/passes.h"
#include "runtime/reference.h"
#include "tests/frontend/onnx/model_file.h"
#include "tests/must.h"

using namespace optp;

namespace {
struct Case {
  const char* mode;
  const char* transform = "half_pixel";
  std::vector<int64_t> extents;  // of x, whose elements are 1, 2, 3, …
  std::vector<float> scales;     // or
  std::vector<int64_t> sizes;
  std::vector<double> expected;  // row-major
  const char* round = "round_prefer_floor";
  bool antialias = false, excludes_outside = false;
  float a = -0.75f;
  Numbers axes = {};
};
onnx::ModelProto model_of(const Case& c, const Numbers& dims, int64_t opset) {
  auto m = empty_model(opset);
  add_input(m, "x", onnx::TensorProto::FLOAT, dims);
  auto& node = add_node(m, "Resize", "the_node", {"x", "", ""}, {"y"});
  if (opset < 13) {  // they must be given, if empty
    add_floats(m, "none", {0});
    node.set_input(1, "none"), node.set_input(2, "none");
  }
  if (!c.scales.empty()) {
    auto& scales = add_floats(m, "scales", {int64_t(c.scales.size())});
    scales.set_raw_data(c.scales.data(), c.scales.size() * sizeof(float));
    node.set_input(2, "scales");
  }
  if (!c.sizes.empty()) {
    add_integers(m, "sizes", c.sizes);
    node.add_input("sizes");
  }
  set(node, "mode", c.mode), set(node, "coordinate_transformation_mode", c.transform);
  set(node, "nearest_mode", c.round), set(node, "cubic_coeff_a", c.a);
  set(node, "exclude_outside", int64_t(c.excludes_outside));
  if (c.antialias) set(node, "antialias", int64_t(1));
  if (!c.axes.empty()) set(node, "axes", c.axes);
  m.mutable_graph()->add_output()->set_name("y");
  return m;
}
void compare(const Case& c, int64_t opset = 19) {
  CAPTURE(std::string(c.mode));
  CAPTURE(std::string(c.transform));
  Array x;
  x.resize(true, c.extents);
  for (size_t k = 0; k < x.f.size(); ++k) x.f[k] = double(k + 1);
  const auto graph = accept("Resize", model_of(c, c.extents, opset));
  REQUIRE(graph);
  const Array y = must(run_reference({graph.get()}, {{{"x", x}}}))[0].at("y");
  REQUIRE(y.f.size() == c.expected.size());
  for (size_t k = 0; k < y.f.size(); ++k) CHECK(y.f[k] == doctest::Approx(c.expected[k]).epsilon(1e-6));
}
}  // namespace

TEST_CASE("a resized dim's elements are the nearest ones, by each way of rounding") {
  compare({"nearest", "half_pixel", {1, 1, 2, 4}, {1, 1, 0.6f, 0.6f}, {}, {1, 3}});
  compare({"nearest", "half_pixel", {1, 1, 2, 4}, {}, {1, 1, 1, 3}, {1, 2, 4}});
  compare({"nearest",
           "half_pixel",
           {1, 1, 2, 2},
           {2, 3},
           {},
           {1, 1, 1, 2, 2, 2, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 3, 3, 3, 4, 4, 4},
           "round_prefer_floor",
           false,
           false,
           -0.75f,
           {2, 3}});
  const std::vector<int64_t> row{1, 1, 1, 4}, wide{1, 1, 1, 8};
  compare({"nearest", "align_corners", row, {}, wide, {1, 1, 1, 2, 2, 3, 3, 4}, "floor"});
  compare({"nearest", "asymmetric", row, {}, wide, {1, 2, 2, 3, 3, 4, 4, 4}, "round_prefer_ceil"});
  compare({"nearest", "asymmetric", row, {}, wide, {1, 1, 2, 2, 3, 3, 4, 4}, "round_prefer_floor"});
  compare({"nearest", "half_pixel", row, {}, wide, {1, 2, 2, 3, 3, 4, 4, 4}, "ceil"});
}

TEST_CASE("a resized dim's elements are sums of those beside them, by each way of placing them") {
  compare({"linear",
           "half_pixel",
           {1, 1, 2, 2},
           {1, 1, 2, 2},
           {},
           {1, 1.25, 1.75, 2, 1.5, 1.75, 2.25, 2.5, 2.5, 2.75, 3.25, 3.5, 3, 3.25, 3.75, 4}});
  compare({"linear", "half_pixel", {1, 1, 2, 4}, {1, 1, 0.6f, 0.6f}, {}, {2.6666665, 4.3333331}});
  compare({"linear",
           "align_corners",
           {1, 1, 2, 2},
           {1, 1, 2, 2},
           {},
           {1, 4 / 3., 5 / 3., 2, 5 / 3., 2, 7 / 3., 8 / 3., 7 / 3., 8 / 3., 3, 10 / 3., 3, 10 / 3., 11 / 3., 4}});
  // The corners of what there is, as engines have it: of 2.4 places two are.
  compare({"linear", "align_corners", {1, 1, 1, 4}, {1, 1, 1, 0.6f}, {}, {1, 4}});
  compare({"linear", "pytorch_half_pixel", {1, 1, 4, 4}, {}, {1, 1, 3, 1}, {1.6666666, 7, 12.333333}});
  compare({"linear", "half_pixel_symmetric", {1, 1, 1, 4}, {1, 1, 1, 0.6f}, {}, {1.6666667, 3.3333333}});
  compare(
      {"cubic",
       "half_pixel",
       {1, 1, 4, 4},
       {1, 1, 0.8f, 0.8f},
       {},
       {1.47119141, 2.78125, 4.08251953, 6.71142578, 8.02148438, 9.32275391, 11.91650391, 13.2265625, 14.52783203}});
  compare({"cubic", "align_corners", {1, 1, 1, 4}, {}, {1, 1, 1, 3}, {1, 2.5, 4}});
}

TEST_CASE("outside of a dim is its edge, or nothing; against aliasing a filter reaches further") {
  compare({"cubic",
           "half_pixel",
           {1, 1, 4, 4},
           {1, 1, 0.8f, 0.8f},
           {},
           {1.36812675, 2.6695014, 4.0133367, 6.57362535, 7.875, 9.2188353, 11.94896657, 13.25034122, 14.59417652},
           "round_prefer_floor",
           false,
           true,
           -0.5f});
  compare({"linear",
           "half_pixel",
           {1, 1, 4, 4},
           {1, 1, 0.6f, 0.6f},
           {},
           {2.875, 4.5, 9.375, 11},
           "round_prefer_floor",
           true});
  compare({"cubic",
           "half_pixel",
           {1, 1, 4, 4},
           {1, 1, 0.6f, 0.6f},
           {},
           {2.5180721, 4.2858863, 9.589329, 11.357142},
           "round_prefer_floor",
           true});
}

TEST_CASE("scales and sizes are found where each opset has them") {
  for (int64_t opset : {11, 13, 18}) {
    compare({"linear", "half_pixel", {1, 1, 1, 2}, {1, 1, 1, 2}, {}, {1, 1.25, 1.75, 2}}, opset);
    compare({"linear", "half_pixel", {1, 1, 1, 2}, {}, {1, 1, 1, 4}, {1, 1.25, 1.75, 2}}, opset);
  }
}

TEST_CASE("a dim that keeps its extent costs nothing and may be open") {
  const Case c{"linear", "half_pixel", {}, {1, 1, 1, 2}};
  const auto graph = accept("an open batch", model_of(c, {-1, 3, -1, 4}, 18));
  REQUIRE(graph);
  const Value& y = *graph->outputs.at(0).value;
  CHECK(to_string(y.type.dims) == "[n0, 3, n2, 8]");
  CHECK(y.producer->operand(0).name == "x");  // one product
}

TEST_CASE("a resize that would be guessed is refused") {
  const Case good{"linear", "half_pixel", {}, {1, 1, 1, 2}};
  auto m = model_of(good, {2, 3, 4, 4}, 18);
  auto with = [&](const std::string& name, const char* word) {
    auto changed = m;
    for (auto& a : *changed.mutable_graph()->mutable_node(0)->mutable_attribute())
      if (a.name() == name) a.set_s(word);
    return changed;
  };
  refuse("what crops", with("coordinate_transformation_mode", "tf_crop_and_resize"),
         {"'the_node' (Resize)", "coordinate_transformation_mode", "expected one of half_pixel, ",
          "found 'tf_crop_and_resize'"});
  refuse("an unknown mode", with("mode", "area"), {"mode: expected one of nearest, linear, cubic, found 'area'"});
  auto kept = m;
  set(first_node(kept), "keep_aspect_ratio_policy", "not_larger");
  refuse("a kept aspect", kept, {"keep_aspect_ratio_policy: expected one of stretch, found 'not_larger'"});
  refuse(
      "an open dim", model_of(good, {2, 3, 4, -1}, 18),
      {"operand 0 'x', dim 3: a dim that is resized: expected a number, found n3; export the model with a fixed size"});
  refuse("too few scales", model_of({"linear", "half_pixel", {}, {1, 2}}, {2, 3, 4, 4}, 18),
         {"operand 2 'scales'", "expected 4 numbers, one for each dim that is resized, found 2"});
  refuse("a scale below 0", model_of({"linear", "half_pixel", {}, {1, 1, 1, -2}}, {2, 3, 4, 4}, 18),
         {"operand 2 'scales': scale of dim 3: expected above 0, and less than 2^31 places"});
  refuse("nothing left", model_of({"linear", "half_pixel", {}, {1, 1, 1, 0.1f}}, {2, 3, 4, 4}, 18),
         {"operand 0 'x', dim 3: resized to 0: expected 1 or more of both, found 4"});
  refuse("a huge result", model_of({"linear", "half_pixel", {}, {}, {2, 3, 4, 1 << 30}}, {2, 3, 4, 4}, 18),
         {"operand 0 'x', dim 3: weights from 4 to 1073741824: expected at most 2^24 elements"});
  refuse("neither", model_of({"linear", "half_pixel"}, {2, 3, 4, 4}, 18),
         {"expected either scales or sizes, found none"});
}
