// One parameter that an exporter wrote several times is made one: it is sharded, updated and counted once, and gets one
// summed gradient. Two kinds of pairs with equal contents, up to a transpose, are one:
// A table and a product's weight, the tied embedding of most language models:
//   before   %logits = contract(%h, %onnx::MatMul_363) {loops = "b s h, h v -> b s v"}
//   after    %logits = contract(%h, %wte) {loops = "b s h, v h -> b s v"}
// What nodes of one module use, which is called several times (ALBERT's layers): its weight is transposed once a call.
// Nodes of different modules decide against it: layers that were duplicated are trained on their own. What is
// constant-valued is never tied: a fresh model's norms are all ones, a fresh adapter's products all zeros.
#include "frontend/ir/diagnostic.h"
#include "frontend/ir/op.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/MapVector.h"
#include "passes/modules.h"
#include "passes/passes.h"
#include "passes/patterns.h"
#include "passes/weights.h"

namespace optp {
namespace {
// Without bytes the structure decides: the head of a model without a bias, as large as the table, is taken as tied.
bool assumed_tied(const Graph& graph, const Value& table, const Value& weight, bool transposed) {
  if (!table.data->is_missing() || !weight.data->is_missing() || table.data->dtype != weight.data->dtype) return false;
  const auto& a = table.data->dims;
  const auto& b = weight.data->dims;
  if (a.size() != 2 || b.size() != 2 || a[0] == a[1] || (transposed ? (a[0] != b[1] || a[1] != b[0]) : a != b))
    return false;
  if (weight.uses.size() != 1) return false;
  const Node& product = *weight.uses[0].node;
  return graph.is_output(product.out());  // no bias after it, and its result is the model's
}

bool may_tie(const Value& v) { return is_float(v.type.dtype) && !v.is_literal && !v.uses.empty(); }

class Tying {
 public:
  Tying(Graph& graph, const PassOptions& options, Patterns tie, Patterns untie)
      : graph_(graph), options_(options), tie_(std::move(tie)), untie_(std::move(untie)) {}

  llvm::Error run(bool by_itself) {
    for (Value* v : graph_.data())
      if (may_tie(*v)) {
        if (tie_.matches(*v)) asked_.insert(v);
        if (untie_.matches(*v)) apart_.insert(v);
      }
    if (auto e = tie_.unmatched("weight")) return e;
    if (auto e = untie_.unmatched("weight")) return e;
    if (by_itself) tie_tables();
    tie_calls(by_itself);
    if (tied_)
      graph_.remarks.push_back(
          {"tie-weights", count_text(tied_, "weight is", "weights are") +
                              " tied to what another use of the same module has, and trained as one, such as " +
                              example_.first + " to " + example_.second + " (--untie PATTERN)"});
    if (asked_tied_)
      graph_.remarks.push_back({"tie-weights", count_text(asked_tied_, "weight is", "weights are") +
                                                   " tied to an equal one as --tie asks, and trained as one, such as " +
                                                   asked_example_.first + " to " + asked_example_.second});
    if (equal_)
      graph_.remarks.push_back(
          {"tie-weights",
           count_text(equal_, "weight is equal to another's", "weights are equal to others'") + ", such as " +
               equal_example_.first + " to that of " + equal_example_.second +
               ", but the file has them in different modules or names none: trained apart (--tie PATTERN)"});
    return llvm::Error::success();
  }

 private:
  static std::string count_text(size_t n, const char* one, const char* many) {
    return std::to_string(n) + " " + (n == 1 ? one : many);
  }

  void tie_tables() {
    for (Value* table : graph_.data()) {
      if (!is_float(table->type.dtype) || table->ndim() < 2 || llvm::none_of(table->uses, is_table) ||
          apart_.contains(table))
        continue;
      for (Value* weight : graph_.data()) {
        if (weight == table || weight->uses.empty() || weight->ndim() < 2 ||
            !llvm::all_of(weight->uses, is_contract_weight) || apart_.contains(weight))
          continue;
        bool transposed = false, assumed = false, equal = false;
        for (bool t : {false, true}) {
          if (equal_contents(*table->data, *weight->data, t) && !is_constant_valued(*table->data))
            equal = true, transposed = t;
          else if (!equal && assumed_tied(graph_, *table, *weight, t))
            equal = assumed = true, transposed = t;
          if (equal) break;
        }
        if (!equal || !options_.may_rewrite()) continue;
        graph_.remarks.push_back(
            {"tie-weights", called(*weight) + " is tied to " + called(*table) +
                                (assumed      ? " (assumed from its shape and place: the weights' bytes are not there)"
                                 : transposed ? ", which it equals transposed"
                                              : ", which it equals")});
        replace(*weight, *table, transposed);
      }
    }
  }

