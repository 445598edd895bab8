// The pipeline: one table of every stage from an imported graph to rank graphs, and the one driver that runs it.
//
// A stage is a pass with its place: a function that changes the newest graph of a compilation, or makes the next one
// (`split` the SPMD graph, `materialise` one graph per rank). Passes know nothing of the table.
#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "passes/annotation.h"
#include "passes/passes.h"
#include "passes/training.h"

namespace optp {

// What a compilation has made so far.
struct Compilation {
  PassOptions passes;
  bool trains = false;
  TrainingOptions training;          // of a training step
  std::unique_ptr<Graph> whole;      // imported, then canonical, then annotated; then, if it trains, the whole step
  std::unique_ptr<Graph> decoder;    // as add-caches and last-logits made it of the imported graph; null without caches
  std::unique_ptr<Graph> inference;  // the annotated graph that training started from; null unless it trains
  std::unique_ptr<Graph> spmd;       // after split: right for every rank, with symbolic local shapes
  // After materialise, one per rank; null for those that nobody here runs or writes. `wanted`: all where it says none.
  std::vector<std::unique_ptr<Graph>> ranks;
  std::optional<std::vector<int64_t>> wanted;
  // What stages hand on to each other: annotate to those that rewrite by it, which drop it where they did …
  std::unique_ptr<Annotation> annotation;
  // … and those of training.
  std::optional<Loss> loss;
  std::vector<ParameterGradient> gradients;

  Graph& newest() const { return spmd ? *spmd : *whole; }
};

struct Stage {
  const char* name;
  const char* summary;
  enum class When {
    always,
    emitted,   // and once more on a rank graph that was read from its file, before it runs
    training,  // where a training step is asked for
  } when;
  llvm::Error (*run)(Compilation& c, int64_t rank);
  enum Flag : unsigned {
    per_rank = 1,  // runs once for each rank; others once, with rank 0
    sweeps = 2,    // what nothing uses after it is dropped
    counts = 4,    // asks before each rewrite, so that --rewrite-limit can stop it there
    on_spmd = 8,   // takes the SPMD graph; others the whole one
    makes_graph = 16,
    reannotates = 32,  // where it rewrote anything, the stages from `annotate` on run again before any other
  };
  unsigned flags = 0;
  bool is(Flag flag) const { return (flags & flag) != 0; }
};
llvm::ArrayRef<Stage> pipeline();
const Stage* find_stage(llvm::StringRef name);  // null where there is none

// Who watches a run of the pipeline.
struct StageHooks {
  std::function<void(const Stage& stage, const Graph& graph)> before;
  // Of a stage that runs once for each rank after each, with the rank's graph.
  std::function<llvm::Error(const Stage& stage, const Graph& graph, std::optional<int64_t> rank, double ms)> after;
  std::function<void(int64_t done, int64_t total)> progress;
  std::string stop_after;  // a stage's name; empty: none. Stages that rewrite by annotate's decisions are done first.
  std::optional<std::pair<std::string, int64_t>> rewrite_limit;  // a stage, and after how many rewrites it stops
};

// Runs the stages in order, from `from` on where one is given, and verifies the graph after each. Errors: those of the
// passes; Fault::internal, naming the stage, where a graph does not verify.
llvm::Error run_pipeline(Compilation& compilation, const StageHooks& hooks = {}, llvm::StringRef from = "");
// The stages `from` to `to`, as the pipeline runs them, on a graph that stays the same object: those between them that
// make another graph are left out.
llvm::Error run_stages(Graph& graph, llvm::StringRef from, llvm::StringRef to, const PassOptions& passes = {},
                       const TrainingOptions& training = {});
// A rank graph that was read from its file becomes what was emitted: ONNX products know one order of dims, so the
// exporter put transposes and reshapes around ours.
llvm::Error prepare_emitted(Graph& graph);
// One stage alone, verified, on what the compilation has; its graph is then `newest`, or the last rank's.
llvm::Error run_stage(const Stage& stage, Compilation& compilation, int64_t rank = 0);
std::unique_ptr<Graph>& place_of(const Stage& stage, Compilation& compilation);  // of the graph that a stage takes

}  // namespace optp
