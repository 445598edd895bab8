// A parameter is a learned tensor: a floating initializer that meets an activation, itself or through what is computed
// from it alone. Not by which operator: weights of products, tables, scales and biases of norms, but also positions
// that are sliced and added, biases that pass an Expand, a table that a norm reads first.
//   %p = slice(%pos: f32[1, 64, 768])   %x = add(%embedded, %p)
//       %pos is a parameter
//   %a = mul(%inv_freq: f32[32], %positions)   %c = cos(%a)   %y = mul(%q, %c)
//       %inv_freq is not: %positions is counted
// Exports keep as initializers also what was computed: Constant nodes' tensors, tables of sines, masks, the ones and
// zeros of a norm that has neither scale nor bias. Those are constants. So is what no gradient can come to: a bias of
// scores that only choose experts. Where the graph can't tell, a remark says what was taken.
#include "frontend/ir/diagnostic.h"
#include "frontend/ir/file_pages.h"
#include "frontend/ir/op.h"
#include "llvm/ADT/SetVector.h"
#include "passes/formulas.h"
#include "passes/input_dependence.h"
#include "passes/origins.h"
#include "passes/passes.h"
#include "passes/patterns.h"
#include "passes/weights.h"

namespace optp {
namespace {
class Search {
 public:
  Search(Graph& graph, Patterns named) : graph_(graph), depends_(graph), named_(std::move(named)) {}

  llvm::Error run() {
    for (Value* v : graph_.data()) {
      v->is_parameter = is_float(v->type.dtype) && named_.matches(*v);
      if (v->is_parameter) asked_.insert(v);
    }
    find_differentiable();
    for (const auto& node : graph_.nodes) look_at(*node);
    say("holds sines of positions or a progression: a constant", formulas_, "--trainable NAME");
    say("is one number with a name of the model's: trained", numbers_, "--freeze PATTERN");
    say("is one number as configurations give: a constant", configured_, "--trainable NAME");
    say("is all ones or zeros, which a normalization without scale or bias is given: a constant", norms_,
        "--trainable NAME");
    return llvm::Error::success();
  }

 private:
  // What an output is computed from by way of floating numbers alone, and not through an index or a condition.
  void find_differentiable() {
    for (const GraphOutput& out : graph_.outputs) differentiable_.insert(out.value);
    for (const auto& node : llvm::reverse(graph_.nodes))
      if (llvm::any_of(node->results,
                       [&](const auto& r) { return is_float(r->type.dtype) && differentiable_.contains(r.get()); }))
        for (const Value* v : node->operands) differentiable_.insert(v);
  }
  // In the order of the graph: which values are activations, which only count positions, and what meets an activation.
  void look_at(const Node& node) {
    bool activation = false, positional = false;
    for (const Value* v : node.operands) {
      activation |= is_activation(*v);
      positional |= positional_.contains(v);
    }
    if (!is_float(node.out().type.dtype)) return;
    if (node.op->is(Trait::counts) || (node.op->is(Trait::converts) && is_integer(node.operand(0).type.dtype)))
      positional = true;
    if (is_from_rotary_embedding(node)) {
      positional |= node.op->is(Trait::looks_up);
    } else if (node.op->is(Trait::looks_up)) {
      // Rows of a table that is not learned are positions in another form.
      if (depends_(node.operand(1)) && !depends_(node.operand(0)) && !meet({const_cast<Node*>(&node), 0}))
        positional = true;
      activation = !positional;
    } else if (node.op->is(Trait::product)) {
      for (unsigned k : {0u, 1u}) {
        const Value &w = node.operand(k), &x = node.operand(1 - k);
        if (depends_(w) || !depends_(x)) continue;
        // Numbers that are counted may be multiplied by a matrix, but frequencies are a vector.
        if (is_activation(x) || (w.is_data() && wide(w) >= 2)) activation |= meet({const_cast<Node*>(&node), k});
      }
    } else if (activation && node.op->gradient) {
      for (unsigned k = 0; k < node.operands.size(); ++k)
        if (is_float(node.operand(k).type.dtype) && (!depends_(node.operand(k)) || chosen_.contains(&node.operand(k))))
          meet({const_cast<Node*>(&node), k});
    } else if (!positional && node.op->gradient && is_chosen(node)) {
      chosen_.insert(&node.out());
    }
    if (positional && !activation)
      for (const auto& r : node.results) positional_.insert(r.get());
  }
  // Made of numbers that no activation went into, though a condition on the inputs chooses between them: a position
  // bias where the mask lets it through.
  bool is_chosen(const Node& node) const {
    return llvm::all_of(node.operands, [&](const Value* v) {
      return !is_float(v->type.dtype) || !depends_(*v) || chosen_.contains(v);
    });
  }
  bool is_activation(const Value& v) const {
    return is_float(v.type.dtype) && depends_(v) && !positional_.contains(&v);
  }
  static size_t wide(const Value& v) {
    return size_t(llvm::count_if(v.type.dims, [](Dim d) { return !d.is(1); }));
  }

