// What generates: a model that is cut now, or a folder that partition --kv-cache wrote.
#pragma once
#include "passes/cached_decoder.h"
#include "passes/plan/job.h"
#include "passes/plan/plan_json.h"
#include "tools/run/decoder.h"

namespace optp {

struct Source {
  std::string path;
  std::optional<Job> job;
  std::optional<Plan> plan;
  // The input of ids, and of how many rows it chooses; 0: not known.
  std::string ids;
  int64_t vocabulary = 0;
  size_t devices() const { return job ? job->ranks.size() : plan->devices.size(); }
  const Mesh& mesh() const { return job ? job->whole->mesh : plan->mesh; }
};
bool is_partitioned(const std::string& path);  // a folder that partition wrote
// Errors: no decoder, a folder without caches.
llvm::Expected<Source> source_of(const JobOptions& options);
// Before anything runs: all ids are rows, and tables and caches have room for so many tokens.
llvm::Error has_row(const Source& source, llvm::StringRef what, int64_t id);
llvm::Error has_room(const Source& source, int64_t tokens);
// Together. `inputs`: --input, what is the same in each step.
llvm::Expected<std::unique_ptr<Decoder>> decoder_of(Source& source, World& world, llvm::ArrayRef<std::string> inputs,
                                                    llvm::StringRef random_weights, int64_t threads_per_device);

}  // namespace optp
