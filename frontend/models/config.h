// What a model is before it is a graph: sizes, and the presets that people know by name.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

namespace optp {

// opt: Zhang et al. 2022, as Hugging Face's OPTForCausalLM. origin: no position embedding, a norm after the embedding,
// a head with bias; its only input is input_ids.
enum class ModelVariant { opt, origin };

struct OptConfig {
  std::string name;  // the preset's
  ModelVariant variant = ModelVariant::opt;
  int64_t layers = 12, hidden = 768, heads = 12, ffn = 3072;
  int64_t vocab = 50272;
  int64_t max_positions = 2048;       // the table has 2 rows more: positions begin at 2. Not used by origin
  int64_t word_embed_proj_dim = 768;  // other than hidden: projections behind the embedding and before the head
  bool pre_norm = true;               // false: norms behind the residual sums and none at the end, as in opt-350m
  bool tied = true;                   // the head is the embedding table, transposed
};

// What `build` lets a user change. A size that is not given follows from those that are: ffn and word_embed_proj_dim
// keep their ratio to hidden.
struct OptOverrides {
  std::optional<int64_t> layers, hidden, heads, ffn, vocab;
  bool untied = false;
};

std::vector<std::string> preset_names();
llvm::Expected<OptConfig> preset(llvm::StringRef name);  // usage error with the nearest name
llvm::Expected<OptConfig> configure(llvm::StringRef preset_name, const OptOverrides& overrides);
llvm::Error validate(const OptConfig& config);  // heads divide hidden, every size at least 1, all bytes countable

int64_t parameter_count(const OptConfig& config);  // of a valid config: what PyTorch counts, a tied table once

}  // namespace optp
