#include "frontend/models/config.h"

#include <algorithm>

#include "frontend/io/limits.h"
#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/StringExtras.h"

namespace optp {
namespace {
constexpr int64_t max_layers = 10'000;
constexpr int64_t max_size = int64_t{1} << 31;  // of one dim: what any runtime indexes

OptConfig opt(const char* name, int64_t layers, int64_t heads, int64_t hidden) {
  return {.name = name,
          .layers = layers,
          .hidden = hidden,
          .heads = heads,
          .ffn = 4 * hidden,
          .word_embed_proj_dim = hidden};
}

// Table 1 of "OPT: Open Pre-trained Transformer Language Models" (arXiv:2205.01068).
std::vector<OptConfig> presets() {
  OptConfig opt_350m = opt("opt-350m", 24, 16, 1024);  // the only one with post-norm and projections
  opt_350m.word_embed_proj_dim = 512;
  opt_350m.pre_norm = false;
  OptConfig origin = opt("origin-125m", 12, 12, 768);
  origin.variant = ModelVariant::origin;
  origin.vocab = 50257;
  origin.tied = false;
  return {opt("opt-125m", 12, 12, 768),   opt_350m,
          opt("opt-1.3b", 24, 32, 2048),  opt("opt-2.7b", 32, 32, 2560),
          opt("opt-6.7b", 32, 32, 4096),  opt("opt-13b", 40, 40, 5120),
          opt("opt-30b", 48, 56, 7168),   opt("opt-66b", 64, 72, 9216),
          opt("opt-175b", 96, 96, 12288), origin};
}

// A scaled size keeps its ratio to hidden; it never becomes 0.
int64_t scaled(int64_t size, int64_t from, int64_t to) {
  const std::optional<int64_t> product = checked_mul(size, to);
  return product ? std::max<int64_t>(1, *product / from) : to;  // validate refuses such a hidden anyway
}
}  // namespace

std::vector<std::string> preset_names() {
  std::vector<std::string> names;
  for (const OptConfig& config : presets()) names.push_back(config.name);
  return names;
}

llvm::Expected<OptConfig> preset(llvm::StringRef name) {
  std::string nearest;
  unsigned distance = 4;  // more edits than that is another word, not a slip
  const std::string wish =
      name.rsplit('/').second.empty() ? name.lower() : name.rsplit('/').second.lower();  // facebook/opt-125m
  for (OptConfig& config : presets()) {
    if (config.name == name) return std::move(config);
    if (const unsigned d = llvm::StringRef(wish).edit_distance(config.name); d < distance)
      distance = d, nearest = config.name;
  }
  return error(Code::bad_value)
      .what("unknown preset " + quoted(name))
      .did_you_mean(nearest)
      .hint("there are " + llvm::join(preset_names(), ", "));
}

llvm::Expected<OptConfig> configure(llvm::StringRef preset_name, const OptOverrides& overrides) {
  llvm::Expected<OptConfig> config = preset(preset_name);
  if (!config) return config.takeError();
  if (overrides.hidden) {
    config->ffn = scaled(config->ffn, config->hidden, *overrides.hidden);
    config->word_embed_proj_dim = scaled(config->word_embed_proj_dim, config->hidden, *overrides.hidden);
    config->hidden = *overrides.hidden;
  }
  config->layers = overrides.layers.value_or(config->layers);
  config->heads = overrides.heads.value_or(config->heads);
  config->ffn = overrides.ffn.value_or(config->ffn);
  config->vocab = overrides.vocab.value_or(config->vocab);
  if (overrides.untied) config->tied = false;
  if (llvm::Error e = validate(*config)) return e;
  return config;
}

llvm::Error validate(const OptConfig& c) {
  const auto check = [&](const char* what, int64_t value, int64_t most) -> llvm::Error {
    if (value >= 1 && value <= most) return llvm::Error::success();
    return error(Code::bad_value).what(c.name).what(what).expected("1 to " + std::to_string(most)).found(value);
  };
  if (auto e = check("layers", c.layers, max_layers)) return e;
  const std::pair<const char*, int64_t> sizes[] = {{"hidden", c.hidden},
                                                   {"heads", c.heads},
                                                   {"ffn", c.ffn},
                                                   {"vocab", c.vocab},
                                                   {"max_positions", c.max_positions},
                                                   {"word_embed_proj_dim", c.word_embed_proj_dim}};
  for (const auto& [what, value] : sizes)
    if (auto e = check(what, value, max_size)) return e;
  if (c.hidden % c.heads != 0)
    return error(Code::bad_value)
        .what(c.name)
        .what("heads")
        .expected("a divisor of hidden (" + std::to_string(c.hidden) + ")")
        .found(c.heads);
  // Everything counted below is at most this; with it in range no later sum or offset can overflow.
  const std::optional<int64_t> widest =
      checked_mul(std::max({c.hidden, c.word_embed_proj_dim}),
                  std::max({c.hidden, c.ffn, c.vocab, c.max_positions, c.word_embed_proj_dim}) + 2);
  const std::optional<int64_t> elements = widest ? checked_mul(*widest, 8 * c.layers + 8) : std::nullopt;
  if (!elements || *elements > (int64_t{1} << 58))
    return error(Code::bad_value).what(c.name).what("these sizes make more bytes of weights than a file can hold");
  return llvm::Error::success();
}

int64_t parameter_count(const OptConfig& c) {
  const int64_t h = c.hidden, norm = 2 * h, linear = h * h + h;
  const int64_t layer = 4 * linear + (h * c.ffn + c.ffn) + (c.ffn * h + h) + 2 * norm;
  if (c.variant == ModelVariant::origin)
    return c.vocab * h + c.layers * layer + 2 * norm + (c.tied ? 0 : h * c.vocab) + c.vocab;
  const int64_t e = c.word_embed_proj_dim;
  return c.vocab * e + (c.max_positions + 2) * h + (e == h ? 0 : 2 * e * h) + c.layers * layer +
         (c.pre_norm ? norm : 0) + (c.tied ? 0 : e * c.vocab);
}

}  // namespace optp
