// A value for each of the ranks that a process holds. What was a vector by rank would be one of all ranks.
#pragma once
#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "llvm/ADT/ArrayRef.h"

namespace optp {

template <typename T>
class PerRank {
 public:
  PerRank() = default;  // of no rank
  explicit PerRank(llvm::ArrayRef<size_t> ranks) : ranks_(ranks.begin(), ranks.end()), values_(ranks.size()) {}
  // Of ranks 0, 1 …
  static PerRank of_all(std::vector<T> values) {
    PerRank out;
    for (size_t r = 0; r < values.size(); ++r) out.ranks_.push_back(r);
    out.values_ = std::move(values);
    return out;
  }

  llvm::ArrayRef<size_t> ranks() const { return ranks_; }  // ascending
  size_t size() const { return ranks_.size(); }
  bool holds(size_t rank) const { return std::binary_search(ranks_.begin(), ranks_.end(), rank); }
  // To ask for a rank that is not held is a bug of ours, and is reported as one.
  T& operator[](size_t rank) { return values_[place_of(rank)]; }
  const T& operator[](size_t rank) const { return values_[place_of(rank)]; }

 private:
  size_t place_of(size_t rank) const {
    const auto at = std::lower_bound(ranks_.begin(), ranks_.end(), rank);
    if (at == ranks_.end() || *at != rank)
      throw std::out_of_range("rank " + std::to_string(rank) + " is not one of those that this process holds");
    return size_t(at - ranks_.begin());
  }
  std::vector<size_t> ranks_;
  std::vector<T> values_;
};

}  // namespace optp
