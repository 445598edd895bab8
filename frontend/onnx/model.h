// An ONNX file as import reads it: checked, with the order in which its nodes can run, but not yet a Graph.
#pragma once
#include <onnx/onnx_pb.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "frontend/io/input_folder.h"
#include "frontend/io/limits.h"
#include "frontend/ir/dim.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringSet.h"

namespace optp {

using NodeList = google::protobuf::RepeatedPtrField<onnx::NodeProto>;

// Versions by domain; "ai.onnx" is "".
using Opsets = llvm::StringMap<int64_t>;
inline llvm::StringRef domain_of(llvm::StringRef domain) { return domain == "ai.onnx" ? "" : domain; }
// `imports` of a model or a function; errors begin with "opset_import".
llvm::Expected<Opsets> read_opsets(const google::protobuf::RepeatedPtrField<onnx::OperatorSetIdProto>& imports);
int64_t opset_of(const onnx::NodeProto& node, const Opsets& opsets);  // 0: the domain is not imported

// The nodes of a graph, a function or a branch, and an order in which they can run: the file's where it is one.
struct Body {
  const NodeList* nodes = nullptr;
  std::vector<int> order;
  bool was_sorted = true;
};
// Names that a graph within a node takes from outside it.
void visit_captured(const onnx::GraphProto& g, llvm::function_ref<void(const std::string&)> visit);
// Fills in the order and whether the file had it. Errors: bad_input for a cycle, with its nodes.
llvm::Error sort_nodes(Body& body);
// Names are defined once and before they are used. `defined` holds those that are there already; where `outer` is set,
// others may stand outside. `in_function`: attributes may refer to the function's.
struct BodyRules {
  bool outer = false, in_function = false;
};
llvm::Expected<Body> read_body(const NodeList& nodes, llvm::StringSet<> defined, const BodyRules& rules);

// A model-local function. Fields of later IR versions than our schema's are read from the message's unknown fields.
struct Function {
  const onnx::FunctionProto* proto = nullptr;
  Opsets opsets;
  std::vector<onnx::AttributeProto> defaults;  // IR 9: attributes that a call need not give
  Body body;
};
class Functions {
 public:
  llvm::Error read(const onnx::ModelProto& model, const Limits& limits);
  // What the node calls, or null. A function hides an operator of its name, as the standard says.
  const Function* find(const onnx::NodeProto& node) const { return lookup(node); }
  // An error for a function that is malformed or calls itself, and for calls that are nested too deep or become too
  // many nodes. Functions that nobody calls are not looked at.
  llvm::Error check_calls(const Body& body, const Limits& limits);

 private:
  struct Size {          // of what a node becomes when calls are expanded
    int64_t nodes = -1;  // -1: being counted
    int64_t depth = 0;
  };
  Function* lookup(const onnx::NodeProto& node) const;
  llvm::Expected<Size> size_of(const NodeList& nodes, const Limits& limits, int64_t depth);
  llvm::Expected<Size> size_of(const onnx::NodeProto& node, const Limits& limits, int64_t depth);
  llvm::StringMap<std::unique_ptr<Function>> by_key_;
  std::map<const Function*, Size> sizes_;
};

// The graphs that a node holds: branches and bodies.
llvm::SmallVector<const onnx::GraphProto*, 2> subgraphs_of(const onnx::NodeProto& node);
llvm::StringSet<> used_names(const onnx::GraphProto& graph);  // by its nodes, the graphs in them, and its outputs

// Names of extents. A text is an expression only as exporters write them: signs + - / between blanks, * and // with or
// without, names that are words (letters, digits, _ . : - and no digit first), numbers, and floor, min and max of two.
// All else is one name, kept as it is. docs/import.md
class DimNames {
 public:
  DimNames() = default;
  // `ours`: a file that this program wrote, whose texts are all those of Dim.
  explicit DimNames(const onnx::GraphProto& graph, bool ours);
  Dim of(const onnx::TensorShapeProto::Dimension& dim, llvm::StringRef input, int index, const DimBounds& bounds);

 private:
  std::string name_for(llvm::StringRef text);
  std::string fresh(llvm::StringRef wanted);
  bool ours_ = false;
  llvm::StringSet<> taken_;
  llvm::StringMap<std::string>
      made_;  // names of unnamed extents, and of texts that can't be names: too long, not UTF-8
};

struct Model {
  std::string path;
  std::shared_ptr<const onnx::ModelProto> proto;
  std::shared_ptr<const MappedFile> file;
  std::vector<llvm::ArrayRef<char>> raw_data;  // of the graph's initializers, that were left in the file
  Opsets opsets;
  Functions functions;
  Body body;
  DimNames dims;
  std::optional<int64_t> rank;   // of a rank graph: the file's metadata say it
  llvm::StringSet<> never_zero;  // likewise: extents that are at least 1 where one of a cache might be 0
  bool drops_zero_bias = false;  // its exporter does
  std::vector<std::string> remarks;

  const onnx::GraphProto& graph() const { return proto->graph(); }
};
llvm::Expected<std::unique_ptr<Model>> read_model(llvm::StringRef path, InputFolder& folder, const Limits& limits);

// All operators of `body` that are not read, at once: those of functions too, but not of branches, of which one is
// taken.
llvm::Error check_operators(const Body& body, const Opsets& opsets, const Functions& functions);

// "'a', 'b', 'c' and 4 more"
std::string listed(llvm::ArrayRef<std::string> names);

}  // namespace optp
