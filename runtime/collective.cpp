#include "runtime/collective.h"

#include <cstring>

#include "frontend/ir/diagnostic.h"
#include "frontend/ir/op.h"
#include "runtime/comm/communicator.h"

namespace optp {

llvm::Expected<CollectiveCall> collective_step(const Node& node) {
  CollectiveCall call = call_of(node);
  if (call.group.empty()) return error(Code::malformed).at(node).what("a collective without a group of ranks");
  call.reason.clear(), call.axes.clear();  // the plan's: nothing that is kept of each call at run time
  return call;
}

bool in_place(const CollectiveCall& call) { return call.kind == Collective::all_reduce; }

llvm::Error communicate(Communicator* communicator, const CollectiveCall& call, const void* in, void* out,
                        int64_t in_bytes) {
  if (call.group.size() == 1) {
    if (in != out && in_bytes > 0) std::memcpy(out, in, size_t(in_bytes));
    return llvm::Error::success();
  }
  if (!communicator)
    return error(Code::bad_value)
        .what("collective " + quoted(call.id) + " needs the other ranks, and none are running");
  return communicator->run(call, in, out);
}
}  // namespace optp
