// A rank's graph, compiled for its numbers: constants computed, steps fused, weights packed, memory planned. It runs
// any number of times, on one thread at a time.
#pragma once
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "frontend/ir/graph.h"
#include "frontend/ir/host_array.h"
#include "llvm/ADT/StringSet.h"

namespace optp {

class Communicator;
class PackedWeights;

using HostInputs = std::map<std::string, const HostArray*, std::less<>>;
HostInputs inputs_of(const HostArrays& arrays);  // they must outlive it

enum class MissingWeights { refuse, fill };  // fill: with small numbers, to measure a model without its weights

struct ExecutableOptions {
  int threads = 1;
  Communicator* communicator = nullptr;  // outlives the executable; null where no collective has a second member
  MissingWeights missing = MissingWeights::refuse;
  bool fuse = true;
  // Collectives of at least so many bytes travel, by a thread of their own, until their result is needed.
  std::optional<int64_t> overlap_bytes;
  // A mask of attention that takes no more is computed once, whole, for all that add it; a larger one by blocks with
  // the scores.
  int64_t whole_mask_bytes = 1 << 20;
  llvm::StringSet<> unread;               // outputs that are not wanted, nor put together from other ranks' parts
  std::shared_ptr<PackedWeights> packed;  // shared with other executables of the same rank; null: its own
  bool profile = false;
};

struct MemoryNumbers {
  int64_t parameter_bytes = 0;  // of the rank's data as stored in the model
  int64_t packed_bytes = 0;     // copies of weights in a kernel's own layout
  int64_t constant_bytes = 0;   // kept plain: data that kernels read as it is, and what was computed from it
  int64_t value_bytes = 0;      // peak of live intermediate values; the arena holds kernels' workspace, too
  int64_t arena_actual_bytes = 0;
  int64_t looked_up_bytes = 0;  // of parameter_bytes: tables that stay in their file, of which rows are read
  int64_t step_bytes = 0;       // what the executable's steps take themselves, about
};

// One step of the last run, when profiling is on.
struct StepTime {
  std::string name;
  std::vector<std::string> ops;  // the first one's kernel runs the others, too
  std::string collective;        // its id, the same on all members; empty: none
  Phase phase = Phase::forward;
  double start_us = 0, duration_us = 0;  // by a clock that the ranks of a process share
  double flops = 0;
  int64_t bytes = 0;  // operands and results
};

// A node that no kernel runs: its op's evaluate does, in float64.
struct SlowNode {
  std::string op, value;  // the node's result
  DType dtype;            // of operand 0, by which kernels are chosen
  std::string reason;
  bool operator==(const SlowNode&) const = default;
};

class Executable {
 public:
  // Reads the graph while it compiles and keeps pointing at its nodes: the graph must outlive the executable.
  // Errors: usage where an extent is no number, not_found where weights are missing.
  static llvm::Expected<std::unique_ptr<Executable>> compile(const Graph& rank_graph,
                                                             const ExecutableOptions& options = {});
  // The memory that compile would plan, without reading or packing a weight.
  static llvm::Expected<MemoryNumbers> plan_memory_of(const Graph& rank_graph);
  ~Executable();

  // Arrays in `outputs` that have the right dtype and dims are written in place, others are made.
  llvm::Error run(const HostInputs& inputs, HostArrays& outputs);

  // Of an input that the graph updates, and of a cache: whether one array may be given as this input and as that
  // output, because nothing reads the old value once the new one is written.
  bool updates_in_place(llvm::StringRef input, llvm::StringRef output) const;

  const MemoryNumbers& memory() const;
  double flops() const;
  llvm::ArrayRef<StepTime> profile() const;
  std::vector<SlowNode> slow_nodes() const;
  std::vector<std::string> steps() const;  // "name op" and what was fused into it, a line each

 private:
  Executable();
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace optp