  // Equal contents are found by hashes, which a transpose leaves as they are; who is one is asked of modules.
  void tie_calls(bool by_itself) {
    llvm::MapVector<uint64_t, std::vector<Value*>> groups;
    for (Value* v : graph_.data()) {
      if (!is_float(v->type.dtype) || v->is_literal || v->uses.empty() || v->data->is_missing() ||
          v->data->elements() < 2 || apart_.contains(v))
        continue;
      if (is_constant_valued(*v->data) && !asked_.contains(v)) continue;
      groups[content_hash(*v->data, /*any_order=*/true)].push_back(v);
    }
    for (auto& [hash, values] : groups) {
      std::vector<Value*> kept;
      // The model's own name is the one to keep.
      llvm::stable_sort(values, [](const Value* a, const Value* b) { return a->is_anonymous < b->is_anonymous; });
      for (Value* v : values) {
        bool tied = false, equal = false;
        for (Value* owner : kept) {
          bool transposed = false;
          if (!same_use(*owner, *v) || !equal_up_to_transpose(*owner, *v, transposed)) continue;
          equal = true;
          const bool asked = asked_.contains(owner) && asked_.contains(v);
          if (!asked && !(by_itself && of_one_module(*owner, *v))) continue;
          if (!options_.may_rewrite()) continue;
          auto& example = asked ? asked_example_ : example_;
          if (!(asked ? asked_tied_ : tied_)++) example = std::pair(called(*v), called(*owner));
          replace(*v, *owner, transposed);
          tied = true;
          break;
        }
        if (tied) continue;
        if (equal && is_contract_weight(v->uses[0]) && by_itself && !equal_++)
          equal_example_ = std::pair(called(*v), called(*kept.front()));
        kept.push_back(v);
      }
    }
  }
  static bool same_use(const Value& a, const Value& b) {
    const Node &x = *a.uses[0].node, &y = *b.uses[0].node;
    auto all_as = [&](const Value& v) {
      return llvm::all_of(v.uses, [&](const Use& use) { return use.node->op == x.op; });
    };
    return x.op == y.op && all_as(a) && all_as(b);
  }
  static bool equal_up_to_transpose(const Value& a, const Value& b, bool& transposed) {
    transposed = false;
    if (equal_contents(*a.data, *b.data, /*transposed=*/false)) return true;
    return transposed =
               llvm::all_of(b.uses, is_contract_weight) && equal_contents(*a.data, *b.data, /*transposed=*/true);
  }
  bool of_one_module(const Value& owner, const Value& v) {
    if (!modules_) modules_.emplace(graph_);
    // Two parameters of one module can't be told by it: their names can.
    if (!owner.is_anonymous && !v.is_anonymous && llvm::StringRef(owner.name).contains('.') &&
        llvm::StringRef(v.name).contains('.'))
      return false;
    return llvm::all_of(v.uses, [&](const Use& use) {
      return llvm::any_of(owner.uses, [&](const Use& other) {
        return other.operand == use.operand && modules_->same(*other.node, *use.node) == Modules::Same::yes;
      });
    });
  }
  void replace(Value& weight, Value& by, bool transposed) {
    llvm::SmallVector<Use, 2> uses(weight.uses.begin(), weight.uses.end());
    for (const Use& use : uses) {
      if (transposed) {
        auto& own = use.node->loops().operands[use.operand];
        std::swap(own[0], own[1]);
      }
      graph_.set_operand(*use.node, use.operand, by);
    }
    for (const std::string& alias : weight.aliases) {
      by.aliases.push_back(alias);
      if (transposed != llvm::is_contained(weight.transposed_aliases, alias)) by.transposed_aliases.push_back(alias);
    }
    by.aliases.push_back(weight.name);
    by.model_aliases.append(weight.model_aliases);
    if (!weight.model_name.empty() && weight.model_name != by.name && weight.model_name != by.model_name)
      by.model_aliases.push_back(weight.model_name);
    if (transposed) by.transposed_aliases.push_back(weight.name);
  }

  Graph& graph_;
  const PassOptions& options_;
  Patterns tie_, untie_;
  llvm::DenseSet<const Value*> asked_, apart_;
  std::optional<Modules> modules_;
  size_t tied_ = 0, asked_tied_ = 0, equal_ = 0;
  std::pair<std::string, std::string> example_, asked_example_, equal_example_;
};
}  // namespace

llvm::Error tie_weights(Graph& graph, const PassOptions& options) {
  std::vector<Value*> weights = graph.data();
  llvm::erase_if(weights, [](const Value* v) { return !may_tie(*v); });
  auto tie = Patterns::parse(options.tie, "--tie", weights);
  if (!tie) return tie.takeError();
  auto untie = Patterns::parse(options.untie, "--untie", weights);
  if (!untie) return untie.takeError();
  return Tying(graph, options, std::move(*tie), std::move(*untie)).run(options.tie_weights);
}
}  // namespace optp
