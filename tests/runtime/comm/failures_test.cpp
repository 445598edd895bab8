// What goes wrong ends the run on every rank with one message that names the cause. Nobody hangs.
#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>

#include "llvm/ADT/Twine.h"
#include "tests/runtime/comm/ranks.h"

using namespace optp;
using namespace optp::testing;
using namespace std::chrono_literals;

namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}
std::vector<std::string> times(int count, std::string message) { return std::vector<std::string>(count, message); }

}  // namespace

TEST_CASE("members whose stamps differ are named with what differs") {
  struct Case {
    std::function<llvm::Error(Communicator&, llvm::ArrayRef<int>, void*)> first, second;
    std::string what, first_text, second_text;
  };
  auto sum = [](std::string id, DType dtype, std::vector<int64_t> dims, Reduce reduce = Reduce::sum) {
    return [=](Communicator& comm, llvm::ArrayRef<int> group, void* data) {
      return all_reduce(comm, {id, dtype, dims}, group, reduce, data, data);
    };
  };
  auto gather = [](int axis) {
    return [=](Communicator& comm, llvm::ArrayRef<int> group, void* data) {
      return all_gather(comm, {"a", DType::f32, {2, 2}}, group, axis, data, static_cast<char*>(data) + 1024);
    };
  };
  auto exchange = [](int split) {
    return [=](Communicator& comm, llvm::ArrayRef<int> group, void* data) {
      return all_to_all(comm, {"a", DType::f32, {2, 2}}, group, split, 1 - split, data,
                        static_cast<char*>(data) + 1024);
    };
  };
  const Case cases[] = {
      {sum("a", DType::f32, {2}), sum("b", DType::f32, {2}), "id", "all_reduce 'a' (sum) f32[2]",
       "all_reduce 'b' (sum) f32[2]"},
      {sum("a", DType::f32, {2}), sum("a", DType::f16, {2}), "dtype", "all_reduce 'a' (sum) f32[2]",
       "all_reduce 'a' (sum) f16[2]"},
      {sum("a", DType::f32, {2, 3}), sum("a", DType::f32, {3, 2}), "shape", "all_reduce 'a' (sum) f32[2, 3]",
       "all_reduce 'a' (sum) f32[3, 2]"},
      {sum("a", DType::f32, {2}), sum("a", DType::f32, {100000}), "shape", "all_reduce 'a' (sum) f32[2]",
       "all_reduce 'a' (sum) f32[100000]"},
      {sum("a", DType::f32, {2}), sum("a", DType::f32, {2}, Reduce::max), "reduce", "all_reduce 'a' (sum) f32[2]",
       "all_reduce 'a' (max) f32[2]"},
      {sum("a", DType::f32, {2, 2}), gather(0), "kind", "all_reduce 'a' (sum) f32[2, 2]",
       "all_gather 'a' (axis 0) f32[2, 2]"},
      {gather(0), gather(1), "axis", "all_gather 'a' (axis 0) f32[2, 2]", "all_gather 'a' (axis 1) f32[2, 2]"},
      {exchange(0), exchange(1), "split axis and concat axis", "all_to_all 'a' (split 0, concat 1) f32[2, 2]",
       "all_to_all 'a' (split 1, concat 0) f32[2, 2]"},
      {sum("a", DType::f32, {2}), sum("b", DType::f64, {4}), "id and dtype and shape", "all_reduce 'a' (sum) f32[2]",
       "all_reduce 'b' (sum) f64[4]"},
  };
  for (const Case& c : cases) {
    ThreadWorld world(2);
    const std::vector<int> group = all_ranks(2);
    std::vector<Bytes> data(2, Bytes(400000));
    CHECK(run_ranks(world,
                    [&](Communicator& comm) -> llvm::Error {
                      if (llvm::Error e = barrier(comm, "before", group)) return e;
                      return (comm.rank() == 0 ? c.first : c.second)(comm, group, data[comm.rank()].data());
                    }) == times(2, "ranks 0 and 1 of group {0, 1} diverged at its collective 2: different " + c.what +
                                       ": rank 0 runs " + c.first_text + ", rank 1 runs " + c.second_text));
  }
}

TEST_CASE("a diverged member is named though a third one never comes, and ranks outside the group hear of it") {
  ThreadWorld world(6);
  const auto start = std::chrono::steady_clock::now();
  const auto messages = run_ranks(world, [&](Communicator& comm) -> llvm::Error {
    const std::vector<int> left = {0, 1, 2}, right = {3, 4, 5};
    if (comm.rank() == 2 || comm.rank() == 5) return llvm::Error::success();
    if (comm.rank() >= 3) return barrier(comm, "right", right);
    return barrier(comm, comm.rank() == 0 ? "left" : "wrong", left);
  });
  const std::string expected =
      "ranks 0 and 1 of group {0, 1, 2} diverged at its collective 1: different id: rank 0 runs barrier 'left', rank 1 "
      "runs "
      "barrier 'wrong'";
  CHECK(messages == std::vector<std::string>{expected, expected, "", expected, expected, ""});
  CHECK(seconds_since(start) < 60);  // not the time limit of 300 s
}

