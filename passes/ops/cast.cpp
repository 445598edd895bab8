// cast to attribute "to" (a DType's number): ONNX Cast.
#include "frontend/ir/formula.h"
#include "passes/ops/support.h"

namespace optp::ops {
namespace {
const RegisteredOp cast{{
    .name = "cast",
    .summary = "conversion of the element type",
    .rule = [](const Node& node) -> llvm::Expected<Rule> {
      auto rule = elementwise_rule(node);
      if (rule && is_float(node.operand(0).type.dtype) && is_float(node.out().type.dtype))
        rule->linear = Linear::jointly;
      return rule;
    },
    .infer = [](const Node& node) -> llvm::Expected<Types> {
      const DType to = DType(node.integer("to"));
      if (to == DType::string || size_bytes(to) == 0)
        return error(Code::malformed).at(node).what("cast").expected("a numeric type").found(long_name(to));
      if (node.operand(0).type.dtype == DType::string) return wrong_dtype(node, 0, "a number", "string");
      return one(to, node.operand(0).type.dims);
    },
    .evaluate = [](const Node& node, llvm::ArrayRef<const Array*> in) -> llvm::Expected<Arrays> {
      const DType to = DType(node.integer("to"));
      Array out;
      out.resize(is_float(to), in[0]->dims);
      for (int64_t k = 0; k < out.elements(); ++k) {
        const double x = in[0]->number(k);
        if (out.is_float)
          out.f[size_t(k)] = x;
        else if (to == DType::boolean)
          out.i[size_t(k)] = x != 0;
        else if (in[0]->is_float)
          out.i[size_t(k)] = x >= -0x1p63 && x < 0x1p63 ? int64_t(x) : INT64_MIN;
        else
          out.i[size_t(k)] = in[0]->i[size_t(k)];
      }
      return single(std::move(out));
    },
    .content = [](const Node& node) -> std::optional<Content> {
      const DType to = DType(node.integer("to"));
      auto c = content_of(node.operand(0));
      if (!c || is_float(to)) return std::nullopt;
      if (to == DType::boolean && node.operand(0).type.dtype != DType::boolean)
        for (Dim& d : c->elements) {
          auto bound = lower_bound(d);
          if (d.constant())
            d = Dim(int64_t(*d.constant() != 0));
          else if (bound && *bound > 0)
            d = Dim(1);
          else
            return std::nullopt;
        }
      return c;
    },
    .gradient =
        [](GradientContext& c) {
          // Of a half-precision value the gradient stays wide: it is on its way to a float32 master, and small ones
          // would vanish.
          if (is_float(c.x()->type.dtype))
            c.dx[0] = is_half(c.x()->type.dtype) ? c.dy : c.cast(c.dy, c.x()->type.dtype);
        },
    .traits = Trait::converts,
}};
}  // namespace
}  // namespace optp::ops
