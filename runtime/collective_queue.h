// Collectives that travel while their rank computes: begun in order, done in order, by a thread of their own.
#pragma once
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>

#include "frontend/ir/diagnostic.h"
#include "runtime/collective.h"

namespace optp {

// Of one rank. Its communicator is used by one thread at a time: who runs a collective by itself waits for all others
// first. The thread is made when one is begun for the first time.
class CollectiveQueue {
 public:
  explicit CollectiveQueue(Communicator* communicator) : communicator_(communicator) {}
  ~CollectiveQueue();  // nothing is on its way
  CollectiveQueue(const CollectiveQueue&) = delete;

  // Buffers, and the call, are the collective's until it has been waited for.
  void begin(const CollectiveCall& call, const void* in, void* out, int64_t in_bytes);
  size_t begun() const { return number_begun_; }  // since the last finish
  // For the first so many of them. The error of the first that failed; what stands behind that is not run.
  llvm::Error wait_for(size_t count);
  llvm::Error finish();  // for all of them, and counts anew
  // This rank can't go on: all others are told, so that what is on its way ends.
  void give_up(llvm::StringRef message);

 private:
  struct Task {
    const CollectiveCall* call;
    const void* in;
    void* out;
    int64_t in_bytes;
  };
  void work();
  llvm::Error attempt(const Task& task) const;

  Communicator* const communicator_;
  std::mutex mutex_;
  std::condition_variable begun_, done_;
  std::deque<Task> tasks_;  // the first of them is being run
  size_t number_done_ = 0, number_begun_ = 0;
  std::optional<Diagnostic> failure_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace optp
