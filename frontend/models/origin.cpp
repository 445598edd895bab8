// The variant whose sharding the project starts from: a norm behind the embedding, no positions, pre-norm blocks, a
// head with bias. Its mask selects: scores of later tokens are replaced by the lowest float.
#include <cmath>
#include <limits>

#include "frontend/models/blocks.h"
#include "frontend/models/opt.h"

namespace optp {

void add_origin(GraphWriter& g, const OptConfig& c) {
  const std::string ids = g.input("input_ids", onnx::TensorProto_DataType_INT64, {"batch", "sequence"});
  const int64_t h = c.hidden, head_size = h / c.heads;
  const Extents extents = extents_of(g, "", ids, c.heads, head_size);

  const std::string table = g.parameter("embed_tokens.weight", {c.vocab, h});
  std::string x = layer_norm(g, "embed_norm", g.node("/embed_tokens", "Gather", {table, ids}), h);

  const std::string square = g.node("", "Concat", {extents.sequence_1, extents.sequence_1}, {{"axis", int64_t{0}}});
  const std::string ones = g.filled("", square, /*value=*/true);
  const std::string lower = g.node("", "Trilu", {ones, g.scalar("", int64_t{0})}, {{"upper", int64_t{0}}});
  const std::string later = g.node("", "Not", lower);
  const std::string lowest = g.scalar("", std::numeric_limits<float>::lowest());

  for (int64_t layer = 0; layer < c.layers; ++layer) {
    const std::string path = "layers." + std::to_string(layer), scope = scope_of(path);
    const std::string y = layer_norm(g, path + ".attn_norm", x, h);
    const std::string q = linear(g, path + ".q_proj", y, h, h), k = linear(g, path + ".k_proj", y, h, h),
                      v = linear(g, path + ".v_proj", y, h, h);
    const std::string product =
        g.node(scope, "MatMul", {split_heads(g, scope, q, extents), split_heads(g, scope, k, extents, /*keys=*/true)});
    const std::string scores = g.node(scope, "Div", {product, g.scalar(scope, float(std::sqrt(double(head_size))))});
    const std::string masked = g.node(scope, "Where", {later, lowest, scores});
    const std::string joined = attend(g, scope, masked, split_heads(g, scope, v, extents), extents);
    const std::string attention = linear(g, path + ".out_proj", joined, h, h);
    x = g.node(scope, "Add", {x, attention});

    const std::string up = linear(g, path + ".mlp_fc1", layer_norm(g, path + ".mlp_norm", x, h), h, c.ffn);
    const std::string down = linear(g, path + ".mlp_fc2", g.node(scope, "Relu", up), c.ffn, h);
    x = g.node(scope, "Add", {x, down});
  }
  language_head(g, layer_norm(g, "final_norm", x, h), table, h, c.vocab, c.tied, /*bias=*/true);
}

}  // namespace optp
