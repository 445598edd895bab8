// Runs under mpirun give what threads give: the same files, the same stdout, the same errors. Skipped, with exit code
// 77, where mpirun or the module is missing.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <chrono>
#include <cstdio>
#include <thread>

#include "llvm/Support/JSON.h"
#include "tests/tools/program.h"

using namespace optp;

namespace {
const std::string opt_tiny = export_of("opt-tiny") + "/model.onnx";
const std::string inputs = export_of("opt-tiny") + "/inputs";

// Devices, and processes that share them. Of 8 devices two, which are one process's, hold none of the six heads.
constexpr std::pair<int, int> shapes[] = {{2, 2}, {4, 2}, {4, 4}, {8, 4}};
Words on(int devices) { return {"--devices", std::to_string(devices), "--threads-per-device", "1"}; }

class Both {
 public:
  const Sandbox box;
  Result threads(const Words& words) const { return box.run(words); }
  Result processes(int n, const Words& words, Sandbox::Options options = {}) const {
    return mpirun(Words{"-n", std::to_string(n), OPTP_PROGRAM} + words, std::move(options));
  }
  Result mpirun(const Words& words, Sandbox::Options options = {}) const {
    options.program = "/usr/bin/env";
    // On one host: without its network Open MPI has nothing to say of interfaces.
    return box.run(Words{"mpirun", "--oversubscribe", "--bind-to", "none", "--mca", "btl", "^tcp"} + words, options);
  }
  void partition(int devices, const Words& more = {}) const {
    REQUIRE(
        box.run(Words{"partition", opt_tiny, "--devices", std::to_string(devices), "-o", "plan", "--overwrite"} + more)
            .code == 0);
  }
};
void same(const Result& a, const Result& b) {
  CHECK(a.code == b.code);
  CHECK(a.out == b.out);
}
// mpirun has lines of its own on stderr; of ours there is one.
std::string our_line(const Result& r) {
  std::istringstream text(r.err);
  std::string found;
  for (std::string line; std::getline(text, line);)
    if (line.starts_with("opt-partition: ")) found += (found.empty() ? "" : "\n") + line;
  return found;
}
std::vector<pid_t> children_of(pid_t parent) {
  std::vector<pid_t> out;
  const std::string pid = std::to_string(parent);
  std::ifstream list("/proc/" + pid + "/task/" + pid + "/children");
  for (pid_t child; list >> child;) out.push_back(child);
  return out;
}
}  // namespace

TEST_CASE("run: the outputs and the report of threads") {
  for (const auto& [devices, n] : shapes) {
    CAPTURE(devices);
    CAPTURE(n);
    const Both both;
    both.partition(devices);
    const Words words{"run", "plan", "--inputs-dir", inputs, "--threads-per-device", "1", "-o", "out"};
    const Result a = both.threads(words);
    REQUIRE(a.code == 0);
    fs::rename(both.box / "out", both.box / "a");
    const Result b = both.processes(n, words);
    CHECK(b.err == "");
    same(a, b);
    both.box.same_folders("a", "out");
  }
}

TEST_CASE("check and check --train: the report of threads, of a model that holds and of one that does not") {
  for (const auto& [devices, n] : shapes)
    for (const Words& more : {Words{}, {"--mutant", "drop-all-reduce:1"}, {"--train"}}) {
      CAPTURE(devices);
      CAPTURE(n);
      if (devices != n && !more.empty()) continue;
      const Both both;
      const Words words = Words{"check", opt_tiny, "--dim", "batch=2", "--dim", "sequence=5"} + on(devices) + more;
      const Result a = both.threads(words), b = both.processes(n, words);
      same(a, b);
      CHECK(a.code == (more.size() == 2 ? 1 : 0));
      CHECK(our_line(a) == our_line(b));
    }
}

TEST_CASE("train: checkpoints with the weights of threads, from which both go on") {
  for (const auto& [devices, n] : shapes) {
    CAPTURE(devices);
    CAPTURE(n);
    const Both both;
    tokens_into(both.box / "t.bin");
    const Words words = Words{"train", opt_tiny, "--data", "t.bin"} + on(devices);
    const Words begin = words + Words{"--batch",         "4",   "--sequence",   "16", "--accumulate", "2",
                                      "--max-grad-norm", "0.5", "--save-every", "2",  "--max-steps",  "3"};
    REQUIRE(both.threads(begin + Words{"--save", "a"}).code == 0);
    const Result r = both.processes(n, begin + Words{"--save", "b"});
    CHECK(r.code == 0);
    both.box.same_folders("a", "b");
    REQUIRE(both.threads(words + Words{"--resume", "b", "--save", "c", "--epochs", "2"}).code == 0);
    REQUIRE(both.processes(n, words + Words{"--resume", "a", "--epochs", "2"}).code == 0);
    both.box.same_folders("c", "a");
    for (const std::string& name : both.box.names()) CHECK(name[0] != '.');
  }
}

