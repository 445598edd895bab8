// A graph in SSA form: nodes in topological order, values with the user's names.
#pragma once
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "frontend/ir/contract_loops.h"
#include "frontend/ir/diagnostic.h"
#include "frontend/ir/dim.h"
#include "frontend/ir/dtype.h"
#include "frontend/ir/mesh.h"
#include "frontend/ir/shard.h"
#include "frontend/ir/tensor.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Support/Error.h"

namespace optp {

struct OpDef;  // frontend/ir/op.h
class Graph;
struct Node;

struct Type {
  DType dtype = DType::undefined;
  Dims dims;
  bool operator==(const Type&) const = default;
};
std::string to_string(const Type& type);  // "f32[batch, sequence, 768]"

// What is known of a small integer or bool tensor at compile time: its elements as dim expressions.
struct Content {
  llvm::SmallVector<int64_t, 2> dims;
  llvm::SmallVector<Dim, 4> elements;  // row-major
};

struct Use {
  Node* node;
  unsigned operand;
  bool operator==(const Use&) const = default;
};

// Why a value is sharded as it is: one step back, in words, and the value it came from.
enum class CauseKind {
  seed,        // the strategy's choice
  constraint,  // the user's, or what follows from it
  propagated,  // follows from another value
  unsplit,     // nothing asked for a split
};
constexpr CauseKind all_cause_kinds[] = {CauseKind::seed, CauseKind::constraint, CauseKind::propagated,
                                         CauseKind::unsplit};
llvm::StringRef to_string(CauseKind kind);  // as in plans; unsplit is "default"
// Of a cause of which nothing else is said.
inline CauseKind implied_kind(llvm::StringRef from) { return from.empty() ? CauseKind::seed : CauseKind::propagated; }
struct Cause {
  CauseKind kind = CauseKind::seed;
  std::string text;
  std::string from;  // empty where the decision is about this value itself
};

// What a value, a node and a graph say of themselves, without the pointers that tie them together: a clone takes all of
// it as it is, so a member that is added here is cloned, too.
struct ValueFacts {
  std::string name;
  Type type;

  std::shared_ptr<const Tensor> data;         // parameters and constants
  bool is_anonymous = false;                  // its name is an exporter's, not the model's
  std::string model_name;                     // the parameter's name in the model's source, where `name` is another
  bool is_literal = false;                    // a Constant node's or a buffer, or computed from such: never a parameter
  bool is_parameter = false;                  // decided after canonicalisation
  bool frozen = false;                        // a parameter that training leaves as it is
  llvm::SmallVector<std::string, 0> aliases;  // further names of the same parameter (a tied copy, an Identity)
  llvm::SmallVector<std::string, 0> transposed_aliases;  // those of the aliases whose tensor is this one transposed
  llvm::SmallVector<std::string, 0> model_aliases;       // the source's names of what was tied to it: lm_head.weight
  std::optional<Content> content;

  // Set by annotate (of the value itself) and kept by split: "is shard S of the logical value".
  std::optional<Sharding> sharding;
  Dims logical_dims;  // global extents, after split
  Cause cause;
  std::optional<Shard> shard;  // after materialise: which elements of `data` this rank holds; none: all
};

struct Value : ValueFacts {
  Node* producer = nullptr;  // null: a graph input or data
  unsigned result = 0;
  llvm::SmallVector<Use, 2> uses;

  bool is_data() const { return data != nullptr; }
  Shard data_shard() const;  // `shard`, or all of `data`
  size_t ndim() const { return type.dims.size(); }
};

using Attribute = std::variant<int64_t, double, std::string, llvm::SmallVector<int64_t, 4>, Dim, Dims,
                               std::vector<std::string>, ContractLoops>;

using Attributes = std::map<std::string, Attribute, std::less<>>;

// Which part of a training step a node belongs to. All of an inference graph is forward.
enum class Phase { forward, loss, backward, optimizer };
llvm::StringRef to_string(Phase phase);
std::optional<Phase> phase_from(llvm::StringRef text);

// Which module of the model's source a node was exported from, where the file says so.
struct ModulePath {
  std::string path;           // "/decoder/layers.0/fc1" or "decoder.layers.0.fc1"
  bool known = false;         // an empty path may be the model itself
  bool counts_calls = false;  // a module's second call has a path of its own, with _1 behind a name
  std::string name = {};      // "model.decoder.layers.0.fc1", as the names of parameters spell it; empty: not known
  bool operator==(const ModulePath&) const = default;
  std::string dotted() const;  // the path as "decoder.layers.0.fc1"
};

struct NodeFacts {
  const OpDef* op = nullptr;
  std::string name;    // the ONNX node's, for diagnostics; may be empty
  std::string origin;  // the ONNX operator it came from; empty for what passes made
  ModulePath module;
  Phase phase = Phase::forward;
  Attributes attributes;
};

struct Node : NodeFacts {
  llvm::SmallVector<Value*, 3> operands;
  std::vector<std::unique_ptr<Value>> results;
  std::list<std::unique_ptr<Node>>::iterator place;

