// A plain model becomes a decoder with caches. Every value is made as its users need it, from the outputs back:
//
//   an output is needed for the new tokens. What sums or shares out over tokens (softmax, the product behind it) needs
//   that dim of its operands for all tokens; all other loops of an op need of its operands what is needed of its
//   result.
//
//   %s = contract(%q, %k) "b s h d, b t h d -> b h s t"    %q for new tokens, %k for all: s of %p = softmax(%s) is new,
//   %o = contract(%p, %v) "b h s t, b t h d -> b s h d"    its t is all
//
// A value that depends on the ids is computed for the new tokens only. Where it is needed for all, the rows of earlier
// runs come from a cache of `capacity` rows, which takes the new ones: %k and %v, and nothing else, in a transformer.
// What does not depend on them (positions, masks, tables of sines) is computed as the model does, as if all `capacity`
// tokens were there, and where it is needed for the new ones alone, for their places. So learned, rotary and ALiBi
// positions, windows and masks of any make need no rules of their own.
//
// A mask has to keep later tokens out, or earlier rows would have been others: is_causal makes sure.
#include "passes/cached_decoder.h"

#include <map>

#include "frontend/ir/builder.h"
#include "frontend/ir/diagnostic.h"
#include "passes/input_dependence.h"

namespace optp {
namespace {
// Which tokens a dim is needed for; `none`: it does not run over tokens.
enum class Tokens : char { none = '-', fresh = 'n', all = 'a' };
using Needs = std::string;  // a Tokens a dim
bool has(const Needs& needs, Tokens t) { return llvm::StringRef(needs).contains(char(t)); }

class Caching {
 public:
  Caching(const Graph& from, Dim sequence, Dim capacity, const llvm::DenseSet<const Value*>& streams)
      : from_(from),
        sequence_(sequence),
        capacity_(capacity),
        streams_(streams),
        depends_(from, [&](const Value& v) { return streams.contains(&v); }),
        to_(std::make_unique<Graph>()),
        build_(*to_) {
    build_.set_fold(false);
  }

  llvm::Expected<std::unique_ptr<Graph>> run() {
    static_cast<GraphFacts&>(*to_) = from_;
    for (const Guard& g : from_.guards)
      if (runs_over_tokens(g.left) || runs_over_tokens(g.right))
        to_->guards.push_back({for_all(g.left), for_all(g.right), g.at});
    for (const Value* v : from_.inputs) {
      const Needs needs = needs_of(*v, streams_.contains(v) ? Tokens::fresh : Tokens::all);
      inputs_[v] = &to_->add_input(v->name, type_for(*v, needs));
    }
    places_ = &to_->add_input(to_->unique_name("cache_position"), {DType::i64, {sequence_}});
    for (const GraphOutput& o : from_.outputs) {
      auto v = made(*o.value, needs_of(*o.value, Tokens::fresh));
      if (!v) return v.takeError();
      to_->outputs.push_back({o.name, *v});
    }
    if (caches_.empty())
      return error(Code::not_supported)
          .in_file(from_.source)
          .what("no output needs earlier tokens: there is nothing to cache");
    if (auto e = is_causal(from_, sequence_, sums_)) return e;
    if (auto e = is_prefix_stable(from_, sequence_, capacity_, beside_)) return e;
    name_caches(*to_, std::move(caches_), from_);
    return std::move(to_);
  }
  // Inputs that are needed for the new tokens, and for nothing else.
  llvm::DenseSet<const Value*> fresh_inputs() const {
    llvm::DenseSet<const Value*> out = fresh_inputs_;
    for (const Value* v : whole_inputs_) out.erase(v);
    return out;
  }

