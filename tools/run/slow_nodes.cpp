#include "tools/run/slow_nodes.h"

#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/raw_ostream.h"
#include "tools/cli/progress.h"

namespace optp {
namespace {
std::string to_text(llvm::ArrayRef<SlowNode> nodes) {
  llvm::json::Array out;
  for (const SlowNode& n : nodes)
    out.push_back(llvm::json::Array{n.op, int64_t(n.dtype), llvm::json::fixUTF8(n.value), n.reason});
  return llvm::formatv("{0}", llvm::json::Value(std::move(out))).str();
}
llvm::Expected<std::vector<SlowNode>> from_text(llvm::StringRef text) {
  const auto damaged = [] { return error(Code::bug, "remarks between processes are damaged"); };
  auto json = llvm::json::parse(text);
  if (!json) return json.takeError();
  std::vector<SlowNode> out;
  if (!json->getAsArray()) return damaged();
  for (const llvm::json::Value& entry : *json->getAsArray()) {
    const llvm::json::Array* n = entry.getAsArray();
    if (!n || n->size() != 4) return damaged();
    const auto op = (*n)[0].getAsString(), value = (*n)[2].getAsString(), reason = (*n)[3].getAsString();
    const auto dtype = (*n)[1].getAsInteger();
    if (!op || !dtype || !value || !reason) return damaged();
    out.push_back({.op = op->str(), .value = value->str(), .dtype = DType(*dtype), .reason = reason->str()});
  }
  return out;
}
}  // namespace

void SlowNodes::add(const RankThreads& ranks) {
  for (const size_t r : ranks.ranks())
    for (const SlowNode& node : ranks.executable(r).slow_nodes()) of_rank_[r].push_back(node);
}

llvm::Error SlowNodes::gather(World& world) {
  if (world.is_whole()) return llvm::Error::success();
  PerRank<std::string> own(world.held());
  for (const size_t r : world.held()) own[r] = to_text(of_rank_[r]);
  auto all = world.gather(std::move(own));
  if (!all) return all.takeError();
  for (const size_t r : all->ranks()) {
    auto nodes = from_text((*all)[r]);
    if (!nodes) return nodes.takeError();
    of_rank_[r] = std::move(*nodes);
  }
  return llvm::Error::success();
}

SlowNodes::Kinds SlowNodes::kinds() const {
  Kinds out;
  for (const auto& [rank, nodes] : of_rank_)
    for (const SlowNode& node : nodes) {
      std::vector<std::string>& values = out[{node.op, node.dtype, node.reason}];
      if (!llvm::is_contained(values, node.value)) values.push_back(node.value);
    }
  return out;
}

std::vector<std::string> SlowNodes::remarks() const {
  std::vector<std::string> out;
  for (const auto& [kind, values] : kinds()) {
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
  for (const auto& [kind, values] : kinds()) {
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
