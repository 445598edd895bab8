// Index tuples that count: what x[:, :, 8:] = u becomes in exporters that know no assignment to a slice.
#pragma once
#include "frontend/ir/graph.h"

namespace optp {
// Indices from `start` on along one axis, and all of every other dim.
struct AssignedSlice {
  size_t axis;
  Dim start;
};
// Where index tuples for the leading dims of `data`, in the last dim of `index`, go over such a part of it in order.
std::optional<AssignedSlice> assigned_slice(const Value& index, const Dims& data);
}  // namespace optp
