// From a model file and the options all verbs share to graphs: imported, canonical and annotated, split, one a rank.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "frontend/ir/graph.h"
#include "passes/passes.h"
#include "passes/training.h"

namespace optp {

struct JobOptions {
  std::string model, mesh, strategy = "megatron", sharding_file, outputs = "whole";
  std::optional<int64_t> devices;       // 2 where neither these nor a mesh are given
  std::vector<Constraint> constraints;  // before those of the file
  bool untied = false, keep_shared = false, half = false;
  std::vector<std::string> tie, untie;
  std::vector<std::string> dims;  // NAME=NUMBER
  bool train = false;
  TrainingOptions training;
  std::vector<double> betas;
  // --print-before, --print-after, --stop-after, --dump-dir
  std::vector<std::string> print_before, print_after;
  std::string stop_after, dump_dir;
  // Told how far it is: of `total` steps (0: not known) `done`; an empty `what` once all is over. None: nobody asks.
  std::function<void(const std::string& what, int64_t done, int64_t total)> progress;
  std::function<void(llvm::StringRef)> show;  // gets what --print-before and --print-after print
};
struct Job {
  PassOptions passes;
  TrainingOptions training;          // of a training job
  std::unique_ptr<Graph> imported;   // as the file says, in core ops
  std::unique_ptr<Graph> inference;  // canonical and annotated; the same as `whole` (and null) unless training
  std::unique_ptr<Graph> whole;      // canonical, every value annotated; of a training job the step
  std::unique_ptr<Graph> spmd;
  std::vector<std::unique_ptr<Graph>> ranks;
};
// Stopped early (--stop-after), a job has no ranks.
llvm::Expected<Job> make_job(const JobOptions& options);
// Passes and what follows them, in order: canonical passes, annotate, training where asked for, split, materialise.
struct Stage {
  std::string name, summary;
};
std::vector<Stage> stages(bool training);
llvm::Expected<DimValues> parse_dims(llvm::ArrayRef<std::string> dims);
llvm::Expected<std::vector<Constraint>> read_constraints(llvm::StringRef path);

}  // namespace optp
