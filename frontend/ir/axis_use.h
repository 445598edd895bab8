// How a mesh axis cuts a factor, and its word in a sharding.
//   tensor         in balanced chunks
//   tensor/4       each index stands for 4 of a finer factor, which is cut in chunks: a rank holds those that its chunk
//                  belongs to. 2 heads of keys, each for 4 heads of queries, over 5 devices: the chunks of queries are
//                  0:2 2:4 4:6 6:7 7:8, and the heads of keys 0:1 0:1 1:2 1:2 1:2. What several ranks hold are copies.
//   tensor/4.once  the same without copies: an index is where the first of its 4 is; 0:1 0:0 1:2 0:0 0:0
#pragma once
#include <concepts>
#include <string>
#include <string_view>

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"

namespace optp {

struct AxisUse {
  std::string axis;
  int64_t group = 1;
  bool once = false;

  AxisUse() = default;
  template <std::convertible_to<std::string_view> Name>
  AxisUse(const Name& axis, int64_t group = 1, bool once = false)  // NOLINT: an axis alone cuts in balanced chunks
      : axis(std::string_view(axis)), group(group), once(once) {}
  bool is_cover() const { return group > 1; }
  auto operator<=>(const AxisUse&) const = default;
};
using AxisUses = llvm::SmallVector<AxisUse, 0>;  // most are empty, and each factor of each value has some

// Of a word that is none of these the axis is the word, which no mesh has.
AxisUse axis_use(llvm::StringRef word);
std::string to_string(const AxisUse& use);
std::string joined(llvm::ArrayRef<AxisUse> uses, llvm::StringRef separator);
bool has_cover(llvm::ArrayRef<AxisUse> uses);
bool are_over(llvm::ArrayRef<AxisUse> uses, llvm::StringRef axis);  // one of them, in whatever way

}  // namespace optp
