// Ranks of several processes: the bytes of threads, and failures that all hear of.
#include <doctest/doctest.h>

#include <chrono>

#include "frontend/ir/mesh.h"
#include "runtime/comm/agreement.h"
#include "tests/runtime/comm/process_ranks.h"

using namespace optp;
using namespace optp::testing;
using namespace std::chrono_literals;

namespace {
using Clock = std::chrono::steady_clock;

// How many processes share how many ranks.
struct Shape {
  int processes;
  int ranks;
};
constexpr Shape shapes[] = {{1, 3}, {2, 2}, {2, 4}, {3, 3}, {5, 5}};

int64_t elements_of(llvm::ArrayRef<int64_t> dims) {
  int64_t n = 1;
  for (const int64_t extent : dims) n *= extent;
  return n;
}
// What each member brings to the call, and room for what it gets.
struct Buffers {
  std::vector<Bytes> in, out;
};
int64_t part_bytes(const CollectiveCall& call, int64_t axis, int members, int member) {
  const Around at = around(extents(call), int(axis));
  return at.outer * chunk_size(at.total, members, member) * at.inner * size_bytes(call.dtype);
}
Buffers buffers_of(const CollectiveCall& call, int members) {
  Buffers out;
  for (int member = 0; member < members; ++member) {
    const int64_t whole = elements_of(extents(call)) * size_bytes(call.dtype);
    const int64_t in = joins(call.kind) ? part_bytes(call, call.join_axis, members, member) : whole;
    out.in.push_back(random_tensor(call.dtype, in / size_bytes(call.dtype), uint64_t(member) + 7));
    const int64_t result = cuts(call.kind) ? part_bytes(call, call.cut_axis, members, member) : whole;
    out.out.emplace_back(size_t(result), uint8_t(0xee));
  }
  return out;
}
void compare(const CollectiveCall& call, const Shape& shape, Processes& processes) {
  const Buffers start = buffers_of(call, shape.ranks);
  CAPTURE(describe(call));
  CAPTURE(shape.processes);
  CAPTURE(shape.ranks);
  auto outcome = [&](auto run) {
    Buffers b = start;
    CHECK(run([&](Communicator& comm) {
            return comm.run(call, b.in[size_t(comm.rank())].data(), b.out[size_t(comm.rank())].data());
          }) == successes(shape.ranks));
    CHECK(b.in == start.in);
    return b.out;
  };
  ThreadWorld threads{size_t(shape.ranks)};
  const auto expected = outcome([&](const auto& body) { return run_ranks(threads, body); });
  CHECK(outcome([&](const auto& body) { return processes.run_ranks(body); }) == expected);
}
}  // namespace

TEST_CASE("processes give the bytes of threads: every collective, dtype and reduction, uneven and empty extents") {
  using DimLists = std::vector<std::vector<int64_t>>;
  const DimLists small = {{0, 3}, {3, 0}, {1, 2}, {2, 3, 5}, {5, 7, 2}}, large = {{3, 6007}, {211, 331}};
  auto compare_all = [&](const Shape& shape, Processes& processes, const DimLists& all_dims) {
    for (const DType dtype : {DType::f32, DType::f64, DType::f16, DType::bf16, DType::i32, DType::i64, DType::boolean})
      for (const auto& dims : all_dims) {
        CollectiveCall call = call_on({"x", dtype, dims}, all_ranks(shape.ranks), {});
        auto on = [&](Collective kind, Reduce reduce, int cut, int join) {
          call.kind = kind, call.reduce = reduce, call.cut_axis = cut, call.join_axis = join;
          compare(call, shape, processes);
        };
        for (const Reduce reduce : {Reduce::sum, Reduce::max, Reduce::min}) {
          if (dtype == DType::boolean) break;
          on(Collective::all_reduce, reduce, -1, -1);
          for (const int axis : {0, 1}) on(Collective::reduce_scatter, reduce, axis, -1);
        }
        for (const int axis : {0, 1}) on(Collective::all_gather, Reduce::none, -1, axis);
        for (const int axis : {0, 1}) on(Collective::all_to_all, Reduce::none, axis, 1 - axis);
      }
  };
  for (const Shape& shape : shapes) {
    Processes that_send(shape.processes, size_t(shape.ranks));
    compare_all(shape, that_send, small);
    compare_all(shape, that_send, large);
    Processes that_read = Processes::that_read(shape.processes, size_t(shape.ranks));
    compare_all(shape, that_read, large);
  }
}

