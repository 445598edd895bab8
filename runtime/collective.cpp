#include "runtime/collective.h"

#include <cstring>

#include "frontend/ir/diagnostic.h"
#include "runtime/comm/communicator.h"

namespace optp {

bool in_place(const CollectiveCall& call) { return call.op == "all_reduce" || call.op == "broadcast"; }

llvm::Error communicate(Communicator* communicator, const CollectiveCall& call, const void* in, void* out,
                        int64_t in_bytes) {
  if (call.group.size() == 1 || (call.op == "broadcast" && in != out)) {
    if (in != out && in_bytes > 0) std::memcpy(out, in, size_t(in_bytes));
    if (call.group.size() == 1) return llvm::Error::success();
  }
  if (!communicator)
    return error(Fault::usage, "collective " + quoted(call.id) + " needs the other ranks, and none are running");
  const CollectiveStamp stamp{call.id, call.dtype, call.dims};
  const Reduce reduce = call.reduce == "max" ? Reduce::max : call.reduce == "min" ? Reduce::min : Reduce::sum;
  if (call.op == "all_reduce") return communicator->all_reduce(stamp, call.group, reduce, in, out);
  if (call.op == "all_gather") return communicator->all_gather(stamp, call.group, call.axis, in, out);
  if (call.op == "reduce_scatter") return communicator->reduce_scatter(stamp, call.group, reduce, call.axis, in, out);
  if (call.op == "all_to_all") return communicator->all_to_all(stamp, call.group, call.axis, call.concat_axis, in, out);
  if (call.op == "broadcast") return communicator->broadcast(stamp, call.group, call.root, out);
  return error(Fault::internal, "unknown collective " + quoted(call.op));
}
}  // namespace optp
