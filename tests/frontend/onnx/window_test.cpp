// Conv and the pools against loops over windows as their definitions have them, along extents that are symbols.
#include <cmath>

#include "passes/passes.h"
#include "runtime/reference.h"
#include "tests/frontend/onnx/model_file.h"
#include "tests/must.h"

using namespace optp;

namespace {
struct Window {
  int64_t size, stride = 1, before = 0, after = 0, dilation = 1;
};
struct Case {
  const char* op;
  int64_t batch, channels;
  std::vector<int64_t> extents;
  std::vector<Window> windows;
  int64_t made = 0, groups = 1;  // Conv
  bool counts_padding = false, ceil_mode = false;
};
Array numbers(llvm::ArrayRef<int64_t> dims, int64_t seed) {
  Array a;
  a.resize(true, dims);
  for (size_t k = 0; k < a.f.size(); ++k) a.f[k] = double((int64_t(k) * 37 + seed * 11) % 23) / 4 - 3;
  return a;
}
Numbers each(const Case& c, int64_t Window::* member) {
  Numbers out;
  for (const Window& w : c.windows) out.push_back(w.*member);
  return out;
}
// y = op(x[, w, b]) by the reference interpreter, with the batch and the last extent open.
Array result_of(const Case& c, const Array& x, const Array* weight, const Array* bias) {
  auto m = empty_model();
  Numbers dims{-1, c.channels};
  dims.insert(dims.end(), c.extents.begin(), c.extents.end());
  const bool open = !c.ceil_mode;
  if (open) dims.back() = -1;
  add_input(m, "x", onnx::TensorProto::FLOAT, dims);
  Names inputs{"x"};
  NamedArrays arrays{{"x", x}};
  auto add = [&](const char* name, const Array* a) {
    if (!a) return;
    add_input(m, name, onnx::TensorProto::FLOAT, Numbers(a->dims.begin(), a->dims.end()));
    inputs.push_back(name);
    arrays[name] = *a;
  };
  add("w", weight), add("b", bias);
  auto& node = add_node(m, c.op, "the_node", inputs, {"y"});
  set(node, "kernel_shape", each(c, &Window::size));
  set(node, "strides", each(c, &Window::stride));
  Numbers pads = each(c, &Window::before);
  for (int64_t n : each(c, &Window::after)) pads.push_back(n);
  set(node, "pads", pads);
  if (c.op != std::string("AveragePool")) set(node, "dilations", each(c, &Window::dilation));
  if (c.op == std::string("Conv")) set(node, "group", c.groups);
  if (c.counts_padding) set(node, "count_include_pad", int64_t(1));
  if (c.ceil_mode) set(node, "ceil_mode", int64_t(1));
  m.mutable_graph()->add_output()->set_name("y");
  const auto graph = accept(c.op, m);
  REQUIRE(graph);
  DimValues extents{{"n0", c.batch}};
  if (open) extents["n" + std::to_string(dims.size() - 1)] = c.extents.back();
  const auto bound = must(bind_dims(*graph, extents));
  return must(run_reference({bound.get()}, {arrays}))[0].at("y");
}
int64_t places_of(const Window& w, int64_t extent, bool ceil_mode) {
  const int64_t room = extent + w.before + w.after - w.dilation * (w.size - 1) - 1;
  int64_t n = (ceil_mode ? (room + w.stride - 1) / w.stride : room / w.stride) + 1;
  if (ceil_mode && (n - 1) * w.stride >= extent + w.before) --n;
  return n;
}
// Two dims; a case of one has a first one of extent 1.
Array expected_of(const Case& c, const Array& x, const Array* weight, const Array* bias) {
  std::vector<int64_t> e = c.extents;
  std::vector<Window> w = c.windows;
  if (e.size() == 1) e.insert(e.begin(), 1), w.insert(w.begin(), Window{1});
  const int64_t oh = places_of(w[0], e[0], c.ceil_mode), ow = places_of(w[1], e[1], c.ceil_mode);
  const int64_t made = weight ? c.made : c.channels, each = weight ? c.channels / c.groups : 1;
  Array y;
  std::vector<int64_t> dims{c.batch, made, oh, ow};
  if (c.extents.size() == 1) dims.erase(dims.begin() + 2);
  y.resize(true, dims);
  size_t at = 0;
  for (int64_t b = 0; b < c.batch; ++b)
    for (int64_t m = 0; m < made; ++m)
      for (int64_t i = 0; i < oh; ++i)
        for (int64_t j = 0; j < ow; ++j, ++at) {
          const bool is_max = c.op == std::string("MaxPool");
          double sum = is_max ? -INFINITY : 0;
          int64_t count = 0;
          for (int64_t k = 0; k < each; ++k)
            for (int64_t p = 0; p < w[0].size; ++p)
              for (int64_t q = 0; q < w[1].size; ++q) {
                const int64_t r = i * w[0].stride + p * w[0].dilation - w[0].before,
                              s = j * w[1].stride + q * w[1].dilation - w[1].before;
                const bool inside = r >= 0 && r < e[0] && s >= 0 && s < e[1];
                const bool padded = r < e[0] + w[0].after && s < e[1] + w[1].after;
                count += c.counts_padding ? padded : inside;
                if (!inside) continue;
                const int64_t channel = weight ? m / (made / c.groups) * each + k : m;
                const double v = x.f[size_t(((b * c.channels + channel) * e[0] + r) * e[1] + s)];
                if (weight)
                  sum += v * weight->f[size_t(((m * each + k) * w[0].size + p) * w[1].size + q)];
                else
                  sum = is_max ? std::max(sum, v) : sum + v;
              }
          if (!weight && !is_max) sum /= double(count);
          y.f[at] = sum + (bias ? bias->f[size_t(m)] : 0);
        }
  return y;
}
void compare(const Case& c) {
  CAPTURE(c.op);
  std::vector<int64_t> dims{c.batch, c.channels};
  dims.insert(dims.end(), c.extents.begin(), c.extents.end());
  const Array x = numbers(dims, 1);
  std::optional<Array> weight, bias;
  if (c.made) {
    std::vector<int64_t> own{c.made, c.channels / c.groups};
    for (const Window& w : c.windows) own.push_back(w.size);
    weight = numbers(own, 2), bias = numbers({c.made}, 3);
  }
  const Array *w = weight ? &*weight : nullptr, *b = bias ? &*bias : nullptr;
  const Array y = result_of(c, x, w, b), expected = expected_of(c, x, w, b);
  REQUIRE(llvm::ArrayRef(y.dims) == llvm::ArrayRef(expected.dims));
  for (size_t k = 0; k < y.f.size(); ++k) CHECK(y.f[k] == doctest::Approx(expected.f[k]).epsilon(1e-12));
}
}  // namespace

