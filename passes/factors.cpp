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
    for (Dim d : v->type.dims) loops.push_back(rule.add(d, true));
  }
  for (const auto& r : n.results) {
    auto& loops = rule.results.emplace_back();
    for (Dim d : r->type.dims) loops.push_back(rule.add(d, true));
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
// A link's side as slots, major to minor; extents of 1 enumerate nothing.
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

llvm::Expected<Factors> Factors::of(const Graph& graph) {
  Factors out;
  UnionFind dims;
  std::vector<Dim> extent;
  auto elements = [&](llvm::ArrayRef<Dim> list) {
    const int first = int(dims.size());
    for (Dim d : list) {
      dims.add();
      extent.push_back(d);
    }
    return first;
  };
  for (const Value* v : graph.inputs) out.value_[v] = elements(v->type.dims);
  for (const Value* v : graph.data()) out.value_[v] = elements(v->type.dims);
  for (const auto& node : graph.nodes)
    for (const auto& r : node->results) out.value_[r.get()] = elements(r->type.dims);

  struct Link {
    const Node* node;
    llvm::SmallVector<int, 4> left, right;
  };
  std::vector<Link> links;
  std::vector<std::pair<int, const Node*>> whole_elements;
  for (const auto& node : graph.nodes) {
    NodeLoops loops;
    if (node->op->rule) {
      auto rule = node->op->rule(*node);
      if (!rule) return rule.takeError();
      loops.rule = std::move(*rule);
    } else {
      loops.rule = whole_rule(*node);
    }
    Dims extents;
    for (const Loop& loop : loops.rule.loops) extents.push_back(loop.extent);
    loops.first = elements(extents);
    auto attach = [&](const Value& v, llvm::ArrayRef<int> list) {
      for (size_t d = 0; d < list.size(); ++d)
        if (list[d] != no_loop) dims.unite(out.value_[&v] + int(d), loops.first + list[d]);
    };
    for (size_t k = 0; k < node->operands.size(); ++k) attach(*node->operands[k], loops.rule.operands[k]);
    for (size_t k = 0; k < node->results.size(); ++k) attach(*node->results[k], loops.rule.results[k]);
    for (size_t k = 0; k < loops.rule.loops.size(); ++k)
      if (loops.rule.loops[k].whole) whole_elements.push_back({loops.first + int(k), node.get()});
    for (const LoopLink& link : loops.rule.links) {
      Link l{node.get(), {}, {}};
      for (int k : link.left) l.left.push_back(loops.first + k);
      for (int k : link.right) l.right.push_back(loops.first + k);
      links.push_back(std::move(l));
    }
    out.node_[node.get()] = std::move(loops);
  }

  // One list of factors for all dims that are the same loop.
  Lists lists;
  out.list_of_.resize(dims.size());
  std::vector<int> list_of_root(dims.size(), -1);
  for (int e = 0; e < int(dims.size()); ++e) {
    int& list = list_of_root[size_t(dims.find(e))];
    if (list < 0) {
      list = int(lists.extents.size());
      lists.extents.push_back({extent[size_t(e)]});
      lists.needs_whole.push_back(nullptr);
    }
    out.list_of_[size_t(e)] = list;
  }
  auto note = [](const Node*& first, const Node* node) {
    if (!first) first = node;
  };
  for (auto [e, node] : whole_elements) note(lists.needs_whole[size_t(out.list_of_[size_t(e)])], node);
  for (Link& link : links)
    for (auto* side : {&link.left, &link.right})
      for (int& e : *side) e = out.list_of_[size_t(e)];

  // Refine until no link cuts anything; each cut makes an extent smaller, so this ends.
  for (bool refined = true; refined;) {
    refined = false;
    for (const Link& link : links)
      for (bool again = true; again;) {
        again = false;
        align(lists, link.left, link.right, again, nullptr, nullptr);
        refined |= again;
      }
  }

  UnionFind factors;
  std::vector<int> first_factor;
  for (const auto& list : lists.extents) {
    first_factor.push_back(int(factors.size()));
    for (size_t k = 0; k < list.size(); ++k) factors.add();
  }
  std::vector<const Node*> needs_whole(factors.size(), nullptr);
  auto id = [&](Slot s) { return first_factor[size_t(s.list)] + int(s.factor); };
  for (size_t k = 0; k < lists.extents.size(); ++k)
    for (unsigned f = 0; f < lists.extents[k].size(); ++f) needs_whole[size_t(id({int(k), f}))] = lists.needs_whole[k];
  for (const Link& link : links) {
    bool refined = false;
    align(
        lists, link.left, link.right, refined, [&](Slot a, Slot b) { factors.unite(id(a), id(b)); },
        [&](Slot s) { note(needs_whole[size_t(id(s))], link.node); });
  }

  std::vector<int> class_of_root(factors.size(), -1);
  for (size_t k = 0; k < lists.extents.size(); ++k) {
    DimFactors d;
    for (unsigned f = 0; f < lists.extents[k].size(); ++f) {
      int& c = class_of_root[size_t(factors.find(id({int(k), f})))];
      if (c < 0) {
        c = int(out.classes_.size());
        out.classes_.push_back({lists.extents[k][f], nullptr, {}});
      }
      note(out.classes_[size_t(c)].needs_whole, needs_whole[size_t(id({int(k), f}))]);
      d.extents.push_back(lists.extents[k][f]);
      d.classes.push_back(c);
    }
    out.lists_.push_back(std::move(d));
  }
  auto place = [&](const Value& v) {
    for (unsigned d = 0; d < v.ndim(); ++d) {
      const DimFactors& f = out.of(v, d);
      for (unsigned k = 0; k < f.classes.size(); ++k) out.classes_[size_t(f.classes[k])].places.push_back({&v, d, k});
    }
  };
  for (const Value* v : graph.inputs) place(*v);
  for (const Value* v : graph.data()) place(*v);
  for (const auto& node : graph.nodes)
    for (const auto& r : node->results) place(*r);
  return out;
}

const Factors::DimFactors& Factors::of_element(int element) const { return lists_[size_t(list_of_[size_t(element)])]; }
const Factors::DimFactors& Factors::of(const Value& v, unsigned dim) const {
  return of_element(value_.find(&v)->second + int(dim));
}
const Rule& Factors::rule(const Node& n) const { return node_.find(&n)->second.rule; }
const Factors::DimFactors& Factors::of_loop(const Node& n, int loop) const {
  return of_element(node_.find(&n)->second.first + loop);
}
}  // namespace optp
