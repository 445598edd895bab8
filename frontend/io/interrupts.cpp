#include "frontend/io/interrupts.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>

#include "llvm/ADT/StringRef.h"

namespace optp {
namespace {
std::atomic<int> deferring{0};
std::atomic<int> interrupted{0};  // by this signal
static_assert(std::atomic<int>::is_always_lock_free);

void on_interrupt(int signal) {
  if (interrupted.exchange(signal) == 0 && deferring.load() > 0) return;
  const llvm::StringRef line = "\nopt-partition: interrupted\n";
  (void)!::write(STDERR_FILENO, line.data(), line.size());
  ::_exit(128 + signal);
}
}  // namespace

int interrupting_signal() { return interrupted.load(); }
DeferInterrupts::DeferInterrupts() { ++deferring; }
DeferInterrupts::~DeferInterrupts() { --deferring; }

void abandon_outputs_on_signal() {
  struct sigaction action = {};
  action.sa_handler = on_interrupt;
  ::sigemptyset(&action.sa_mask);
  for (const int signal : {SIGINT, SIGTERM}) {
    struct sigaction before;
    if (::sigaction(signal, nullptr, &before) == 0 && before.sa_handler == SIG_IGN) continue;  // nohup, a job with &
    ::sigaction(signal, &action, nullptr);
  }
}

}  // namespace optp
