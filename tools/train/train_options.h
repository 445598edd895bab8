// What train is asked for, on the command line and by the checkpoint that it goes on from.
#pragma once
#include <functional>
#include <optional>
#include <string>

#include "passes/plan/job.h"
#include "runtime/comm/world.h"
#include "tools/train/checkpoint.h"

namespace optp {

struct TrainOptions {
  JobOptions job;
  std::string data, token_type = "uint16", inputs_dir, save, resume, log, plot, profile;
  std::optional<int64_t> batch, sequence, epochs, warmup;
  std::optional<uint64_t> seed;
  std::optional<Schedule> schedule;
  int64_t max_steps = 0, save_every = 0, threads = 0;
  bool rewind = false, overwrite = false;
  std::function<bool(const char*)> given;  // was this flag on the command line?
};

llvm::Error check(const TrainOptions& o);
// What the command line leaves open is as the checkpoint has it; another optimizer is another run.
llvm::Error take_from(const Checkpoint& from, const TrainOptions& o, JobOptions& job);

// What is trained on: as the command line says, else as before.
struct DataSource {
  std::string tokens, folders, token_type;  // one of the first two
  bool is_remembered = false;               // by the checkpoint
};
DataSource source_of(const TrainOptions& o, const Checkpoint* from);

// In training_run.cpp.
llvm::Error train(const TrainOptions& o, const WorldMaker& make_world);
// The checkpoint of `resume` as it is, for the layout that `job` says, into the folder of `save`. Nothing is trained.
llvm::Error reshard(const TrainOptions& o, const WorldMaker& make_world);

}  // namespace optp