 private:
  bool runs_over_tokens(Dim d) const { return llvm::is_contained(named_dims_of(d), sequence_); }
  Needs needs_of(const Value& v, Tokens t) const {
    Needs out;
    for (Dim d : v.type.dims) out += char(runs_over_tokens(d) ? t : Tokens::none);
    return out;
  }
  Dim for_all(Dim d) const {
    return substitute(d, [&](llvm::StringRef name) -> std::optional<Dim> {
      if (name == *name_of(sequence_)) return capacity_;
      return std::nullopt;
    });
  }
  Dim dim_for(Dim d, char need) const { return Tokens(need) == Tokens::all ? for_all(d) : d; }
  Dims dims_for(llvm::ArrayRef<Dim> dims, const Needs& needs) const {
    Dims out;
    for (size_t d = 0; d < dims.size(); ++d) out.push_back(dim_for(dims[d], needs[d]));
    return out;
  }
  Type type_for(const Value& v, const Needs& needs) const { return {v.type.dtype, dims_for(v.type.dims, needs)}; }

  llvm::Expected<Value*> made(const Value& v, const Needs& needs) {
    const std::pair<const Value*, Needs> key(&v, needs);
    if (auto at = made_.find(key); at != made_.end()) return at->second;
    auto value = make(v, needs);
    if (!value) return value.takeError();
    return made_[key] = *value;
  }
  llvm::Expected<Value*> make(const Value& v, const Needs& needs) {
    if (v.is_data()) {
      Value& copy = to_->add_data(v.name, v.data);
      static_cast<ValueFacts&>(copy) = v;
      return &copy;
    }
    if (!depends_(v)) return make_of_places(v, needs);
    const size_t over_all = llvm::StringRef(needs).count(char(Tokens::all)),
                 over_fresh = llvm::StringRef(needs).count(char(Tokens::fresh));
    if (over_all > 1) return not_supported(v, "it is needed for all pairs of tokens");
    if (over_all == 0 && !v.producer) return inputs_.lookup(&v);
    if (over_all == 0 || over_fresh > 0 || &cached_form(v) != &v) return make_node(v, needs);
    return make_cache(v, needs);
  }
  // What v is a view of, perhaps scaled, where that is smaller: heads before they are repeated; without dims of 1.
  const Value& cached_form(const Value& v) const {
    const Value* best = &v;
    for (const Value* at = operand_of_view(v); at; at = operand_of_view(*at)) {
      auto bytes = [](const Value& x) { return product(x.type.dims) * Dim(size_bytes(x.type.dtype)); };
      const auto times = exact_div(bytes(*best), bytes(*at));
      if (times && (times->constant().value_or(0) > 1 || without_ones(best->type.dims) == at->type.dims)) best = at;
    }
    return *best;
  }
  const Value* operand_of_view(const Value& v) const {
    if (!v.producer) return nullptr;
    const OpDef& op = *v.producer->op;
    const bool scales = op.is(Trait::multiplies) || op.is(Trait::divides);
    if (!op.is(view_traits) && !scales) return nullptr;
    for (const Value* x : v.producer->operands)
      if (depends_(*x))
        return llvm::is_contained(x->type.dims, sequence_) && (!scales || x->type.dims == v.type.dims) ? x : nullptr;
      else if (llvm::any_of(x->type.dims, [&](Dim d) { return runs_over_tokens(d); }))
        return nullptr;
    return nullptr;
  }
  static Dims without_ones(llvm::ArrayRef<Dim> dims) {
    Dims out;
    llvm::copy_if(dims, std::back_inserter(out), [](Dim d) { return !d.is(1); });
    return out;
  }

  // Computed for all tokens, or for the places of the new ones.
  llvm::Expected<Value*> make_of_places(const Value& v, const Needs& needs) {
    const size_t d = needs.find(char(Tokens::fresh));
    if (!v.producer && has(needs, Tokens::all)) whole_inputs_.insert(&v);
    if (d == Needs::npos) return v.producer ? make_node(v, needs) : llvm::Expected<Value*>(inputs_.lookup(&v));
    if (v.producer && can_follow(v, needs)) return make_node(v, needs);
    if (v.type.dims[d] != sequence_)
      return not_supported(
          v, "dim " + llvm::Twine(d) + " joins the tokens with another dim and is needed for the new ones");
    Needs wider = needs;
    wider[d] = char(Tokens::all);
    if (!v.producer) fresh_inputs_.insert(&v);
    auto table = v.producer ? made(v, wider) : llvm::Expected<Value*>(inputs_.lookup(&v));
    if (!table) return table.takeError();
    if (v.producer) build_.at(v.producer->name, v.producer->origin, v.producer->module);
    return build_.create("gather", {*table, places_}, {{"axis", int64_t(d)}}, v.name);
  }

