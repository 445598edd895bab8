// SIGINT and SIGTERM: what is being written is removed or finished first.
#pragma once

namespace optp {

// While an output is open, its next call returns Fault::interrupted, so that it is removed on the way out. With none
// open, or the second time, the signal ends the process at once, with exit code 128 + the signal.
void abandon_outputs_on_signal();
int interrupting_signal();  // 0: none so far
// While one lives, a signal only sets interrupting_signal: for who writes, and looks there.
class DeferInterrupts {
 public:
  DeferInterrupts();
  DeferInterrupts(const DeferInterrupts&) = delete;
  DeferInterrupts& operator=(const DeferInterrupts&) = delete;
  ~DeferInterrupts();
};

}  // namespace optp
