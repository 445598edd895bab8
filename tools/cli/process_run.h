// A run as several processes, which a launcher (mpirun, srun) has started side by side. All are given the same command
// line; each holds some of the ranks. The root's stdout and stderr are those of the run.
#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "frontend/ir/diagnostic.h"
#include "llvm/Support/Error.h"
#include "runtime/comm/process_world.h"

namespace optp {

struct Launched {
  std::string by;  // "mpirun"
  int process = 0, processes = 1;
};
// None: this process is alone.
std::optional<Launched> find_launch();
// The module that joins processes: where it is, or none.
std::optional<std::string> find_mpi_module();

class ProcessRun {
 public:
  // Meets the other processes, or says what is missing for it. The library waits for all of them without end: where
  // they have not come after `seconds` (the root's; the others give it a quarter more, so that one line tells of it),
  // `late` is called, on a thread of its own, and must not return.
  static llvm::Expected<std::unique_ptr<ProcessRun>> join(const Launched& launched, Facts facts, double seconds,
                                                          std::function<void(Diagnostic)> late);
  ~ProcessRun();

  // The world of a verb, once: what is together from then on goes through it.
  llvm::Expected<std::unique_ptr<World>> make_world(llvm::Expected<size_t> ranks, MailOptions options);
  // An error of this process that came before the others could hear of it: all get the same.
  llvm::Error settle(llvm::Error error);
  // Whether this process tells what the run has to say. Others do only if they have lost the root.
  bool speaks();
  // The last call; what was to be written is. The other processes are ended with `code` if they do not end by
  // themselves.
  void end(int code);

 private:
  ProcessRun(std::unique_ptr<Transport> transport, Facts facts);
  const std::unique_ptr<Transport> transport_;
  const Facts facts_;
  Mail mail_;
  bool has_world_ = false;
};

}  // namespace optp
