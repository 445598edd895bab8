// Times all-reduces of float32: ours between two threads, ours between the processes that a launcher started, and the
// MPI library's own, in turn.
//   cmake --build build/release --target bench_all_reduce
//   mpirun -n 2 build/release/tools/bench_all_reduce [BYTES…]
#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <vector>

#include "llvm/Support/raw_ostream.h"
#include "runtime/comm/process_world.h"
#include "runtime/comm/thread_communicator.h"

using namespace optp;

extern "C" Transport* opt_partition_open_transport(const char* version, const char** why);

namespace {
using Clock = std::chrono::steady_clock;

void must(llvm::Error e) {
  if (!e) return;
  llvm::errs() << llvm::toString(std::move(e)) << "\n";
  std::exit(1);
}

// Microseconds: the median of blocks of calls, so that a clock's reading costs nothing.
double time_of(const std::function<void()>& call) {
  constexpr int blocks = 31, calls = 16;
  std::vector<double> took;
  for (int b = 0; b < blocks; ++b) {
    const auto begin = Clock::now();
    for (int c = 0; c < calls; ++c) call();
    took.push_back(std::chrono::duration<double, std::micro>(Clock::now() - begin).count() / calls);
  }
  std::sort(took.begin(), took.end());
  return took[took.size() / 2];
}

// On cache lines, as the buffers of rank graphs lie.
struct Floats {
  explicit Floats(size_t count) : data(static_cast<float*>(std::aligned_alloc(64, (count * 4 + 63) / 64 * 64))) {
    std::fill(data, data + count, 0.5F);
  }
  ~Floats() { std::free(data); }
  float* const data;
};

double time_ours(Communicator& comm, const std::vector<int>& group, size_t count) {
  const Floats floats(count);
  const CollectiveCall call{.kind = Collective::all_reduce,
                            .id = "x",
                            .reduce = Reduce::sum,
                            .group{group.begin(), group.end()},
                            .dtype = DType::f32,
                            .dims = {Dim(int64_t(count))}};
  return time_of([&] { must(comm.run(call, floats.data, floats.data)); });
}
double time_library(size_t count) {
  const Floats floats(count);
  return time_of([&] { MPI_Allreduce(MPI_IN_PLACE, floats.data, int(count), MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD); });
}
double time_threads(size_t count) {
  ThreadWorld world(2);
  double took = 0;
  std::thread other([&] { time_ours(world.communicator(1), {0, 1}, count); });
  took = time_ours(world.communicator(0), {0, 1}, count);
  other.join();
  return took;
}
}  // namespace

int main(int argc, char** argv) {
  const char* why = nullptr;
  Transport* transport = opt_partition_open_transport(OPTP_VERSION, &why);
  if (!transport) return std::fprintf(stderr, "%s\n", why), 1;
  Mail mail(*transport, {});
  auto world = make_process_world(mail, size_t(transport->processes()), {});
  if (!world) must(world.takeError());
  const auto rank = size_t(transport->process());
  std::vector<int> group;
  for (int r = 0; r < transport->processes(); ++r) group.push_back(r);
  std::vector<size_t> sizes;
  for (int k = 1; k < argc; ++k) sizes.push_back(std::strtoull(argv[k], nullptr, 10));
  if (sizes.empty()) sizes = {3072, 8192, 65536, 393216, 3 << 20, 24 << 20};
  if (rank == 0)
    std::printf("%10s %14s %14s %14s %14s\n", "bytes", "threads us", "processes us", "MPI's own us", "ours / MPI's");
  for (const size_t bytes : sizes) {
    const size_t count = bytes / sizeof(float);
    const double ours = time_ours((*world)->communicator(rank), group, count), library = time_library(count);
    // The other process gives its core to the second thread.
    if (rank == 0)
      std::printf("%10zu %14.1f %14.1f %14.1f %14.2f\n", bytes, time_threads(count), ours, library, ours / library);
    must((*world)->agree(llvm::Error::success()));
  }
  world->reset();
  mail.close();
  transport->close();
  return 0;
}
