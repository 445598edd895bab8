#include "runtime/run_ranks.h"

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include "frontend/ir/diagnostic.h"
#include "runtime/comm/thread_communicator.h"
#include "runtime/parallel.h"

namespace optp {

struct RankThreads::State {
  std::unique_ptr<ThreadWorld> world;
  std::vector<std::unique_ptr<Executable>> executables;
  std::vector<std::thread> threads;
  std::mutex mutex;
  std::condition_variable wake, done;
  uint64_t round = 0;
  size_t running = 0;
  bool stop = false, failed = false;
  std::function<llvm::Error(size_t)> work;
  std::vector<std::optional<Diagnostic>> faults;

  explicit State(size_t ranks, int threads_per_device, double timeout_seconds)
      : world(std::make_unique<ThreadWorld>(int(ranks), ThreadWorldOptions{.timeout_seconds = timeout_seconds})),
        executables(ranks) {
    for (size_t r = 0; r < ranks; ++r)
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
        world->communicator(int(rank)).abort(faults[rank]->message());
      }
      std::lock_guard lock(mutex);
      if (--running == 0) done.notify_all();
    }
  }

  // Every rank calls f(rank) in its thread; the cause, not what it did to others, is what is returned.
  llvm::Error all(std::function<llvm::Error(size_t)> f) {
    if (failed) return error(Code::rank_failed, "a rank failed before");
    work = std::move(f);
    faults.assign(threads.size(), std::nullopt);
    {
      std::unique_lock lock(mutex);
      running = threads.size();
      ++round;
      wake.notify_all();
      done.wait(lock, [&] { return running == 0; });
    }
    const auto is_cause = [](const std::optional<Diagnostic>& d) { return d && d->fault() != Fault::rank_failed; };
    auto cause = llvm::find_if(faults, is_cause);
    if (cause == faults.end()) cause = llvm::find_if(faults, [](const auto& d) { return d.has_value(); });
    if (cause == faults.end()) return llvm::Error::success();
    failed = true;
    if (is_cause(*cause) && threads.size() > 1) (*cause)->within(words("rank " + llvm::Twine(cause - faults.begin())));
    return **cause;
  }
};

RankThreads::RankThreads() = default;
RankThreads::~RankThreads() = default;

llvm::Expected<std::unique_ptr<RankThreads>> RankThreads::create(llvm::ArrayRef<const Graph*> ranks,
                                                                 const RankThreadsOptions& options) {
  std::unique_ptr<RankThreads> out(new RankThreads());
  out->state_ = std::make_unique<State>(ranks.size(), options.threads_per_device, options.timeout_seconds);
  State& state = *out->state_;
  auto e = state.all([&](size_t rank) -> llvm::Error {
    ExecutableOptions own = options.executable;
    own.threads = options.threads_per_device;
    own.communicator = &state.world->communicator(int(rank));
    auto executable = Executable::compile(*ranks[rank], own);
    if (!executable) return executable.takeError();
    state.executables[rank] = std::move(*executable);
    return llvm::Error::success();
  });
  if (e) return e;
  return out;
}
llvm::Error RankThreads::run(llvm::ArrayRef<HostInputs> inputs, std::vector<HostArrays>& outputs) {
  if (inputs.size() != size())
    return error(Code::bug).what("inputs of " + llvm::Twine(inputs.size()) + " ranks for " + llvm::Twine(size()));
  outputs.resize(size());
  return state_->all([&](size_t rank) { return state_->executables[rank]->run(inputs[rank], outputs[rank]); });
}
size_t RankThreads::size() const { return state_->executables.size(); }
const Executable& RankThreads::executable(size_t rank) const { return *state_->executables[rank]; }
std::string RankThreads::flight_record() const { return state_->world->flight_record(); }

}  // namespace optp
