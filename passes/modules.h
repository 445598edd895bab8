// Which nodes are calls of one module of the model's source: there one weight is used several times, which an exporter
// may have written several times.
#pragma once
#include <map>
#include <optional>
#include <vector>

#include "frontend/ir/graph.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/StringMap.h"

namespace optp {

class Modules {
 public:
  explicit Modules(const Graph& graph);

  enum class Same { no, yes, unknown };
  // By what the file says of both: the exporter's notes, the paths in their names, the bias that both add. Where it
  // says nothing, by the graph: of blocks that follow each other with all weights equal, the nodes in the same place.
  Same same(const Node& a, const Node& b);
  // How often the node's module is called, by the products of the layers in it or around it; each has one a call.
  // Nothing where the file does not note modules or there are no such layers.
  std::optional<size_t> calls(const Node& node) const;

 private:
  bool same_path(llvm::StringRef a, llvm::StringRef b);
  bool is_named(llvm::StringRef component);
  void find_repeated_blocks(const Graph& graph);
  std::vector<llvm::StringRef> data_names_;
  std::map<std::string, size_t, std::less<>> products_;      // with a weight, of each module that the file notes
  llvm::StringMap<bool> named_;                              // of components of paths: do names of data have them?
  llvm::DenseMap<const Node*, const Node*> in_first_block_;  // of a node of a repeated block: the first block's
};

// Of tensors with equal contents, by a hash: the same number for the same elements in the same shape. With `any_order`
// also for those of a transpose.
uint64_t content_hash(const Tensor& tensor, bool any_order);
}  // namespace optp