  // `use` is where an activation is met: are any of the tensors that it is computed from learned?
  bool meet(const Use& use) {
    llvm::SmallVector<Use, 8> open{use};
    llvm::DenseSet<const Value*> seen;
    bool any = false;
    while (!open.empty()) {
      const Use at = open.pop_back_val();
      Value& v = at.node->operand(at.operand);
      if (!is_float(v.type.dtype) || positional_.contains(&v) || !seen.insert(&v).second) continue;
      if (v.is_data()) {
        any |= decide(v, at);
        continue;
      }
      if (!v.producer || !v.producer->op->gradient || v.producer->op->is(Trait::waves)) continue;
      for (unsigned k = 0; k < v.producer->operands.size(); ++k) open.push_back({v.producer, k});
    }
    return any;
  }
  bool decide(Value& v, const Use& use) {
    if (v.is_parameter) return true;
    if (v.is_literal || !differentiable_.contains(&v)) return false;
    if (is_table(use) && v.ndim() < 2) return false;
    const bool is_normalized = use.operand == 0 && !use.node->op->is(Trait::reshapes);  // else its scale or bias
    if (!is_normalized && is_from_normalization(*use.node) && v.is_anonymous && is_constant_valued(*v.data))
      return rejected(v, norms_);
    if (auto it = learned_.find(&v); it != learned_.end()) return v.is_parameter = it->second;
    bool& learned = learned_[&v];
    learned = true;
    if (v.data->elements() == 1) {
      learned = !is_configured_number(*v.data);
      (learned ? numbers_ : configured_).insert(&v);
    } else if (follows_recurrence(*v.data)) {
      learned = false;
      // Of a name that the exporter made up nobody would expect a parameter.
      if (!v.is_anonymous) formulas_.insert(&v);
    } else if (!is_contract_weight(use) && is_mask(*v.data)) {
      learned = false;
    }
    let_go(*v.data);  // or all weights would be in memory at once
    return v.is_parameter = learned;
  }
  using Found = llvm::SetVector<const Value*>;
  static bool rejected(const Value& v, Found& list) {
    list.insert(&v);
    return false;
  }
  void say(llvm::StringRef what, const Found& found, llvm::StringRef flag) {
    constexpr size_t most = 3;
    size_t count = 0;
    std::string names;
    for (const Value* v : found) {
      if (asked_.contains(v) || (&found == &norms_ && v->is_parameter)) continue;
      if (count++ < most) names += (names.empty() ? "" : ", ") + called(*v);
    }
    if (count > most) names += " and " + std::to_string(count - most) + " more";
    if (count)
      graph_.remarks.push_back({"find-parameters", names + (count == 1 ? " " : ": each ") + what.str() + " (" +
                                                       flag.str() + " decides otherwise)"});
  }

  Graph& graph_;
  InputDependence depends_;
  Patterns named_;
  llvm::DenseSet<const Value*> positional_, chosen_, asked_, differentiable_;
  llvm::DenseMap<const Value*, bool> learned_;
  Found formulas_, numbers_, configured_, norms_;
};
}  // namespace

llvm::Error find_parameters(Graph& graph, const PassOptions& options) {
  // A pattern or a module says which parameters are trained; a parameter's name, that this is one.
  std::vector<std::string> names;
  for (const std::string& text : options.trainable)
    if (text.find_first_of("*?[{") == std::string::npos) names.push_back(text);
  std::vector<Value*> floating = graph.data();
  llvm::erase_if(floating, [](const Value* v) { return !is_float(v->type.dtype); });
  auto named = Patterns::parse(names, "--trainable", floating, Fit::part);
  if (!named) return named.takeError();
  if (auto e = Search(graph, std::move(*named)).run()) return e;
  std::vector<Value*> found = graph.data();
  llvm::erase_if(found, [](const Value* v) { return !v->is_parameter; });
  auto asked = Patterns::parse(options.trainable, "--trainable", found);
  if (!asked) return asked.takeError();
  return asked->unmatched("parameter");
}
}  // namespace optp
