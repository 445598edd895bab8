#include "runtime/collective.h"

#include <cstring>

#include "frontend/ir/diagnostic.h"
#include "frontend/ir/op.h"
#include "runtime/comm/communicator.h"

namespace optp {

llvm::Expected<CollectiveStep> collective_step(const Node& node) {
  const CollectiveCall call = call_of(node);
  if (call.group.empty()) return error(Code::malformed).at(node).what("a collective without a group of ranks");
  CollectiveStep step{bound(call), {}};
  for (int64_t rank : call.group) step.group.push_back(int(rank));
  return step;
}

bool in_place(const CollectiveStep& step) { return step.call.kind == Collective::all_reduce; }

llvm::Error communicate(Communicator* communicator, const CollectiveStep& step, const void* in, void* out,
                        int64_t in_bytes) {
  if (step.group.size() == 1) {
    if (in != out && in_bytes > 0) std::memcpy(out, in, size_t(in_bytes));
    return llvm::Error::success();
  }
  if (!communicator)
    return error(Code::bad_value)
        .what("collective " + quoted(step.call.id) + " needs the other ranks, and none are running");
  return communicator->run(step.call, step.group, in, out);
}
}  // namespace optp