  llvm::Error not_supported(const Value& v, const llvm::Twine& what) const {
    auto e = error(Code::not_supported).in_file(from_.source);
    if (v.producer) e.at(*v.producer);
    return e.what("a cache for decoding").what(what).about({.tensor = v.name});
  }

  // The tokens that each loop of v's producer runs over; none where its parts can't be told apart.
  using LoopNeeds = std::string;
  std::optional<LoopNeeds> loops_for(const Value& v, const Needs& needs) const {
    const Node& node = *v.producer;
    if (!node.op->rule) return std::nullopt;
    auto rule = node.op->rule(node);
    if (!rule) {
      llvm::consumeError(rule.takeError());
      return std::nullopt;
    }
    LoopNeeds loops(rule->loops.size(), char(Tokens::none));
    for (size_t d = 0; d < needs.size(); ++d)
      if (const int loop = rule->results[v.result][d]; loop != no_loop && Tokens(needs[d]) != Tokens::none) {
        char& own = loops[size_t(loop)];
        if (own != char(Tokens::none) && own != needs[d]) return std::nullopt;
        own = needs[d];
      }
    for (const LoopLink& link : rule->links)
      if (!follow_link(*rule, link, loops)) return std::nullopt;
    for (const LoopPiece& piece : rule->pieces)
      if (!follow_piece(*rule, piece, loops)) return std::nullopt;
    // What is in no result is summed over.
    for (size_t k = 0; k < loops.size(); ++k)
      if (Tokens(loops[k]) == Tokens::none && runs_over_tokens(rule->loops[k].extent)) loops[k] = char(Tokens::all);
    for (size_t k = 0; k < loops.size(); ++k)
      if (rule->loops[k].whole && Tokens(loops[k]) == Tokens::fresh) return std::nullopt;
    return loops;
  }
  // A reshape's two groups of loops: those that run over tokens stand in the same order in both.
  bool follow_link(const Rule& rule, const LoopLink& link, LoopNeeds& loops) const {
    auto over_tokens = [&](llvm::ArrayRef<int> group) {
      llvm::SmallVector<int, 4> out;
      for (int k : group)
        if (runs_over_tokens(rule.loops[size_t(k)].extent)) out.push_back(k);
      return out;
    };
    auto left = over_tokens(link.left), right = over_tokens(link.right);
    if (left.empty() && right.empty()) return true;
    const bool left_known = llvm::any_of(left, [&](int k) { return Tokens(loops[size_t(k)]) != Tokens::none; });
    const auto &known = left_known ? left : right, &open = left_known ? right : left;
    if (known.size() == open.size()) {
      for (size_t k = 0; k < known.size(); ++k) loops[size_t(open[k])] = loops[size_t(known[k])];
      return true;
    }
    for (int k : known)
      if (loops[size_t(k)] != loops[size_t(known.front())]) return false;
    for (int k : open) loops[size_t(k)] = known.empty() ? char(Tokens::all) : loops[size_t(known.front())];
    return true;
  }
  // A slice's result within its operand, a concat's operands within its result.
  bool follow_piece(const Rule& rule, const LoopPiece& p, LoopNeeds& loops) const {
    const Dim whole = rule.loops[size_t(p.whole)].extent, piece = rule.loops[size_t(p.piece)].extent;
    char &of_whole = loops[size_t(p.whole)], &of_piece = loops[size_t(p.piece)];
    if (!runs_over_tokens(whole) && !runs_over_tokens(piece)) return true;
    if (Tokens(of_whole) != Tokens::none) {  // a concat
      if (runs_over_tokens(piece)) of_piece = of_whole;
      return Tokens(of_whole) == Tokens::all || whole == piece;
    }
    if (!runs_over_tokens(piece)) {
      // The last token's row is that of the last new one.
      of_whole = char(piece.is(1) && p.start + piece == whole ? Tokens::fresh : Tokens::all);
      return true;
    }
    if (runs_over_tokens(whole)) of_whole = of_piece;
    return Tokens(of_piece) == Tokens::all || whole == piece;
  }
  // A slice of what depends on ids that is the last token alone.
  bool takes_last(const Node& node, const LoopNeeds& loops, const Rule& rule) const {
    return depends_(node.out()) && llvm::any_of(rule.pieces, [&](const LoopPiece& p) {
             return runs_over_tokens(rule.loops[size_t(p.whole)].extent) &&
                    !runs_over_tokens(rule.loops[size_t(p.piece)].extent) &&
                    Tokens(loops[size_t(p.whole)]) == Tokens::fresh;
           });
  }
  // Of what does not depend on ids: whether it can be made of operands for the new tokens' places. Each of its dims
  // that run over them comes from one of an operand, or is repeated.
  bool can_follow(const Value& v, const Needs& needs) const {
    const Node& node = *v.producer;
    const auto loops = loops_for(v, needs);
    if (!loops || node.operands.empty()) return false;
    const Rule rule = llvm::cantFail(node.op->rule(node));
    for (size_t k = 0; k < loops->size(); ++k) {
      if (Tokens((*loops)[k]) != Tokens::fresh || node.op->is(Trait::repeats)) continue;
      const bool is_linked = llvm::any_of(rule.links, [&](const LoopLink& l) {
        return llvm::is_contained(l.left, int(k)) || llvm::is_contained(l.right, int(k));
      });
      if (!is_linked && llvm::none_of(rule.operands, [&](const auto& o) { return llvm::is_contained(o, int(k)); }))
        return false;
    }
    return llvm::all_of(node.attributes, [&](const auto& entry) {
      const auto* dims = std::get_if<Dims>(&entry.second);
      return !dims || *dims == v.type.dims || llvm::none_of(*dims, [&](Dim d) { return runs_over_tokens(d); });
    });
  }

