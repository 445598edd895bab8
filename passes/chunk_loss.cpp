// The loss is taken in chunks of the sequence, one after the other: a chunk's logits, its share of the loss and the
// gradients that follow, so that logits and their gradient stand a chunk at a time (as torchtune's chunked
// cross-entropy and Liger Kernel's fused one have it; Hsu et al., 2024, arXiv:2410.10989).
//   before   %logits = contract(%h, %w)   …   %d = …   %dh = contract(%d, %w)   %dw = contract(%d, %h)
//   after    %h.0 = gather(%h, 0 … s/2)   %logits.0 = contract(%h.0, %w)   …   %dh.0 = …   %dw.0 = …
//            %h.1 = gather(%h, s/2 … s)   …   %dh = scatter_add(%dh.0) + scatter_add(%dh.1)   %dw = %dw.0 + %dw.1
//
// What is done by chunks is found by loops, not by names: all that makes or takes a value with the logits' loops over
// tokens and vocabulary, and what lies between such nodes. Tokens are looked up, not sliced: a slice would make parts
// of the sequence, which then could not be cut (as for labels, passes/loss.cpp).
#include <map>

#include "frontend/ir/builder.h"
#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/STLExtras.h"
#include "passes/training.h"

namespace optp {
namespace {
// Which dims of a value run over the logits' tokens and vocabulary.
struct Axes {
  std::optional<size_t> tokens, vocabulary;
  bool are_both() const { return tokens && vocabulary; }
};
// Of a reshape: the dim that `axis` becomes, where it stays a dim of its own.
std::optional<size_t> moved(const Dims& from, const Dims& to, std::optional<size_t> axis) {
  if (!axis) return std::nullopt;
  const llvm::ArrayRef<Dim> before(from), after(to);
  for (size_t k = 0; k < to.size(); ++k)
    if (to[k] == from[*axis] && product(after.take_front(k)) == product(before.take_front(*axis))) return k;
  return std::nullopt;
}
Diagnostic refused(int64_t chunks) {
  return error(Code::bad_value).flag("--loss-chunks", chunks).what("the loss can't be taken in chunks of the sequence");
}

// The nodes that are done by chunks, and which of their values' dims run over tokens.
class Region {
 public:
  Region(Graph& graph, Value& logits, int64_t chunks) : graph_(graph), logits_(logits), chunks_(chunks) {
    size_t k = 0;
    for (const auto& node : graph.nodes) order_[node.get()] = k++;
  }

  llvm::Error find() {
    if (auto e = note(logits_, {1, 2}, nullptr)) return e;
    while (!large_.empty()) {
      const Value& v = *large_.pop_back_val();
      if (v.producer)
        if (auto e = add(*v.producer)) return e;
      for (const Use& use : v.uses)
        if (auto e = add(*use.node)) return e;
      if (large_.empty())
        if (auto e = add_between()) return e;
    }
    return judge();
  }

  bool holds(const Node* node) const { return nodes_.contains(node); }
  std::optional<size_t> tokens(const Value& v) const { return axes_.lookup(&v).tokens; }
  size_t order(const Node& node) const { return order_.lookup(&node); }
  std::vector<Node*> in_order() const {
    std::vector<Node*> out;
    for (const auto& node : graph_.nodes)
      if (holds(node.get())) out.push_back(node.get());
    return out;
  }

 private:
  Diagnostic no_chunks(const Node& node) const {
    return refused(chunks_).at(node).expected("logits of tokens that do not depend on each other");
  }
  llvm::Error note(const Value& v, const Axes& axes, const Node* node) {
    const auto [at, is_new] = axes_.try_emplace(&v, axes);
    if (!is_new && (at->second.tokens != axes.tokens || at->second.are_both() != axes.are_both()))
      return no_chunks(*node).found("two meanings of the dims of '" + v.name + "'");
    if (is_new && axes.are_both()) large_.push_back(&v);
    return llvm::Error::success();
  }

