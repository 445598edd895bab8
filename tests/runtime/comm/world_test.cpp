// What processes of a run tell each other: the same everywhere, and an error of one is everybody's.
#include "runtime/comm/world.h"

#include <doctest/doctest.h>

#include <thread>

#include "frontend/ir/diagnostic_json.h"
#include "llvm/Support/FormatVariadic.h"
#include "tests/runtime/comm/split_world.h"

namespace optp {
namespace {
// What `body` gives in each process.
std::vector<std::string> in_processes(std::vector<std::vector<size_t>> held,
                                      const std::function<std::string(World&)>& body) {
  size_t ranks = 0;
  for (const auto& some : held) ranks += some.size();
  testing::SplitRun split(std::move(held));
  std::vector<std::string> out(split.processes());
  std::vector<std::jthread> threads;
  for (size_t p = 0; p < out.size(); ++p)
    threads.emplace_back([&, p] { out[p] = body(*llvm::cantFail(split.maker(p)(ranks))); });
  threads.clear();
  return out;
}
using Texts = std::vector<std::string>;
std::string name_of(const World& world) { return "process of " + std::to_string(world.held()[0]); }
// An error with all its parts.
std::string told(llvm::Error e) {
  if (!e) return "success";
  const Diagnostic d = take_diagnostic(std::move(e));
  return llvm::formatv("{0}", llvm::json::Value(error_object(d, int(d.fault())))).str();
}
}  // namespace

TEST_CASE("the root gets each rank's part, whatever process has it, and all get the root's answer") {
  const Texts found = in_processes({{1, 3}, {0, 4}, {2}}, [](World& world) {
    PerRank<std::string> own(world.held());
    for (const size_t r : world.held()) own[r] = std::string("part\0of ", 8) + std::to_string(r);
    const auto all = llvm::cantFail(world.gather(own));
    std::string out;
    for (const size_t r : all.ranks()) out += all[r].substr(8);
    out += " " + llvm::cantFail(world.broadcast(name_of(world)));
    out += llvm::cantFail(world.any(world.holds(2))) ? " some" : " none";
    out += llvm::cantFail(world.any(false)) ? " some" : " none";
    llvm::StringSet<> names;
    names.insert(name_of(world));
    llvm::cantFail(world.unite(names));
    return out + " " + std::to_string(names.size());
  });
  CHECK(found == Texts{" process of 0 some none 3", "01234 process of 0 some none 3", " process of 0 some none 3"});
}

TEST_CASE("an error of one process is everybody's, with all its parts, whatever the others do meanwhile") {
  const Diagnostic fault = error(Code::dtype_mismatch)
                               .in_file("a\nb.npy", 7)
                               .at(joined(" ", words("rank 2")))
                               .tensor("input", "x")
                               .what("dtype")
                               .expected("int64")
                               .found("float32")
                               .did_you_mean("y")
                               .hint("cast it");
  const std::string expected = told(Diagnostic(fault));
  for (const int kind : {0, 1, 2, 3}) {
    CAPTURE(kind);
    const Texts found = in_processes({{0, 1}, {2}, {3}}, [&](World& world) {
      return told(world.run([&]() -> llvm::Error {
        if (world.holds(2)) return Diagnostic(fault);
        if (kind == 0) return world.gather(PerRank<std::string>(world.held())).takeError();
        if (kind == 1) return world.broadcast(std::string("x")).takeError();
        if (kind == 2) return world.at_root([] { return llvm::Error::success(); });
        return llvm::Error::success();
      }));
    });
    CHECK(found == Texts(3, expected));
  }
}

TEST_CASE("a rank that waits in a collective is freed by an error elsewhere, which is the one that is told") {
  const Texts found = in_processes({{0, 1}, {2}}, [&](World& world) {
    return told(world.run([&]() -> llvm::Error {
      if (world.holds(2)) return error(Code::file_not_found).in_file("rank2/model.onnx");
      return world.communicator(0).run({.kind = Collective::barrier, .id = "b", .group = {0, 2}}, nullptr, nullptr);
    }));
  });
  CHECK(found == Texts(2, told(error(Code::file_not_found).in_file("rank2/model.onnx"))));
}

TEST_CASE("after an error of all nothing is waited for") {
  const Texts found = in_processes({{0}, {1}}, [&](World& world) {
    return told(world.run([&]() -> llvm::Error {
      llvm::Error first =
          world.agree(world.is_root() ? llvm::Error(error(Code::cycle, "first")) : llvm::Error::success());
      llvm::consumeError(world.agree(error(Code::bug, name_of(world))));
      return first;
    }));
  });
  CHECK(found == Texts(2, told(error(Code::cycle, "first"))));
}

TEST_CASE("an exception of one process is an error of all") {
  const Texts found = in_processes({{0}, {1}}, [&](World& world) {
    return told(world.run([&]() -> llvm::Error {
      if (world.holds(1)) throw std::bad_alloc();
      return world.agree(llvm::Error::success());
    }));
  });
  CHECK(found == Texts(2, told(error(Code::out_of_memory, "out of memory"))));
}

TEST_CASE("no world begins where a process has failed before") {
  testing::SplitRun split({{0}, {1}});
  Texts found(2);
  std::vector<std::jthread> threads;
  for (size_t p = 0; p < 2; ++p)
    threads.emplace_back([&, p] {
      found[p] = told(split.maker(p)(p == 1 ? llvm::Expected<size_t>(error(Code::cycle, "early")) : 2).takeError());
    });
  threads.clear();
  CHECK(found == Texts(2, told(error(Code::cycle, "early"))));
}

TEST_CASE("a rank that is not held has no value") {
  PerRank<int> some(llvm::ArrayRef<size_t>{1, 4});
  some[4] = 7;
  CHECK(some[4] == 7);
  CHECK(!some.holds(0));
  CHECK_THROWS_WITH((void)some[2], "rank 2 is not one of those that this process holds");
}
}  // namespace optp
