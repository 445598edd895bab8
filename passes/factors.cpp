#include "passes/factors.h"

#include "frontend/ir/diagnostic.h"

namespace optp {
namespace {

class UnionFind {
 public:
  int add() {
    parent_.push_back(int(parent_.size()));
    return parent_.back();
  }
  int find(int x) {
    while (parent_[size_t(x)] != x) x = parent_[size_t(x)] = parent_[size_t(parent_[size_t(x)])];
    return x;
  }
  // The smaller index stays root, so that classes are numbered in the graph's order.
  void unite(int a, int b) {
    a = find(a), b = find(b);
    if (a == b) return;
    if (b < a) std::swap(a, b);
    parent_[size_t(b)] = a;
  }
  size_t size() const { return parent_.size(); }

 private:
  std::vector<int> parent_;
};

Rule whole_rule(const Node& n) {
  Rule rule;
  for (const Value* v : n.operands) {
    auto& loops = rule.operands.emplace_back();
    for (Dim d : v->type.dims) loops.push_back(rule.add(d, /*whole=*/true));
  }
  for (const auto& r : n.results) {
    auto& loops = rule.results.emplace_back();
    for (Dim d : r->type.dims) loops.push_back(rule.add(d, /*whole=*/true));
  }
  return rule;
}

struct Lists {
  std::vector<llvm::SmallVector<Dim, 2>> extents;
  std::vector<const Node*> needs_whole;
};
struct Slot {
  int list;
  unsigned factor;
};
// A link's side as slots, major to minor; extents of 1 are skipped.
llvm::SmallVector<Slot, 6> slots(const Lists& lists, llvm::ArrayRef<int> group) {
  llvm::SmallVector<Slot, 6> out;
  for (int list : group)
    for (unsigned f = 0; f < lists.extents[size_t(list)].size(); ++f)
      if (!lists.extents[size_t(list)][f].is(1)) out.push_back({list, f});
  return out;
}

// Walks two sides from their minor ends. A factor that the other side's divides is cut in two: then `refined` is set
// and the walk must start again. Slots that match are given to `match`; a block without common cuts to `block`.
void align(Lists& lists, llvm::ArrayRef<int> left, llvm::ArrayRef<int> right, bool& refined,
           llvm::function_ref<void(Slot, Slot)> match, llvm::function_ref<void(Slot)> block) {
  auto l = slots(lists, left), r = slots(lists, right);
  auto extent = [&](Slot s) { return lists.extents[size_t(s.list)][s.factor]; };
  auto cut = [&](Slot s, Dim major, Dim minor) {
    auto& e = lists.extents[size_t(s.list)];
    e[s.factor] = minor;
    e.insert(e.begin() + s.factor, major);
    refined = true;
  };
  while (!l.empty() && !r.empty()) {
    const Dim a = extent(l.back()), b = extent(r.back());
    if (a == b) {
      if (match) match(l.back(), r.back());
      l.pop_back(), r.pop_back();
      continue;
    }
    if (auto q = exact_div(a, b)) return cut(l.back(), *q, b);
    if (auto q = exact_div(b, a)) return cut(r.back(), *q, a);
    // 12 against 8: no common cut until the products meet again.
    Dim pa = a, pb = b;
    llvm::SmallVector<Slot, 6> held{l.pop_back_val(), r.pop_back_val()};
    while (pa != pb && (!l.empty() || !r.empty())) {
      const bool from_left = r.empty() || (!l.empty() && proved_less_equal(pa, pb));
      auto& side = from_left ? l : r;
      (from_left ? pa : pb) = (from_left ? pa : pb) * extent(side.back());
      held.push_back(side.pop_back_val());
    }
    if (block)
      for (Slot s : held) block(s);
  }
  if (block) {
    for (Slot s : l) block(s);
    for (Slot s : r) block(s);
  }
}
}  // namespace

// Elements are dims: those of every value, then the loops of every node. Elements that are the same loop share one list
// of factors, which is refined until every link aligns; then the factors themselves are united into classes.
class Factors::Search {
 public:
  explicit Search(const Graph& graph) : graph_(graph) {}

  llvm::Expected<Factors> run() {
    for (const Value* v : graph_.values()) out_.value_[v] = add_elements(v->type.dims);
    for (const auto& node : graph_.nodes)
      if (auto e = read_rule(*node)) return e;
    make_lists();
    refine();
    unite_factors();
    make_classes();
    for (const Value* v : graph_.values()) note_places(*v);
    return std::move(out_);
  }

 private:
  struct Link {
    const Node* node;
    llvm::SmallVector<int, 4> left, right;  // elements, later lists
  };

  static void note(const Node*& first, const Node* node) {
    if (!first) first = node;
  }
  int add_elements(llvm::ArrayRef<Dim> dims) {
    const int first = int(elements_.size());
    for (Dim d : dims) {
      elements_.add();
      extent_.push_back(d);
    }
    return first;
  }