  // Reads off one value of the node what its others are.
  llvm::Error add(const Node& node) {
    if (!nodes_.insert(&node).second) return llvm::Error::success();
    if (node.results.size() != 1 || !node.op->rule) return no_chunks(node).found("a node without loops");
    return node.op->is(Trait::reshapes) ? add_reshape(node) : add_by_loops(node);
  }
  llvm::Error add_reshape(const Node& node) {
    const Value &x = node.operand(0), &y = node.out();
    const bool from_x = axes_.lookup(&x).tokens.has_value();
    const Value &known = from_x ? x : y, &other = from_x ? y : x;
    const Axes has = axes_.lookup(&known);
    const Axes gets{moved(known.type.dims, other.type.dims, has.tokens),
                    moved(known.type.dims, other.type.dims, has.vocabulary)};
    if (!gets.tokens || gets.vocabulary.has_value() != has.vocabulary.has_value())
      return no_chunks(node).found(to_string(known.type.dims) + " seen as " + to_string(other.type.dims));
    return note(other, gets, &node);
  }
  llvm::Error add_by_loops(const Node& node) {
    auto rule = node.op->rule(node);
    if (!rule) return rule.takeError();
    std::optional<int> tokens, vocabulary;
    auto learn = [&](const Value& v, llvm::ArrayRef<int> loops) {
      const Axes axes = axes_.lookup(&v);
      if (axes.tokens && !tokens) tokens = loops[*axes.tokens];
      if (axes.vocabulary && !vocabulary) vocabulary = loops[*axes.vocabulary];
    };
    learn(node.out(), rule->results[0]);
    for (size_t k = 0; k < node.operands.size(); ++k) learn(node.operand(k), rule->operands[k]);
    if (!tokens || *tokens == no_loop || !is_plain(*rule, *tokens) || !takes_tokens_from_dims(node))
      return no_chunks(node).found("one that takes several tokens at once");
    auto give = [&](const Value& v, llvm::ArrayRef<int> loops) {
      auto dim_of = [&](std::optional<int> loop) -> std::optional<size_t> {
        const auto* at = loop && *loop != no_loop ? llvm::find(loops, *loop) : loops.end();
        return at == loops.end() ? std::nullopt : std::optional(size_t(at - loops.begin()));
      };
      return note(v, {dim_of(tokens), dim_of(vocabulary)}, &node);
    };
    if (auto e = give(node.out(), rule->results[0])) return e;
    for (size_t k = 0; k < node.operands.size(); ++k)
      if (auto e = give(node.operand(k), rule->operands[k])) return e;
    // A sum of parts that know nothing of each other: a mean would divide by its part's tokens.
    if (!this->tokens(node.out()) && (rule->loops[size_t(*tokens)].reduce != Reduce::sum || node.op->localize))
      return no_chunks(node).found("one that takes several tokens at once");
    return llvm::Error::success();
  }
  static bool is_plain(const Rule& rule, int loop) {
    const Loop& l = rule.loops[size_t(loop)];
    return !l.whole && !l.counted &&
           llvm::none_of(rule.pieces, [&](const LoopPiece& p) { return p.whole == loop || p.piece == loop; }) &&
           llvm::none_of(rule.covers, [&](const LoopCover& c) { return c.fine == loop || c.coarse == loop; }) &&
           llvm::none_of(rule.links, [&](const LoopLink& l) {
             return llvm::is_contained(l.left, loop) || llvm::is_contained(l.right, loop);
           });
  }
  // No attribute but the result's dims, which a chunk has of its own, says how many tokens there are.
  bool takes_tokens_from_dims(const Node& node) const {
    const auto sequence = named_dims_of(logits_.type.dims[1]);
    auto tells = [&](Dim d) {
      return llvm::any_of(named_dims_of(d), [&](Dim name) { return llvm::is_contained(sequence, name); });
    };
    return llvm::all_of(node.attributes, [&](const auto& attribute) {
      const auto* dim = std::get_if<Dim>(&attribute.second);
      const auto* dims = std::get_if<Dims>(&attribute.second);
      return !(dim && tells(*dim)) && !(dims && *dims != node.out().type.dims && llvm::any_of(*dims, tells));
    });
  }

