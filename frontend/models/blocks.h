// What the model families are made of. A parameter is named PATH.weight, its node lies in the scope of that path.
#pragma once
#include <string>

#include "frontend/models/graph_writer.h"

namespace optp {

std::string scope_of(llvm::StringRef path);  // model.decoder.layers.0.fc1 → /model/decoder/layers.0/fc1

std::string layer_norm(GraphWriter& g, llvm::StringRef path, const std::string& x, int64_t size);
// MatMul and Add: the exporter's form for a 3-D x; the weight is [in, out], PyTorch's transposed.
std::string linear(GraphWriter& g, llvm::StringRef path, const std::string& x, int64_t in, int64_t out,
                   bool bias = true);
// Gemm: the exporter's form for a 2-D x; the weight is [out, in] as in PyTorch.
std::string gemm(GraphWriter& g, llvm::StringRef path, const std::string& x, int64_t in, int64_t out);

// Run-time extents and the Reshape targets made of them.
struct Extents {
  std::string batch, sequence;  // scalars
  std::string sequence_1;       // the same as a list of one
  std::string split, joined;    // [batch, -1, heads, head size], [batch, sequence, -1]
};
Extents extents_of(GraphWriter& g, llvm::StringRef scope, const std::string& ids, int64_t heads, int64_t head_size);

// x: [batch, sequence, hidden]; to [batch, heads, sequence, head size], or with the last two swapped for keys
std::string split_heads(GraphWriter& g, llvm::StringRef scope, const std::string& x, const Extents& extents,
                        bool keys = false);
// The softmax of the scores times v, heads joined: [batch, sequence, hidden]
std::string attend(GraphWriter& g, llvm::StringRef scope, const std::string& scores, const std::string& v,
                   const Extents& extents);

// The last node of a model, `logits`. A tied head reads the table by a Transpose: one copy, nothing to be recognised.
void language_head(GraphWriter& g, const std::string& x, const std::string& table, int64_t in, int64_t vocab, bool tied,
                   bool bias);

}  // namespace optp
