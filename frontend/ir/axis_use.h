// How a mesh axis cuts a factor, as its word in a sharding says.
//   tensor         in balanced chunks
//   tensor/4       each index stands for 4 of a finer factor, which is cut in chunks: a rank holds those that its chunk
//                  belongs to. 2 heads of keys, each for 4 heads of queries, over 5 devices: the chunks of queries are
//                  0:2 2:4 4:6 6:7 7:8, and the heads of keys 0:1 0:1 1:2 1:2 1:2. What several ranks hold are copies.
//   tensor/4.once  the same without copies: an index is where the first of its 4 is; 0:1 0:0 1:2 0:0 0:0
#pragma once
#include <string>

#include "llvm/ADT/StringRef.h"

namespace optp {

struct AxisUse {
  llvm::StringRef axis;
  int64_t group = 1;
  bool once = false;
  bool is_cover() const { return group > 1; }
};
// Of a word that is none of these the axis is the word, which no mesh has.
AxisUse axis_use(llvm::StringRef word);
std::string to_string(const AxisUse& use);

}  // namespace optp
