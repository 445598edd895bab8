// What the recognisers of attention and of its gradient share: products by their loops, and steps put together.
#pragma once
#include <string>

#include "runtime/attention.h"
#include "runtime/row_programs.h"

namespace optp {
using Factors = llvm::SmallVector<Factor, 8>;
using Names = std::vector<std::string>;

// The scores' and values' products beside an attention's softmax, and what is between.
struct AttentionParts {
  const Node& softmax;
  const Node *scores = nullptr, *values = nullptr;
  ProgramBuilder before, after;

  llvm::DenseSet<const Node*> nodes() const;  // whose results the step makes and keeps
};
// Whether nothing but these and `users` needs what `nodes` make.
bool is_inside(const Graph& graph, const llvm::DenseSet<const Node*>& nodes, const llvm::DenseSet<const Node*>& users);

// What a product has of the loops: which operand is the rows' (queries; probabilities) and which the other, what they
// are called.
struct ProductLoops {
  size_t rows_operand = 0;
  std::string row, column, summed;  // of [row, summed] · [summed, column]; `summed` may have extent 1 and no name
  Names batch;
};
int64_t extent_of(const Node& product, llvm::StringRef name);
// scores: the result's last two loops are rows and columns.
std::optional<ProductLoops> loops_of_scores(const Node& scores);
// values: the last two loops of the probabilities are rows and the sum.
std::optional<ProductLoops> loops_of_values(const Node& values, size_t probabilities);
// The sum over queries instead: the last two loops are the sum and rows. Batch loops may be summed over, too.
std::optional<ProductLoops> loops_of_query_sum(const Node& product, size_t probabilities);

// An operand's place in a step.
struct PlacedOperand {
  StridedOperand* place = nullptr;
  Factors batch;
};

// Operands and result, put together while the forms of the batch are joined into one.
class Assembly {
 public:
  explicit Assembly(int64_t batch) {
    if (batch != 1) extents_.push_back(batch);
  }
  bool join(const ProgramBuilder& program);
  unsigned operand(const Value& v);
  // The source furthest back whose rows and columns have a stride each.
  bool add(const Node& product, size_t operand, const ProductLoops& loops, llvm::StringRef row, llvm::StringRef column,
           StridedOperand& out);
  bool add_result(const Node& product, const ProductLoops& loops, llvm::StringRef row, llvm::StringRef column,
                  StridedOperand& out);
  // Once all are joined.
  const Extents& batch() const { return extents_; }
  void place();
  void add_program(const ProgramBuilder& from, RowProgram& to);

  FusedStep step;

 private:
  Extents extents_;
  std::vector<PlacedOperand> placed_;

  bool join(llvm::ArrayRef<Factor> factors);
};

// The gradient of an attention that is found, with what it takes of its parts.
struct FoundGradient {
  FusedStep step;
  llvm::DenseSet<const Node*> users;  // of what the attention makes
};
class GradientRecogniser {
 public:
  GradientRecogniser(const AttentionParts& parts, const ProgramRequest& request) : parts_(parts), request_(request) {}
  // None: training adds nothing, or something else.
  std::optional<FoundGradient> recognise(const Graph& graph, const llvm::DenseMap<const Node*, size_t>& order);

 private:
  const AttentionParts& parts_;
  const ProgramRequest& request_;
  const Value* outer_ = nullptr;  // the gradient of the softmax's result
  const Value* taken_ = nullptr;  // what the values' product takes of that
  const Node* softmax_gradient_ = nullptr;
  const Node* outer_product_ = nullptr;  // of dy and values
  const Node *dq_ = nullptr, *dk_ = nullptr, *dv_ = nullptr;
  const Value* scores_gradient_ = nullptr;
  llvm::DenseSet<const Node*> nodes_;  // whose results the step keeps

  ProgramBuilder builder(const Value& first, const Value& second) const;
  bool find_softmax_gradient();
  bool find_outer_product(ProgramBuilder& undo);
  bool find_sums(ProgramBuilder& undo);
  bool find_value_sum();
  std::optional<FoundGradient> assemble(const ProgramBuilder& undo_after, const ProgramBuilder& undo_before,
                                        const llvm::DenseMap<const Node*, size_t>& order) const;
};

}  // namespace optp
