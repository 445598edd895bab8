// The letters between ranks, and between processes: each waits at its address until it is taken. Who waits for one
// carries all others along. A thread that mostly sleeps tells the others that this process is alive, so that a process
// which hangs can be told from one that works for long.
#pragma once
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/ADT/Twine.h"
#include "llvm/Support/Error.h"
#include "runtime/comm/transport.h"

namespace optp {

struct MailOptions {
  // A member of a collective that is later than this is named in everybody's error, and so is a process from which
  // nothing was heard for so long while another one waits for it.
  double timeout_seconds = 1800;
  double grace_seconds = 60;  // a process that does not answer so long after a failure is given up
};

class Mail {
 public:
  // What a letter is for. Of collectives `from` and `to` are ranks, `group` a hash of the group, `turn` counts the
  // group's collectives; of the others they are processes.
  enum class Kind : uint32_t { collective, gather, broadcast, failure, end, alive };
  struct Address {
    Kind kind = Kind::collective;
    uint32_t step = 0;
    int32_t from = 0, to = 0;
    uint64_t group = 0, turn = 0;
    auto operator<=>(const Address&) const = default;
  };
  // A stamp (what the sender is about) and a payload, aligned for every dtype.
  class Letter {
   public:
    Letter() = default;
    Letter(llvm::StringRef stamp, size_t payload_bytes);
    explicit Letter(Message message) : message_(std::move(message)) {}
    llvm::StringRef stamp() const;
    char* payload() const;
    size_t payload_bytes() const;
    bool is_whole() const;  // else it is not one of ours
    Address& address() const { return head().address; }
    Message& message() { return message_; }

   private:
    struct Head {
      uint64_t mark, stamp_bytes;
      Address address;
    };
    Head& head() const { return *reinterpret_cast<Head*>(message_.data.get()); }
    static size_t before_payload(size_t stamp_bytes);
    Message message_;
  };

  // Of threads of this process, each with its own addresses. The transport outlives it. `host`: what others call the
  // machine of this process; "": it is not spoken of.
  Mail(Transport& transport, MailOptions options, std::string host = "");
  ~Mail();
  // Before anybody waits.
  void set_options(MailOptions options);
  int process() const { return process_; }
  int processes() const { return processes_; }
  const MailOptions& options() const { return options_; }

  // The number to wait for with `leave`; 0: it is for this process itself.
  uint64_t send(int process, const Address& address, Letter letter);
  // A letter for a rank, or none: the run has failed, or the time is over.
  std::optional<Letter> receive(const Address& address, std::chrono::steady_clock::time_point end);
  bool has(const Address& address);
  // Until the letters up to this number have left, or the run has failed. False: not by then.
  bool leave(uint64_t number, std::chrono::steady_clock::time_point end);
  // The same beside collectives, of a letter to that process: one that lives takes its letters, whatever it does.
  llvm::Error hand_over(uint64_t number, int to);
  // A letter for the process; it is waited for as long as its sender lives and nothing has failed.
  llvm::Expected<Letter> await(const Address& address, int from);

  // The first failure is the cause; all processes are told.
  void fail(const llvm::Twine& message);
  bool has_failed();
  llvm::Error failure();
  // The stamp of the last letter from this rank.
  std::string last_stamp(int rank);
  // " on HOST", or "" where no host is known.
  std::string on_host(int process);

  bool has_lost_one();  // some process did not answer, or has ended
  // Together, at the end. False: not all came.
  bool close();

 private:
  using Clock = std::chrono::steady_clock;
  // With the lock held:
  void carry();
  void deliver(int from, Letter letter);
  void tell(Kind kind, llvm::StringRef text);
  void tell_failure(llvm::StringRef message);
  std::string on_host_of(int process) const;
  void note_failure(llvm::StringRef message);
  std::optional<Letter> take(const Address& address);

  Transport& transport_;
  MailOptions options_;
  const int process_, processes_;
  std::mutex mutex_;
  std::map<Address, Letter> letters_;
  std::map<int, std::string> last_stamps_;
  std::vector<Clock::time_point> heard_at_;  // by process
  std::vector<std::string> hosts_;
  llvm::SmallVector<bool, 16> ended_;
  std::optional<std::string> failure_;
  Clock::time_point failed_at_;
  bool lost_ = false;
  uint64_t last_number_ = 0;  // of what `tell` sent

  void tell_that_alive();
  void stop_telling();
  std::condition_variable stop_;
  bool stops_ = false;
  std::thread alive_;
};

}  // namespace optp
