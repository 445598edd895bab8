// How core ops become ONNX nodes: tables of rows, one file a group of ops, as lowering.h is for the way in.
#pragma once
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "frontend/ir/collective.h"
#include "frontend/ir/dim_sources.h"
#include "frontend/ir/graph.h"
#include "frontend/ir/op.h"
#include "frontend/onnx/export.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringSet.h"

namespace onnx {
class GraphProto;
class NodeProto;
}  // namespace onnx

namespace optp {

// The element types that an ONNX operator takes. Others go through a wider one: half through f32, small integers
// through i64.
using TypeSet = unsigned;
constexpr TypeSet types_of(std::initializer_list<DType> list) {
  TypeSet set = 0;
  for (DType t : list) set |= 1u << unsigned(t);
  return set;
}
constexpr TypeSet any_type = ~0u;
constexpr TypeSet f32_f64 = types_of({DType::f32, DType::f64});
constexpr TypeSet float_types = f32_f64 | types_of({DType::f16, DType::bf16});
constexpr TypeSet wide_integers = types_of({DType::i32, DType::i64, DType::u32, DType::u64});
constexpr TypeSet number_types = float_types | wide_integers | types_of({DType::i8, DType::i16, DType::u8, DType::u16});
constexpr TypeSet signed_types = float_types | types_of({DType::i8, DType::i16, DType::i32, DType::i64});
inline bool contains(TypeSet set, DType dtype) { return set >> unsigned(dtype) & 1; }

class ExportContext;
struct ExportRow {
  const char* op;  // the core op
  void (*write)(ExportContext& c);
  const char* onnx_op = "";
  TypeSet types = any_type;
};

struct ExportAttribute {
  const char* name;
  std::variant<int64_t, double, std::string, llvm::SmallVector<int64_t, 4>> value;
};
using ExportAttributes = std::vector<ExportAttribute>;

onnx::NodeProto make_node(llvm::StringRef op, llvm::ArrayRef<std::string> inputs, const ExportAttributes& attributes,
                          llvm::StringRef name, llvm::StringRef output);

// One graph while it is written. Values are spoken of by their names in the file. The first failure is kept, and what
// follows it does not matter.
class ExportContext {
 public:
  ExportContext(const Graph& graph, onnx::GraphProto& proto);

  void begin(const Node& node, const ExportRow& row);  // what follows belongs to this node
  const Node& node() const { return *node_; }
  const ExportRow& row() const { return *row_; }

  std::string name_of(const Value& value) const;
  std::string operand(unsigned k) const { return name_of(node_->operand(k)); }
  DType dtype() const { return node_->operand(0).type.dtype; }

  // An intermediate, named after this node's result and the operator.
  std::string step(llvm::StringRef onnx_op, llvm::ArrayRef<std::string> inputs,
                   const ExportAttributes& attributes = {});
  // This node's result.
  void finish(llvm::StringRef onnx_op, llvm::ArrayRef<std::string> inputs, const ExportAttributes& attributes = {},
              llvm::StringRef domain = "");
  std::string cast(std::string value, DType from, DType to);  // the value itself where they are the same
  // The same of an operator's second output.
  void finish_second(llvm::StringRef onnx_op, llvm::ArrayRef<std::string> inputs, const ExportAttributes& attributes);
  void finish_cast(std::string value, DType from);  // to the result's dtype
  // A tensor of the result's shape with one value.
  void finish_filled(double value);
  // An output of the graph whose value bears another name.
  void identity(const Value& value, llvm::StringRef output);

  std::string integers(llvm::ArrayRef<int64_t> values);  // int64, 1-D
  std::string scalar(DType dtype, double value);
  // Extents that depend on the shapes of inputs are computed at the start of the graph, each once.
  std::string dim(Dim d);                      // int64[1]
  std::string dim_scalar(Dim d);               // int64[]
  std::string dims(llvm::ArrayRef<Dim> dims);  // int64[n]

  std::string unique_name(llvm::StringRef wanted);
  void fail(llvm::Error error);
  llvm::Error take_failure();
  void close();                                                                 // puts the nodes into the graph
  bool is_written(const Node& node) const { return written_.contains(&node); }  // at the start of the graph already

 private:
  struct Extent {  // where one of sources_ is at hand
    const Value* input;
    size_t axis;
  };
  void find_sources();
  std::string compute(Dim d);
  void write_extent_sum(const Node& node);
  std::string dim_node(llvm::StringRef onnx_op, llvm::ArrayRef<std::string> inputs,
                       const ExportAttributes& attributes = {});
  std::string constant(DType dtype, llvm::ArrayRef<int64_t> dims, const Array& array);
  std::string unique_node_name(llvm::StringRef wanted);

  const Graph& graph_;
  onnx::GraphProto& proto_;
  const Node* node_ = nullptr;
  const ExportRow* row_ = nullptr;
  std::vector<onnx::NodeProto> dim_nodes_, nodes_;
  llvm::DenseMap<const Value*, std::string> renamed_;
  llvm::StringSet<> names_, node_names_;
  std::map<std::string, std::string> constants_;  // type, dims and bytes to name
  std::vector<Extent> extents_;
  DimSources sources_;
  llvm::DenseSet<const Node*> written_;
  llvm::DenseMap<Dim, std::string> dims_, dim_scalars_;  // the values that hold them
  std::map<std::vector<const DimExpression*>, std::string> dim_lists_;
  int next_dim_ = 0, next_constant_ = 0;
  llvm::Error failure_ = llvm::Error::success();

 public:
  ~ExportContext();
};

// The rows of one file of frontend/onnx/operators, which register themselves.
struct RegisteredExports {
  explicit RegisteredExports(llvm::ArrayRef<ExportRow> rows);
};
// What all collectives have in a file.
ExportAttributes attributes_of_file(const CollectiveCall& call);

const ExportRow* find_export(llvm::StringRef op);

// An operator of the row's name with this node's operands, through a wider type where it does not take theirs.
void write_plain(ExportContext& c);
DType wider(DType dtype, TypeSet types);  // itself if in the set

}  // namespace optp
