// A run of several processes, each with some of the ranks, played by threads of one: what a transport between processes
// must give, with queues in memory for the network.
#pragma once
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <vector>

#include "frontend/ir/diagnostic.h"
#include "runtime/comm/thread_communicator.h"

namespace optp::testing {

class SplitRun {
 public:
  // The ranks of each process.
  explicit SplitRun(std::vector<std::vector<size_t>> held) : held_(std::move(held)), slots_(held_.size()) {}
  size_t processes() const { return held_.size(); }
  // How this process makes its world; called in a thread of its own.
  WorldMaker maker(size_t process) {
    return [this, process](llvm::Expected<size_t> ranks) { return make(process, std::move(ranks)); };
  }

 private:
  // What a process brings to a round; `what` tells rounds apart that must not meet.
  struct Slot {
    std::string what;
    PerRank<std::string> parts;
    std::string text;
    std::optional<Diagnostic> fault;
  };
  using Round = std::shared_ptr<const std::vector<Slot>>;

  // Each comes with its slot, and leaves with all of them.
  llvm::Expected<Round> meet(size_t process, Slot slot) {
    std::unique_lock lock(mutex_);
    const size_t number = number_;
    slots_[process] = std::move(slot);
    if (++come_ == processes()) {
      last_ = std::make_shared<const std::vector<Slot>>(std::move(slots_));
      slots_ = std::vector<Slot>(processes());
      come_ = 0, ++number_;
      all_.notify_all();
    } else if (!all_.wait_for(lock, std::chrono::seconds(120), [&] { return number_ != number; })) {
      return error(Code::rank_failed, "a process did not come");
    }
    for (const Slot& other : *last_)
      if (other.what != last_->front().what)
        return error(Code::bug)
            .what("processes meet in different rounds")
            .expected(last_->front().what)
            .found(other.what);
    return last_;
  }

  class Part final : public World {
   public:
    Part(SplitRun& run, size_t process) : run_(run), process_(process) {}
    size_t size() const override { return run_.threads_->size(); }
    llvm::ArrayRef<size_t> held() const override { return run_.held_[process_]; }
    Communicator& communicator(size_t rank) override {
      if (!holds(rank)) throw std::out_of_range("a communicator of a rank that is held elsewhere");
      return run_.threads_->communicator(rank);
    }
    void abort(llvm::StringRef message) override { run_.threads_->abort(message); }
    std::string flight_record() const override { return run_.threads_->flight_record(); }

   private:
    llvm::Expected<PerRank<std::string>> gather_bytes(PerRank<std::string> own) override {
      if (own.ranks() != held()) return error(Code::bug, "parts of other ranks than those that are held");
      auto round = run_.meet(process_, {.what = "gather", .parts = std::move(own)});
      if (!round) return round.takeError();
      if (!is_root()) return PerRank<std::string>();
      std::vector<std::string> all(size());
      for (const Slot& slot : **round)
        for (const size_t r : slot.parts.ranks()) all[r] = slot.parts[r];
      return PerRank<std::string>::of_all(std::move(all));
    }
    llvm::Expected<std::string> broadcast_bytes(std::string roots) override {
      auto round = run_.meet(process_, {.what = "broadcast", .text = std::move(roots)});
      if (!round) return round.takeError();
      for (size_t p = 0; p < run_.processes(); ++p)
        if (llvm::is_contained(run_.held_[p], size_t(0))) return (**round)[p].text;
      return error(Code::bug, "no process holds rank 0");
    }
    SplitRun& run_;
    const size_t process_;
  };

  llvm::Expected<std::unique_ptr<World>> make(size_t process, llvm::Expected<size_t> ranks) {
    Slot own{.what = "begin"};
    if (!ranks) own.fault = take_diagnostic(ranks.takeError());
    if (ranks) {
      size_t held = 0;
      for (const auto& some : held_) held += some.size();
      if (held != *ranks) own.fault = error(Code::bad_value).what("ranks").expected(*ranks).found(held);
      const std::lock_guard lock(mutex_);
      if (!own.fault && !threads_)
        threads_ = std::make_unique<ThreadWorld>(*ranks, ThreadWorldOptions{.timeout_seconds = 100});
    }
    auto round = meet(process, std::move(own));
    if (!round) return round.takeError();
    for (const Slot& slot : **round)
      if (slot.fault) return Diagnostic(*slot.fault);
    return std::make_unique<Part>(*this, process);
  }

  const std::vector<std::vector<size_t>> held_;
  std::unique_ptr<ThreadWorld> threads_;  // joins all ranks, as a network would
  std::mutex mutex_;
  std::condition_variable all_;
  std::vector<Slot> slots_;
  Round last_;
  size_t come_ = 0, number_ = 0;
};

}  // namespace optp::testing
