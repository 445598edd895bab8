// Runs on two hosts, played by network namespaces that a cable joins: the same bytes as threads, also over a slow line,
// and a cut one is told. Skipped, with exit code 77, where namespaces, mpirun or the module are missing.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <chrono>
#include <cstdio>

#include "tests/tools/program.h"

using namespace optp;

namespace {
const std::string opt_tiny = export_of("opt-tiny") + "/model.onnx";
const std::string inputs = export_of("opt-tiny") + "/inputs";

int shell(const std::string& command) { return std::system((command + " >/dev/null 2>&1").c_str()); }

// The hosts near, where the launcher is, and far. Addresses of tests between networks (RFC 2544), of nobody else here.
class Hosts {
 public:
  Hosts() {
    for (const std::string& ns : {near_, far_}) is_there_ &= shell("ip netns add " + ns) == 0;
    is_there_ = is_there_ && shell("ip link add " + near_ + " type veth peer name " + far_) == 0;
    for (const auto& [ns, address] : {std::pair{near_, "198.18.0.1/30"}, {far_, "198.18.0.2/30"}}) {
      is_there_ = is_there_ && shell("ip link set " + ns + " netns " + ns) == 0;
      is_there_ = is_there_ && shell("ip -n " + ns + " addr add " + address + " dev " + ns) == 0;
      is_there_ = is_there_ && shell("ip -n " + ns + " link set " + ns + " up && ip -n " + ns + " link set lo up") == 0;
    }
    is_there_ = is_there_ && shell("ip netns exec " + near_ + " unshare -u hostname near") == 0;
    // How often what is not acknowledged is sent again: the launcher waits as long before it gives a host up.
    for (const std::string& ns : {near_, far_})
      shell("ip netns exec " + ns + " sh -c 'echo 3 > /proc/sys/net/ipv4/tcp_retries2'");
  }
  ~Hosts() {
    for (const std::string& ns : {near_, far_}) shell("ip netns del " + ns);
  }
  Hosts(const Hosts&) = delete;
  Hosts& operator=(const Hosts&) = delete;
  bool is_there() const { return is_there_; }
  void cut() const { REQUIRE(shell("ip -n " + near_ + " link set " + near_ + " down") == 0); }
  bool slow_down() const {
    return shell("ip netns exec " + near_ + " tc qdisc add dev " + near_ +
                 " root tbf rate 4mbit burst 8kb latency 400ms") == 0;
  }

  // Half of the processes on each.
  Result run(const Sandbox& box, int processes, const Words& words, Sandbox::Options options = {}) const {
    write_text(box / "agent", "#!/bin/sh\nshift\nexec ip netns exec " + far_ +
                                  " unshare -u sh -c \"hostname far; $*\"\n");  // a host's name, then its command
    fs::permissions(box / "agent", fs::perms::owner_all);
    const std::string half = std::to_string(processes / 2);
    Words all{"timeout",
              "-k",
              "5",
              "120",
              "ip",
              "netns",
              "exec",
              near_,
              "unshare",
              "-u",
              "sh",
              "-c",
              "hostname near; exec \"$@\"",
              "sh",
              "mpirun"};
    for (const auto& [name, value] :
         std::vector<std::pair<std::string, std::string>>{{"plm", "rsh"},
                                                          {"plm_rsh_agent", box / "agent"},
                                                          {"oob_tcp_if_include", "198.18.0.0/30"},
                                                          {"btl_tcp_if_include", "198.18.0.0/30"},
                                                          {"btl", "self,tcp"},
                                                          // How soon the launcher itself finds that a host is gone.
                                                          {"oob_tcp_keepalive_time", "4"},
                                                          {"oob_tcp_keepalive_intvl", "2"},
                                                          {"oob_tcp_keepalive_probes", "2"}})
      all = all + Words{"--mca", name, value};
    all = all + Words{"--host",    "198.18.0.1:" + half + ",198.18.0.2:" + half,
                      "--bind-to", "none",
                      "-n",        std::to_string(processes),
                      OPTP_PROGRAM};
    options.program = "/usr/bin/env";
    return box.run(all + words, options);
  }

 private:
  const std::string id_ = std::to_string(::getpid());
  const std::string near_ = "optpn" + id_, far_ = "optpf" + id_;
  bool is_there_ = true;
};

Words training(int devices) {
  return {"train", opt_tiny,  "--data", "t.bin",      "--devices", std::to_string(devices), "--threads-per-device",
          "1",     "--batch", "4",      "--sequence", "16",        "--save-every",          "3"};
}
}  // namespace

TEST_CASE("on two hosts: the files and reports of threads") {
  const Hosts hosts;
  const Sandbox box;
  tokens_into(box / "t.bin");
  REQUIRE(box.run({"partition", opt_tiny, "--devices", "2", "-o", "plan"}).code == 0);
  const Words run{"run", "plan", "--inputs-dir", inputs, "--threads-per-device", "1", "-o"};
  CHECK(box.run(run + Words{"a"}).code == 0);
  CHECK(hosts.run(box, 2, run + Words{"b"}).code == 0);
  box.same_folders("a", "b");
  const Words check{"check", opt_tiny, "--train", "--devices", "2", "--dim", "batch=1", "--dim", "sequence=5"};
  const Result here = box.run(check), there = hosts.run(box, 2, check);
  CHECK(there.code == 0);
  CHECK(there.out == here.out);
  for (const bool slow : {false, true}) {
    if (slow && !hosts.slow_down()) continue;
    CAPTURE(slow);
    const std::string saved = slow ? "d" : "c";
    CHECK(box.run(training(4) + Words{"--max-steps", "3", "--save", saved}).code == 0);
    CHECK(hosts.run(box, slow ? 2 : 4, training(4) + Words{"--max-steps", "3", "--save", saved + "2"}).code == 0);
    box.same_folders(saved, saved + "2");
  }
}

TEST_CASE("a cable that is cut ends training, the host is named, and the last checkpoint is whole") {
  const Hosts hosts;
  const Sandbox box;
  tokens_into(box / "t.bin");
  const auto begin = std::chrono::steady_clock::now();
  const Result r = hosts.run(box, 2, training(2) + Words{"--epochs", "1000000", "--save", "run", "--timeout", "3"},
                             {.meanwhile = [&](pid_t) {
                               for (int k = 0; k < 60000 && !fs::exists(box / "run"); ++k) ::usleep(1000);
                               hosts.cut();
                             }});
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(60));
  CHECK(r.code != 0);
  // Of ours, or where the launcher was first, of its own.
  const bool ours = r.err.find("opt-partition: ") != std::string::npos;
  if (ours) CHECK(r.err.find("on far") != std::string::npos);
  if (!ours) CHECK(r.err.find("198.18.0.2") != std::string::npos);
  CHECK(box.run(training(2) + Words{"--resume", "run", "--max-steps", "1"}).code == 0);
}

int main(int argc, char** argv) {
  for (const char* variable : {"OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"}) ::setenv(variable, "1", 1);
  if (!fs::exists(fs::path(OPTP_PROGRAM).parent_path().string() + "/opt-partition-mpi.so")) {
    std::printf("skipped: the module is not built, since CMake did not find MPI (libopenmpi-dev)\n");
    return 77;
  }
  if (!Hosts().is_there()) {
    std::printf("skipped: no network namespaces here, which root makes with iproute2\n");
    return 77;
  }
  const Sandbox box;
  if (const Result r = Hosts().run(box, 2, {"--version"}); r.code != 0) {
    std::printf("skipped: mpirun starts no processes on two hosts here: %s\n", r.err.c_str());
    return 77;
  }
  return doctest::Context(argc, argv).run();
}
