// OPT as the legacy exporter writes Hugging Face's OPTForCausalLM, eager attention: additive mask in float, q scaled
// before its product, the MLP on [batch * sequence, hidden]. What only copies a value (Cast to its own type, Mul by 1)
// is left out, and extents are taken once instead of in each layer.
#include "frontend/models/opt.h"

#include <cmath>
#include <limits>

#include "frontend/models/blocks.h"

namespace optp {
namespace {
const char* const decoder = "/model/decoder";

// Positions count the tokens that the mask keeps and begin at 2; a masked one reads row 1.
std::string position_embedding(GraphWriter& g, const OptConfig& c, const std::string& mask) {
  const std::string counted = g.node(decoder, "CumSum", {mask, g.scalar(decoder, int64_t{1})});
  const std::string kept = g.node(decoder, "Mul", {counted, mask});
  const std::string position = g.node(decoder, "Sub", {kept, g.scalar(decoder, int64_t{1})});
  const std::string scope = std::string(decoder) + "/embed_positions";
  const std::string row = g.node(scope, "Add", {position, g.scalar(scope, int64_t{2})});
  return g.node(scope, "Gather",
                {g.parameter("model.decoder.embed_positions.weight", {c.max_positions + 2, c.hidden}), row});
}

// [batch, 1, sequence, sequence]: 0 where a token may look, else the lowest float, which a wholly masked row survives.
std::string additive_mask(GraphWriter& g, const std::string& mask, const Extents& extents) {
  const std::string range =
      g.node(decoder, "Range", {g.scalar(decoder, int64_t{0}), extents.sequence, g.scalar(decoder, int64_t{1})});
  const std::string key = g.node(decoder, "Unsqueeze", {range, g.list(decoder, {0, 1, 2})});
  const std::string query = g.node(decoder, "Unsqueeze", {range, g.list(decoder, {0, 1, 3})});
  const std::string causal = g.node(decoder, "LessOrEqual", {key, query});
  const std::string is_token = g.node(decoder, "Cast", mask, {{"to", int64_t{onnx::TensorProto_DataType_BOOL}}});
  const std::string padding = g.node(decoder, "Unsqueeze", {is_token, g.list(decoder, {1, 2})});
  const std::string visible = g.node(decoder, "And", {causal, padding});
  return g.node(decoder, "Where",
                {visible, g.scalar(decoder, 0.0F), g.scalar(decoder, std::numeric_limits<float>::lowest())});
}

std::string self_attention(GraphWriter& g, const OptConfig& c, const std::string& path, const std::string& x,
                           const std::string& mask, const Extents& extents) {
  const std::string scope = scope_of(path);
  const int64_t head_size = c.hidden / c.heads;
  const std::string q = linear(g, path + ".q_proj", x, c.hidden, c.hidden),
                    k = linear(g, path + ".k_proj", x, c.hidden, c.hidden),
                    v = linear(g, path + ".v_proj", x, c.hidden, c.hidden);
  const std::string scale = g.scalar(scope, float(1 / std::sqrt(double(head_size))));
  const std::string scaled = g.node(scope, "Mul", {q, scale});
  const std::string scores = g.node(
      scope, "MatMul", {split_heads(g, scope, scaled, extents), split_heads(g, scope, k, extents, /*keys=*/true)});
  const std::string masked = g.node(scope, "Add", {scores, mask});
  const std::string joined = attend(g, scope, masked, split_heads(g, scope, v, extents), extents);
  return linear(g, path + ".out_proj", joined, c.hidden, c.hidden);
}
}  // namespace

void add_opt(GraphWriter& g, const OptConfig& c) {
  const std::string ids = g.input("input_ids", onnx::TensorProto_DataType_INT64, {"batch", "sequence"});
  const std::string attention_mask = g.input("attention_mask", onnx::TensorProto_DataType_INT64, {"batch", "sequence"});
  const int64_t embedded = c.word_embed_proj_dim;
  const bool projected = embedded != c.hidden;
  const Extents extents = extents_of(g, decoder, ids, c.heads, c.hidden / c.heads);
  const std::string flat = g.list(decoder, {-1, c.hidden});

  const std::string table = g.parameter("model.decoder.embed_tokens.weight", {c.vocab, embedded});
  std::string x = g.node("/model/decoder/embed_tokens", "Gather", {table, ids});
  const std::string positions = position_embedding(g, c, attention_mask);
  const std::string mask = additive_mask(g, attention_mask, extents);
  if (projected) x = linear(g, "model.decoder.project_in", x, embedded, c.hidden, /*bias=*/false);
  x = g.node(decoder, "Add", {x, positions});

  for (int64_t layer = 0; layer < c.layers; ++layer) {
    const std::string path = "model.decoder.layers." + std::to_string(layer), scope = scope_of(path);
    const auto norm = [&](const char* name, const std::string& value) {
      return layer_norm(g, path + "." + name, value, c.hidden);
    };

    const std::string attention =
        self_attention(g, c, path + ".self_attn", c.pre_norm ? norm("self_attn_layer_norm", x) : x, mask, extents);
    x = g.node(scope, "Add", {x, attention});
    if (!c.pre_norm) x = norm("self_attn_layer_norm", x);

    x = g.node(scope, "Reshape", {x, flat});
    const std::string up = gemm(g, path + ".fc1", c.pre_norm ? norm("final_layer_norm", x) : x, c.hidden, c.ffn);
    const std::string down = gemm(g, path + ".fc2", g.node(scope + "/activation_fn", "Relu", up), c.ffn, c.hidden);
    x = g.node(scope, "Reshape", {g.node(scope, "Add", {x, down}), extents.joined});
    if (!c.pre_norm) x = norm("final_layer_norm", x);
  }
  if (c.pre_norm) x = layer_norm(g, "model.decoder.final_layer_norm", x, c.hidden);
  if (projected) x = linear(g, "model.decoder.project_out", x, c.hidden, embedded, /*bias=*/false);
  language_head(g, x, table, embedded, c.vocab, c.tied, /*bias=*/false);
}

}  // namespace optp