  // What is made of the nodes' results and needed by one of them.
  llvm::Error add_between() {
    llvm::DenseSet<const Node*> before;
    for (const auto& node : llvm::reverse(graph_.nodes))
      if (holds(node.get()) || before.contains(node.get()))
        for (const Value* v : node->operands)
          if (v->producer) before.insert(v->producer);
    llvm::DenseSet<const Node*> behind;
    for (const auto& node : graph_.nodes) {
      if (llvm::any_of(node->operands, [&](const Value* v) {
            return v->producer && (holds(v->producer) || behind.contains(v->producer));
          }))
        behind.insert(node.get());
      if (behind.contains(node.get()) && before.contains(node.get()))
        if (auto e = add(*node)) return e;
    }
    return llvm::Error::success();
  }
  // A sum over all tokens is there only after the last chunk.
  llvm::Error judge() const {
    for (const Node* node : in_order())
      for (const Value* v : node->operands)
        if (v->producer && holds(v->producer) && !tokens(*v)) return no_chunks(*node).found("a sum over all tokens");
    return llvm::Error::success();
  }

  Graph& graph_;
  const Value& logits_;
  const int64_t chunks_;
  llvm::DenseSet<const Node*> nodes_;
  llvm::DenseMap<const Value*, Axes> axes_;
  llvm::SmallVector<const Value*> large_;
  llvm::DenseMap<const Node*, size_t> order_;
};

class Chunking {
 public:
  Chunking(Graph& graph, const Region& region, Dim sequence, int64_t chunks)
      : graph_(graph), region_(region), sequence_(sequence), chunks_(chunks), build_(graph) {
    build_.set_fold(false);
  }

  llvm::Error run() {
    const std::vector<Node*> nodes = region_.in_order();
    find_place(nodes);
    for (int64_t k = 0; k < chunks_; ++k) {
      index_ = nullptr;
      made_.clear();
      for (const Node* node : nodes)
        if (auto e = copy(*node, k)) return e;
    }
    for (Node* node : nodes)
      if (parts_.contains(&node->out()))
        if (auto e = add_up(*node)) return e;
    for (Node* node : late_)
      graph_.nodes.splice(place_ ? place_->place : graph_.nodes.end(), graph_.nodes, node->place);
    std::vector<std::pair<Value*, std::string>> names;
    for (const auto& [v, sum] : sums_) names.emplace_back(sum, v->name);
    for (Node* node : llvm::reverse(nodes)) graph_.erase(*node);
    for (const auto& [sum, name] : names) graph_.rename(*sum, name);
    return llvm::Error::success();
  }

 private:
  // Behind all that the nodes take. What takes theirs and stands before that moves behind them.
  void find_place(llvm::ArrayRef<Node*> nodes) {
    size_t last = region_.order(*nodes.front());
    for (const Node* node : nodes)
      for (const Value* v : node->operands)
        if (v->producer && !region_.holds(v->producer)) last = std::max(last, region_.order(*v->producer));
    llvm::DenseSet<const Node*> behind(nodes.begin(), nodes.end());
    for (const auto& node : graph_.nodes) {
      if (region_.holds(node.get())) continue;
      if (region_.order(*node) > last) {
        place_ = node.get();
        break;
      }
      if (llvm::none_of(node->operands, [&](const Value* v) { return behind.contains(v->producer); })) continue;
      behind.insert(node.get());
      late_.push_back(node.get());
    }
  }
  Dim start(int64_t chunk) const { return floor_div(sequence_ * Dim(chunk), Dim(chunks_)); }
  Dim size(int64_t chunk) const { return start(chunk + 1) - start(chunk); }
  std::string named(llvm::StringRef name, int64_t chunk) const { return (name + "." + llvm::Twine(chunk)).str(); }