TEST_CASE("a convolution is the sum over its window, with strides, padding, dilation and groups") {
  for (int64_t groups : {1, 2, 4}) {
    const int64_t made = 8;
    compare({"Conv", 2, 4, {11}, {{3, 2, 1, 1}}, made, groups});
    compare({"Conv", 1, 4, {9}, {{4, 1, 2, 2, 2}}, made, groups});
    compare({"Conv", 2, 4, {6, 9}, {{3, 2, 1, 0}, {2, 1, 0, 2, 3}}, made, groups});
    compare({"Conv", 2, 4, {8, 12}, {{4, 4}, {4, 4}}, made, groups});  // patches
    compare({"Conv", 2, 4, {9, 14}, {{4, 4}, {4, 4}}, made, groups});  // patches that leave a rest
    compare({"Conv", 1, 4, {5, 5}, {{1}, {1}}, made, groups});
  }
}

TEST_CASE("a pool is the largest or the mean of its window; what lies beyond the padding never counts") {
  for (bool ceil_mode : {false, true}) {
    for (const std::vector<Window>& windows :
         {std::vector<Window>{{3, 2, 1, 1}, {2, 2}}, std::vector<Window>{{2, 2}, {3, 3}},
          std::vector<Window>{{3, 1, 1, 1}, {2, 3, 0, 1}}}) {
      compare({"MaxPool", 2, 3, {7, 8}, windows, 0, 1, false, ceil_mode});
      for (bool counts_padding : {false, true})
        compare({"AveragePool", 2, 3, {7, 8}, windows, 0, 1, counts_padding, ceil_mode});
    }
    compare({"MaxPool", 1, 2, {9}, {{3, 2, 0, 0, 2}}, 0, 1, false, ceil_mode});
  }
}

TEST_CASE("windows that do not fit their operands are refused with what was expected") {
  auto conv = [](Numbers weight_dims, const std::function<void(onnx::NodeProto&)>& change) {
    auto m = empty_model();
    add_input(m, "x", onnx::TensorProto::FLOAT, {2, 4, 9});
    add_floats(m, "w", weight_dims);
    change(add_node(m, "Conv", "the_node", {"x", "w"}, {"y"}));
    m.mutable_graph()->add_output()->set_name("y");
    return m;
  };
  auto same = [](onnx::NodeProto&) {};
  accept("a convolution", conv({6, 4, 3}, same));
  refuse("a window beyond the extent", conv({6, 4, 10}, same), {"'the_node'", "a window of 10"});
  refuse("other channels", conv({6, 3, 3}, same), {"'the_node'", "channels in 1 groups"});
  refuse("a window of two dims", conv({6, 4, 3, 3}, same), {"'the_node'", "2 dims of the window"});
  refuse("groups", conv({6, 1, 3}, [](auto& n) { set(n, "group", int64_t(4)); }), {"'the_node'", "in 4 groups"});
  refuse("a stride of 0", conv({6, 4, 3}, [](auto& n) { set(n, "strides", Numbers{0}); }),
         {"strides", "expected at least 1, found 0"});
  refuse("pads of one end", conv({6, 4, 3}, [](auto& n) { set(n, "pads", Numbers{1}); }),
         {"pads", "expected 2 numbers, found 1"});
  refuse("another kernel", conv({6, 4, 3}, [](auto& n) { set(n, "kernel_shape", Numbers{4}); }), {"kernel_shape"});
}
