// Tensors made of nothing but extents: iota (ONNX Range) and dim_tensor (what ONNX Shape and its arithmetic become).
#include "passes/ops/support.h"

namespace optp::ops {
namespace {
// iota: start, start + step, …; attribute "size" elements
const RegisteredOp iota{{
    .name = "iota",
    .summary = "start + step · index",
    .operands = 0,
    .extents = {"start", "size", "step"},
    .rule = [](const Node& node) -> llvm::Expected<Rule> {
      Rule rule;
      rule.results.push_back({rule.add(node.dim("size"))});
      rule.loops[0].counted = true;
      return rule;
    },
    .infer = [](const Node& node) -> llvm::Expected<Types> {
      return one(DType(node.integer("dtype")), {node.dim("size")});
    },
    .evaluate = [](const Node& node, llvm::ArrayRef<const Array*>) -> llvm::Expected<Arrays> {
      Array out;
      out.resize(is_float(node.out().type.dtype), {*node.dim("size").constant()});
      const int64_t start = *node.dim("start").constant(), step = node.dim("step", 1).constant().value_or(1);
      for (int64_t k = 0; k < out.elements(); ++k) {
        if (out.is_float)
          out.f[size_t(k)] = double(start + k * step);
        else
          out.i[size_t(k)] = start + k * step;
      }
      return single(std::move(out));
    },
    .content = [](const Node& node) -> std::optional<Content> {
      auto n = node.dim("size").constant();
      if (!n || *n > most_content_elements) return std::nullopt;
      Content out;
      out.dims = {*n};
      for (int64_t k = 0; k < *n; ++k) out.elements.push_back(node.dim("start") + Dim(k) * node.dim("step", 1));
      return out;
    },
    .localize = [](Node& node, const Rule& /*rule*/, const LoopSharding& sharding) -> llvm::Error {
      node.attributes["start"] = node.dim("start") + sharding.start(0) * node.dim("step", 1);
      node.attributes["size"] = sharding.local(0, node.dim("size"));
      return llvm::Error::success();
    },
    .traits = Trait::counts,
}};
const RegisteredOp dim_tensor{{
    .name = "dim_tensor",
    .summary = "an integer tensor whose elements are extents",
    .operands = 0,
    .extents = {"values"},
    .rule = [](const Node& node) -> llvm::Expected<Rule> {
      Rule rule;
      rule.results.emplace_back();
      for (Dim d : node.out().type.dims) rule.results[0].push_back(rule.add(d, /*whole=*/true));
      return rule;
    },
    .infer = [](const Node& node) -> llvm::Expected<Types> {
      Dims dims;
      for (int64_t d : node.integers("shape")) dims.push_back(d);
      return one(DType(node.integer("dtype", int64_t(DType::i64))), dims);
    },
    .evaluate = [](const Node& node, llvm::ArrayRef<const Array*>) -> llvm::Expected<Arrays> {
      Array out;
      out.resize(/*floating=*/false, node.integers("shape"));
      for (size_t k = 0; k < out.i.size(); ++k) out.i[k] = *node.dims("values")[k].constant();
      return single(std::move(out));
    },
    .content = [](const Node& node) -> std::optional<Content> {
      Content out;
      out.dims.assign(node.integers("shape").begin(), node.integers("shape").end());
      out.elements.assign(node.dims("values").begin(), node.dims("values").end());
      return out;
    },
}};
}  // namespace
}  // namespace optp::ops
