// Going through the elements of large arrays by all cores.
#pragma once
#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "frontend/ir/tensor.h"
#include "llvm/Support/Parallel.h"

namespace optp {

// What `work(from, to)` finds in parts of `count` elements, side by side, taken together by `add(all, part)` in their
// order, beginning with the first.
template <typename Work, typename Add>
auto in_parts(int64_t count, Work work, Add add) {
  constexpr int64_t least = int64_t(1) << 15;  // below, starting a thread takes longer
  const int64_t parts = std::clamp<int64_t>(count / least, 1, 64);
  using Found = decltype(work(int64_t(0), int64_t(0)));
  static_assert(!std::is_same_v<Found, bool>, "elements of vector<bool> share bytes, which threads may not");
  std::vector<Found> found(static_cast<size_t>(parts));
  llvm::parallelFor(0, size_t(parts),
                    [&](size_t k) { found[k] = work(count * int64_t(k) / parts, count * int64_t(k + 1) / parts); });
  for (size_t k = 1; k < found.size(); ++k) add(found[0], found[k]);
  return found[0];
}
// The same of an array by `work(array, from, to)`, and of a tensor, of which only parts ever stand in float64.
template <typename Work, typename Add>
auto in_parts(const Array& array, Work work, Add add) {
  return in_parts(array.elements(), [&](int64_t from, int64_t to) { return work(array, from, to); }, add);
}
template <typename Work, typename Add>
auto in_parts(const Tensor& tensor, Work work, Add add) {
  if (tensor.wide) return in_parts(to_array(tensor), work, add);
  constexpr int64_t most = int64_t(1) << 15;  // few enough for the cache
  return in_parts(
      tensor.elements(),
      [&](int64_t from, int64_t to) {
        auto part = [&](int64_t at) {
          const auto size = size_t(size_bytes(tensor.dtype));
          Tensor view;
          view.dtype = tensor.dtype;
          view.dims = {std::min(most, to - at)};
          view.bytes = tensor.bytes.slice(size_t(at) * size, size_t(view.dims[0]) * size);
          return work(to_array(view), 0, view.dims[0]);
        };
        auto found = part(from);
        for (int64_t at = from + most; at < to; at += most) add(found, part(at));
        return found;
      },
      add);
}

}  // namespace optp
