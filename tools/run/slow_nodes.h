// What runs in float64 because no kernel takes it: a remark for whoever wonders where the time goes.
#pragma once
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "llvm/Support/JSON.h"
#include "runtime/run_ranks.h"

namespace optp {

// Of any number of runs, all ranks together: a line for each op, dtype and reason. A value that several ranks compute
// counts once.
class SlowNodes {
 public:
  void add(const RankThreads& ranks);  // of the ranks that are held
  llvm::Error gather(World& world);    // together; then the root has those of all ranks
  void print() const;                  // a remark a line, on stderr; nothing if that is to be quiet
  llvm::json::Value json() const;      // docs/check.schema.json, docs/bench.schema.json
  std::vector<std::string> remarks() const;

 private:
  using Kinds = std::map<std::tuple<std::string, DType, std::string>, std::vector<std::string>>;
  Kinds kinds() const;  // op, dtype and reason, and the values in the order of ranks
  std::map<size_t, std::vector<SlowNode>> of_rank_;
};

}  // namespace optp
