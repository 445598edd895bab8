#include "runtime/comm/call.h"

#include <algorithm>

#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/CheckedArithmetic.h"
#include "llvm/Support/xxhash.h"
#include "runtime/comm/reduce.h"

namespace optp {
namespace {

llvm::ArrayRef<uint8_t> bytes_of(const void* data, size_t bytes) { return {static_cast<const uint8_t*>(data), bytes}; }

}  // namespace

Extents extents(const CollectiveCall& call) {
  Extents out;
  for (Dim d : call.dims) out.push_back(d.constant().value_or(-1));
  return out;
}

uint64_t fingerprint(const CollectiveCall& call) {
  const Extents dims = extents(call);
  const uint64_t parts[] = {uint64_t(call.kind),
                            uint64_t(call.reduce),
                            uint64_t(call.dtype),
                            uint64_t(call.cut_axis),
                            uint64_t(call.join_axis),
                            llvm::xxh3_64bits(llvm::StringRef(call.id)),
                            llvm::xxh3_64bits(bytes_of(dims.data(), dims.size() * sizeof(int64_t)))};
  return llvm::xxh3_64bits(bytes_of(parts, sizeof parts));
}

std::string describe(const CollectiveCall& call) {
  std::string text = (to_string(call.kind) + " " + quoted(call.id)).str();
  switch (call.kind) {
    case Collective::all_reduce:
      text += (" (" + to_string(call.reduce) + ")").str();
      break;
    case Collective::all_gather:
      text += " (axis " + std::to_string(call.join_axis) + ")";
      break;
    case Collective::reduce_scatter:
      text += (" (" + to_string(call.reduce) + ", axis " + llvm::Twine(call.cut_axis) + ")").str();
      break;
    case Collective::all_to_all:
      text += " (split " + std::to_string(call.cut_axis) + ", concat " + std::to_string(call.join_axis) + ")";
      break;
    case Collective::barrier:
      return text;
  }
  text += (" " + to_string(call.dtype) + "[").str();
  llvm::interleave(extents(call), [&](int64_t extent) { text += std::to_string(extent); }, [&] { text += ", "; });
  return text + "]";
}

std::string differences(const CollectiveCall& a, const CollectiveCall& b) {
  llvm::SmallVector<std::string, 6> found;
  if (a.id != b.id) found.push_back("id");
  if (a.kind != b.kind) found.push_back("kind");
  if (a.dtype != b.dtype) found.push_back("dtype");
  if (a.dims != b.dims) found.push_back("shape");
  if (a.kind == b.kind) {
    if (a.reduce != b.reduce) found.push_back("reduce");
    if (a.cut_axis != b.cut_axis) found.push_back(joins(a.kind) ? "split axis" : "axis");
    if (a.join_axis != b.join_axis) found.push_back(cuts(a.kind) ? "concat axis" : "axis");
  }
  return llvm::join(found, " and ");
}

std::string print_group(llvm::ArrayRef<int> group) {
  std::string text = "{";
  llvm::interleave(group, [&](int rank) { text += std::to_string(rank); }, [&] { text += ", "; });
  return text + "}";
}

llvm::Error check(const CollectiveCall& call) {
  auto wrong = [&](const llvm::Twine& what) { return error(Code::bug).what(describe(call)).what(what); };
  if (call.kind == Collective::barrier) return llvm::Error::success();
  if (size_bytes(call.dtype) == 0) return wrong("dtype: has no size");
  if (reduces(call.kind) && !can_reduce(call.dtype)) return wrong("dtype: can't be reduced");
  int64_t bytes = size_bytes(call.dtype);
  for (int64_t extent : extents(call)) {
    if (extent < 0) return wrong("shape: negative extent");
    // An empty dim must not hide that the others overflow: their products are strides.
    auto next = llvm::checkedMul(bytes, std::max<int64_t>(extent, 1));
    if (!next) return wrong("shape: more than 2^63 bytes");
    bytes = *next;
  }
  const int ndim = int(call.dims.size());
  auto inside = [&](int64_t axis) { return axis >= 0 && axis < ndim; };
  const bool cut = cuts(call.kind), join = joins(call.kind);
  if (cut && join && (call.cut_axis == call.join_axis || !inside(call.cut_axis) || !inside(call.join_axis)))
    return wrong("axes: not two dims");
  if ((cut && !inside(call.cut_axis)) || (join && !inside(call.join_axis))) return wrong("axis: not a dim");
  return llvm::Error::success();
}

llvm::Error check_group(llvm::ArrayRef<int> group, int rank, int world_size) {
  auto wrong = [&](const llvm::Twine& what) { return error(Code::bug).what("group " + print_group(group)).what(what); };
  llvm::SmallVector<bool, 16> seen(world_size, false);
  for (int member : group) {
    if (member < 0 || member >= world_size)
      return wrong("no rank " + llvm::Twine(member) + " among " + llvm::Twine(world_size));
    if (seen[member]) return wrong("rank " + llvm::Twine(member) + " twice");
    seen[member] = true;
  }
  if (!seen[rank]) return wrong("rank " + llvm::Twine(rank) + " uses it, and is not in it");
  return llvm::Error::success();
}

Around around(llvm::ArrayRef<int64_t> dims, int axis) {
  return {count_of(dims.take_front(axis)), dims[axis], count_of(dims.drop_front(axis + 1))};
}

int64_t input_bytes(const CollectiveCall& call, int members, int member) {
  if (call.kind == Collective::barrier) return 0;
  const Extents dims = extents(call);
  if (!joins(call.kind)) return count_of(dims) * size_bytes(call.dtype);
  const Around at = around(dims, int(call.join_axis));
  return at.outer * chunk_size(at.total, members, member) * at.inner * size_bytes(call.dtype);
}

}  // namespace optp
