// What holds for every graph between two passes. If it does not, the pass before is wrong, and not the model.
#include "frontend/ir/diagnostic.h"
#include "frontend/ir/op.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/StringSet.h"

namespace optp {
namespace {
class Verifier {
 public:
  explicit Verifier(const Graph& graph) : graph_(graph) {}

  llvm::Error run() {
    for (const Value* v : graph_.inputs)
      if (auto e = define(*v, /*producer=*/nullptr)) return e;
    for (const Value* v : graph_.data())
      if (auto e = define(*v, /*producer=*/nullptr)) return e;
    for (const auto& node : graph_.nodes) {
      if (auto e = check_operands(*node)) return e;
      if (auto e = check_attributes(*node)) return e;
      for (const auto& r : node->results)
        if (auto e = define(*r, node.get())) return e;
      if (auto e = check_types(*node)) return e;
    }
    for (const auto& node : graph_.nodes)
      for (const auto& r : node->results)
        if (auto e = check_uses(*r)) return e;
    if (auto e = check_names_of_dims()) return e;
    llvm::StringSet<> outputs;
    for (const GraphOutput& o : graph_.outputs) {
      if (!defined_.contains(o.value)) return broken("output " + quoted(o.name) + " is not defined");
      if (!outputs.insert(o.name).second) return broken("two outputs are named " + quoted(o.name));
    }
    return llvm::Error::success();
  }

 private:
  llvm::Error broken(const llvm::Twine& what) const { return error(Code::bug, what); }
  Diagnostic broken(const Node& node) const { return error(Code::bug).at(node); }

