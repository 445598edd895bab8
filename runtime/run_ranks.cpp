#include "runtime/run_ranks.h"

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include "frontend/ir/diagnostic.h"
#include "runtime/parallel.h"

namespace optp {

struct RankThreads::State {
  World& world;
  PerRank<std::unique_ptr<Executable>> executables;
  std::vector<std::thread> threads;
  std::mutex mutex;
  std::condition_variable wake, done;
  uint64_t round = 0;
  size_t running = 0;
  bool stop = false, failed = false;
  std::function<llvm::Error(size_t)> work;
  PerRank<std::optional<Diagnostic>> faults;

  State(World& world, int threads_per_device) : world(world), executables(world.held()) {
    for (const size_t r : world.held())
      threads.emplace_back([this, r, threads_per_device] {
        const TeamSize team(threads_per_device);  // first of all: it belongs to the thread
        serve(r);
      });
  }
  ~State() {
    {
      std::lock_guard lock(mutex);
      stop = true;
    }
    wake.notify_all();
    for (std::thread& t : threads) t.join();
  }

  // An exception must not leave the thread.
  llvm::Error attempt(size_t rank) {
    try {
      return work(rank);
    } catch (const std::bad_alloc&) {
      return error(Code::out_of_memory, "out of memory");
    } catch (const std::exception& e) {
      return error(Code::bug, std::string("internal: ") + e.what());
    }
  }
  void serve(size_t rank) {
    for (uint64_t seen = 0;;) {
      {
        std::unique_lock lock(mutex);
        wake.wait(lock, [&] { return stop || round != seen; });
        if (stop) return;
        seen = round;
      }
      if (llvm::Error e = attempt(rank)) {
        faults[rank] = take_diagnostic(std::move(e));
        world.communicator(rank).abort(faults[rank]->message());
      }
      std::lock_guard lock(mutex);
      if (--running == 0) done.notify_all();
    }
  }

  // Every held rank calls f(rank) in its thread; the cause, not what it did to others, is what is returned.
  llvm::Error all(std::function<llvm::Error(size_t)> f) {
    if (failed) return error(Code::rank_failed, "a rank failed before");
    work = std::move(f);
    faults = PerRank<std::optional<Diagnostic>>(world.held());
    {
      std::unique_lock lock(mutex);
      running = threads.size();
      ++round;
      wake.notify_all();
      done.wait(lock, [&] { return running == 0; });
    }
    const auto is_cause = [&](size_t r) { return faults[r] && faults[r]->fault() != Fault::rank_failed; };
    const auto* cause = llvm::find_if(world.held(), is_cause);
    if (cause == world.held().end()) cause = llvm::find_if(world.held(), [&](size_t r) { return bool(faults[r]); });
    if (cause == world.held().end()) return llvm::Error::success();
    failed = true;
    if (is_cause(*cause) && world.size() > 1) faults[*cause]->within(words("rank " + llvm::Twine(*cause)));
    return *faults[*cause];
  }
};

RankThreads::RankThreads() = default;
RankThreads::~RankThreads() = default;

llvm::Expected<std::unique_ptr<RankThreads>> RankThreads::create(World& world, const PerRank<const Graph*>& graphs,
                                                                 const RankThreadsOptions& options) {
  if (graphs.ranks() != world.held()) return error(Code::bug, "graphs of other ranks than those that are held");
  std::unique_ptr<RankThreads> out(new RankThreads());
  out->state_ = std::make_unique<State>(world, options.threads_per_device);
  State& state = *out->state_;
  auto e = state.all([&](size_t rank) -> llvm::Error {
    ExecutableOptions own = options.executable;
    own.threads = options.threads_per_device;
    own.communicator = &world.communicator(rank);
    if (world.overlaps()) own.overlap_bytes = 64 * 1024;  // below, waking the other thread takes as long
    if (options.packed) own.packed = (*options.packed)[rank];
    if (options.unread) own.unread = (*options.unread)[rank];
    auto executable = Executable::compile(*graphs[rank], own);
    if (!executable) return executable.takeError();
    state.executables[rank] = std::move(*executable);
    return llvm::Error::success();
  });
  if (e) return e;
  return out;
}
llvm::Error RankThreads::run(const PerRank<HostInputs>& inputs, PerRank<HostArrays>& outputs) {
  if (inputs.ranks() != ranks())
    return error(Code::bug).what("inputs of " + llvm::Twine(inputs.size()) + " ranks for " +
                                 llvm::Twine(ranks().size()));
  if (outputs.ranks() != ranks()) outputs = PerRank<HostArrays>(ranks());
  return state_->all([&](size_t rank) { return state_->executables[rank]->run(inputs[rank], outputs[rank]); });
}
llvm::ArrayRef<size_t> RankThreads::ranks() const { return state_->executables.ranks(); }
const Executable& RankThreads::executable(size_t rank) const { return *state_->executables[rank]; }

}  // namespace optp
