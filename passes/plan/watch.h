// Looks into the pipeline, for developers: graphs before and after stages, where to stop, how long each stage took.
#pragma once
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "frontend/io/output_transaction.h"
#include "passes/pipeline.h"

namespace optp {

// --print-before, --print-after, --stop-after, --dump-dir, --rewrite-limit, --time-passes
struct WatchOptions {
  std::vector<std::string> print_before, print_after;  // stages' names
  std::string stop_after, dump_dir;
  std::string rewrite_limit;  // "PASS:N"
  bool time = false;
  std::function<void(llvm::StringRef)> print;  // gets the text that is to be shown
};

class Watch {
 public:
  // Errors: no such stage; a stage that counts no rewrites; a dump folder that can't be written.
  static llvm::Expected<Watch> create(const WatchOptions& options, bool trains);
  StageHooks hooks();  // for run_pipeline; `this` must outlive them
  llvm::Error end();   // the dumps appear, times are shown

 private:
  Watch(const WatchOptions& options, bool trains);
  llvm::Error check_names();
  void show(const std::string& when, const Graph& graph) const;
  llvm::Error dump(const Stage& stage, const Graph& graph, std::optional<int64_t> rank, int time);

  WatchOptions options_;
  std::vector<const Stage*> stages_;
  std::optional<OutputTransaction> dumps_;
  std::optional<std::pair<std::string, int64_t>> limit_;
  std::vector<std::pair<const Stage*, double>> times_ms_;
  std::map<std::pair<const Stage*, int64_t>, int> times_;  // that a stage ran, of each rank
};

}  // namespace optp
