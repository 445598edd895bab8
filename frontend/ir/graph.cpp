#include "frontend/ir/graph.h"

#include <algorithm>
#include <cassert>

#include "frontend/ir/diagnostic.h"
#include "frontend/ir/op.h"
#include "frontend/ir/reachable.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/StringSet.h"

namespace optp {
std::string ModulePath::dotted() const {
  std::string out = llvm::StringRef(path).ltrim('/').str();
  std::replace(out.begin(), out.end(), '/', '.');
  return out;
}

std::string to_string(const Type& type) { return to_string(type.dtype).str() + to_string(type.dims); }

Shard Value::data_shard() const { return shard ? *shard : Shard::whole_of(data->dims); }

int64_t Node::integer(llvm::StringRef key, int64_t otherwise) const {
  const auto* v = find<int64_t>(key);
  return v ? *v : otherwise;
}
double Node::number(llvm::StringRef key, double otherwise) const {
  const auto* v = find<double>(key);
  return v ? *v : otherwise;
}
llvm::StringRef Node::text(llvm::StringRef key) const {
  const auto* v = find<std::string>(key);
  return v ? llvm::StringRef(*v) : llvm::StringRef();
}
llvm::ArrayRef<int64_t> Node::integers(llvm::StringRef key) const {
  const auto* v = find<llvm::SmallVector<int64_t, 4>>(key);
  return v ? llvm::ArrayRef<int64_t>(*v) : llvm::ArrayRef<int64_t>();
}
llvm::ArrayRef<Dim> Node::dims(llvm::StringRef key) const {
  const auto* v = find<Dims>(key);
  return v ? llvm::ArrayRef<Dim>(*v) : llvm::ArrayRef<Dim>();
}
const ContractLoops& Node::loops() const {
  const auto* v = find<ContractLoops>("loops");
  assert(v && "a contract has loops: inference asks for them");
  return *v;
}
Dim Node::dim(llvm::StringRef key, Dim otherwise) const {
  const auto* v = find<Dim>(key);
  return v ? *v : otherwise;
}

Value& Graph::add_input(llvm::StringRef wanted, Type type) {
  auto value = std::make_unique<Value>();
  value->name = unique_name(wanted);
  value->type = std::move(type);
  inputs.push_back(value.get());
  return own(std::move(value));
}
Value& Graph::add_data(llvm::StringRef wanted, std::shared_ptr<const Tensor> tensor) {
  auto value = std::make_unique<Value>();
  value->name = unique_name(wanted);
  value->type.dtype = tensor->dtype;
  for (int64_t d : tensor->dims) value->type.dims.push_back(d);
  value->data = std::move(tensor);
  return own(std::move(value));
}
Value& Graph::own(std::unique_ptr<Value> value) {
  by_name_[value->name] = value.get();
  return *owned_.emplace_back(std::move(value));
}
Node& Graph::add_node(const OpDef& op, llvm::ArrayRef<Value*> operands, llvm::ArrayRef<Type> types,
                      llvm::ArrayRef<std::string> result_names, Node* place) {
  auto owned = std::make_unique<Node>();
  Node& node = *owned;
  node.op = &op;
  node.operands.assign(operands.begin(), operands.end());
  for (size_t k = 0; k < types.size(); ++k) {
    auto value = std::make_unique<Value>();
    value->name = unique_name(k < result_names.size() && !result_names[k].empty() ? result_names[k] : op.name);
    value->type = types[k];
    value->producer = &node;
    value->result = unsigned(k);
    by_name_[value->name] = value.get();
    node.results.push_back(std::move(value));
  }
  for (unsigned k = 0; k < operands.size(); ++k) operands[k]->uses.push_back({&node, k});
  node.place = nodes.insert(place ? place->place : nodes.end(), std::move(owned));
  return node;
}
Value* Graph::find(llvm::StringRef wanted) const { return by_name_.lookup(wanted); }
std::string Graph::unique_name(llvm::StringRef wanted) const {
  if (!by_name_.contains(wanted)) return wanted.str();
  unsigned& n = next_suffix_[wanted];
  while (true) {
    std::string name = wanted.str() + "." + std::to_string(++n);
    if (!by_name_.contains(name)) return name;
  }
}
void Graph::rename(Value& value, llvm::StringRef wanted) {
  by_name_.erase(value.name);
  value.name = unique_name(wanted);
  by_name_[value.name] = &value;
}

void Graph::set_operand(Node& node, unsigned k, Value& value) {
  auto& uses = node.operands[k]->uses;
  uses.erase(llvm::find(uses, Use{&node, k}));
  node.operands[k] = &value;
  value.uses.push_back({&node, k});
}
void Graph::replace_all_uses(Value& from, Value& to) {
  if (&from == &to) return;
  for (const Use& use : from.uses) {
    use.node->operands[use.operand] = &to;
    to.uses.push_back(use);
  }
  from.uses.clear();
  for (GraphOutput& output : outputs)
    if (output.value == &from) output.value = &to;
}
void Graph::erase(Node& node) {
  for (unsigned k = 0; k < node.operands.size(); ++k) {
    auto& uses = node.operands[k]->uses;
    uses.erase(llvm::find(uses, Use{&node, k}));
  }
  for (const auto& result : node.results) {
    assert(result->uses.empty() && "an erased node's results have no uses");
    by_name_.erase(result->name);
  }
  nodes.erase(node.place);
}
bool Graph::is_output(const Value& value) const {
  return llvm::any_of(outputs, [&](const GraphOutput& o) { return o.value == &value; });
}
namespace {
// A rank's graph: materialise, or the reader of a rank's file, has said who meets.
bool is_meeting(const Node& node) { return node.op->collective && node.attributes.contains("group"); }

// What outputs and the nodes that `is_kept` names are made from.
llvm::DenseSet<const Node*> live_nodes(const Graph& graph, llvm::function_ref<bool(const Node&)> is_kept) {
  llvm::SmallVector<const Node*> roots;
  for (const GraphOutput& output : graph.outputs)
    if (output.value->producer) roots.push_back(output.value->producer);
  for (const auto& node : graph.nodes)
    if (is_kept(*node)) roots.push_back(node.get());
  return needed_by(graph, roots);
}
}  // namespace

void Graph::erase_all_but(const llvm::DenseSet<const Node*>& live) {
  for (auto it = nodes.end(); it != nodes.begin();) {
    Node& node = **--it;
    if (live.contains(&node)) continue;
    auto next = std::next(it);
    erase(node);
    it = next;
  }
  llvm::DenseSet<const Value*> needed;
  for (const GraphOutput& output : outputs) needed.insert(output.value);
  std::erase_if(owned_, [&](const std::unique_ptr<Value>& v) {
    if (!v->is_data() || !v->uses.empty() || needed.contains(v.get())) return false;
    by_name_.erase(v->name);
    return true;
  });
}
void Graph::erase_dead() { erase_all_but(live_nodes(*this, is_meeting)); }
std::string key_among_ranks(const Node& node) {
  return is_meeting(node) ? "id " + node.text("id").str() : "value " + node.out().name;
}
void erase_dead(llvm::ArrayRef<Graph*> ranks) {
  llvm::StringSet<> needed;  // by some rank
  std::vector<llvm::DenseSet<const Node*>> live(ranks.size());
  for (bool grown = true; grown;) {
    grown = false;
    for (size_t r = 0; r < ranks.size(); ++r) {
      live[r] = live_nodes(*ranks[r], [&](const Node& node) { return needed.contains(key_among_ranks(node)); });
      for (const Node* node : live[r]) grown |= needed.insert(key_among_ranks(*node)).second;
    }
  }
  for (size_t r = 0; r < ranks.size(); ++r) ranks[r]->erase_all_but(live[r]);
}
void Graph::make_input(Value& data) {
  data.data.reset();
  data.shard.reset();
  inputs.push_back(&data);
}
std::vector<Value*> Graph::data() const {
  std::vector<Value*> out;
  for (const auto& v : owned_)
    if (v->is_data()) out.push_back(v.get());
  return out;
}

std::vector<Value*> Graph::values() const {
  std::vector<Value*> out = inputs;
  llvm::append_range(out, data());
  for (const auto& node : nodes)
    for (const auto& r : node->results) out.push_back(r.get());
  return out;
}

std::unique_ptr<Graph> Graph::clone() const {
  auto copy = std::make_unique<Graph>();
  static_cast<GraphFacts&>(*copy) = *this;
  llvm::DenseMap<const Value*, Value*> copies;
  auto copy_of = [&](const Value& from) {
    auto to = std::make_unique<Value>();
    static_cast<ValueFacts&>(*to) = from;
    copies[&from] = copy->by_name_[to->name] = to.get();
    return to;
  };
  for (const auto& v : owned_) copy->owned_.push_back(copy_of(*v));
  for (const auto& from : nodes) {
    Node& node = *copy->nodes.emplace_back(std::make_unique<Node>());
    static_cast<NodeFacts&>(node) = *from;
    node.place = std::prev(copy->nodes.end());
    for (const Value* v : from->operands) {
      Value& operand = *copies.lookup(v);
      operand.uses.push_back({&node, unsigned(node.operands.size())});
      node.operands.push_back(&operand);
    }
    for (const auto& r : from->results) {
      Value& result = *node.results.emplace_back(copy_of(*r));
      result.producer = &node;
      result.result = r->result;
    }
  }
  for (const Value* v : inputs) copy->inputs.push_back(copies.lookup(v));
  for (const GraphOutput& o : outputs) copy->outputs.push_back({o.name, copies.lookup(o.value)});
  return copy;
}

std::string UpdateKind::text() const {
  switch (of) {
    case parameter:
      return "parameter";
    case step:
      return "step";
    case accumulated:
      return "accumulated";
    case state:
      break;
  }
  return state_name;
}
UpdateKind UpdateKind::parse(llvm::StringRef text) {
  for (Of of : {parameter, step, accumulated})
    if (UpdateKind kind{of, ""}; text == kind.text()) return kind;
  return {state, text.str()};
}
llvm::StringRef to_string(RemarkKind kind) {
  switch (kind) {
    case RemarkKind::note:
      break;
    case RemarkKind::constraint:
      return "constraint";
    case RemarkKind::left_whole:
      return "left-whole";
  }
  return "note";
}
llvm::StringRef to_string(CauseKind kind) {
  switch (kind) {
    case CauseKind::seed:
      return "seed";
    case CauseKind::constraint:
      return "constraint";
    case CauseKind::propagated:
      return "propagated";
    case CauseKind::unsplit:
      break;
  }
  return "default";
}
llvm::StringRef to_string(Phase phase) {
  switch (phase) {
    case Phase::forward:
      return "forward";
    case Phase::loss:
      return "loss";
    case Phase::backward:
      return "backward";
    case Phase::optimizer:
      return "optimizer";
  }
  return "";
}
std::optional<Phase> phase_from(llvm::StringRef text) {
  for (Phase p : {Phase::forward, Phase::loss, Phase::backward, Phase::optimizer})
    if (to_string(p) == text) return p;
  return std::nullopt;
}
Place place_of(const Node& node) {
  const bool named = !node.name.empty();
  return {.kind = Place::Kind::node,
          .name = named                  ? node.name
                  : node.results.empty() ? ""
                                         : node.out().name,
          .noun = named ? "node" : "node of",
          .detail = node.origin.empty() ? node.op->name : node.origin};
}
llvm::SmallVector<Dim, 8> named_dims_of(const Graph& graph) {
  llvm::SetVector<Dim> out;
  llvm::DenseSet<Dim> seen;  // a graph has few extents, each many times
  auto look = [&](Dim d) {
    if (seen.insert(d).second)
      for (Dim symbol : named_dims_of(d)) out.insert(symbol);
  };
  auto look_at = [&](const Value& v) {
    llvm::for_each(v.type.dims, look);
    llvm::for_each(v.logical_dims, look);
    if (v.sharding)
      for (const DimSharding& dim : v.sharding->dims)
        for (const ProductSharding& part : dim.parts)
          for (const FactorSharding& factor : part.factors) look(factor.extent);
  };
  for (const Value* v : graph.inputs) look_at(*v);
  for (const Guard& g : graph.guards) look(g.left), look(g.right);
  for (const auto& node : graph.nodes) {
    for (const auto& [key, attribute] : node->attributes) {
      if (const auto* d = std::get_if<Dim>(&attribute)) look(*d);
      if (const auto* ds = std::get_if<Dims>(&attribute)) llvm::for_each(*ds, look);
    }
    for (const auto& r : node->results) look_at(*r);
  }
  return {out.begin(), out.end()};
}

std::string describe(const Node& node) { return place_of(node).text(); }
}  // namespace optp