TEST_CASE("processes: an all-reduce in place, a gather and a scatter at their places, of a group in its own order") {
  Processes that_send(2, 4), that_read = Processes::that_read(2, 4);
  for (const auto& [n, reads] : {std::pair{8, false}, {40000, false}, {40000, true}}) {
    Processes& processes = reads ? that_read : that_send;
    std::vector<std::vector<float>> data(4, std::vector<float>(size_t(n), 1));
    const std::vector<int> group = {2, 0, 3, 1};
    auto value = [&](int rank) { return rank == 2 ? 1e8F : rank == 0 ? 1.0F : rank == 3 ? -1e8F : 3.0F; };
    CHECK(processes.run_ranks([&](Communicator& comm) -> llvm::Error {
      auto& own = data[size_t(comm.rank())];
      std::fill(own.begin(), own.end(), value(comm.rank()));
      if (auto e = all_reduce(comm, {"x", DType::f32, {n}}, group, Reduce::sum, own.data(), own.data())) return e;
      const int member = int(std::find(group.begin(), group.end(), comm.rank()) - group.begin());
      float* place = own.data() + chunk_start(n, 4, member);
      if (auto e = reduce_scatter(comm, {"y", DType::f32, {n}}, group, Reduce::sum, 0, own.data(), place)) return e;
      return all_gather(comm, {"z", DType::f32, {n}}, group, 0, place, own.data());
    }) == successes(4));
    // (1e8 + 1) - 1e8 is 0 in float32, so the sum is 3 in this order alone; four of it 12.
    for (const auto& own : data) CHECK(own == std::vector<float>(size_t(n), 12));
  }
}

TEST_CASE("a member that does not want what is gathered gives no place for it, and the others get all") {
  Processes that_send(2, 4), that_read = Processes::that_read(2, 4);
  ThreadWorld threads{4};
  const std::vector<int> group = all_ranks(4);
  for (const int64_t n : {6, 40000}) {
    std::vector<std::vector<float>> whole;
    const auto gather = [&](Communicator& comm) -> llvm::Error {
      const int rank = comm.rank();
      const std::vector<float> part(size_t(chunk_size(n, 4, rank) * 2), float(rank));
      for (const int again : {0, 1})
        if (auto e = all_gather(comm, {"x" + std::to_string(again), DType::f32, {2, n}}, group, 1, part.data(),
                                rank % 2 ? nullptr : whole[size_t(rank)].data()))
          return e;
      return llvm::Error::success();
    };
    std::vector<float> expected;
    for (int row = 0; row < 2; ++row)
      for (int rank = 0; rank < 4; ++rank)
        expected.resize(expected.size() + size_t(chunk_size(n, 4, rank)), float(rank));
    const auto try_with = [&](auto&& run) {
      whole.assign(4, std::vector<float>(size_t(n) * 2, -1));
      CHECK(run(gather) == successes(4));
      for (const size_t rank : {0, 2}) CHECK(whole[rank] == expected);
    };
    try_with([&](const auto& body) { return run_ranks(threads, body); });
    try_with([&](const auto& body) { return that_send.run_ranks(body); });
    try_with([&](const auto& body) { return that_read.run_ranks(body); });
  }
}

