// Which of the things 0, 1, 2, … are one.
#pragma once
#include <utility>
#include <vector>

namespace optp {

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

}  // namespace optp
