// A plan: where every tensor of a model lives and what is communicated. make_plan.h makes one, plan_json.h writes and
// reads it. docs/plan-schema.md says what each member means; a member here has the name that it has there.
#pragma once
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "frontend/ir/collective.h"
#include "frontend/ir/graph.h"
#include "frontend/ir/symbolic_shard.h"
#include "passes/passes.h"
#include "passes/training.h"

namespace optp {

struct Plan {
  enum class Job { inference, training };
  struct Model {
    std::string name;   // of the file, without folders
    std::string graph;  // the name that the file gives its graph
  };
  struct DimInfo {
    int64_t min = 0, example = 0;
    std::optional<Dim> equals;  // of a name that a guard replaced
  };

  // What the ranks hold of all tensors of one type and sharding.
  struct RankShard {
    std::vector<int64_t> ranks;  // that hold the same, ascending; each rank is in one entry
    SymbolicShard shard;
    Dim elements, bytes;
  };
  struct Layout {
    DType dtype = DType::undefined;
    Dims dims;
    Sharding sharding;
    std::vector<RankShard> shards;  // by their first rank
    std::vector<size_t> of_rank;    // position in `shards`

    const RankShard& operator[](size_t rank) const { return shards[of_rank[rank]]; }
  };

  // A value between nodes, and what all tensors have. Only a value's sharding may be partial.
  struct Tensor {
    std::string name;
    DType dtype = DType::undefined;
    Dims dims;  // of the whole
    Sharding sharding;
    Cause cause;
  };
  struct Value : Tensor {
    Phase phase = Phase::forward;
    std::string module;  // of the model's source, that makes it
    std::string node;    // that makes it
  };
  struct PlacedTensor : Tensor {
    std::shared_ptr<const Layout> layout;  // never null in a plan
  };
  enum class Role {
    data,
    labels,
    learning_rate,
    result,
    loss,
    gradient,
    parameter,  // these come in and, a step later, go out
    state,
    step,
    accumulated,
  };
  // An input or output of the rank graphs.
  struct Port : PlacedTensor {
    Role role = Role::data;
    std::string parameter;       // whose gradient, value, state or sum it is
    std::string kind;            // of a state: exp_avg …
    int64_t rows = 0;            // rows of the embedding table that this input of ids indexes; 0: not such an input
    std::optional<Dim> classes;  // of labels: how many there are
  };
  struct Constant : PlacedTensor {
    std::vector<std::string> aliases;
    std::string model_name;                  // in the model's source, where `name` is another
    std::vector<std::string> model_aliases;  // of what was tied to it
    int64_t elements = 0, bytes = 0;
  };
  struct Parameter : Constant {
    std::vector<std::string> transposed_aliases;
    bool trained = true;
  };
  struct State {
    std::string input, output;
    int64_t axis = 0;
    std::optional<Dim> capacity;  // of a cache of fixed size; none: it grows
  };
  struct Update {
    std::string input, output;
  };

  // A collective that takes place, in all groups along its axes.
  struct CollectiveUse {
    CollectiveCall call;  // its `dims`: those of the first group, whose part is the largest
    std::vector<std::vector<int64_t>> groups;
    std::string tensor, of;
    Dim bytes_formula, sent_bytes_formula;
    int64_t bytes = 0, sent_bytes = 0;
    Phase phase = Phase::forward;
    std::string producer;  // empty: an input's
    std::vector<std::string> consumers;
  };
  // An operation, or a collective between operations.
  struct FlowEntry {
    std::string collective;  // its id; empty: an operation, which has the others
    std::string op, node, result;
    std::vector<std::string> parameters;
    Sharding sharding;           // of the result, as this node makes it
    std::vector<int64_t> after;  // earlier positions

    bool is_collective() const { return !collective.empty(); }
  };