TEST_CASE("processes: members whose calls differ are named as threads name them") {
  Processes processes(2, 2);
  const std::vector<int> both = {0, 1};
  float data[4] = {};
  CHECK(processes.run_ranks([&](Communicator& comm) -> llvm::Error {
    if (auto e = barrier(comm, "before", both)) return e;
    if (comm.rank() == 1) return barrier(comm, "b", both);
    return all_reduce(comm, {"a", DType::f32, {4}}, both, Reduce::sum, data, data);
  }) == std::vector<std::string>(2,
                                 "ranks 0 and 1 of group {0, 1} diverged at its collective 2: different id and kind "
                                 "and dtype and shape: rank 0 runs all_reduce 'a' (sum) f32[4], rank 1 runs barrier "
                                 "'b'"));
}

TEST_CASE("processes: when a rank aborts, all that wait get its message, and so does who comes later") {
  Processes processes(2, 4);
  CHECK(processes.run_ranks([&](Communicator& comm) -> llvm::Error {
    if (comm.rank() == 3) {
      comm.abort("no memory");
      comm.abort("a later one is not the cause");
    }
    return barrier(comm, "b", all_ranks(4));
  }) == std::vector<std::string>(4, "rank 3 failed: no memory"));
}

TEST_CASE("processes: a late rank is named, with the collective and with what was last heard of it") {
  Processes processes(2, 2, {.timeout_seconds = 0.2});
  CHECK(processes.run_ranks([&](Communicator& comm) -> llvm::Error {
    const std::vector<int> both = {0, 1};
    if (auto e = barrier(comm, "b", both)) return e;
    if (comm.rank() == 1) std::this_thread::sleep_for(600ms);
    float data[2] = {};
    return all_reduce(comm, {"layer0.out", DType::f32, {2}}, both, Reduce::sum, data, data);
  }) == std::vector<std::string>(2,
                                 "all_reduce 'layer0.out' (sum) f32[2] over {0, 1}: rank 1 did not come within 0.2 s: "
                                 "rank 1 was last heard of in barrier 'b' over {0, 1}"));
  Processes silent(3, 3, {.timeout_seconds = 0.2});
  CHECK(silent.run_ranks([&](Communicator& comm) {
    return comm.rank() == 1 ? barrier(comm, "b", all_ranks(3)) : llvm::Error::success();
  })[1] ==
        "barrier 'b' over {0, 1, 2}: ranks {0, 2} did not come within 0.2 s: rank 0 has not been heard of; rank 2 has "
        "not been heard of");
}

TEST_CASE("processes: our own mistakes are errors at once, and the others are not left waiting") {
  Processes processes(2, 2);
  const std::vector<int> both = {0, 1};
  float data[2] = {};
  CHECK(processes.run_ranks([&](Communicator& comm) {
    return comm.rank() == 0 ? barrier(comm, "wait", both)
                            : all_gather(comm, {"x", DType::f32, {2}}, both, 1, data, data);
  }) == std::vector<std::string>{"rank 1 failed: all_gather 'x' (axis 1) f32[2]: axis: not a dim",
                                 "fault 70: all_gather 'x' (axis 1) f32[2]: axis: not a dim"});
}

TEST_CASE("processes: what is told besides collectives, and an error of one is that of all") {
  Processes processes(3, 6);
  std::vector<std::string> found(3);
  CHECK(processes.together([&](Process& p) -> llvm::Error {
    PerRank<std::string> own(p.world.held());
    for (const size_t r : own.ranks()) own[r] = std::string(r, 'x');
    auto all = p.world.gather(std::move(own));
    if (!all) return all.takeError();
    std::string lengths;
    for (const size_t r : all->ranks()) lengths += std::to_string((*all)[r].size());
    auto told = p.world.broadcast(lengths);
    if (!told) return told.takeError();
    found[size_t(p.mail.process())] = *told;
    return p.world.run([&]() -> llvm::Error {
      if (p.mail.process() == 2) return error(Code::malformed, "a file is damaged");
      return barrier(p.world.communicator(p.world.held()[0]), "wait", {0, 2, 4});
    });
  }) == std::vector<std::string>(3, "a file is damaged"));
  CHECK(found == std::vector<std::string>(3, "012345"));
}