  llvm::Error read_rule(const Node& node) {
    NodeLoops loops;
    if (node.op->rule) {
      auto rule = node.op->rule(node);
      if (!rule) return rule.takeError();
      loops.rule = std::move(*rule);
    } else {
      loops.rule = whole_rule(node);
    }
    const Rule& rule = loops.rule;
    Dims extents;
    for (const Loop& loop : rule.loops) extents.push_back(loop.extent);
    loops.first = add_elements(extents);
    auto attach = [&](const Value& v, llvm::ArrayRef<int> list) {
      for (size_t d = 0; d < list.size(); ++d)
        if (list[d] != no_loop) elements_.unite(out_.value_[&v] + int(d), loops.first + list[d]);
    };
    for (size_t k = 0; k < node.operands.size(); ++k) attach(*node.operands[k], rule.operands[k]);
    for (size_t k = 0; k < node.results.size(); ++k) attach(*node.results[k], rule.results[k]);
    for (size_t k = 0; k < rule.loops.size(); ++k)
      if (rule.loops[k].whole) whole_elements_.push_back({loops.first + int(k), &node});
    for (const LoopLink& link : rule.links) {
      Link l{&node, {}, {}};
      for (int k : link.left) l.left.push_back(loops.first + k);
      for (int k : link.right) l.right.push_back(loops.first + k);
      links_.push_back(std::move(l));
    }
    out_.node_[&node] = std::move(loops);
    return llvm::Error::success();
  }

  void make_lists() {
    out_.list_of_.resize(elements_.size());
    std::vector<int> list_of_root(elements_.size(), -1);
    for (int e = 0; e < int(elements_.size()); ++e) {
      int& list = list_of_root[size_t(elements_.find(e))];
      if (list < 0) {
        list = int(lists_.extents.size());
        lists_.extents.push_back({extent_[size_t(e)]});
        lists_.needs_whole.push_back(nullptr);
      }
      out_.list_of_[size_t(e)] = list;
    }
    for (auto [e, node] : whole_elements_) note(lists_.needs_whole[size_t(out_.list_of_[size_t(e)])], node);
    for (Link& link : links_)
      for (auto* side : {&link.left, &link.right})
        for (int& e : *side) e = out_.list_of_[size_t(e)];
  }

  // Until no link cuts anything; each cut makes an extent smaller, so this ends.
  void refine() {
    for (bool refined = true; refined;) {
      refined = false;
      for (const Link& link : links_)
        for (bool again = true; again;) {
          again = false;
          align(lists_, link.left, link.right, again, nullptr, nullptr);
          refined |= again;
        }
    }
  }

  int id(Slot s) const { return first_factor_[size_t(s.list)] + int(s.factor); }

  // Factors that stand opposite each other in a link are one; those that align only as a block can't be split.
  void unite_factors() {
    for (const auto& list : lists_.extents) {
      first_factor_.push_back(int(factors_.size()));
      for (size_t k = 0; k < list.size(); ++k) factors_.add();
    }
    for (size_t k = 0; k < lists_.extents.size(); ++k)
      needs_whole_.resize(needs_whole_.size() + lists_.extents[k].size(), lists_.needs_whole[k]);
    for (const Link& link : links_) {
      bool refined = false;
      align(
          lists_, link.left, link.right, refined, [&](Slot a, Slot b) { factors_.unite(id(a), id(b)); },
          [&](Slot s) { note(needs_whole_[size_t(id(s))], link.node); });
    }
  }

  void make_classes() {
    std::vector<int> class_of_root(factors_.size(), -1);
    for (size_t k = 0; k < lists_.extents.size(); ++k) {
      DimFactors d;
      for (unsigned f = 0; f < lists_.extents[k].size(); ++f) {
        const int factor = id({int(k), f});
        int& c = class_of_root[size_t(factors_.find(factor))];
        if (c < 0) {
          c = int(out_.classes_.size());
          out_.classes_.push_back({lists_.extents[k][f], nullptr, {}});
        }
        note(out_.classes_[size_t(c)].needs_whole, needs_whole_[size_t(factor)]);
        d.extents.push_back(lists_.extents[k][f]);
        d.classes.push_back(c);
      }
      out_.lists_.push_back(std::move(d));
    }
  }

  void note_places(const Value& v) {
    for (unsigned d = 0; d < v.ndim(); ++d) {
      const DimFactors& f = out_.of(v, d);
      for (unsigned k = 0; k < f.classes.size(); ++k) out_.classes_[size_t(f.classes[k])].places.push_back({&v, d, k});
    }
  }

  const Graph& graph_;
  Factors out_;
  UnionFind elements_, factors_;
  std::vector<Dim> extent_;  // of each element
  std::vector<Link> links_;
  std::vector<std::pair<int, const Node*>> whole_elements_;
  Lists lists_;
  std::vector<int> first_factor_;         // of each list
  std::vector<const Node*> needs_whole_;  // of each factor
};

llvm::Expected<Factors> Factors::of(const Graph& graph) { return Search(graph).run(); }

const Factors::DimFactors& Factors::of_element(int element) const { return lists_[size_t(list_of_[size_t(element)])]; }
const Factors::DimFactors& Factors::of(const Value& v, unsigned dim) const {
  return of_element(value_.find(&v)->second + int(dim));
}
const Rule& Factors::rule(const Node& n) const { return node_.find(&n)->second.rule; }
const Factors::DimFactors& Factors::of_loop(const Node& n, int loop) const {
  return of_element(node_.find(&n)->second.first + loop);
}
}  // namespace optp
