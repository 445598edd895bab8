// Exporters fold a layer's weight, transposed, into an initializer of their own name; what unshare-parameters takes
// apart is named after a node. The graph still says what the model's source calls them: by the module that the node was
// exported from, spelled as the names of the parameters beside it are.
//   %q = contract(%x, %onnx::MatMul_363)         node /decoder/layers.0/self_attn/q_proj/MatMul
//   %y = add(%q, %model.decoder.layers.0.self_attn.q_proj.bias)
// so onnx::MatMul_363 is called model.decoder.layers.0.self_attn.q_proj.weight. Names in files stay as they are.
#include "frontend/ir/op.h"
#include "llvm/ADT/StringMap.h"
#include "passes/passes.h"
#include "passes/weights.h"

namespace optp {
namespace {
llvm::StringRef module_of(llvm::StringRef parameter) { return parameter.rsplit('.').first; }
llvm::StringRef last_of(llvm::StringRef path) {
  return path.rsplit('.').second.empty() ? path : path.rsplit('.').second;
}
llvm::StringRef without_last(llvm::StringRef path) {
  const size_t dot = path.rfind('.');
  return dot == llvm::StringRef::npos ? llvm::StringRef() : path.take_front(dot);
}

// The vector that is added to a product right after it, and to no other.
const Value* bias_beside(const Node& product) {
  const Value* bias = bias_after(product);
  if (!bias || bias->uses.size() != 1 || bias->is_anonymous) return nullptr;
  const llvm::StringRef name = bias->name;
  return name.ends_with("bias") && name.contains('.') ? bias : nullptr;
}
// A name that the compiler made after the node that uses it, or after its result.
bool is_named_after(const Value& v, const Use& use) {
  const llvm::StringRef place = module_of(v.name);
  return place.size() < v.name.size() && (place == use.node->name || place == use.node->out().name);
}

class Recovery {
 public:
  explicit Recovery(Graph& graph) : graph_(graph) {}

  void run() {
    for (const auto& node : graph_.nodes) learn(*node);
    for (const auto& node : graph_.nodes)
      if (node->module.known) node->module.name = spelled(node->module.dotted());
    for (Value* v : graph_.data())
      if (is_nameless(*v))
        if (std::string name = name_of(*v); !name.empty() && name != v->name) claims_[name].push_back(v);
    for (const auto& [name, values] : claims_)
      if (is_one(name, values))
        for (Value* v : values) v->model_name = name;
    for (const auto& node : graph_.nodes) share(*node);
  }

 private:
  // The module of a parameter that has its name, by the path of its node: both end alike.
  void learn(const Node& node) {
    if (!node.module.known) return;
    const std::string path = node.module.dotted();
    for (const Value* v : node.operands) {
      if (!v->is_data() || v->is_anonymous || !llvm::StringRef(v->name).contains('.')) continue;
      llvm::StringRef from = path, to = module_of(v->name);
      while (!from.empty() && !to.empty() && last_of(from) == last_of(to)) {
        spelling_.try_emplace(from, to.str());
        from = without_last(from), to = without_last(to);
      }
    }
  }
  // A table that one module looks up in and another multiplies by is called after both.
  void share(const Node& node) {
    const bool looks_up = node.op->is(Trait::looks_up);
    if (!(looks_up || node.op->is(Trait::product)) || !node.module.known || node.module.name.empty()) return;
    for (Value* v : llvm::ArrayRef(node.operands).take_front(looks_up ? 1 : node.operands.size())) {
      while (v->producer && v->producer->op->is(Trait::permutes | Trait::converts)) v = v->producer->operands[0];
      const std::string name = node.module.name + ".weight";
      if (!v->is_data() || !is_float(v->type.dtype) || v->ndim() != 2 || v->is_anonymous || v->name == name) continue;
      if (!llvm::StringRef(v->name).ends_with(".weight") || !is_used_otherwise(*v, looks_up)) continue;
      if (!graph_.find(name) && !claims_.count(name) && !llvm::is_contained(v->model_aliases, name))
        v->model_aliases.push_back(name);
    }
  }
  static bool is_used_otherwise(const Value& v, bool looks_up) {
    return llvm::any_of(v.uses, [&](const Use& use) {
      if (use.node->op->is(Trait::permutes | Trait::converts)) return is_used_otherwise(use.node->out(), looks_up);
      return looks_up ? use.node->op->is(Trait::product) : use.node->op->is(Trait::looks_up) && use.operand == 0;
    });
  }
  std::string spelled(llvm::StringRef path) const {
    for (llvm::StringRef front = path; !front.empty(); front = without_last(front))
      if (auto it = spelling_.find(front); it != spelling_.end())
        return it->second + path.drop_front(front.size()).str();
    return path.str();
  }

  static bool is_nameless(const Value& v) {
    return is_float(v.type.dtype) && !v.is_literal && v.data->elements() > 1 && v.model_name.empty() &&
           (v.is_anonymous || llvm::any_of(v.uses, [&](const Use& use) { return is_named_after(v, use); }));
  }
  static std::string name_of(const Value& v) {
    for (const Use& use : v.uses) {
      const char* usual = usual_name(use);
      if (!usual) continue;
      const ModulePath& module = use.node->module;
      const bool exact = module.known && !module.counts_calls;
      const Value* bias = !exact && use.node->op->is(Trait::product) ? bias_beside(*use.node) : nullptr;
      // Of a path that says otherwise the bias is another layer's by chance. in_proj_bias goes with in_proj_weight.
      if (bias && !is_named_after(*bias, bias->uses[0]) &&
          (module.name.empty() || last_of(module_of(bias->name)) == last_of(module.name)))
        return llvm::StringRef(bias->name).drop_back(4).str() + "weight";
      if (!module.name.empty()) return module.name + "." + usual;
    }
    return "";
  }
  // Several may have one name where they are copies of one parameter; of others of a module the usual name is a guess.
  bool is_one(llvm::StringRef name, llvm::ArrayRef<Value*> values) const {
    const Value* named = graph_.find(name);
    if (named && !named->is_data()) return false;
    const Value& first = named ? *named : *values[0];
    return llvm::all_of(values, [&](const Value* v) {
      return v == &first || equal_contents(*first.data, *v->data, /*transposed=*/false) ||
             (first.ndim() == 2 && equal_contents(*first.data, *v->data, /*transposed=*/true));
    });
  }

  Graph& graph_;
  llvm::StringMap<std::string> spelling_;  // of the modules of parameters, by their nodes' paths
  std::map<std::string, std::vector<Value*>> claims_;
};
}  // namespace

llvm::Error recover_names(Graph& graph, const PassOptions&) {
  Recovery(graph).run();
  return llvm::Error::success();
}
}  // namespace optp