  Value& operand(size_t k) const { return *operands[k]; }
  Value& out(size_t k = 0) const { return *results[k]; }
  template <typename T>
  const T* find(llvm::StringRef key) const {
    auto it = attributes.find(key);
    return it == attributes.end() ? nullptr : std::get_if<T>(&it->second);
  }
  int64_t integer(llvm::StringRef key, int64_t otherwise = 0) const;
  double number(llvm::StringRef key, double otherwise = 0) const;
  llvm::StringRef text(llvm::StringRef key) const;
  llvm::ArrayRef<int64_t> integers(llvm::StringRef key) const;
  llvm::ArrayRef<Dim> dims(llvm::StringRef key) const;
  Dim dim(llvm::StringRef key, Dim otherwise = 0) const;
  const ContractLoops& loops() const;  // of a contract, which must have them
  ContractLoops& loops() { return const_cast<ContractLoops&>(std::as_const(*this).loops()); }
};

struct GraphOutput {
  std::string name;
  Value* value;
};
// A guard: two extents that the model needs to be equal, found where `at` says; checked when shapes are bound.
struct Guard {
  Dim left, right;
  Where at;
};
// An output that is concat(input, new): a key/value cache.
struct State {
  std::string input, output;
  int64_t axis;
};

// What an update carries on to the next step: written as parameter, step (their number), accumulated (a sum over
// micro-batches), or as PyTorch names an optimizer's state.
struct UpdateKind {
  enum Of { parameter, state, step, accumulated } of = parameter;
  std::string state_name;  // exp_avg, momentum_buffer …; of another kind empty

  std::string text() const;
  static UpdateKind parse(llvm::StringRef text);
};
// A training step's value that the next step takes: output `output` becomes input `input`.
struct Update {
  std::string input, output;
  std::string parameter;  // whose it is; empty for the step
  UpdateKind kind;
};
// The outputs of a training step that are neither results nor updates.
struct GradientOutput {
  std::string parameter, output;
};

// What a user should know of the compilation.
enum class RemarkKind {
  note,
  constraint,  // a line of the user's: what it costs, or could not do
  left_whole,  // what the strategy leaves whole on every device
};
constexpr RemarkKind all_remark_kinds[] = {RemarkKind::note, RemarkKind::constraint, RemarkKind::left_whole};
llvm::StringRef to_string(RemarkKind kind);  // as in plans
struct Remark {
  std::string pass;  // who says so; "import" of what the file holds
  std::string text;
  RemarkKind kind = RemarkKind::note;
  bool operator==(const Remark&) const = default;
};

struct GraphFacts {
  std::string name;
  std::string source;  // the file, for diagnostics
  std::vector<Guard> guards;
  std::vector<State> states;
  std::vector<Update> updates;  // training only, as is the next
  std::vector<GradientOutput> gradients;
  std::vector<Remark> remarks;
  Mesh mesh;
  std::optional<int64_t> rank;  // whose graph this is, once it is one rank's
};

class Graph : public GraphFacts {
 public:
  std::list<std::unique_ptr<Node>> nodes;
  std::vector<Value*> inputs;
  std::vector<GraphOutput> outputs;

  Graph() = default;
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  Value& add_input(llvm::StringRef name, Type type);
  Value& add_data(llvm::StringRef name, std::shared_ptr<const Tensor> tensor);
  // Before `place` (null: at the end). Result names are made unique; a wanted name that is free stays.
  Node& add_node(const OpDef& op, llvm::ArrayRef<Value*> operands, llvm::ArrayRef<Type> types,
                 llvm::ArrayRef<std::string> result_names, Node* place = nullptr);
  Value* find(llvm::StringRef name) const;
  std::string unique_name(llvm::StringRef wanted) const;
  void rename(Value& value, llvm::StringRef name);

  void set_operand(Node& node, unsigned k, Value& value);
  void replace_all_uses(Value& from, Value& to);  // of nodes and graph outputs
  void erase(Node& node);                         // its results must have no uses
  // Nodes and data that reach no output. In a rank's graph a collective stays even if nobody here uses its result, with
  // all that it is made from: the other ranks wait for this one.
  void erase_dead();
  void make_input(Value& data);  // data without its bytes, given anew at each run
  bool is_output(const Value& value) const;
  std::vector<Value*> data() const;    // parameters and constants, in order of creation
  std::vector<Value*> values() const;  // all: inputs, data, results of nodes
  size_t size() const { return nodes.size(); }

  // A deep copy; tensors' bytes are shared.
  std::unique_ptr<Graph> clone() const;

 private:
  friend void erase_dead(llvm::ArrayRef<Graph*> ranks);
  Value& own(std::unique_ptr<Value> value);
  void erase_all_but(const llvm::DenseSet<const Node*>& live);
  std::vector<std::unique_ptr<Value>> owned_;  // inputs and data
  llvm::StringMap<Value*> by_name_;
  mutable llvm::StringMap<unsigned> next_suffix_;
};

// Of all ranks together, after outputs were dropped on each: what one of them needs stays on all, so that they still go
// through the same nodes and the same collectives.
void erase_dead(llvm::ArrayRef<Graph*> ranks);
// By which ranks' graphs know each other's nodes: a collective's id, where its group is known; else its result's name.
std::string key_among_ranks(const Node& node);

// The named dims of its types, attributes, guards and shardings, each once.
llvm::SmallVector<Dim, 8> named_dims_of(const Graph& graph);

// Textual form, one line a node. See docs/ir.md; parse.h reads it.
void print(llvm::raw_ostream& out, const Graph& graph);
std::string to_string(const Graph& graph);
std::string to_string(const Node& node);
// "'onnx::MatMul_363' (model.decoder.layers.0.self_attn.q_proj.weight)": the file's name, and the model's beside it.
std::string called(const ValueFacts& value);
std::string called(llvm::StringRef name, llvm::StringRef model_name);

// "node 'NAME' (OP)" as in diagnostics.
std::string describe(const Node& node);

// Names, order, use lists, types, attributes and shardings; Fault::internal if it fails: a pass is wrong.
llvm::Error verify(const Graph& graph);
llvm::Error find_fault(const Graph& graph);  // the same, without the graph's name

}  // namespace optp
