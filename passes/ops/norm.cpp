// Layer norm over the last axis (ONNX LayerNormalization, Ba et al., arXiv:1607.06450) and softmax along one axis.
#include <cmath>

#include "frontend/ir/formula.h"
#include "passes/ops/support.h"

namespace optp::ops {
namespace {
// layer_norm(x, scale, bias): x: […, hidden]; scale, bias: [hidden]
const RegisteredOp layer_norm{{
    .name = "layer_norm",
    .summary = "(x - mean) / √(variance + epsilon) · scale + bias over the last axis",
    .operands = any_number,
    .rule = [](const Node& node) -> llvm::Expected<Rule> {
      return same_shape_rule(node, {int64_t(node.out().ndim()) - 1}, Linear::none);
    },
    .infer = [](const Node& node) -> llvm::Expected<Types> {
      const Value& x = node.operand(0);
      if (!is_float(x.type.dtype)) return wrong_dtype(node, 0, "a floating type", long_name(x.type.dtype));
      if (x.ndim() == 0) return error(Code::malformed).at(node).what("layer norm of a scalar");
      for (unsigned k = 1; k < node.operands.size(); ++k) {
        if (auto e = same_dtype(node, {0, k})) return e;
        if (node.operand(k).type.dims != Dims{x.type.dims.back()})
          return wrong_shape(node, k, "[" + x.type.dims.back().text() + "]", to_string(node.operand(k).type.dims));
      }
      return one(x.type.dtype, x.type.dims);
    },
    .evaluate = [](const Node& node, llvm::ArrayRef<const Array*> in) -> llvm::Expected<Arrays> {
      const int64_t n = in[0]->dims.back(), rows = n ? in[0]->elements() / n : 0;
      const double epsilon = node.number("epsilon", 1e-5);
      Array out;
      out.resize(/*floating=*/true, in[0]->dims);
      for (int64_t r = 0; r < rows; ++r) {
        const double* x = in[0]->f.data() + r * n;
        double mean = 0, variance = 0;
        for (int64_t k = 0; k < n; ++k) mean += x[k];
        mean /= double(n);
        for (int64_t k = 0; k < n; ++k) variance += (x[k] - mean) * (x[k] - mean);
        variance /= double(n);
        const double scale = 1 / std::sqrt(variance + epsilon);
        for (int64_t k = 0; k < n; ++k)
          out.f[size_t(r * n + k)] =
              (x[k] - mean) * scale * in[1]->f[size_t(k)] + (in.size() > 2 ? in[2]->f[size_t(k)] : 0.0);
      }
      return single(std::move(out));
    },
    // Ba et al., section 4, with x̂ = (x - mean) · r and r = 1/√(variance + epsilon):
    // dx = r · (g - mean(g) - x̂ · mean(g · x̂)), g = dy · scale; dscale = Σ dy · x̂; dbias = Σ dy.
    .gradient =
        [](GradientContext& c) {
          const int64_t axis = int64_t(c.x()->ndim()) - 1;
          Value* centred = c.sub(c.x(), c.mean(c.x(), {axis}, /*keepdims=*/true));
          Value* variance = c.mean(c.mul(centred, centred), {axis}, /*keepdims=*/true);
          Value* r = c.op("reciprocal", {c.sqrt(c.add(variance, c.node.number("epsilon", 1e-5)))});
          Value* normal = c.mul(centred, r);
          if (c.needs(0)) {
            Value* g = c.mul(c.dy, c.x(1));
            Value* along = c.mul(normal, c.mean(c.mul(g, normal), {axis}, /*keepdims=*/true));
            c.dx[0] = c.mul(r, c.sub(c.sub(g, c.mean(g, {axis}, /*keepdims=*/true)), along));
          }
          if (c.needs(1)) c.dx[1] = c.unbroadcast(c.mul(c.dy, normal), *c.x(1));
          if (c.dx.size() > 2 && c.needs(2)) c.dx[2] = c.unbroadcast(c.dy, *c.x(2));
        },
    .traits = Trait::normalizes,
    .words = {"layer norm", "layer norm"},
}};
const RegisteredOp softmax{{
    .name = "softmax",
    .summary = "e^(x - max) / Σ e^(x - max) along one axis",
    .rule = [](const Node& node) -> llvm::Expected<Rule> {
      return same_shape_rule(node, {node.integer("axis")}, Linear::none);
    },
    .infer = [](const Node& node) -> llvm::Expected<Types> {
      if (!is_float(node.operand(0).type.dtype))
        return wrong_dtype(node, 0, "a floating type", long_name(node.operand(0).type.dtype));
      auto axis = checked_axis(node, node.operand(0).ndim());
      if (!axis) return axis.takeError();
      return one(node.operand(0).type.dtype, node.operand(0).type.dims);
    },
    .evaluate = [](const Node& node, llvm::ArrayRef<const Array*> in) -> llvm::Expected<Arrays> {
      const size_t axis = size_t(node.integer("axis"));
      Array out = *in[0];
      const int64_t n = out.dims[axis], inner = strides_of(out.dims)[axis];
      const int64_t outer = count_of(llvm::ArrayRef<int64_t>(out.dims).take_front(axis));
      for (int64_t o = 0; o < outer; ++o)
        for (int64_t i = 0; i < inner; ++i) {
          auto at = [&](int64_t k) -> double& { return out.f[size_t((o * n + k) * inner + i)]; };
          double most = -INFINITY, sum = 0;
          for (int64_t k = 0; k < n; ++k) most = std::max(most, at(k));
          for (int64_t k = 0; k < n; ++k) sum += at(k) = std::exp(at(k) - most);
          for (int64_t k = 0; k < n; ++k) at(k) /= sum;
        }
      return single(std::move(out));
    },
    // dx = y · (dy - Σ dy · y)
    .gradient =
        [](GradientContext& c) {
          c.dx[0] = c.mul(c.y(), c.sub(c.dy, c.sum(c.mul(c.dy, c.y()), {c.node.integer("axis")}, /*keepdims=*/true)));
        },
    .traits = Trait::shares_out,
}};
}  // namespace
}  // namespace optp::ops
