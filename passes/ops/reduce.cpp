// Reductions over attribute "axes" (ONNX ReduceSum, ReduceMean, ReduceMax, ReduceMin, ReduceProd) and the running sum.
#include <cmath>
#include <limits>

#include "frontend/ir/formula.h"
#include "passes/ops/support.h"

namespace optp::ops {
namespace {
llvm::Expected<Types> infer(const Node& node) {
  if (auto e = same_dtype(node, {0})) return e;
  Dims dims;
  const bool keep = node.integer("keepdims") != 0;
  for (size_t d = 0; d < node.operand(0).ndim(); ++d) {
    if (!llvm::is_contained(node.integers("axes"), int64_t(d)))
      dims.push_back(node.operand(0).type.dims[d]);
    else if (keep)
      dims.push_back(1);
  }
  for (int64_t axis : node.integers("axes"))
    if (axis < 0 || axis >= int64_t(node.operand(0).ndim()))
      return error(Code::malformed).at(node).what("axis " + llvm::Twine(axis) + " is out of range");
  return one(node.operand(0).type.dtype, dims);
}
template <Reduce reduce, Linear linear>
llvm::Expected<Rule> rule_of(const Node& node) {
  Rule rule;
  rule.linear = linear;
  rule.operands.emplace_back();
  rule.results.emplace_back();
  for (size_t d = 0; d < node.operand(0).ndim(); ++d) {
    const bool reduced = llvm::is_contained(node.integers("axes"), int64_t(d));
    const int loop =
        rule.add(node.operand(0).type.dims[d], reduced && reduce == Reduce::none, reduced ? reduce : Reduce::none);
    rule.operands[0].push_back(loop);
    if (!reduced)
      rule.results[0].push_back(loop);
    else if (node.integer("keepdims") != 0)
      rule.results[0].push_back(no_loop);
  }
  return rule;
}
template <auto F>
llvm::Expected<Arrays> fold(const Node& node, const Array& in, double start_f, int64_t start_i) {
  Array out;
  out.resize(in.is_float, numbers(node.out().type.dims));
  std::fill(out.f.begin(), out.f.end(), start_f);
  std::fill(out.i.begin(), out.i.end(), start_i);
  Ints strides(in.dims.size(), 0);
  int64_t stride = 1;
  for (size_t d = in.dims.size(); d-- > 0;)
    if (!llvm::is_contained(node.integers("axes"), int64_t(d))) {
      strides[d] = stride;
      stride *= in.dims[d];
    }
  walk(in.dims, {strides}, [&](int64_t k, llvm::ArrayRef<int64_t> at) {
    if (in.is_float)
      out.f[size_t(at[0])] = F(out.f[size_t(at[0])], in.f[size_t(k)]);
    else
      out.i[size_t(at[0])] = int64_t(F(out.i[size_t(at[0])], in.i[size_t(k)]));
  });
  return single(std::move(out));
}
constexpr auto plus = [](auto a, auto b) {
  if constexpr (std::is_floating_point_v<decltype(a)>)
    return a + b;
  else
    return int64_t(uint64_t(a) + uint64_t(b));
};
constexpr auto times = [](auto a, auto b) {
  if constexpr (std::is_floating_point_v<decltype(a)>)
    return a * b;
  else
    return int64_t(uint64_t(a) * uint64_t(b));
};
constexpr auto larger = [](auto a, auto b) { return a != a ? a : (b != b ? b : (a > b ? a : b)); };
constexpr auto smaller = [](auto a, auto b) { return a != a ? a : (b != b ? b : (a < b ? a : b)); };
constexpr double infinity = std::numeric_limits<double>::infinity();

// What is reduced away, back as extents of 1.
Value* with_axes(GradientContext& c, Value* v) {
  Dims dims = c.x()->type.dims;
  for (int64_t axis : c.node.integers("axes")) dims[size_t(axis)] = 1;
  return c.reshape(v, dims);
}
// Every element that is the extreme takes its share: where several are, the gradient is divided among them.
void extreme_gradient(GradientContext& c) {
  const DType dtype = c.dy->type.dtype;
  Value* hit = c.cast(c.op("equal", {c.x(), c.expand(with_axes(c, c.y()), c.x()->type.dims)}), dtype);
  Value* count = c.sum(hit, c.node.integers("axes"), /*keepdims=*/true);
  c.dx[0] = c.mul(hit, c.div(with_axes(c, c.dy), count));
}

const RegisteredOp reduce_sum{
    {.name = "reduce_sum",
     .summary = "sum over axes",
     .rule = rule_of<Reduce::sum, Linear::jointly>,
     .infer = infer,
     .evaluate = [](const Node& node, llvm::ArrayRef<const Array*> in) { return fold<plus>(node, *in[0], 0, 0); },
     .gradient = [](GradientContext& c) { c.dx[0] = c.expand(with_axes(c, c.dy), c.x()->type.dims); }}};
const RegisteredOp reduce_max{
    {.name = "reduce_max",
     .summary = "largest over axes",
     .rule = rule_of<Reduce::max, Linear::none>,
     .infer = infer,
     .evaluate = [](const Node& node,
                    llvm::ArrayRef<const Array*> in) { return fold<larger>(node, *in[0], -infinity, INT64_MIN); },
     .gradient = extreme_gradient}};
const RegisteredOp reduce_min{
    {.name = "reduce_min",
     .summary = "smallest over axes",
     .rule = rule_of<Reduce::min, Linear::none>,
     .infer = infer,
     .evaluate = [](const Node& node,
                    llvm::ArrayRef<const Array*> in) { return fold<smaller>(node, *in[0], infinity, INT64_MAX); },
     .gradient = extreme_gradient}};
const RegisteredOp reduce_prod{
    {.name = "reduce_prod",
     .summary = "product over axes",
     .rule = rule_of<Reduce::none, Linear::none>,
     .infer = infer,
     .evaluate = [](const Node& node, llvm::ArrayRef<const Array*> in) { return fold<times>(node, *in[0], 1, 1); },
     .content = [](const Node& node) -> std::optional<Content> {
       auto c = content_of(node.operand(0));
       if (!c || c->dims.size() != 1) return std::nullopt;
       Content out;
       if (node.integer("keepdims") != 0) out.dims = {1};
       out.elements = {product(c->elements)};
       return out;
     }}};
// reduce_mean divides by attribute "count", the global number of elements summed: a split mean is a partial sum still.
const RegisteredOp reduce_mean{
    {.name = "reduce_mean",
     .summary = "mean over axes; of integers truncated",
     .extents = {"count"},
     .rule =
         [](const Node& node) {
           return is_float(node.operand(0).type.dtype) ? rule_of<Reduce::sum, Linear::jointly>(node)
                                                       : rule_of<Reduce::none, Linear::none>(node);
         },
     .infer = infer,
     .evaluate = [](const Node& node, llvm::ArrayRef<const Array*> in) -> llvm::Expected<Arrays> {
       auto sums = fold<plus>(node, *in[0], 0, 0);
       if (!sums) return sums;
       int64_t count = 1;
       for (int64_t axis : node.integers("axes")) count *= in[0]->dims[size_t(axis)];
       count = node.dim("count", count).constant().value_or(count);
       for (double& v : (*sums)[0].f) v /= double(count);
       for (int64_t& v : (*sums)[0].i) v = count ? v / count : 0;
       return sums;
     },
     .localize = [](Node& node, const Rule& rule, const LoopSharding&) -> llvm::Error {
       Dim count = 1;
       for (int64_t axis : node.integers("axes"))
         count = count * rule.loops[size_t(rule.operands[0][size_t(axis)])].extent;
       node.attributes["count"] = count;
       return llvm::Error::success();
     },
     .gradient =
         [](GradientContext& c) {
           Dim count = 1;
           for (int64_t axis : c.node.integers("axes")) count = count * c.x()->type.dims[size_t(axis)];
           c.dx[0] = c.expand(with_axes(c, c.div(c.dy, c.extent(count, c.dy->type.dtype))), c.x()->type.dims);
         }}};

// ONNX CumSum: "exclusive" leaves the element itself out, "reverse" sums from the end.
const RegisteredOp cumsum{{
    .name = "cumsum",
    .summary = "running sum along one axis",
    .rule = [](const Node& node) -> llvm::Expected<Rule> {
      return same_shape_rule(node, {node.integer("axis")}, Linear::jointly);
    },
    .infer = [](const Node& node) -> llvm::Expected<Types> {
      if (auto e = same_dtype(node, {0})) return e;
      auto axis = checked_axis(node, node.operand(0).ndim());
      if (!axis) return axis.takeError();
      return one(node.operand(0).type.dtype, node.operand(0).type.dims);
    },
    .evaluate = [](const Node& node, llvm::ArrayRef<const Array*> in) -> llvm::Expected<Arrays> {
      const size_t axis = size_t(node.integer("axis"));
      const bool exclusive = node.integer("exclusive") != 0, reverse = node.integer("reverse") != 0;
      Array out = *in[0];
      const int64_t n = out.dims[axis], inner = strides_of(out.dims)[axis];
      const int64_t outer = count_of(llvm::ArrayRef<int64_t>(out.dims).take_front(axis));
      auto run = [&](auto& v) {
        for (int64_t o = 0; o < outer; ++o)
          for (int64_t i = 0; i < inner; ++i) {
            typename std::decay_t<decltype(v)>::value_type sum = 0;
            for (int64_t k = 0; k < n; ++k) {
              auto& x = v[size_t((o * n + (reverse ? n - 1 - k : k)) * inner + i)];
              const auto before = sum;
              sum = plus(sum, x);
              x = exclusive ? before : sum;
            }
          }
      };
      if (out.is_float)
        run(out.f);
      else
        run(out.i);
      return single(std::move(out));
    },
    // Each element is in the sums of those after it (before it, of a reverse sum).
    .gradient =
        [](GradientContext& c) {
          c.dx[0] = c.op("cumsum", {c.dy},
                         {{"axis", c.node.integer("axis")},
                          {"exclusive", c.node.integer("exclusive")},
                          {"reverse", int64_t(c.node.integer("reverse") == 0)}});
        },
}};
}  // namespace
}  // namespace optp::ops
