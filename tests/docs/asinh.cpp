// asinh(x) = ln(x + √(x² + 1)); ONNX Asinh, opset 9.
#include <cmath>

#include "frontend/ir/formula.h"
#include "frontend/onnx/export_context.h"
#include "frontend/onnx/lowering.h"
#include "passes/ops/support.h"

namespace optp {
namespace {
// What the compiler knows of it: a file of passes/ops.
const RegisteredOp asinh_op{{
    .name = "asinh",
    .summary = "inverse hyperbolic sine",
    .rule = ops::elementwise_rule,  // one loop for each dim; not linear, so no partial sum passes through
    .infer = [](const Node& node) -> llvm::Expected<ops::Types> {
      const Type& x = node.operand(0).type;
      if (!is_float(x.dtype)) return wrong_dtype(node, 0, "a floating type", long_name(x.dtype));
      return ops::one(x.dtype, x.dims);
    },
    .evaluate = [](const Node&, llvm::ArrayRef<const Array*> in) -> llvm::Expected<Arrays> {
      Array y = *in[0];
      for (double& v : y.f) v = std::asinh(v);
      return ops::single(std::move(y));
    },
    // dx = dy / √(x² + 1)
    .gradient = [](GradientContext& c) { c.dx[0] = c.div(c.dy, c.sqrt(c.add(c.mul(c.x(), c.x()), 1))); },
}};

// What ONNX calls it: a row to read it, and one to write it, in a file of frontend/onnx/operators.
Lowered lower_asinh(LoweringContext& c) {
  OPTP_TRY(x, c.need_float(0));
  OPTP_TRY(y, c.op("asinh", {x}));
  return llvm::SmallVector<Value*, 2>{y};
}
const LoweringRow lowerings[] = {{"Asinh", 9, lower_asinh}};
const RegisteredLowerings read{lowerings};
const ExportRow exports[] = {{"asinh", write_plain, "Asinh", float_types}};
const RegisteredExports written{exports};
}  // namespace
}  // namespace optp
