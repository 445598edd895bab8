#include "passes/factors.h"

#include "frontend/ir/diagnostic.h"
#include "passes/cuts.h"
#include "passes/factor_lists.h"
#include "passes/union_find.h"

namespace optp {
namespace {

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
}  // namespace

// Elements are dims: those of every value, then the loops of every node. Elements that are the same loop are one line,
// and a line is one part or several. Parts that are the same share one list of factors, which is refined until every
// link aligns; then the factors themselves are united into classes.
class Factors::Search {
 public:
  explicit Search(const Graph& graph) : graph_(graph) {}

  llvm::Expected<Factors> run() {
    for (const Value* v : graph_.values()) out_.value_[v] = add_elements(v->type.dims);
    for (const auto& node : graph_.nodes)
      if (auto e = read_rule(*node)) return e;
    make_lines();
    find_cuts(lines_, pieces_, line_links_);
    make_lists();
    make_links();
    refine();
    unite_factors();
    make_classes();
    for (const Value* v : graph_.values()) note_places(*v);
    return std::move(out_);
  }

 private:
  struct Link {
    const Node* node;
    llvm::SmallVector<int, 4> left, right;  // lists
  };

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
      LineLink l{&node, {}, {}};
      for (int k : link.left) l.left.push_back(loops.first + k);
      for (int k : link.right) l.right.push_back(loops.first + k);
      line_links_.push_back(std::move(l));
    }
    for (const LoopPiece& p : rule.pieces)
      pieces_.push_back({&node, loops.first + p.whole, loops.first + p.piece, p.start});
    out_.node_[&node] = std::move(loops);
    return llvm::Error::success();
  }

  void make_lines() {
    out_.line_of_.resize(elements_.size());
    std::vector<int> line_of_root(elements_.size(), -1);
    for (int e = 0; e < int(elements_.size()); ++e) {
      int& line = line_of_root[size_t(elements_.find(e))];
      if (line < 0) {
        line = int(lines_.size());
        lines_.push_back({extent_[size_t(e)]});
      }
      out_.line_of_[size_t(e)] = line;
    }
    for (auto [e, node] : whole_elements_) lines_[size_t(out_.line_of_[size_t(e)])].needs_whole.note(node);
    auto to_line = [&](int& e) { e = out_.line_of_[size_t(e)]; };
    for (LineLink& link : line_links_) {
      for (int& e : link.left) to_line(e);
      for (int& e : link.right) to_line(e);
    }
    for (LinePiece& p : pieces_) to_line(p.whole), to_line(p.piece);
  }

  int add_list(Dim extent, const Node* needs_whole) {
    lists_.extents.push_back({extent});
    lists_.needs_whole.emplace_back().note(needs_whole);
    return int(lists_.extents.size()) - 1;
  }
  // A list for each part; a piece's parts and those of its whole have the same.
  void make_lists() {
    UnionFind parts;
    std::vector<int> first_part;  // of each line
    for (const Line& line : lines_) {
      first_part.push_back(int(parts.size()));
      for (size_t k = 0; k <= line.cuts.size(); ++k) parts.add();
    }
    for (const LinePiece& p : pieces_) {
      const Line &whole = lines_[size_t(p.whole)], &piece = lines_[size_t(p.piece)];
      if (whole.is_even) continue;
      const auto* at = llvm::find(whole.cuts, p.start);
      const int from = p.start.is(0) ? 0 : int(at - whole.cuts.begin()) + 1;
      for (int k = 0; k <= int(piece.cuts.size()); ++k)
        parts.unite(first_part[size_t(p.whole)] + from + k, first_part[size_t(p.piece)] + k);
    }
    std::vector<int> list_of_root(parts.size(), -1);
    for (size_t k = 0; k < lines_.size(); ++k) {
      auto& lists = lists_of_line_.emplace_back();
      int part = first_part[k];
      for (Dim extent : lines_[k].parts()) {
        int& list = list_of_root[size_t(parts.find(part++))];
        if (list < 0) list = add_list(extent, /*needs_whole=*/nullptr);
        lists_.needs_whole[size_t(list)].note(lines_[k].needs_whole);
        lists.push_back(list);
      }
    }
  }
  // Links of lines become links of lists.
  void make_links() {
    for (const LinePiece& p : pieces_) {
      const Line &whole = lines_[size_t(p.whole)], &piece = lines_[size_t(p.piece)];
      if (!whole.is_even) continue;
      const int count = add_list(*exact_div(whole.extent, piece.extent), p.node);
      links_.push_back({p.node, {only_list(p.whole, p.node)}, {count, only_list(p.piece, p.node)}});
    }
    for (const LineLink& link : line_links_) {
      const size_t parts = link.goes_by_parts ? lists_of_line_[size_t(link.left.front())].size() : 1;
      for (size_t part = 0; part < parts; ++part) {
        Link l{link.node, {}, {}};
        auto add = [&](llvm::ArrayRef<int> lines, llvm::SmallVectorImpl<int>& to) {
          to.push_back(link.goes_by_parts ? lists_of_line_[size_t(lines.front())][part]
                                          : only_list(lines.front(), link.node));
          for (int k : lines.drop_front()) to.push_back(only_list(k, link.node));
        };
        add(link.left, l.left);
        add(link.right, l.right);
        links_.push_back(std::move(l));
      }
    }
  }
  // Of a line of one part its list. One of several can't be split where `node` sees it as one product.
  int only_list(int line, const Node* node) {
    const auto& lists = lists_of_line_[size_t(line)];
    if (lists.size() == 1) return lists.front();
    for (int list : lists) lists_.needs_whole[size_t(list)].note(node);
    const auto [at, is_new] = undivided_.try_emplace(line, 0);
    if (is_new) at->second = add_list(lines_[size_t(line)].extent, node);
    return at->second;
  }

  // Until no link cuts anything; each cut makes an extent smaller, so this ends.
  void refine() {
    for (bool refined = true; refined;) {
      refined = false;
      for (const Link& link : links_)
        for (bool again = true; again;) {
          again = false;
          align_factors(lists_, link.left, link.right, again, nullptr, nullptr);
          refined |= again;
        }
    }
  }

  int id(FactorSlot s) const { return first_factor_[size_t(s.list)] + int(s.factor); }

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
      align_factors(
          lists_, link.left, link.right, refined, [&](FactorSlot a, FactorSlot b) { factors_.unite(id(a), id(b)); },
          [&](FactorSlot s) { needs_whole_[size_t(id(s))].note(link.node); });
    }
  }

  void make_classes() {
    std::vector<int> class_of_root(factors_.size(), -1);
    std::vector<ProductFactors> products;  // of each list
    for (size_t k = 0; k < lists_.extents.size(); ++k) {
      ProductFactors& p = products.emplace_back();
      for (unsigned f = 0; f < lists_.extents[k].size(); ++f) {
        const int factor = id({int(k), f});
        int& c = class_of_root[size_t(factors_.find(factor))];
        if (c < 0) {
          c = int(out_.classes_.size());
          out_.classes_.push_back({.extent = lists_.extents[k][f]});
        }
        out_.classes_[size_t(c)].needs_whole.note(needs_whole_[size_t(factor)]);
        p.extents.push_back(lists_.extents[k][f]);
        p.classes.push_back(c);
      }
    }
    for (const auto& lists : lists_of_line_) {
      DimFactors& d = out_.lines_.emplace_back();
      for (int list : lists) d.parts.push_back(products[size_t(list)]);
    }
  }

  void note_places(const Value& v) {
    for (unsigned d = 0; d < v.ndim(); ++d) {
      const auto& parts = out_.of(v, d).parts;
      for (unsigned p = 0; p < parts.size(); ++p)
        for (unsigned k = 0; k < parts[p].classes.size(); ++k)
          out_.classes_[size_t(parts[p].classes[k])].places.push_back({&v, d, p, k});
    }
  }

  const Graph& graph_;
  Factors out_;
  UnionFind elements_, factors_;
  std::vector<Dim> extent_;  // of each element
  std::vector<std::pair<int, const Node*>> whole_elements_;
  std::vector<Line> lines_;
  std::vector<LineLink> line_links_;
  std::vector<LinePiece> pieces_;
  std::vector<llvm::SmallVector<int, 1>> lists_of_line_;  // of each part
  llvm::DenseMap<int, int> undivided_;                    // a line of several parts -> the list of it as a product
  FactorLists lists_;
  std::vector<Link> links_;
  std::vector<int> first_factor_;        // of each list
  std::vector<NeedsWhole> needs_whole_;  // of each factor
};

llvm::Expected<Factors> Factors::of(const Graph& graph) { return Search(graph).run(); }

llvm::SmallVector<Factors::Class, 4> Factors::DimFactors::classes() const {
  llvm::SmallVector<Class, 4> out;
  for (const ProductFactors& p : parts)
    for (Class c : p.classes)
      if (!llvm::is_contained(out, c)) out.push_back(c);
  return out;
}
const Factors::DimFactors& Factors::of_element(int element) const { return lines_[size_t(line_of_[size_t(element)])]; }
const Factors::DimFactors& Factors::of(const Value& v, unsigned dim) const {
  return of_element(value_.find(&v)->second + int(dim));
}
const Rule& Factors::rule(const Node& n) const { return node_.find(&n)->second.rule; }
const Factors::DimFactors& Factors::of_loop(const Node& n, int loop) const {
  return of_element(node_.find(&n)->second.first + loop);
}
}  // namespace optp