TEST_CASE("when a rank aborts, all that wait get its message, and so does who comes later") {
  ThreadWorld world(4);
  CHECK(run_ranks(world, [&](Communicator& comm) -> llvm::Error {
          const std::vector<int> pair = {0, 3}, all = all_ranks(4);
          if (comm.rank() == 3) {
            std::this_thread::sleep_for(30ms);
            comm.abort("no memory");
            comm.abort("a later one is not the cause");
            return barrier(comm, "later", all);
          }
          if (comm.rank() == 0) return barrier(comm, "p", pair);
          float data[4] = {};
          return all_reduce(comm, {"x", DType::f32, {4}}, all, Reduce::sum, data, data);
        }) == times(4, "rank 3 failed: no memory"));
}

TEST_CASE("a late rank is named with the collective and with what it does instead") {
  for (bool large : {false, true}) {
    ThreadWorld world(4, {.timeout_seconds = 0.2});
    const std::vector<int> all = all_ranks(4);
    const int64_t n = large ? 100000 : 2;
    const auto start = std::chrono::steady_clock::now();
    CHECK(run_ranks(world,
                    [&](Communicator& comm) -> llvm::Error {
                      std::vector<float> data(n);
                      if (llvm::Error e = barrier(comm, "b", all)) return e;
                      if (comm.rank() == 2) std::this_thread::sleep_for(600ms);
                      return all_reduce(comm, {"layer0.out", DType::f32, {n}}, all, Reduce::sum, data.data(),
                                        data.data());
                    }) ==
          times(4, "all_reduce 'layer0.out' (sum) f32[" + std::to_string(n) +
                       "] over {0, 1, 2, 3}: rank 2 did not come within 0.2 s: rank 2 is in none, its last was "
                       "barrier 'b' over {0, 1, 2, 3}"));
    CHECK(seconds_since(start) < 30);
  }
}

TEST_CASE("several late ranks are all named") {
  ThreadWorld world(4, {.timeout_seconds = 0.2});
  const auto messages = run_ranks(world, [&](Communicator& comm) -> llvm::Error {
    return comm.rank() == 1 ? barrier(comm, "b", all_ranks(4)) : llvm::Error::success();
  });
  CHECK(messages[1] ==
        "barrier 'b' over {0, 1, 2, 3}: ranks {0, 2, 3} did not come within 0.2 s: rank 0 has begun no collective; "
        "rank 2 "
        "has begun no collective; rank 3 has begun no collective");
}

TEST_CASE("ranks that wait for each other in different groups are found before the time limit") {
  ThreadWorld world(3, {.timeout_seconds = 100});
  const auto start = std::chrono::steady_clock::now();
  const auto messages = run_ranks(world, [&](Communicator& comm) -> llvm::Error {
    const int r = comm.rank();
    const std::vector<int> with_next = {std::min(r, (r + 1) % 3), std::max(r, (r + 1) % 3)};
    return barrier(comm, ("b" + llvm::Twine(r)).str(), with_next);
  });
  CHECK(seconds_since(start) < 50);
  CHECK(messages[0] == messages[1]);
  CHECK(messages[0] == messages[2]);
  CHECK(messages[0].find("wait for each other: rank ") != std::string::npos);
  for (const char* part : {"rank 0 is in barrier 'b0' over {0, 1}", "rank 1 is in barrier 'b1' over {1, 2}",
                           "rank 2 is in barrier 'b2' over {0, 2}"})
    CHECK(messages[0].find(part) != std::string::npos);
}

TEST_CASE("a failure in the midst of large collectives leaves no one with freed buffers") {
  for (int repeat = 0; repeat < 24; ++repeat) {
    ThreadWorld world(4);
    const std::vector<int> all = all_ranks(4);
    const auto messages = run_ranks(world, [&](Communicator& comm) -> llvm::Error {
      for (int i = 0;; ++i) {
        std::vector<float> data(100000, 1), out(100000);  // freed at once on an error: a sanitizer sees late readers
        if (llvm::Error e = all_reduce(comm, {"x", DType::f32, {100000}}, all, Reduce::sum, data.data(), out.data()))
          return e;
        if (comm.rank() == repeat % 4 && i == 3 + repeat / 8) {
          std::this_thread::sleep_for(std::chrono::microseconds(repeat * 37));
          comm.abort("stop");
        }
      }
    });
    CHECK(messages == times(4, "rank " + std::to_string(repeat % 4) + " failed: stop"));
  }
}

