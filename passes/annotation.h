// What annotate decided and the shardings do not tell: for the stages behind it, which rewrite by it.
#pragma once
#include "llvm/ADT/DenseSet.h"
#include "passes/factors.h"
#include "passes/passes.h"

namespace optp {

struct Annotation {
  Factors factors;
  std::vector<AxisUses> axes;           // of each class
  llvm::DenseSet<const Value*> pinned;  // to a sharding of their own: what is computed with them need not follow

  // Of a graph of which only the shardings are known.
  static llvm::Expected<Annotation> of(const Graph& graph);
  // By its class: what a value alone was pinned to, its users need not follow.
  bool is_cut(const Value& v, unsigned dim) const;
};

// Errors: constraints that can't be met, a strategy that finds nothing to split.
llvm::Expected<Annotation> annotate(Graph& graph, const PassOptions& options);

// Each true if it rewrote anything: what it made has no sharding, and classes may be others.
//
// Makes a repeat of the views that repeat heads of keys and values for the queries, where their joint class is cut over
// more devices than there are such heads.
llvm::Expected<bool> repeat_heads(Graph& graph, const Annotation& annotation, const PassOptions& options);
// Lowers the norms over dims that are cut.
llvm::Expected<bool> lower_norms(Graph& graph, const Annotation& annotation, const PassOptions& options);
// Adds up what is partial in a chain of adds before the rest.
llvm::Expected<bool> join_partials(Graph& graph, const Annotation& annotation, const PassOptions& options);
}  // namespace optp
