// What the name of a model's input or output tells: nothing in a graph tells a mask from ids, or given positions from
// token types. The names are those of Hugging Face's exporters: input_ids, attention_mask, position_ids,
// token_type_ids; logits. Of these alone passes and tools read a name; all else they find by structure.
#pragma once
#include "llvm/ADT/StringRef.h"

namespace optp {

enum class InputName { other, input_ids, mask, positions, token_types };
InputName input_name(llvm::StringRef name);
// The tokens of [batch, sequence]: the one called input_ids, else the first that is nothing else by its name.
constexpr bool may_be_ids(InputName name) { return name == InputName::other || name == InputName::input_ids; }

// The output that is trained on and generated from, where one has this name: others may have its shape.
inline constexpr llvm::StringLiteral logits_name = "logits";

}  // namespace optp