TEST_CASE("the world can be stopped from outside, at any moment of a large collective") {
  for (int repeat = 0; repeat < 40; ++repeat) {
    ThreadWorld world(3);
    std::thread outside([&] {
      std::this_thread::sleep_for(std::chrono::microseconds(1500 + repeat * 53));
      world.abort("interrupted");
    });
    const auto messages = run_ranks(world, [&](Communicator& comm) -> llvm::Error {
      while (true) {
        std::vector<float> data(100000, 1);
        if (llvm::Error e =
                all_reduce(comm, {"x", DType::f32, {100000}}, all_ranks(3), Reduce::sum, data.data(), data.data()))
          return e;
        if (data[0] != 3 || data[99999] != 3) return error(Code::difference, "wrong sum");
      }
    });
    outside.join();
    CHECK(messages == times(3, "interrupted"));
  }
}

TEST_CASE("our own mistakes are errors at once, and the others are not left waiting") {
  struct Case {
    std::function<llvm::Error(Communicator&)> call;
    std::string message;
  };
  float data[8] = {};
  const std::vector<int> both = {0, 1};
  const Case cases[] = {
      {[&](Communicator& c) { return all_reduce(c, {"x", DType::u8, {2}}, both, Reduce::sum, data, data); },
       "all_reduce 'x' (sum) u8[2]: dtype: can't be reduced"},
      {[&](Communicator& c) { return all_gather(c, {"x", DType::f32, {2}}, both, 1, data, data); },
       "all_gather 'x' (axis 1) f32[2]: axis: not a dim"},
      {[&](Communicator& c) { return all_to_all(c, {"x", DType::f32, {2, 2}}, both, 0, 0, data, data); },
       "all_to_all 'x' (split 0, concat 0) f32[2, 2]: axes: not two dims"},
      {[&](Communicator& c) { return all_gather(c, {"x", DType::string, {2}}, both, 0, data, data); },
       "all_gather 'x' (axis 0) string[2]: dtype: has no size"},
      {[&](Communicator& c) { return all_gather(c, {"x", DType::f32, {-2}}, both, 0, data, data); },
       "all_gather 'x' (axis 0) f32[-2]: shape: negative extent"},
      {[&](Communicator& c) {
         return all_gather(c, {"x", DType::f32, {int64_t(1) << 40, 0, int64_t(1) << 40}}, both, 0, data, data);
       },
       "all_gather 'x' (axis 0) f32[1099511627776, 0, 1099511627776]: shape: more than 2^63 bytes"},
      {[&](Communicator& c) { return barrier(c, "x", {0, 2}); }, "group {0, 2}: no rank 2 among 2"},
      {[&](Communicator& c) { return barrier(c, "x", {1, 1}); }, "group {1, 1}: rank 1 twice"},
      {[&](Communicator& c) { return barrier(c, "x", {0}); }, "group {0}: rank 1 uses it, and is not in it"},
  };
  for (const Case& c : cases) {
    ThreadWorld world(2);
    const auto messages = run_ranks(
        world, [&](Communicator& comm) { return comm.rank() == 1 ? c.call(comm) : barrier(comm, "wait", both); });
    CHECK(messages == std::vector<std::string>{"rank 1 failed: " + c.message, "fault 70: " + c.message});
  }
}

TEST_CASE("the flight record keeps the last 1024 collectives of each rank") {
  ThreadWorld world(2, {.timeout_seconds = 0.2});
  const std::vector<int> both = {0, 1};
  run_ranks(world, [&](Communicator& comm) -> llvm::Error {
    int64_t value = 1, sum = 0;
    for (int i = 0; i < 1100; ++i)
      if (llvm::Error e =
              all_reduce(comm, {("s" + llvm::Twine(i)).str(), DType::i64, {1}}, both, Reduce::sum, &value, &sum))
        return e;
    return comm.rank() == 0 ? barrier(comm, "end\n", both) : llvm::Error::success();
  });
  const std::string record = world.communicator(0).flight_record();
  CHECK(std::count(record.begin(), record.end(), '\n') == 1024);
  CHECK(record.substr(0, 64) == "#78 all_reduce 's77' (sum) i64[1] over {0, 1}: completed\n#79 all");
  CHECK(record.ends_with("#1101 barrier 'end\\x0a' over {0, 1}: failed\n"));
  CHECK(world.flight_record().starts_with("rank 0\n#78 "));
  CHECK(world.flight_record().find("\nrank 1\n#77 ") != std::string::npos);
}