  llvm::Expected<Value*> make_node(const Value& v, const Needs& needs) {
    const Node& node = *v.producer;
    const auto loops = loops_for(v, needs);
    if (!loops) return not_supported(v, "it needs other tokens at once, as a decoder's steps don't have");
    const Rule rule = llvm::cantFail(node.op->rule(node));
    llvm::SmallVector<Value*, 3> operands;
    for (size_t k = 0; k < node.operands.size(); ++k) {
      const Value& x = node.operand(k);
      Needs wanted = needs_of(x, Tokens::all);
      for (size_t d = 0; d < x.ndim(); ++d)
        if (const int loop = rule.operands[k][d]; loop != no_loop && Tokens(wanted[d]) != Tokens::none)
          wanted[d] = (*loops)[size_t(loop)];
      if (auto e = note_sum(v, rule, k, *loops)) return e;
      note_beside(v, needs, k);
      auto operand = made(x, wanted);
      if (!operand) return operand.takeError();
      operands.push_back(*operand);
    }
    if (takes_last(node, *loops, rule) ||
        llvm::any_of(node.operands, [&](const Value* x) { return of_last_.contains(x); })) {
      if (has(needs, Tokens::fresh)) return not_supported(v, "each token would need the last one");
      of_last_.insert(&v);
    }
    build_.at(node.name, node.origin, node.module);
    build_.phase(node.phase);
    auto attributes = attributes_for(v, needs, rule, *loops);
    if (!attributes) return attributes.takeError();
    auto made = build_.create(node.op->name, operands, std::move(*attributes), v.name);
    if (!made) return made.takeError();
    if ((*made)->type != type_for(v, needs))
      return not_supported(v, "expected " + to_string(type_for(v, needs)) + ", found " + to_string((*made)->type));
    return *made;
  }
  // Not a weight, nor what is made of weights alone.
  bool may_tell_length(const Value& v) {
    if (!v.producer) return !v.is_data();
    if (const auto at = may_tell_length_.find(v.producer); at != may_tell_length_.end()) return at->second;
    const bool tells = llvm::any_of(v.producer->attributes,
                                    [&](const auto& entry) {
                                      const auto* dim = std::get_if<Dim>(&entry.second);
                                      const auto* dims = std::get_if<Dims>(&entry.second);
                                      return (dim && runs_over_tokens(*dim)) ||
                                             (dims && llvm::any_of(*dims, [&](Dim d) { return runs_over_tokens(d); }));
                                    }) ||
                       llvm::any_of(v.producer->operands, [&](const Value* x) { return may_tell_length(*x); });
    return may_tell_length_[v.producer] = tells;
  }
  void note_beside(const Value& v, const Needs& needs, size_t k) {
    const Node& node = *v.producer;
    const Value& x = node.operand(k);
    if (!depends_(v) || depends_(x) || !may_tell_length(x)) return;
    BesideTokens beside{&x, {}};
    const size_t all = needs.find(char(Tokens::all));
    if (all != Needs::npos && (node.op->is(Trait::adds) || node.op->is(Trait::subtracts))) {
      const size_t missing = v.ndim() - x.ndim();
      if (all < missing || x.type.dims[all - missing].is(1)) return;
      beside.shifted = all - missing;
    }
    if (!llvm::is_contained(beside_, beside)) beside_.push_back(beside);
  }
  // Rows that were not given yet stand in caches: what sums over tokens must leave them out.
  llvm::Error note_sum(const Value& v, const Rule& rule, size_t k, const LoopNeeds& loops) {
    const Node& node = *v.producer;
    const Value& x = node.operand(k);
    if (!depends_(x)) return llvm::Error::success();
    for (size_t d = 0; d < x.ndim(); ++d) {
      const int loop = rule.operands[k][d];
      if (loop == no_loop || Tokens(loops[size_t(loop)]) != Tokens::all) continue;
      const Loop& l = rule.loops[size_t(loop)];
      if (!l.whole && l.reduce == Reduce::none) continue;
      if (node.op->is(Trait::joins) || node.op->is(Trait::cuts)) continue;
      // The largest of scores is that of those let in.
      if (node.op->is(Trait::shares_out) || l.reduce == Reduce::max) {
        if (const SumOverTokens sum{&node, d}; !llvm::is_contained(sums_, sum)) sums_.push_back(sum);
        continue;
      }
      if (node.op->is(Trait::product) && llvm::any_of(node.operands, [&](const Value* o) { return is_shared_out(*o); }))
        continue;
      return not_supported(v, l.reduce == Reduce::none || node.op->is(Trait::looks_up)
                                  ? "it chooses among all tokens, later ones too"
                                  : "it sums over tokens without a softmax that leaves out those that come later");
    }
    return llvm::Error::success();
  }
  llvm::Expected<Attributes> attributes_for(const Value& v, const Needs& needs, const Rule& rule,
                                            const LoopNeeds& loops) const {
    Attributes out = v.producer->attributes;
    auto is_open = [&](Dim d) { return runs_over_tokens(d); };
    for (auto& [name, attribute] : out) {
      if (auto* dims = std::get_if<Dims>(&attribute)) {
        if (!llvm::any_of(*dims, is_open)) continue;
        if (*dims == v.type.dims)
          *dims = dims_for(*dims, needs);
        else if (!has(needs, Tokens::fresh))
          for (Dim& d : *dims) d = for_all(d);
        else
          return not_supported(v, "attribute " + name + " speaks of tokens");
      } else if (auto* dim = std::get_if<Dim>(&attribute); dim && is_open(*dim)) {
        // A slice's start and size are along its axis; everything else is about all tokens or about the new ones.
        char need = char(depends_(v) && has(needs, Tokens::fresh) ? Tokens::fresh : Tokens::all);
        if (v.producer->op->is(Trait::cuts)) {
          const size_t axis = size_t(v.producer->integer("axis"));
          need = Tokens(needs[axis]) == Tokens::none ? loops[size_t(rule.operands[0][axis])] : needs[axis];
        }
        *dim = dim_for(*dim, need);
      }
    }
    return out;
  }