TEST_CASE("bench and generate: the work of all ranks, told once") {
  const Both both;
  const Words bench = Words{"bench", opt_tiny, "--runs", "2", "--dim", "batch=1", "--dim", "sequence=8", "--json"} +
                      Words{"b.json"} + on(4);
  const Result r = both.processes(2, bench);
  CHECK(r.code == 0);
  const std::string head = "model.onnx  4 devices × 1 thread";
  CHECK(r.out.starts_with(head));
  CHECK(r.out.rfind(head) == 0);
  const auto json = llvm::cantFail(llvm::json::parse(contents(both.box / "b.json")));
  CHECK(json.getAsObject()->getInteger("devices") == 4);
  for (const auto& [devices, processes] : shapes) {
    CAPTURE(devices);
    const Words words = Words{"generate", opt_tiny, "--prompt-ids", "3,5,7", "--tokens", "6", "--quiet"} + on(devices);
    const Result a = both.threads(words), b = both.processes(processes, words);
    CHECK(a.code == 0);
    CHECK(!a.out.empty());
    same(a, b);
  }
}

TEST_CASE("errors: what one process finds ends all, with its code, and is told once") {
  const Both both;
  both.partition(2);
  const Words words{"run", "plan", "--inputs-dir", inputs, "--threads-per-device", "1", "-o", "out"};
  const std::string file = both.box / "plan/rank1/model.onnx.data", bytes = contents(file);
  std::string damaged = bytes;
  damaged[bytes.size() / 2] ^= 1;
  write_text(file, damaged);
  const Result a = both.threads(words), b = both.processes(2, words);
  CHECK(a.code == 65);
  CHECK(b.code == 65);
  CHECK(our_line(a) == our_line(b));
  CHECK(our_line(b).find("plan/rank1/model.onnx.data: BLAKE3") != std::string::npos);
  CHECK(!fs::exists(both.box / "out"));
  write_text(file, bytes);
  CHECK(our_line(both.processes(2, {"run", "nothing", "-o", "out"})) ==
        our_line(both.threads({"run", "nothing", "-o", "out"})));
  CHECK(our_line(both.processes(2, words + Words{"--no-such-flag"})) ==
        our_line(both.threads(words + Words{"--no-such-flag"})));
}

TEST_CASE("what cannot be one run is refused in one line") {
  const Both both;
  both.partition(3);
  const Words words{"run", "plan", "--inputs-dir", inputs, "-o", "out"};
  auto line = [&](const Result& r) {
    CHECK(r.code == 2);
    CHECK(r.out == "");
    CHECK(!fs::exists(both.box / "out"));
    return our_line(r);
  };
  CHECK(line(both.processes(2, words)) ==
        "opt-partition: 2 processes for 3 ranks: each must hold as many as the others; start as many as divide the "
        "ranks: 1 or 3");
  // Not by several command lines, on which the mpirun of Open MPI 5.0.7 crashes.
  const char* differently = "[ \"$OMPI_COMM_WORLD_RANK\" = 0 ] || exec \"$@\" --no-verify; exec \"$@\"";
  CHECK(line(both.mpirun(Words{"-n", "3", "sh", "-c", differently, "sh", OPTP_PROGRAM} + words)) ==
        "opt-partition: the processes of this run differ: command line: expected '' as for process 0, found "
        "'--no-verify' for process 1");
  CHECK(line(both.processes(3, words + Words{"--timeout", "0"})) ==
        "opt-partition: --timeout: expected a number of seconds above 0");
  CHECK(line(both.processes(2, {"partition", opt_tiny, "-o", "out"})) ==
        "opt-partition: partition is the work of one process, and mpirun started several; run it without mpirun; run, "
        "train, reshard, check, bench and generate are shared among processes");
  CHECK(line(both.processes(2, words, {.in_child = [] { ::setenv("OPT_PARTITION_MPI_MODULE", "/nowhere", 1); }})) ==
        "opt-partition: mpirun started 2 processes: without the module opt-partition-mpi.so they can't work together; "
        "install the package opt-partition-mpi, or run without mpirun, with threads");
}

