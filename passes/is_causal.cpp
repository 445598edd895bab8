// Whether masks keep later tokens out: softmaxes' operands are computed for a few tokens, with every product zero, so
// that what is left is what the model adds to scores or puts in their place.
#include <cmath>

#include "frontend/ir/diagnostic.h"
#include "passes/cached_decoder.h"
#include "passes/passes.h"
#include "passes/token_free.h"

namespace optp {
namespace {
constexpr int64_t tokens = 4;
constexpr double kept_out = 1e3;  // below what an allowed score of 0 is given: e^-1000 is 0 in float32

// Of a row that lets no token in all have the lowest score, and a softmax shares out among later ones, too; with -inf
// it is NaN whatever they are.
bool is_far_below(double score, double most) {
  return score <= most - kept_out && (score < most || score == -INFINITY);
}
// scores[.., i, .., j]: of row i what lies behind column i is far below the largest of the others.
bool keeps_later_out(const Array& scores, size_t rows, size_t columns) {
  llvm::SmallVector<int64_t, 4> stride(scores.dims.size(), 1);
  for (size_t d = scores.dims.size(); d-- > 1;) stride[d - 1] = stride[d] * scores.dims[d];
  const int64_t count = scores.elements();
  for (int64_t at = 0; at < count; ++at) {
    if (at / stride[columns] % scores.dims[columns] != 0) continue;
    const int64_t i = at / stride[rows] % scores.dims[rows];
    double most = -INFINITY;
    for (int64_t j = 0; j <= i; ++j) most = std::max(most, scores.number(size_t(at + j * stride[columns])));
    for (int64_t j = i + 1; j < tokens; ++j)
      if (!is_far_below(scores.number(size_t(at + j * stride[columns])), most)) return false;
  }
  return true;
}
}  // namespace

llvm::Error is_causal(const Graph& graph, Dim sequence, llvm::ArrayRef<SumOverTokens> sums) {
  DimValues values;
  for (Dim symbol : named_dims_of(graph)) values[name_of(symbol)->str()] = symbol == sequence ? tokens : 1;
  auto bound = bind_dims(graph, values);
  if (!bound) return bound.takeError();
  // A mask of ones lets all tokens in.
  TokenFree masks([](const Value&) { return 1; });
  for (const auto& [node, axis] : sums) {
    const Value& scores = node->operand(0);
    std::optional<size_t> rows;
    for (size_t d = 0; d < scores.ndim(); ++d)
      if (d != axis && scores.type.dims[d] == sequence) rows = d;
    auto array = masks.of((*bound)->find(node->out().name)->producer->operand(0));
    if (!array) return array.takeError();
    if (rows && keeps_later_out(**array, *rows, axis)) continue;
    return error(Code::not_supported)
        .in_file(graph.source)
        .at(*node)
        .what("a cache for decoding")
        .expected("a mask that keeps later tokens out, as a decoder's")
        .found("scores that let them in");
  }
  return llvm::Error::success();
}
}  // namespace optp
