// A run of several processes, played by threads of one, with queues in memory for the network.
#pragma once
#include <deque>
#include <mutex>

#include "runtime/comm/process_world.h"
#include "tests/runtime/comm/ranks.h"

namespace optp::testing {

// Messages to each process, by sender.
class Network {
 public:
  explicit Network(int processes) : queues_(size_t(processes)) {}
  class Port final : public Transport {
   public:
    Port(Network& network, int process) : network_(network), process_(process) {}
    int process() const override { return process_; }
    int processes() const override { return int(network_.queues_.size()); }
    uint64_t send(int to, Message message) override {
      const std::lock_guard lock(network_.mutex_);
      network_.queues_[size_t(to)].push_back({process_, std::move(message)});
      return ++sent_;
    }
    uint64_t sent() override { return sent_; }
    std::optional<Received> receive() override {
      const std::lock_guard lock(network_.mutex_);
      auto& own = network_.queues_[size_t(process_)];
      if (own.empty()) return std::nullopt;
      Received first = std::move(own.front());
      own.pop_front();
      return first;
    }
    void close() override {}
    [[noreturn]] void abort(int) override { std::abort(); }

   private:
    Network& network_;
    const int process_;
    uint64_t sent_ = 0;
  };

 private:
  std::mutex mutex_;
  std::vector<std::deque<Transport::Received>> queues_;
};

struct Process {
  Process(Network& network, int number, size_t ranks, MailOptions options, PeerMemory peers = {})
      : port(network, number), mail(port, options), world(mail, ranks, std::move(peers)) {}
  Network::Port port;
  Mail mail;
  ProcessWorld world;
};

class Processes {
 public:
  Processes(int processes, size_t ranks, MailOptions options = {}, std::vector<PeerMemory> peers = {})
      : network_(processes) {
    peers.resize(size_t(processes));
    for (int p = 0; p < processes; ++p)
      all_.push_back(std::make_unique<Process>(network_, p, ranks, options, std::move(peers[size_t(p)])));
  }
  // Who read each other's memory.
  static Processes that_read(int processes, size_t ranks, MailOptions options = {}) {
    std::vector<PeerMemory> peers{size_t(processes)};
    CHECK(Processes(processes, size_t(processes)).together([&](Process& p) -> llvm::Error {
      auto met = PeerMemory::meet(p.world);
      if (!met) return met.takeError();
      peers[size_t(p.mail.process())] = std::move(*met);
      return llvm::Error::success();
    }) == successes(processes));
    return Processes(processes, ranks, options, std::move(peers));
  }
  Process& operator[](size_t p) { return *all_[p]; }
  // Each rank's error message, as run_ranks of threads gives them.
  std::vector<std::string> run_ranks(const std::function<llvm::Error(Communicator&)>& body) {
    std::vector<Communicator*> ends;
    for (const auto& process : all_)
      for (const size_t r : process->world.held()) ends.push_back(&process->world.communicator(r));
    return testing::run_ranks(ends, body);
  }
  // What each process returns, "" for success.
  std::vector<std::string> together(const std::function<llvm::Error(Process&)>& body) {
    std::vector<std::string> messages(all_.size());
    std::vector<std::thread> threads;
    for (size_t p = 0; p < all_.size(); ++p)
      threads.emplace_back([&, p] {
        if (llvm::Error e = body(*all_[p])) messages[p] = take_diagnostic(std::move(e)).message();
      });
    for (std::thread& thread : threads) thread.join();
    return messages;
  }

 private:
  Network network_;
  std::vector<std::unique_ptr<Process>> all_;
};

}  // namespace optp::testing
