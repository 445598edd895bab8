#include "passes/cuts.h"

namespace optp {

llvm::SmallVector<Dim, 3> Line::parts() const {
  llvm::SmallVector<Dim, 3> out;
  Dim from = 0;
  for (Dim cut : cuts) {
    out.push_back(cut - from);
    from = cut;
  }
  out.push_back(extent - from);
  return out;
}

namespace {
constexpr size_t most_cuts = 64;  // of a line: what has more is no fused projection

class CutSearch {
 public:
  CutSearch(std::vector<Line>& lines, std::vector<LinePiece>& pieces, std::vector<LineLink>& links)
      : lines_(lines), pieces_(pieces), links_(links), given_up_(lines.size(), false), blocked_(links.size(), false) {}

  void run() {
    find_even();
    // Each round that changes something adds a cut or gives up a line, and lines have a bounded number of cuts.
    for (bool changed = true; changed;) {
      changed = false;
      for (const LinePiece& p : pieces_) changed |= look_at(p);
      for (size_t k = 0; k < links_.size(); ++k)
        if (!blocked_[k]) changed |= look_at(links_[k], k);
    }
    for (Line& line : lines_) line.is_even &= line.cuts.empty();
    llvm::erase_if(pieces_, [&](const LinePiece& p) { return drop(p); });
    for (size_t k = 0; k < links_.size(); ++k) links_[k].goes_by_parts = !blocked_[k] && is_cut_alike(links_[k]);
  }

 private:
  Line& line(int k) { return lines_[size_t(k)]; }

  // A line is even if all its pieces have one extent, which divides it and their starts.
  void find_even() {
    llvm::SmallVector<const LinePiece*> first(lines_.size(), nullptr);
    for (const LinePiece& p : pieces_) {
      Line& whole = line(p.whole);
      const Dim size = line(p.piece).extent;
      const LinePiece*& one = first[size_t(p.whole)];
      if (!one) one = &p, whole.is_even = true;
      whole.is_even &= p.whole != p.piece && size == line(one->piece).extent && exact_div(p.start, size).has_value() &&
                       exact_div(whole.extent, size).has_value();
    }
  }

  bool give_up(int k, const Node* node) {
    Line& l = line(k);
    if (given_up_[size_t(k)]) return false;
    given_up_[size_t(k)] = true;
    l.cuts.clear();
    l.is_even = false;
    l.needs_whole.note(node);
    return true;
  }
  bool cut(int k, Dim at, const Node* node) {
    Line& l = line(k);
    if (given_up_[size_t(k)] || at.is(0) || at == l.extent || llvm::is_contained(l.cuts, at)) return false;
    if (l.cuts.size() == most_cuts || !proved_less_equal(0, at) || !proved_less_equal(at, l.extent))
      return give_up(k, node);
    auto before = l.cuts.begin();
    while (before != l.cuts.end() && proved_less_equal(*before, at)) ++before;
    if (before != l.cuts.end() && !proved_less_equal(at, *before)) return give_up(k, node);
    l.cuts.insert(before, at);
    return true;
  }

  bool look_at(const LinePiece& p) {
    if (given_up_[size_t(p.whole)] || given_up_[size_t(p.piece)]) return false;
    const Line &whole = line(p.whole), &piece = line(p.piece);
    if (whole.is_even && whole.cuts.empty() && piece.cuts.empty()) return false;
    const Dim end = p.start + piece.extent;
    bool changed = cut(p.whole, p.start, p.node) | cut(p.whole, end, p.node);
    for (Dim at : llvm::SmallVector<Dim, 2>(piece.cuts)) changed |= cut(p.whole, p.start + at, p.node);
    for (Dim at : llvm::SmallVector<Dim, 2>(whole.cuts))
      if (at != p.start && at != end && proved_less_equal(p.start, at) && proved_less_equal(at, end))
        changed |= cut(p.piece, at - p.start, p.node);
    return changed;
  }

  Dim minor(llvm::ArrayRef<int> side) {
    Dim out = 1;
    for (int k : side.drop_front()) out = out * line(k).extent;
    return out;
  }
  // The majors' cuts, each side's in units of the other's.
  bool look_at(const LineLink& link, size_t index) {
    const int left = link.left.front(), right = link.right.front();
    auto is_cut = [&](int k) { return !line(k).cuts.empty(); };
    if (!is_cut(left) && !is_cut(right)) return false;
    auto units = [&](llvm::ArrayRef<int> from, llvm::ArrayRef<int> to) {
      llvm::SmallVector<Dim, 2> out;
      for (Dim at : line(from.front()).cuts)
        if (auto there = exact_div(at * minor(from), minor(to))) out.push_back(*there);
      return out;
    };
    const auto to_right = units(link.left, link.right), to_left = units(link.right, link.left);
    if (to_right.size() != line(left).cuts.size() || to_left.size() != line(right).cuts.size() ||
        given_up_[size_t(left)] || given_up_[size_t(right)]) {
      blocked_[index] = true;
      return false;
    }
    bool changed = false;
    for (Dim at : to_right) changed |= cut(right, at, link.node);
    for (Dim at : to_left) changed |= cut(left, at, link.node);
    return changed;
  }
  bool is_cut_alike(const LineLink& link) {
    for (llvm::ArrayRef<int> side : {llvm::ArrayRef<int>(link.left), llvm::ArrayRef<int>(link.right)})
      for (int k : side.drop_front())
        if (!line(k).cuts.empty()) return false;
    const auto a = line(link.left.front()).parts(), b = line(link.right.front()).parts();
    const Dim m = minor(link.left), n = minor(link.right);
    return a.size() > 1 && llvm::equal(a, b, [&](Dim x, Dim y) { return x * m == y * n; });
  }

  bool drop(const LinePiece& p) {
    Line &whole = line(p.whole), &piece = line(p.piece);
    if (whole.is_even) return false;
    const bool is_held = !given_up_[size_t(p.whole)] && !given_up_[size_t(p.piece)];
    const auto at = [&](Dim d) { return d.is(0) || d == whole.extent || llvm::is_contained(whole.cuts, d); };
    if (is_held && at(p.start) && at(p.start + piece.extent)) return false;
    whole.needs_whole.note(p.node);
    piece.needs_whole.note(p.node);
    return true;
  }

  std::vector<Line>& lines_;
  std::vector<LinePiece>& pieces_;
  std::vector<LineLink>& links_;
  std::vector<bool> given_up_;  // of each line
  std::vector<bool> blocked_;   // of each link: some cut falls within an element of its other side
};
}  // namespace

void find_cuts(std::vector<Line>& lines, std::vector<LinePiece>& pieces, std::vector<LineLink>& links) {
  CutSearch(lines, pieces, links).run();
}
}  // namespace optp
