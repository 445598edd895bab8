// Elementwise nodes between values and what is made of them, as a program that runs on a row at a time.
#pragma once
#include <map>

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/DenseSet.h"
#include "runtime/attention.h"
#include "runtime/strided_source.h"

namespace optp {

// What a node does with a row; null: it is not elementwise, or no kernel says so. Asked once for each node.
class RowsOfNodes {
 public:
  explicit RowsOfNodes(const KernelContext& context) : context_(context) {}
  Row of(const Node& node);

 private:
  const KernelContext& context_;
  llvm::DenseMap<const Node*, Row> known_;
};

// A value that must stand, and where the elements of [queries, keys] lie in it for each index of the batch.
struct Leaf {
  const Value* value = nullptr;
  StridedOperand place;                // its batch strides and operand are not known yet
  llvm::SmallVector<Factor, 8> batch;  // major to minor
};

// What a builder looks at and for.
struct ProgramRequest {
  RowsOfNodes* rows = nullptr;
  llvm::SmallVector<const Value*, 2> starts;
  int64_t queries = 1, keys = 1, whole_bytes = 0;
  const llvm::DenseSet<const Value*>* standing = nullptr;  // computed anyway: read, not computed again
};

class ProgramBuilder {
 public:
  explicit ProgramBuilder(const ProgramRequest& request) : request_(request) {}

  RowProgram program;
  std::vector<Leaf> leaves;                    // of the program, in its order
  llvm::SmallVector<Extents, 4> batches;       // the forms that batch dims take on the way
  llvm::SmallVector<const Node*, 4> nodes;     // that follow a start
  llvm::SmallVector<const Node*, 8> absorbed;  // masks' nodes and what leaves were read through

  // Whether `end` is made of the starts by rows; then all of the above is.
  bool build(const Value& end);
  bool reaches(const Value& v) { return follows(v); }

 private:
  ProgramRequest request_;
  std::map<std::pair<const Value*, Extents>, RowProgram::In> known_;
  llvm::DenseMap<const Value*, bool> follows_;

  bool is_start(const Value& v) const { return llvm::is_contained(request_.starts, &v); }
  bool follows(const Value& v);
  bool is_matrix(const Value& v) const;     // of queries and keys
  bool stands_apart(const Value& v) const;  // a mask's value that is better not made whole
  std::optional<RowProgram::In> input(const Value& v, const Extents& batch);
  std::optional<RowProgram::In> add_step(const Value& v, const Extents& batch, bool follows_start);
  std::optional<RowProgram::In> add_leaf(const Value& v, const Extents& batch);
  bool is_steady(const Node& node);
};

Extents batch_dims(const Value& v);                     // all but the last two, of which there are two
bool passes_rows(const Node& node);                     // its result is operand 0, perhaps with other batch dims
int64_t extent_from_last(const Value& v, size_t back);  // 1 where it has no such dim

}  // namespace optp
