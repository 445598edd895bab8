#include "tools/run/slow_nodes.h"

#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/raw_ostream.h"
#include "tools/cli/progress.h"

namespace optp {

void SlowNodes::add(const RankThreads& ranks) {
  for (size_t r = 0; r < ranks.size(); ++r)
    for (const SlowNode& node : ranks.executable(r).slow_nodes()) {
      std::vector<std::string>& values = values_[{node.op, node.dtype, node.reason}];
      if (!llvm::is_contained(values, node.value)) values.push_back(node.value);
    }
}

std::vector<std::string> SlowNodes::remarks() const {
  std::vector<std::string> out;
  for (const auto& [kind, values] : values_) {
    const auto& [op, dtype, reason] = kind;
    out.push_back(
        op + " of " + long_name(dtype).str() + " runs in float64, which is slow: " + reason + "; " +
        (values.size() == 1 ? "it computes " : std::to_string(values.size()) + " nodes, the first computes ") +
        quoted(values[0]));
  }
  return out;
}

void SlowNodes::print() const {
  if (Progress::silenced()) return;
  const auto held = Progress::hold();
  for (const std::string& remark : remarks()) llvm::errs() << "opt-partition: remark: " << remark << "\n";
}

llvm::json::Value SlowNodes::json() const {
  llvm::json::Array out;
  for (const auto& [kind, values] : values_) {
    const auto& [op, dtype, reason] = kind;
    out.push_back(llvm::json::Object{{"op", op},
                                     {"dtype", long_name(dtype)},
                                     {"reason", reason},
                                     {"nodes", int64_t(values.size())},
                                     {"first", printable(values[0])}});
  }
  return out;
}
}  // namespace optp
