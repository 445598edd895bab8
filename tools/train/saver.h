// A folder of checkpoints. One transaction is open at all times, so that no other run writes there meanwhile. The root
// has begun it, the other processes write into the same folder.
#pragma once
#include <optional>
#include <string>

#include "tools/run/stepper.h"
#include "tools/train/checkpoint.h"

namespace optp {

class Saver {
 public:
  // Together, as is `save`. `resume`: what the run goes on from, or empty.
  static llvm::Expected<Saver> open(World& world, std::string folder, const std::string& resume, OutputOptions options);
  const std::string& folder() const { return folder_; }
  bool resumed() const { return resumed_; }  // is it the folder that the run goes on from?
  int64_t saved_step() const { return saved_; }
  llvm::Error save(const RunRecord& run, const Graph& whole, llvm::ArrayRef<Port> held, Stepper& stepper);

 private:
  explicit Saver(World& world) : world_(&world) {}
  llvm::Error begin();

  World* world_;
  std::string folder_;
  OutputOptions options_;
  std::optional<OutputTransaction> transaction_;
  int64_t saved_ = -1;
  bool resumed_ = false;
};

// A checkpoint's arrays become what the held ranks hold, however many ranks there were and are.
llvm::Error restore(const Checkpoint& from, llvm::ArrayRef<Port> held, Stepper& stepper);

}  // namespace optp
