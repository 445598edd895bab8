// A training step run again and again: each rank keeps its parameters and state, and takes from a step what it updated.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "frontend/ir/graph.h"
#include "runtime/run_ranks.h"
#include "tools/run/inputs.h"

namespace optp {
class SlowNodes;

struct StepperOptions {
  int64_t threads_per_device = 0;  // 0: the cores shared out
  bool gradients = false;          // keep the last step's gradients
  bool profile = false;
  SlowNodes* slow = nullptr;  // gets what no kernel runs; outlives the stepper
};

class Stepper {
 public:
  // Rank graphs of a training step, whose named dims are open. Parameters start as their data, state as zeros, step as
  // 0.
  static llvm::Expected<std::unique_ptr<Stepper>> create(std::vector<std::unique_ptr<Graph>> ranks,
                                                         const StepperOptions& options);

  // One step on each rank's own inputs. Gives the loss, which is the same on every rank.
  llvm::Expected<double> step(const DimValues& dims, std::vector<HostArrays> inputs, double learning_rate);

  // Of a step of several micro-batches all but the last: what the loss and gradients are summed up to is kept until
  // `step`. Errors: internal where the graphs do not accumulate.
  llvm::Error accumulate(const DimValues& dims, std::vector<HostArrays> inputs);

  size_t ranks() const { return values_.size(); }
  const Graph& graph(size_t rank) const { return *graphs_[rank]; }
  // What a rank holds of a parameter, a state or the step, by the name of the input.
  HostArrays& values(size_t rank) { return values_[rank]; }
  const HostArray* gradient(size_t rank, llvm::StringRef output) const;
  const RankThreads* last_run() const { return last_; }  // none before the first

 private:
  struct Bound {
    std::vector<std::unique_ptr<Graph>> graphs;
    std::unique_ptr<RankThreads> threads;
  };
  llvm::Expected<RankThreads*> bound(const DimValues& dims, bool last);
  llvm::Error run(const DimValues& dims, std::vector<HostArrays> inputs, double learning_rate, bool last);

  StepperOptions options_;
  std::vector<std::unique_ptr<Graph>> graphs_;
  std::vector<HostArrays> values_;
  std::vector<HostArrays> outputs_;
  std::map<std::pair<DimValues, bool>, Bound>
      bound_;  // one for each set of extents that was met, and for the last micro-batch and the others
  bool accumulated_ = false;
  const RankThreads* last_ = nullptr;
};

}  // namespace optp