  void stand_at(const Node& node) {
    build_.before(place_);
    build_.at(node.name, node.origin, node.module);
    build_.phase(phase_of(node));
  }
  // Logits of a chunk are computed with its loss; what is forward ends before them.
  static Phase phase_of(const Node& node) { return node.phase == Phase::forward ? Phase::loss : node.phase; }
  // The chunk's tokens of what is made elsewhere.
  llvm::Expected<Value*> looked_up(Value& v, size_t axis, int64_t chunk, const Node& user) {
    stand_at(user);
    if (!index_) {
      auto made = build_.create(
          "iota", {},
          {{"size", size(chunk)}, {"start", start(chunk)}, {"step", Dim(1)}, {"dtype", int64_t(DType::i64)}},
          named("tokens", chunk));
      if (!made) return made;
      index_ = *made;
      indices_.push_back(index_);
    }
    return build_.create("gather", {&v, index_}, {{"axis", int64_t(axis)}}, named(v.name, chunk));
  }
  llvm::Error copy(const Node& node, int64_t chunk) {
    llvm::SmallVector<Value*, 3> operands;
    for (Value* v : node.operands) {
      const auto axis = region_.tokens(*v);
      if (axis && !made_.contains(v)) {
        auto part = looked_up(*v, *axis, chunk, node);
        if (!part) return part.takeError();
        made_[v] = *part;
      }
      operands.push_back(axis ? made_[v] : v);
    }
    Value& out = node.out();
    Type type = out.type;
    const auto axis = region_.tokens(out);
    if (axis) type.dims[*axis] = size(chunk);
    Node& made = graph_.add_node(*node.op, operands, {type}, {named(out.name, chunk)}, place_);
    Value& result = made.out();
    const std::string name = result.name;
    static_cast<NodeFacts&>(made) = node;
    made.phase = phase_of(node);
    static_cast<ValueFacts&>(result) = out;
    result.name = name;
    result.type = type;
    if (axis && result.sharding) result.sharding->dims[*axis] = DimSharding();
    for (auto& [key, attribute] : made.attributes)
      if (auto* dims = std::get_if<Dims>(&attribute); dims && axis && *dims == out.type.dims) *dims = type.dims;
    made_[&out] = &result;
    if (is_taken_elsewhere(out)) parts_[&out].push_back(&result);
    return llvm::Error::success();
  }
  bool is_taken_elsewhere(const Value& v) const {
    return graph_.is_output(v) || llvm::any_of(v.uses, [&](const Use& use) { return !region_.holds(use.node); });
  }
  // A sum over tokens is that of the chunks'; what tokens have each stands at their places among zeros.
  llvm::Error add_up(const Node& node) {
    Value& whole = node.out();
    llvm::SmallVector<Value*> addends = parts_[&whole];
    stand_at(node);
    if (const auto axis = region_.tokens(whole))
      for (auto [part, index] : llvm::zip(addends, indices_)) {
        auto made = build_.create("scatter_add", {part, index},
                                  {{"axis", int64_t(*axis)}, {"rows", whole.type.dims[*axis]}}, part->name + ".placed");
        if (!made) return made.takeError();
        part = *made;
      }
    auto sum = build_.create("sum", addends, {}, whole.name);
    if (!sum) return sum.takeError();
    (*sum)->sharding = whole.sharding;
    (*sum)->cause = whole.cause;
    const llvm::SmallVector<Use, 4> uses(whole.uses.begin(), whole.uses.end());
    for (const Use& use : uses)
      if (!region_.holds(use.node)) graph_.set_operand(*use.node, use.operand, **sum);
    for (GraphOutput& o : graph_.outputs)
      if (o.value == &whole) o.value = *sum;
    sums_.emplace_back(&whole, *sum);
    return llvm::Error::success();
  }

  Graph& graph_;
  const Region& region_;
  const Dim sequence_;
  const int64_t chunks_;
  Builder build_;
  Node* place_ = nullptr;
  std::vector<Node*> late_;
  Value* index_ = nullptr;                     // of the chunk that is made
  llvm::SmallVector<Value*> indices_;          // of all
  llvm::DenseMap<const Value*, Value*> made_;  // of the chunk
  std::map<const Value*, llvm::SmallVector<Value*>> parts_;
  std::vector<std::pair<const Value*, Value*>> sums_;
};
}  // namespace

llvm::Error chunk_loss(Graph& graph, Value& logits, int64_t chunks) {
  if (chunks <= 1) return llvm::Error::success();
  Region region(graph, logits, chunks);
  if (auto e = region.find()) return e;
  if (auto e = Chunking(graph, region, logits.type.dims[1], chunks).run()) return e;
  graph.remarks.push_back({"chunk-loss", "--loss-chunks takes the loss in " + std::to_string(chunks) +
                                             " chunks of the sequence: logits and their gradient stand a chunk at a "
                                             "time"});
  return llvm::Error::success();
}
}  // namespace optp