  llvm::Expected<Value*> make_cache(const Value& v, const Needs& needs) {
    const size_t axis = needs.find(char(Tokens::all));
    if (v.type.dims[axis] != sequence_)
      return not_supported(
          v, "dim " + llvm::Twine(axis) + " joins the tokens with another dim and is needed for all of them");
    auto rows = made(v, needs_of(v, Tokens::fresh));
    if (!rows) return rows.takeError();
    Value& cache = to_->add_input(to_->unique_name(v.name + ".cache"), type_for(v, needs));
    if (v.producer) build_.at(v.producer->name, v.producer->origin, v.producer->module);
    auto all = build_.create("index_copy", {&cache, places_, *rows}, {{"axis", int64_t(axis)}}, v.name + ".all");
    if (!all) return all.takeError();
    caches_.push_back({&v, &cache, *all, axis});
    return *all;
  }
  const Graph& from_;
  const Dim sequence_, capacity_;
  const llvm::DenseSet<const Value*>& streams_;
  InputDependence depends_;
  std::unique_ptr<Graph> to_;
  Builder build_;
  Value* places_ = nullptr;
  std::map<std::pair<const Value*, Needs>, Value*> made_;
  std::vector<TokenCache> caches_;
  llvm::SmallVector<SumOverTokens, 8> sums_;
  llvm::SmallVector<BesideTokens, 8> beside_;
  llvm::DenseMap<const Node*, bool> may_tell_length_;
  llvm::DenseSet<const Value*> of_last_;  // what is of the last token alone
  llvm::DenseMap<const Value*, Value*> inputs_;
  llvm::DenseSet<const Value*> whole_inputs_, fresh_inputs_;
};

}  // namespace

static llvm::Error have_room(const Graph& decoder, int64_t tokens) {
  auto limit = token_limit(decoder);
  if (!limit) return limit.takeError();
  if (!*limit || tokens <= (*limit)->tokens) return llvm::Error::success();
  return too_many_tokens(decoder, **limit, tokens);
}
llvm::Error too_many_tokens(const Graph& decoder, const TokenLimit& limit, int64_t tokens) {
  return error(Code::out_of_range)
      .in_file(decoder.source)
      .tensor("table", limit.table)
      .expected("rows for " + llvm::Twine(tokens) + " tokens")
      .found("for " + llvm::Twine(limit.tokens));
}

llvm::Expected<std::unique_ptr<Graph>> cached_decoder(const Graph& graph, Dim capacity) {
  if (const auto tokens = capacity.constant()) {
    auto any = cached_decoder(graph, Dim::symbol("capacity"));
    if (!any) return any.takeError();
    if (auto e = have_room(**any, *tokens)) return e;
  }
  auto plain = without_past(graph);
  if (!plain) return plain.takeError();
  auto ids = ids_of(**plain);
  if (!ids) return ids.takeError();
  const Dim sequence = (*ids)->type.dims[1];
  // What goes along with the new tokens alone (position_ids, token_type_ids) is known once all is made.
  llvm::DenseSet<const Value*> streams{*ids};
  while (true) {
    Caching caching(**plain, sequence, capacity, streams);
    auto made = caching.run();
    if (!made) return made.takeError();
    const auto fresh = caching.fresh_inputs();
    if (fresh.empty()) return made;
    streams.insert(fresh.begin(), fresh.end());
  }
}
}  // namespace optp
