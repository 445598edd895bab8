#include "tools/cli/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "llvm/ADT/StringRef.h"
#include "llvm/Support/FormatVariadic.h"

namespace optp {
namespace {
using namespace std::chrono_literals;
constexpr auto unseen = 500ms, interval = 100ms;
bool silent = false;
std::mutex line;            // guards what follows, notes, and the terminal's line
Progress* inner = nullptr;  // the one that is shown

void write_terminal(llvm::StringRef text) { (void)!::write(STDERR_FILENO, text.data(), text.size()); }
}  // namespace

void Progress::silence() { silent = true; }
bool Progress::silenced() { return silent; }
std::unique_lock<std::mutex> Progress::hold() {
  std::unique_lock lock(line);
  if (inner && inner->drawn_) write_terminal("\r\x1b[K");
  return lock;
}

Progress::Progress(std::string what, int64_t total, Unit unit) : what_(std::move(what)), total_(total), unit_(unit) {
  const char* terminal = std::getenv("TERM");
  if (silent || ::isatty(STDERR_FILENO) != 1 || llvm::StringRef(terminal ? terminal : "dumb") == "dumb") return;
  {
    const std::lock_guard lock(line);
    outer_ = inner;
    inner = this;
  }
  clock_ = std::jthread([this](const std::stop_token& stop) {
    std::unique_lock lock(line);
    for (auto wait = unseen; !ended_.wait_for(lock, stop, wait, [&] { return stop.stop_requested(); }); wait = interval)
      draw();
  });
}
Progress::~Progress() {
  if (!outer_) return;
  clock_.request_stop();
  clock_.join();
  const std::lock_guard lock(line);
  inner = *outer_;
  if (drawn_) write_terminal("\r\x1b[K");
}
void Progress::note(std::string text) {
  const std::lock_guard lock(line);
  note_ = std::move(text);
}
void Progress::draw() {
  if (inner != this) return;
  drawn_ = true;
  const int64_t done = done_;
  std::string text = "\r\x1b[K" + what_ + "  ";
  if (total_ > 0) {
    const double share = double(std::min(done, total_)) / double(total_);
    const size_t columns = note_.empty() ? 24 : 10;  // the line stays below 80 columns
    const std::string filled = bar(share, columns);  // each of its characters has three bytes
    text += filled + std::string(columns - std::min(columns, filled.size() / 3), ' ') +
            llvm::formatv(" {0,3:f0} %", 100 * share).str();
    if (unit_ == Unit::bytes)
      text += "  " + bytes_text(double(std::min(done, total_))) + " of " + bytes_text(double(total_));
  } else {
    text += std::to_string(std::chrono::duration_cast<std::chrono::seconds>(Clock::now() - began_).count()) + " s";
  }
  if (!note_.empty()) text += "  " + note_;
  write_terminal(text);
}

std::string bar(double share, size_t columns) {
  static const char* const eighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  const auto n = size_t(std::lround(share * double(columns) * 8));
  std::string out;
  for (size_t k = 0; k < n / 8; ++k) out += "█";
  return out + eighths[n % 8];
}
std::string bytes_text(double n) {
  const char* const unit[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  int k = 0;
  while (n >= 1024 && k < 4) n /= 1024, ++k;
  return k == 0 ? llvm::formatv("{0} B", int64_t(n)).str() : llvm::formatv("{0:f1} {1}", n, unit[k]).str();
}
}  // namespace optp
