// repeat: each index along one axis, "times" times in a row (numpy.repeat), and its adjoint. They stand where heads of
// keys and values are fewer than those of queries and are cut with them: a finer loop and a coarser one that covers it.
// Split makes views of them, so that no rank graph has one.
#include "frontend/ir/formula.h"
#include "passes/ops/support.h"

namespace optp::ops {
namespace {
llvm::Expected<Rule> rule_of(const Node& node, bool repeats) {
  const size_t axis = size_t(node.integer("axis"));
  Rule rule;
  rule.linear = repeats ? Linear::view : Linear::jointly;
  rule.operands.emplace_back();
  rule.results.emplace_back();
  for (size_t d = 0; d < node.operand(0).ndim(); ++d) {
    const int from =
        rule.add(node.operand(0).type.dims[d], /*whole=*/false, d == axis && !repeats ? Reduce::sum : Reduce::none);
    const int to = d == axis ? rule.add(node.out().type.dims[d]) : from;
    rule.operands[0].push_back(from);
    rule.results[0].push_back(to);
    if (d == axis) rule.covers.push_back({repeats ? to : from, repeats ? from : to, node.integer("times")});
  }
  return rule;
}
llvm::Expected<Types> infer(const Node& node, bool repeats) {
  auto axis = checked_axis(node, node.operand(0).ndim());
  if (!axis) return axis.takeError();
  Dims dims = node.operand(0).type.dims;
  Dim& extent = dims[size_t(*axis)];
  const int64_t times = node.integer("times");
  if (times < 2) return error(Code::malformed).at(node).what("times").expected("2 or more").found(times);
  if (repeats) {
    extent = extent * Dim(times);
  } else {
    const auto groups = exact_div(extent, times);
    if (!groups)
      return wrong_shape(node, 0, "a multiple of " + llvm::Twine(times) + " along axis " + llvm::Twine(*axis),
                         extent.text());
    extent = *groups;
  }
  return one(node.operand(0).type.dtype, dims);
}
// Calls visit(element of the result, element of the operand): each of the longer one, once.
void each_pair(const Node& node, const Array& in, const Array& out, bool repeats,
               llvm::function_ref<void(size_t, size_t)> visit) {
  const size_t axis = size_t(node.integer("axis"));
  const int64_t times = node.integer("times");
  const Array &fine = repeats ? out : in, &coarse = repeats ? in : out;
  const int64_t inner = strides_of(fine.dims)[axis], n = fine.dims[axis];
  const int64_t outer = count_of(llvm::ArrayRef<int64_t>(fine.dims).take_front(axis));
  for (int64_t o = 0; o < outer; ++o)
    for (int64_t i = 0; i < n; ++i)
      for (int64_t k = 0; k < inner; ++k) {
        const auto longer = size_t((o * n + i) * inner + k),
                   shorter = size_t((o * coarse.dims[axis] + i / times) * inner + k);
        visit(repeats ? longer : shorter, repeats ? shorter : longer);
      }
}

const RegisteredOp repeat{{
    .name = "repeat",
    .summary = "each index along one axis \"times\" times in a row",
    .rule = [](const Node& node) { return rule_of(node, /*repeats=*/true); },
    .infer = [](const Node& node) { return infer(node, /*repeats=*/true); },
    .evaluate = [](const Node& node, llvm::ArrayRef<const Array*> in) -> llvm::Expected<Arrays> {
      Array out;
      out.resize(in[0]->is_float, numbers(node.out().type.dims));
      each_pair(node, *in[0], out, /*repeats=*/true, [&](size_t to, size_t from) {
        if (out.is_float)
          out.f[to] = in[0]->f[from];
        else
          out.i[to] = in[0]->i[from];
      });
      return single(std::move(out));
    },
    .gradient =
        [](GradientContext& c) {
          c.dx[0] = c.op("sum_repeats", {c.dy}, {{"axis", c.node.integer("axis")}, {"times", c.node.integer("times")}});
        },
}};
const RegisteredOp sum_repeats{{
    .name = "sum_repeats",
    .summary = "the sums of each \"times\" neighbours along one axis",
    .rule = [](const Node& node) { return rule_of(node, /*repeats=*/false); },
    .infer = [](const Node& node) { return infer(node, /*repeats=*/false); },
    .evaluate = [](const Node& node, llvm::ArrayRef<const Array*> in) -> llvm::Expected<Arrays> {
      Array out;
      out.resize(in[0]->is_float, numbers(node.out().type.dims));
      each_pair(node, *in[0], out, /*repeats=*/false, [&](size_t to, size_t from) {
        if (out.is_float)
          out.f[to] += in[0]->f[from];
        else
          out.i[to] = int64_t(uint64_t(out.i[to]) + uint64_t(in[0]->i[from]));
      });
      return single(std::move(out));
    },
    .gradient =
        [](GradientContext& c) {
          c.dx[0] = c.op("repeat", {c.dy}, {{"axis", c.node.integer("axis")}, {"times", c.node.integer("times")}});
        },
}};
}  // namespace
}  // namespace optp::ops
