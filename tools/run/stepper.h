// A training step run again and again: each rank keeps its parameters and state, and takes from a step what it updated.
#pragma once
#include <memory>
#include <string>

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

// A step of several micro-batches runs two graphs: of each but the last one the sums, of the last one all else.
bool is_accumulated(const Update& update);
void keep_outputs(Graph& graph, llvm::ArrayRef<Update> updates, bool of_last);

class Stepper {
 public:
  // Graphs of a training step, whose named dims are open, of the ranks that the world holds. Parameters start as their
  // data, state as zeros, step as 0. The world must outlive this.
  static llvm::Expected<std::unique_ptr<Stepper>> create(World& world, PerRank<std::unique_ptr<Graph>> ranks,
                                                         const StepperOptions& options);

  // Together: one step on each rank's own inputs. Gives the loss, which is the same on every rank.
  llvm::Expected<double> step(const DimValues& dims, const PerRank<HostArrays>& inputs, double learning_rate);

  // Together: of a step of several micro-batches all but the last. What the loss and gradients are summed up to is kept
  // until `step`. Errors: internal where the graphs do not accumulate.
  llvm::Error accumulate(const DimValues& dims, const PerRank<HostArrays>& inputs);

  llvm::ArrayRef<size_t> ranks() const { return graphs_.ranks(); }  // that are held
  const Graph& graph(size_t rank) const { return *graphs_[rank]; }
  // What a rank holds of a parameter, a state or the step, by the name of the input.
  HostArrays& values(size_t rank) { return values_[rank]; }
  const HostArray* gradient(size_t rank, llvm::StringRef output) const;
  const RankThreads* last_run() const { return last_; }  // none before the first
  MemoryNumbers memory(size_t rank) const;               // the most that a run took

 private:
  struct Bound {
    PerRank<std::unique_ptr<Graph>> graphs;
    std::unique_ptr<RankThreads> threads;
    PerRank<llvm::StringSet<>> in_place;  // of each rank the inputs whose array is that of their new value, too
  };
  explicit Stepper(World& world) : world_(world) {}
  llvm::Error start(Graph& graph, HostArrays& values) const;
  llvm::Expected<Bound*> bound(const DimValues& dims, bool last);
  llvm::Error run(const DimValues& dims, const PerRank<HostArrays>& inputs, double learning_rate, bool last);

  World& world_;
  StepperOptions options_;
  PerRank<std::unique_ptr<Graph>> graphs_;
  PerRank<HostArrays> values_, outputs_;
  std::map<std::pair<DimValues, bool>, Bound>
      bound_;  // one for each set of extents that was met, and for the last micro-batch and the others
  bool accumulated_ = false;
  const RankThreads* last_ = nullptr;
};

}  // namespace optp
