// Who can't work on a part of a loop. A layer norm over heads that are cut can be lowered, so it counts apart.
#pragma once
#include "frontend/ir/op.h"

namespace optp {

struct NeedsWhole {
  const Node* first = nullptr;        // of all nodes
  const Node* first_other = nullptr;  // of those that are no norms

  explicit operator bool() const { return first; }
  bool by_norms_only() const { return first && !first_other; }
  void note(const Node* node) {
    if (!node) return;
    if (!first) first = node;
    if (!first_other && !node->op->is(Trait::normalizes)) first_other = node;
  }
  void note(const NeedsWhole& other) {
    note(other.first);
    note(other.first_other);
  }
};

}  // namespace optp
