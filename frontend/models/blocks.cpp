#include "frontend/models/blocks.h"

#include <cctype>

namespace optp {
namespace {
constexpr float norm_epsilon = 1e-5F;
}

std::string scope_of(llvm::StringRef path) {
  std::string scope = "/";
  for (size_t k = 0; k < path.size(); ++k) {
    const bool in_list = k + 1 < path.size() && std::isdigit(static_cast<unsigned char>(path[k + 1]));
    scope += path[k] == '.' && !in_list ? '/' : path[k];
  }
  return scope;
}

std::string layer_norm(GraphWriter& g, llvm::StringRef path, const std::string& x, int64_t size) {
  const std::string scale = g.parameter((path + ".weight").str(), size, /*mean=*/1),
                    bias = g.parameter((path + ".bias").str(), size);
  return g.node(scope_of(path), "LayerNormalization", {x, scale, bias},
                {{"axis", int64_t{-1}}, {"epsilon", norm_epsilon}});
}

std::string linear(GraphWriter& g, llvm::StringRef path, const std::string& x, int64_t in, int64_t out, bool bias) {
  const std::string scope = scope_of(path);
  const std::string product = g.node(scope, "MatMul", {x, g.parameter((path + ".weight").str(), {in, out})});
  return bias ? g.node(scope, "Add", {g.parameter((path + ".bias").str(), out), product}) : product;
}

std::string gemm(GraphWriter& g, llvm::StringRef path, const std::string& x, int64_t in, int64_t out) {
  const std::string weight = g.parameter((path + ".weight").str(), {out, in}),
                    bias = g.parameter((path + ".bias").str(), out);
  return g.node(scope_of(path), "Gemm", {x, weight, bias}, {{"alpha", 1.0F}, {"beta", 1.0F}, {"transB", int64_t{1}}});
}

Extents extents_of(GraphWriter& g, llvm::StringRef scope, const std::string& ids, int64_t heads, int64_t head_size) {
  const std::string shape = g.node(scope, "Shape", {ids}), first = g.list(scope, 0);
  Extents e;
  e.batch = g.node(scope, "Gather", {shape, g.scalar(scope, int64_t{0})}, {{"axis", int64_t{0}}});
  e.sequence = g.node(scope, "Gather", {shape, g.scalar(scope, int64_t{1})}, {{"axis", int64_t{0}}});
  const std::string batch_1 = g.node(scope, "Unsqueeze", {e.batch, first});
  e.sequence_1 = g.node(scope, "Unsqueeze", {e.sequence, first});
  e.split = g.node(scope, "Concat", {batch_1, g.list(scope, -1), g.list(scope, heads), g.list(scope, head_size)},
                   {{"axis", int64_t{0}}});
  e.joined = g.node(scope, "Concat", {batch_1, e.sequence_1, g.list(scope, -1)}, {{"axis", int64_t{0}}});
  return e;
}

std::string split_heads(GraphWriter& g, llvm::StringRef scope, const std::string& x, const Extents& extents,
                        bool keys) {
  const std::vector<int64_t> perm = keys ? std::vector<int64_t>{0, 2, 3, 1} : std::vector<int64_t>{0, 2, 1, 3};
  return g.node(scope, "Transpose", g.node(scope, "Reshape", {x, extents.split}), {{"perm", perm}});
}

std::string attend(GraphWriter& g, llvm::StringRef scope, const std::string& scores, const std::string& v,
                   const Extents& extents) {
  const std::string weights = g.node(scope, "Softmax", scores, {{"axis", int64_t{-1}}});
  const std::string mixed =
      g.node(scope, "Transpose", g.node(scope, "MatMul", {weights, v}), {{"perm", std::vector<int64_t>{0, 2, 1, 3}}});
  return g.node(scope, "Reshape", {mixed, extents.joined});
}

void language_head(GraphWriter& g, const std::string& x, const std::string& table, int64_t in, int64_t vocab, bool tied,
                   bool bias) {
  const std::string weight = tied ? g.node("/lm_head", "Transpose", table, {{"perm", std::vector<int64_t>{1, 0}}})
                                  : g.parameter("lm_head.weight", {in, vocab});
  std::string logits = g.node("/lm_head", "MatMul", {x, weight});
  if (bias) logits = g.node("/lm_head", "Add", {g.parameter("lm_head.bias", vocab), logits});
  g.output(logits, "logits", {"batch", "sequence", std::to_string(vocab)});
}

}  // namespace optp
