// sum: any number of addends of one shape, as reverse mode makes of a value's several uses. It lives between
// differentiate and annotate only, which adds up what is partial first and then makes binary adds of it.
#include "frontend/ir/formula.h"
#include "passes/ops/support.h"

namespace optp::ops {
namespace {
const RegisteredOp sum{{
    .name = "sum",
    .summary = "a + b + c …, all of one shape",
    .operands = any_number,
    .rule = [](const Node& node) -> llvm::Expected<Rule> {
      auto rule = elementwise_rule(node);
      if (rule) rule->linear = Linear::addends;
      return rule;
    },
    .infer = [](const Node& node) -> llvm::Expected<Types> {
      if (node.operands.empty()) return error(Code::malformed).at(node).what("sum of nothing");
      for (unsigned k = 1; k < node.operands.size(); ++k) {
        if (auto e = same_dtype(node, {0, k})) return e;
        if (node.operand(k).type.dims != node.operand(0).type.dims)
          return wrong_shape(node, k, to_string(node.operand(0).type.dims), to_string(node.operand(k).type.dims));
      }
      return one(node.operand(0).type.dtype, node.operand(0).type.dims);
    },
    .evaluate = [](const Node&, llvm::ArrayRef<const Array*> in) -> llvm::Expected<Arrays> {
      Array out = *in[0];
      for (const Array* a : in.drop_front()) {
        for (size_t k = 0; k < out.f.size(); ++k) out.f[k] += a->f[k];
        for (size_t k = 0; k < out.i.size(); ++k) out.i[k] = int64_t(uint64_t(out.i[k]) + uint64_t(a->i[k]));
      }
      return single(std::move(out));
    },
    .gradient =
        [](GradientContext& c) {
          for (unsigned k = 0; k < c.node.operands.size(); ++k) c.dx[k] = c.dy;
        },
    .traits = Trait::adds_many,
    .words = {"add branches", "bias"},
}};
}  // namespace
}  // namespace optp::ops
