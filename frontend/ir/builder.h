// Makes typed nodes: each goes through its op's inference, and small constants fold as they are made.
#pragma once
#include "frontend/ir/graph.h"
#include "frontend/ir/op.h"

namespace optp {

class Builder {
 public:
  explicit Builder(Graph& graph) : graph_(graph) {}
  Graph& graph() { return graph_; }

  // New nodes take these: the source node's name and operator, and go before `before` (null: at the end).
  void at(llvm::StringRef node_name, llvm::StringRef origin, ModulePath module = {}) {
    node_name_ = node_name.str();
    origin_ = origin.str();
    module_ = std::move(module);
  }
  void before(Node* place) { place_ = place; }
  void phase(Phase phase) { phase_ = phase; }
  // Whether a node whose result is known becomes data as it is made, as it does unless told otherwise.
  void set_fold(bool fold) { fold_ = fold; }

  llvm::Expected<Value*> create(llvm::StringRef op, llvm::ArrayRef<Value*> operands, Attributes attributes = {},
                                llvm::StringRef name = "");

  Value& constant(DType dtype, llvm::ArrayRef<int64_t> dims, const Array& array, llvm::StringRef name = "");
  Value& scalar(DType dtype, double value);
  Value& integers(llvm::ArrayRef<int64_t> values);
  Value& dim_tensor(llvm::ArrayRef<int64_t> dims, llvm::ArrayRef<Dim> elements, DType dtype = DType::i64,
                    llvm::StringRef name = "");

 private:
  llvm::Expected<Value*> fold(Node& node);
  Graph& graph_;
  Node* place_ = nullptr;
  std::string node_name_, origin_;
  ModulePath module_;
  Phase phase_ = Phase::forward;
  bool fold_ = true;
};

// The elements of a small integer constant or of a value with known content.
std::optional<Content> content_of(const Value& value);
constexpr int64_t most_content_elements = 1024;

}  // namespace optp