TEST_CASE("processes: one that has ended, or hangs, is not waited for") {
  {
    Processes processes(2, 2);
    CHECK(processes.together([&](Process& p) -> llvm::Error {
      if (p.mail.process() == 1) return p.mail.close(), llvm::Error::success();
      return p.world.agree(llvm::Error::success());
    }) == std::vector<std::string>{"process 1 has ended before the run did", ""});
    CHECK(processes[0].mail.has_lost_one());
  }
  Processes processes(2, 2, {.timeout_seconds = 0.2, .grace_seconds = 0.2});
  CHECK(processes.together([&](Process& p) -> llvm::Error {
    if (p.mail.process() == 1) return llvm::Error::success();
    return p.world.run([&] { return barrier(p.world.communicator(0), "b", {0, 1}); });
  })[0] ==
        "barrier 'b' over {0, 1}: rank 1 did not come within 0.2 s: rank 1 has not been heard of: process 1 did not "
        "answer for 0.2 s after that");
  CHECK(processes[0].mail.has_lost_one());
  CHECK(!processes[0].mail.close());
}

TEST_CASE("processes: one that works for long is waited for, and one from which nothing comes is not") {
  Processes processes(2, 2, {.timeout_seconds = 0.2, .grace_seconds = 0.2});
  CHECK(processes.together([&](Process& p) -> llvm::Error {
    if (p.mail.process() == 1) std::this_thread::sleep_for(800ms);
    return p.world.agree(llvm::Error::success());
  }) == std::vector<std::string>(2, ""));

  Network network(2);
  Process alone(network, 0, 2, {.timeout_seconds = 0.2, .grace_seconds = 0.2});
  CHECK(take_diagnostic(alone.world.agree(llvm::Error::success())).message() ==
        "process 1 has not been heard of for 0.2 s");
  CHECK(alone.mail.has_lost_one());
}

TEST_CASE("processes begin only if they agree, and share the ranks evenly") {
  struct Case {
    std::function<llvm::Expected<size_t>(int)> ranks;
    std::function<Facts(int)> facts;
    std::string message;
  };
  auto four = [](int) { return llvm::Expected<size_t>(4); };
  auto alike = [](int) { return Facts{{"program", "1.0"}}; };
  const Case cases[] = {
      {four, alike, ""},
      {four,
       [](int p) { return Facts{{"program", "1.0"}, {"command line", p == 1 ? "run a --lr 2" : "run a --lr 1"}}; },
       "the processes of this run differ: command line: expected '1' as for process 0, found '2' for process 1"},
      {[](int p) { return llvm::Expected<size_t>(p == 0 ? 4 : 6); }, alike,
       "the processes of this run differ: number of ranks: expected '4' as for process 0, found '6' for process 1"},
      {[](int) { return llvm::Expected<size_t>(5); }, alike,
       "2 processes for 5 ranks: each must hold as many as the others; start as many as divide the ranks: 1 or 5"},
      {[](int) { return llvm::Expected<size_t>(1); }, alike,
       "2 processes for 1 rank: each must hold as many as the others; start as many as divide the ranks: 1"},
      {[](int p) {
         return p == 0 ? llvm::Expected<size_t>(4) : llvm::Expected<size_t>(error(Code::file_not_found, "no plan"));
       },
       alike, "no plan"},
  };
  for (const Case& c : cases) {
    Processes processes(2, 2);
    CHECK(processes.together([&](Process& p) -> llvm::Error {
      auto world = make_process_world(p.mail, c.ranks(p.mail.process()), c.facts(p.mail.process()));
      if (!world) return world.takeError();
      const size_t first = p.mail.process() == 0 ? 0 : 2;
      CHECK((*world)->held() == llvm::ArrayRef(std::vector<size_t>{first, first + 1}));
      return same(**world, "plan", [] { return "p"; });
    }) == std::vector<std::string>(2, c.message));
  }
}
