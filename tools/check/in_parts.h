// Going through the elements of large arrays by all cores.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "llvm/Support/Parallel.h"

namespace optp {

// What `work(from, to)` finds in parts of `count` elements, side by side, taken together by `add(all, part)` in their
// order, beginning with the first.
template <typename Work, typename Add>
auto in_parts(int64_t count, Work work, Add add) {
  constexpr int64_t least = int64_t(1) << 15;  // below, starting a thread takes longer
  const int64_t parts = std::clamp<int64_t>(count / least, 1, 64);
  std::vector<decltype(work(int64_t(0), int64_t(0)))> found(static_cast<size_t>(parts));
  llvm::parallelFor(0, size_t(parts),
                    [&](size_t k) { found[k] = work(count * int64_t(k) / parts, count * int64_t(k + 1) / parts); });
  for (size_t k = 1; k < found.size(); ++k) add(found[0], found[k]);
  return found[0];
}

}  // namespace optp
