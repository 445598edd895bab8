// From a model file and the options all verbs share to graphs: imported, canonical and annotated, split, one per rank.
#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "frontend/ir/graph.h"
#include "passes/pipeline.h"
#include "passes/plan/asked_dims.h"
#include "passes/plan/watch.h"

namespace optp {

struct JobOptions {
  std::string model;  // a file, or a folder that holds one
  std::string strategy = "megatron", sharding_file, tp_plan;
  std::optional<Mesh> mesh;
  std::optional<int64_t> devices;  // 2 where neither these nor a mesh are given
  OutputLayout outputs = OutputLayout::whole;
  std::vector<Constraint> constraints;  // before those of the file
  bool untied = false, keep_shared = false, sequence_parallel = false;
  DType compute = DType::f32;   // or bf16, f16: of products' operands
  std::optional<Dim> kv_cache;  // a decoder with caches of so many tokens
  bool last_logits = false;     // which gives logits of the last of a run's tokens only
  std::vector<std::string> tie, untie;
  AskedDims dims;
  bool train = false;
  // Whose graphs are run or written here; beside them the first is made, which the plan tells of. None: all.
  std::optional<std::vector<int64_t>> ranks;
  TrainingOptions training;
  std::vector<double> betas;
  WatchOptions watch;
  // Told how far it is: of `total` steps (0: not known) `done`; an empty `what` once all is over. None: nobody asks.
  std::function<void(const std::string& what, int64_t done, int64_t total)> progress;
};

struct Job : Compilation {
  // As the file says, in core ops; with --kv-cache the decoder that was made of it. What the ranks are compared with.
  std::unique_ptr<Graph> imported;
  DimValues asked;  // the dims that the options say, which its inputs can have
};
// Errors: a number of devices that there cannot be, or that the mesh contradicts.
llvm::Expected<Mesh> mesh_of(const JobOptions& options);
llvm::Expected<size_t> devices_of(const JobOptions& options);
inline bool is_default_mesh(const JobOptions& o) { return !o.devices && !o.mesh; }
// Stopped early (--stop-after), there is no job but an error of Fault::stopped.
llvm::Expected<Job> make_job(const JobOptions& options);
// The training step of the same annotated model by other settings: only what training adds is made anew. `job` trains
// already, or is an inference job.
llvm::Expected<Job> retrain(const Job& job, const TrainingOptions& training);
// Leaves the whole graph alone, and its parameters' names: what a run of many steps still tells and saves. On
// OPT-125M the rest is 60 to 110 MB, which would stand beside everything that training holds.
void let_go_of_compilation(Job& job);
// Of what was freed and is kept for more: many small blocks, which would wait for others of their size.
void give_freed_memory_back();
// The settings that the options give, with the optimizer's default learning rate where none is given.
TrainingOptions training_of(const JobOptions& options);
// Has the graph every dim that was asked for? Errors: bad_value, with those that it has.
llvm::Error check_names(const Graph& graph, const DimValues& asked);
llvm::Expected<std::vector<Constraint>> read_constraints(llvm::StringRef path);
// Of a Hugging Face tp_plan: a JSON object from patterns of modules to words (tp_plan.cpp).
llvm::Expected<std::vector<Constraint>> read_tp_plan(llvm::StringRef path);

}  // namespace optp
