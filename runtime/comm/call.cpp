#include "runtime/comm/call.h"

#include <algorithm>

#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/CheckedArithmetic.h"
#include "llvm/Support/xxhash.h"
#include "runtime/comm/chunks.h"
#include "runtime/comm/reduce.h"

namespace optp {
namespace {

bool has_reduce(const Call& call) {
  return call.kind == Collective::all_reduce || call.kind == Collective::reduce_scatter;
}

llvm::ArrayRef<uint8_t> bytes_of(const void* data, size_t bytes) { return {static_cast<const uint8_t*>(data), bytes}; }

}  // namespace

uint64_t fingerprint(const Call& call) {
  const uint64_t parts[] = {uint64_t(call.kind),
                            uint64_t(call.reduce),
                            uint64_t(call.dtype),
                            uint64_t(call.axis),
                            uint64_t(call.concat_axis),
                            llvm::xxh3_64bits(llvm::StringRef(call.id)),
                            llvm::xxh3_64bits(bytes_of(call.dims.data(), call.dims.size() * sizeof(int64_t)))};
  return llvm::xxh3_64bits(bytes_of(parts, sizeof parts));
}

std::string describe(const Call& call) {
  std::string text = (to_string(call.kind) + " " + quoted(call.id)).str();
  switch (call.kind) {
    case Collective::all_reduce:
      text += (" (" + to_string(call.reduce) + ")").str();
      break;
    case Collective::all_gather:
      text += " (axis " + std::to_string(call.axis) + ")";
      break;
    case Collective::reduce_scatter:
      text += (" (" + to_string(call.reduce) + ", axis " + llvm::Twine(call.axis) + ")").str();
      break;
    case Collective::all_to_all:
      text += " (split " + std::to_string(call.axis) + ", concat " + std::to_string(call.concat_axis) + ")";
      break;
    case Collective::broadcast:
      text += " (root " + std::to_string(call.axis) + ")";
      break;
    case Collective::barrier:
      return text;
  }
  text += (" " + to_string(call.dtype) + "[").str();
  llvm::interleave(call.dims, [&](int64_t extent) { text += std::to_string(extent); }, [&] { text += ", "; });
  return text + "]";
}

std::string differences(const Call& a, const Call& b) {
  llvm::SmallVector<std::string, 6> found;
  if (a.id != b.id) found.push_back("id");
  if (a.kind != b.kind) found.push_back("kind");
  if (a.dtype != b.dtype) found.push_back("dtype");
  if (a.dims != b.dims) found.push_back("shape");
  if (a.kind == b.kind) {
    if (a.reduce != b.reduce) found.push_back("reduce");
    if (a.axis != b.axis) found.push_back(a.kind == Collective::broadcast ? "root" : "axis");
    if (a.concat_axis != b.concat_axis) found.push_back("concat axis");
  }
  return llvm::join(found, " and ");
}

std::string print_group(llvm::ArrayRef<int> group) {
  std::string text = "{";
  llvm::interleave(group, [&](int rank) { text += std::to_string(rank); }, [&] { text += ", "; });
  return text + "}";
}

llvm::Error check(const Call& call, int members) {
  auto wrong = [&](const llvm::Twine& what) { return error(Fault::internal, describe(call) + ": " + what); };
  if (call.kind == Collective::barrier) return llvm::Error::success();
  if (size_bytes(call.dtype) == 0) return wrong("dtype: has no size");
  if (has_reduce(call) && !can_reduce(call.dtype)) return wrong("dtype: can't be reduced");
  int64_t bytes = size_bytes(call.dtype);
  for (int64_t extent : call.dims) {
    if (extent < 0) return wrong("shape: negative extent");
    // An empty dim must not hide that the others overflow: their products are strides.
    auto next = llvm::checkedMul(bytes, std::max<int64_t>(extent, 1));
    if (!next) return wrong("shape: more than 2^63 bytes");
    bytes = *next;
  }
  const int ndim = int(call.dims.size());
  auto inside = [](int index, int end) { return index >= 0 && index < end; };
  if (call.kind == Collective::broadcast && !inside(call.axis, members)) return wrong("root: not a member");
  if ((call.kind == Collective::all_gather || call.kind == Collective::reduce_scatter) && !inside(call.axis, ndim))
    return wrong("axis: not a dim");
  if (call.kind == Collective::all_to_all &&
      (!inside(call.axis, ndim) || !inside(call.concat_axis, ndim) || call.axis == call.concat_axis))
    return wrong("axes: not two dims");
  return llvm::Error::success();
}

llvm::Error check_group(llvm::ArrayRef<int> group, int rank, int world_size) {
  auto wrong = [&](const llvm::Twine& what) {
    return error(Fault::internal, "group " + print_group(group) + ": " + what);
  };
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

int64_t product(llvm::ArrayRef<int64_t> dims) {
  int64_t elements = 1;
  for (int64_t extent : dims) elements *= extent;
  return elements;
}

Around around(llvm::ArrayRef<int64_t> dims, int axis) {
  return {product(dims.take_front(axis)), dims[axis], product(dims.drop_front(axis + 1))};
}

int64_t input_bytes(const Call& call, int members, int member) {
  auto chunk = [&](int axis) {
    const Around at = around(call.dims, axis);
    return at.outer * chunks::size(at.total, members, member) * at.inner * size_bytes(call.dtype);
  };
  switch (call.kind) {
    case Collective::all_gather:
      return chunk(call.axis);
    case Collective::all_to_all:
      return chunk(call.concat_axis);
    case Collective::barrier:
      return 0;
    default:
      return product(call.dims) * size_bytes(call.dtype);
  }
}

}  // namespace optp
