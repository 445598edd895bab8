// The groups of check --train after the forward pass, which the check of the inference job covers:
//   backward    every value of loss, backward and optimizer on every rank against its shard of the whole run's, in
//               float64
//   gradients   the loss and each parameter's gradient, ranks in the runtime, against float64; the yardstick is what
//               float32 costs the unpartitioned run of the same runtime
//   optimizers  each optimizer for three steps: new parameters and state against float64 arithmetic on what the step
//               started from
//   memory      elements held, and predicted bytes against those that are there
//   stability   three epochs of two batches: the loss curve against the unpartitioned run's; the yardstick is how far
//               that one moves when every weight is changed in its last bit
// The steps of the optimizer that was asked for are taken once, for all of these.
#pragma once
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "runtime/comm/thread_communicator.h"
#include "tools/check/check_training.h"
#include "tools/check/update_comparison.h"
#include "tools/run/arrays_at_root.h"
#include "tools/run/example_batches.h"
#include "tools/run/stepper.h"

namespace optp {
class Progress;

// The ranks run wherever they are held; what is whole, and all that is compared, is at the root.
class TrainingChecker {
 public:
  TrainingChecker(const TrainingCheckOptions& o, const Job& forward, World& world)
      : o_(o), job_options_(o.job), forward_(forward), world_(world) {}
  // Together; rows and fault at the root.
  llvm::Expected<TrainingCheck> run();

 private:
  // Bytes that a device has, by what they are for.
  struct Memory {
    int64_t parameters = 0, state = 0, gradients = 0, values = 0, arena = 0;
  };
  // The unpartitioned run's of the same step: what a gradient is measured by.
  struct Yardstick {
    double loss = 0;
    std::vector<double> errors;  // of each gradient
  };
  // What an optimizer's step is judged by: what the ranks had before it and after it.
  struct Moved {
    double loss = 0;
    ArraysAtRoot before, after, gradients;
  };
  static constexpr size_t optimizer_steps = 3, epochs = 3;
  using StepsOfRanks = std::vector<std::pair<size_t, StepOfParameter>>;

  // check_gradients.cpp, check_optimizers.cpp, check_training.cpp.
  llvm::Error backward();
  llvm::Error asked_steps();  // gradients, and what the groups below take from them
  llvm::Error optimizers();
  llvm::Error memory();
  llvm::Error stability();

  // `broken`: with what a mutant of the options does to the ranks.
  llvm::Expected<Job> load(const OptimizerOptions& optimizer, bool broken = false) const;
  const Mesh& mesh() const { return job_.whole->mesh; }
  double rate() const { return *job_.training.learning_rate; }
  void fail(Row& row, Diagnostic fault);
  TrainingCheck result();
  llvm::Expected<PerRank<std::unique_ptr<Graph>>> rank_graphs(const Job& job, llvm::ArrayRef<size_t> ranks) const;
  llvm::Expected<std::unique_ptr<Stepper>> ranks_stepper(const Job& job) const;
  llvm::Expected<std::unique_ptr<Stepper>> whole_stepper(const Job& job);
  static const Value& gradient_of(const Graph& whole, const GradientOutput& gradient);
  std::vector<Shard> shards_of(const Value& value) const;  // by rank
  // The ranks' shards of an array put together.
  llvm::Expected<HostArray> joined(const Value& like, const ArraysAtRoot& parts, llvm::StringRef name) const;
  llvm::Expected<ArraysAtRoot> gather_gradients(const Job& job, const Stepper& ranks) const;
  llvm::Expected<PerRank<Memory>> measured(Stepper& stepper) const;  // together

  NamedArrays whole_inputs(const Graph& whole) const;
  llvm::Error whole_steps(Yardstick& yardstick);
  llvm::Error compare_gradients(const Moved& moved, const Yardstick& yardstick);

  bool is_asked(const OptimizerOptions& optimizer) const;
  // With the names of their rows. The one that was asked for is among them.
  std::vector<std::pair<std::string, OptimizerOptions>> checked_optimizers() const;
  // What the ranks run: the job's own graphs, or those of a mutant that changes what is asked for.
  llvm::Expected<std::unique_ptr<Stepper>> optimizer_stepper(const Job& job) const;
  // Together: the first steps, each compared and then given to `also`.
  llvm::Error compare_steps(const Job& job, Stepper& ranks, Row& row, Progress& progress,
                            llvm::function_ref<llvm::Error(const Moved&)> also = nullptr);
  // Together: a step. `before` keeps what the held ranks had before it.
  llvm::Expected<Moved> move(const Job& job, Stepper& ranks, const ExampleBatch& batch,
                             PerRank<HostArrays>& before) const;
  llvm::Error compare_step(const Job& job, const Moved& moved, int64_t step, Row& row);
  llvm::Expected<double> clip_factor(const Job& job, const Moved& moved) const;
  StepsOfRanks steps_of_ranks(const Job& job, const Moved& moved, const GradientOutput& g) const;
  llvm::Expected<StepOfParameter> step_of_whole(const Job& job, const Moved& moved, const GradientOutput& g,
                                                std::deque<HostArray>& whole) const;
  std::optional<Diagnostic> compare_parameter(const Job& job, const Moved& moved, const GradientOutput& g,
                                              const StepOfParameter& like, Row& row) const;

  // Steps until there is a loss for each step of the curve.
  llvm::Error finish(std::vector<double>& curve, Stepper& stepper, bool whole) const;

  const TrainingCheckOptions& o_;
  JobOptions job_options_;
  const Job& forward_;  // annotated
  World& world_;
  ThreadWorld one_{1};  // of the unpartitioned run
  Job job_;
  DimValues dims_;
  std::vector<ExampleBatch> batches_;
  NamedArrays truth_;
  std::map<std::string, double> addends_;      // the largest of what was summed up to a gradient
  Row asked_;                                  // of optimizers
  std::vector<double> curve_, unpartitioned_;  // losses of the ranks, and of the model run whole
  PerRank<Memory> memory_;
  std::vector<Row> rows_;
  std::map<std::string, Diagnostic> faults_;  // by row: its first
};

}  // namespace optp
