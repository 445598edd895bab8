// Which classes of factors a strategy may split, found by structure and not by names: what the products, tables and
// activations around a class say of it (Megatron-LM, arXiv:1909.08053 section 3).
//   vocab      rows of a table that the input ids index, columns of the head
//   attention  columns of q, k and v, rows of the output projection, and a batch in the products between: whole heads.
//              Where all heads share one k and v, of q alone. A norm over all heads sums a few numbers a token
//   mlp        columns of the first product, rows of the second, nothing but elementwise work between
#pragma once
#include <string>
#include <vector>

#include "passes/factors.h"
#include "passes/input_dependence.h"

namespace optp {

enum class Role { none, vocab, attention, mlp };

struct Candidate {
  Role role = Role::none;
  int64_t bytes = 0;      // of the weights it would split
  std::string rejection;  // why not, where something nearly matched
  bool column = false, row = false, table_rows = false;
};

class Recogniser {
 public:
  Recogniser(const Graph& graph, const Factors& factors);
  // No op needs it whole but norms, which can be taken apart, and nothing around it is against a cut.
  bool is_free(Factors::Class c) const {
    return (*this)[c].rejection.empty() && (!factors_.info(c).needs_whole || (*this)[c].role != Role::none);
  }
  const Candidate& operator[](Factors::Class c) const { return candidates_[size_t(c)]; }

  // The wanted ones among those that have a role: vocab first, then by bytes; a class that shares a value with a chosen
  // one is skipped, unless they are different parts of one dim.
  std::vector<Factors::Class> chosen(llvm::function_ref<bool(const Candidate&)> wanted) const;
  // What a class is, for causes: "vocab: rows of a table that the input ids index".
  std::string what_is(Factors::Class c) const;
  // The heaviest rejected classes of weights, each with its reason.
  std::string nearly_matched() const;

 private:
  struct Facts {
    bool input_dim = false, twice = false, bad_sum = false, table_rows = false, position_rows = false, column = false,
         row = false;
    bool output = false, activation_product = false, batch_loop_only = true;
    bool of_one_operand = false;  // in a product of two activations, of which one alone has it
    bool in_scores = false;       // a batch of softmaxes
    bool repeated = false;        // a finer class has its copies
    std::string bad_node, sum_node;
  };
  void each_class(const Node& node, int loop, llvm::function_ref<void(Facts&)> f);
  void look_at_values();
  bool is_input_index(const Value& index) const;
  bool is_weight(const Value& v) const;
  static bool is_learned(const Value& table);
  void look_at(const Node& node);
  void look_at_product(const Node& node);
  void judge(Factors::Class c);

  const Graph& graph_;
  const Factors& factors_;
  InputDependence depends_;
  std::vector<Candidate> candidates_;
  std::vector<Facts> facts_;
};
}  // namespace optp