  llvm::Error define(const Value& v, const Node* producer) {
    if (graph_.find(v.name) != &v) return broken("two values are named " + quoted(v.name) + ", or it has another name");
    defined_.insert(&v);
    if (v.producer != producer) return broken(quoted(v.name) + " names another producer");
    if (v.type.dtype == DType::undefined) return broken(quoted(v.name) + " has no type");
    return v.sharding ? check_sharding(v, *v.sharding) : llvm::Error::success();
  }
  llvm::Error check_operands(const Node& node) const {
    const int wanted = node.op->operands;
    if (wanted == any_number ? node.operands.empty() : int(node.operands.size()) != wanted)
      return broken(node)
          .expected((wanted == any_number ? "1 or more" : std::to_string(wanted)) + " operands")
          .found(node.operands.size());
    for (unsigned k = 0; k < node.operands.size(); ++k) {
      const Value* v = node.operands[k];
      if (!defined_.contains(v))
        return broken(node).says("uses " + quoted(v->name) + " before it is defined").about({.tensor = v->name});
      if (!llvm::is_contained(v->uses, Use{const_cast<Node*>(&node), k}))
        return broken(quoted(v->name) + " does not know its use by " + describe(node));
    }
    return llvm::Error::success();
  }
  // What the op lists as extents is one, and nothing else: the textual form tells them apart by that. Loops likewise.
  llvm::Error check_attributes(const Node& node) const {
    for (const auto& [key, value] : node.attributes) {
      if (std::holds_alternative<ContractLoops>(value) != node.op->holds_loops(key))
        return broken(describe(node) + ": attribute " + quoted(key) + ": op '" + node.op->name +
                      "' has loops elsewhere or in another form");
      if (const bool is_extent = std::holds_alternative<Dim>(value) || std::holds_alternative<Dims>(value);
          is_extent != llvm::is_contained(node.op->extents, key))
        return broken(describe(node) + ": attribute " + quoted(key) + (is_extent ? " is an extent" : " is no extent") +
                      ", op '" + node.op->name + "' says otherwise");
    }
    if (node.op->collective && node.find<std::string>("reduce") && !reduce_from(node.text("reduce")))
      return broken(describe(node) + ": attribute 'reduce': expected sum, max or min, found " +
                    quoted(node.text("reduce")));
    return llvm::Error::success();
  }
  llvm::Error check_uses(const Value& v) const {
    for (const Use& use : v.uses)
      if (use.operand >= use.node->operands.size() || use.node->operands[use.operand] != &v)
        return broken(quoted(v.name) + " names a use that is none");
    return llvm::Error::success();
  }
  // Results have the types that the op infers, which reads the attributes it needs.
  llvm::Error check_types(const Node& node) const {
    if (!node.op->infer) return llvm::Error::success();
    auto types = node.op->infer(node);
    if (!types) return take_diagnostic(types.takeError()).recode(Code::bug);
    if (types->size() != node.results.size())
      return broken(node).expected(llvm::Twine(types->size()) + " results").found(node.results.size());
    for (size_t k = 0; k < types->size(); ++k)
      if ((*types)[k] != node.results[k]->type)
        return broken(node)
            .tensor("result", node.results[k]->name)
            .expected(to_string((*types)[k]))
            .found(to_string(node.results[k]->type));
    return llvm::Error::success();
  }
  // A name is one extent.
  llvm::Error check_names_of_dims() const {
    llvm::StringSet<> names;
    for (Dim symbol : named_dims_of(graph_))
      if (!names.insert(*name_of(symbol)).second)
        return broken("two extents are named " + quoted(symbol.text()) + ": one may be 0");
    return llvm::Error::success();
  }
  // Axes are the mesh's, each used once, in a dim of several products once in each; these make up the dim's extent.
  // What covers over an axis may be partial over it as well: each rank has its addends of what it holds.
  llvm::Error check_sharding(const Value& v, const Sharding& s) const {
    auto wrong = [&](const llvm::Twine& what) { return broken(quoted(v.name) + ": sharding " + to_string(s) + what); };
    const llvm::ArrayRef<Dim> dims = v.logical_dims.empty() ? v.type.dims : v.logical_dims;
    if (s.dims.size() != dims.size())
      return wrong(": expected " + llvm::Twine(dims.size()) + " dims, found " + llvm::Twine(s.dims.size()));
    if (s.is_partial() != (s.reduce != Reduce::none)) return wrong(": partial sums have axes and a kind, or neither");
    llvm::SmallVector<llvm::StringRef, 4> partial, used;
    auto use = [&](llvm::ArrayRef<AxisUse> axes) -> llvm::Error {
      for (const AxisUse& how : axes) {
        if (!graph_.mesh.find(how.axis))
          return wrong(": mesh " + to_string(graph_.mesh) + " has no axis " + quoted(how.axis));
        if (how.is_cover() && axes.size() > 1)
          return wrong(": " + quoted(to_string(how)) + " stands beside another axis");
        if (llvm::is_contained(used, how.axis) || (!how.is_cover() && llvm::is_contained(partial, how.axis)))
          return wrong(": axis " + quoted(how.axis) + " is used twice");
        used.push_back(how.axis);
      }
      return llvm::Error::success();
    };
    if (auto e = use(AxisUses(s.partial.begin(), s.partial.end()))) return e;
    partial = std::exchange(used, {});
    for (size_t d = 0; d < dims.size(); ++d) {
      Dim extent = 0;
      const auto before = used;
      auto after = used;
      for (const ProductSharding& part : s.dims[d].parts) {
        if (part.factors.empty() && !s.dims[d].is_product())
          return wrong(": dim " + llvm::Twine(d) + ": a product without factors");
        used = before;
        for (const FactorSharding& f : part.factors)
          if (auto e = use(f.axes)) return e;
        after.append(used.begin() + long(before.size()), used.end());
        extent = extent + part.extent();
      }
      used = std::move(after);
      const bool said = !s.dims[d].is_product() || !s.dims[d].factors().empty();
      if (said && extent != dims[d])
        return wrong(": dim " + llvm::Twine(d) + ": factors of " + extent.text() + " elements, expected " +
                     dims[d].text());
    }
    return llvm::Error::success();
  }

  const Graph& graph_;
  llvm::DenseSet<const Value*> defined_;
};
}  // namespace

llvm::Error find_fault(const Graph& graph) { return Verifier(graph).run(); }
llvm::Error verify(const Graph& graph) {
  auto e = find_fault(graph);
  return e ? within(words(graph.name), std::move(e)) : llvm::Error::success();
}
}  // namespace optp