TEST_CASE("one process under mpirun is a run of threads, and help is printed once") {
  const Both both;
  both.partition(2);
  CHECK(both.processes(1, {"run", "plan", "--inputs-dir", inputs, "-o", "out"}).code == 0);
  CHECK(both.processes(1, {"inspect", "plan"}).code == 0);
  same(both.threads({"run", "--help"}), both.processes(2, {"run", "--help"}));
}

TEST_CASE("a rank that is killed or hangs ends the run, and the last checkpoint is whole") {
  for (const auto& [hangs, victim] : {std::pair{false, 1}, {true, 1}, {true, 0}}) {
    CAPTURE(hangs);
    CAPTURE(victim);
    const Both both;
    tokens_into(both.box / "t.bin");
    const Words words = Words{"train", opt_tiny, "--data", "t.bin"} + on(2);
    const auto start = std::chrono::steady_clock::now();
    const Result r = both.processes(
        2,
        words + Words{"--batch", "4", "--sequence", "16", "--epochs", "1000000", "--save", "run", "--save-every", "2"} +
            Words{"--timeout", "2"},
        {.meanwhile = [&, &hangs = hangs, &victim = victim](pid_t launcher) {
          for (int k = 0; k < 60000 && !fs::exists(both.box / "run"); ++k) ::usleep(1000);
          const std::vector<pid_t> ranks = children_of(launcher);
          REQUIRE(ranks.size() == 2);
          ::kill(ranks[size_t(victim)], hangs ? SIGSTOP : SIGKILL);
        }});
    CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(100));
    CHECK(r.code == (hangs ? 75 : 137));
    CAPTURE(r.err);
    if (hangs) {
      // Of the first that speaks: the root, once it is woken to be ended, may tell of that.
      const std::string line = llvm::StringRef(our_line(r)).split('\n').first.str(), number = std::to_string(victim);
      CHECK(line.find("process " + number + " on ") != std::string::npos);
      // In the middle of a step, or of what processes do together beside the steps.
      if (!line.ends_with(" has not been heard of for 2 s") &&
          !line.ends_with(" has not taken what was sent to it for 2 s")) {
        CHECK(line.find(" over {0, 1}: rank " + number + " did not come within 2 s: ") != std::string::npos);
        CHECK(line.ends_with(" did not answer for 2 s after that"));
      }
    }
    CHECK(
        both.threads(Words{"train", opt_tiny, "--data", "t.bin", "--resume", "run", "--max-steps", "1"} + on(2)).code ==
        0);
  }
}

TEST_CASE("a process that hangs before it has met the others ends the run") {
  const Both both;
  both.partition(2);
  for (const char* stopped : {"0", "1"}) {
    CAPTURE(stopped);
    const std::string stop =
        std::string("[ \"$OMPI_COMM_WORLD_RANK\" = ") + stopped + " ] && kill -STOP $$; exec \"$@\"";
    const Result r = both.mpirun({"-n", "2", "sh", "-c", stop, "sh", OPTP_PROGRAM, "run", "plan", "--inputs-dir",
                                  inputs, "-o", "out", "--timeout", "2"});
    CHECK(r.code == 75);
    // The launcher wakes the other one to end it, which it may tell.
    CHECK(our_line(r).starts_with(
        "opt-partition: not all of the 2 processes that mpirun started have come to MPI's start within 2 s; one of "
        "them hangs, or a host cannot be reached"));
    CHECK(!fs::exists(both.box / "out"));
  }
}

int main(int argc, char** argv) {
  // The tests' users may be root, on machines with fewer cores than processes.
  for (const char* variable : {"OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"}) ::setenv(variable, "1", 1);
  ::setenv("OMPI_MCA_plm_rsh_agent", "", 0);
  const std::string module = fs::path(OPTP_PROGRAM).parent_path().string() + "/opt-partition-mpi.so";
  if (!fs::exists(module)) {
    std::printf("skipped: the module is not built, since CMake did not find MPI (libopenmpi-dev)\n");
    return 77;
  }
  if (std::system("mpirun --oversubscribe -n 2 true") != 0) {
    std::printf("skipped: mpirun is not installed (openmpi-bin), or starts no process here\n");
    return 77;
  }
  return doctest::Context(argc, argv).run();
}