  struct Device {
    int64_t rank = 0;
    std::map<std::string, int64_t> coordinates;  // by mesh axis
    int64_t parameter_elements = 0, parameter_bytes = 0, constant_bytes = 0, state_bytes = 0, gradient_bytes = 0;
    std::optional<int64_t> activation_peak_bytes;  // known to the runtime alone
    // Of a run on this machine, which no plan's file has: values with kernels' workspace; of the parameters tables
    // that stay in their file; what graph and steps take themselves.
    std::optional<int64_t> arena_bytes;
    int64_t looked_up_bytes = 0, program_bytes = 0;
    Dim flops_formula;
    int64_t flops = 0;
    std::string file;
  };
  struct Count {
    int64_t tensors = 0, elements = 0;
  };
  struct Totals {
    int64_t parameter_elements = 0, parameter_bytes = 0, constant_bytes = 0;
    Count trained, frozen, constant;
    int64_t held_elements = 0, held_bytes = 0, replicated_bytes = 0;
    Dim flops_formula;
    int64_t flops = 0;
    std::map<Collective, int64_t> collectives;  // every kind
    Dim collective_bytes_formula, sent_bytes_formula;
    int64_t collective_bytes = 0, sent_bytes = 0;
  };
  struct Remark : optp::Remark {
    std::string tensor, node;  // empty: of neither
  };

  // What a user asked for beside what other members say: with it the same job is planned again.
  struct RequestedConstraint {
    std::string pattern, sharding;
    std::string file, flag;  // where it was said: one of them
    int64_t line = 0;        // of the file, from 1
    bool of_operators = false, may_match_nothing = false;

    bool operator==(const RequestedConstraint&) const = default;
  };
  struct Request {
    std::vector<RequestedConstraint> constraints;  // of two that ask for different things the later one counts
    std::vector<std::string> tie, untie, trainable, freeze;  // patterns
    bool untied = false, keep_shared = false;
    std::optional<Dim> kv_cache;

    bool operator==(const Request&) const = default;
  };

  std::string tool;
  Model model;
  Job job = Job::inference;
  std::string strategy;
  bool sequence_parallel = false;
  DType compute = DType::undefined;  // what products' operands are rounded to; undefined: they are not
  OutputLayout outputs_as = OutputLayout::whole;
  Mesh mesh;
  bool weights = true;
  std::map<std::string, DimInfo> dims;
  struct Guard {
    Dim left, right;      // must be equal
    std::string because;  // where the model needs it
  };
  std::vector<Guard> guards;
  std::vector<Port> inputs, outputs;
  std::vector<State> state;
  std::vector<Update> updates;
  std::optional<TrainingOptions> training;  // of a training job; patterns of what is trained are in `request`
  Request request;
  std::vector<Parameter> parameters;
  std::vector<Constant> constants;
  std::vector<CollectiveUse> collectives;
  std::vector<FlowEntry> flow;
  std::vector<Device> devices;
  Totals totals;
  std::vector<Value> values;
  std::vector<Remark> remarks;

  bool is_training() const { return job == Job::training; }
  DimValues examples() const;
};

// As in plan.json.
llvm::StringRef to_string(Plan::Job job);
llvm::StringRef to_string(Plan::Role role);
llvm::StringRef to_string(OutputLayout layout);

// A tensor of any kind, found in the order parameters, constants, inputs, outputs, values.
struct FoundTensor {
  const Plan::Tensor* tensor = nullptr;  // null: the plan has none of this name
  const Plan::PlacedTensor* placed = nullptr;
  const Plan::Constant* data = nullptr;  // a parameter or constant
  explicit operator bool() const { return tensor; }
};
FoundTensor find_tensor(const Plan& plan, llvm::StringRef name);  // by its name or an alias
std::string called(const FoundTensor& t);                         // its name, and the model's beside it
// What users mean by a name or a part of one: a single tensor, parameters before others. A node's name means its
// results, a module's its parameters and what it makes. Errors: none, with the nearest name, or several, which are
// listed.
llvm::Expected<FoundTensor> find_named(const Plan& plan, llvm::StringRef text);
llvm::Expected<std::vector<FoundTensor>> find_all_named(const Plan& plan, llvm::StringRef text);  // at least one
// Calls `visit` with each tensor in the same order.
void for_each_tensor(const Plan& plan, llvm::function_ref<void(const FoundTensor&)> visit);

}  // namespace optp
