#include "tools/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "llvm/ADT/StringRef.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/raw_ostream.h"

namespace optp {
namespace {
using namespace std::chrono_literals;
constexpr auto silence = 500ms, interval = 100ms;
}  // namespace

Progress::Progress(std::string what, int64_t total, bool quiet, Unit unit)
    : what_(std::move(what)), total_(std::max<int64_t>(total, 1)), unit_(unit), next_(Clock::now() + silence) {
  const char* terminal = std::getenv("TERM");
  shown_ = !quiet && ::isatty(STDERR_FILENO) == 1 && llvm::StringRef(terminal ? terminal : "dumb") != "dumb";
}
Progress::~Progress() {
  if (drawn_) llvm::errs() << "\r\x1b[K";
}
void Progress::set(int64_t done) {
  done_ = std::min(done, total_);
  if (!shown_ || Clock::now() < next_) return;
  next_ = Clock::now() + interval;
  drawn_ = true;
  const double share = double(done_) / double(total_);
  const size_t columns = note_.empty() ? 24 : 10;  // the line stays below 80 columns
  const std::string filled = bar(share, columns);  // each of its characters has three bytes
  llvm::errs() << "\r\x1b[K" << what_ << "  " << filled << std::string(columns - std::min(columns, filled.size() / 3), ' ')
               << llvm::formatv(" {0,3:f0} %", 100 * share);
  if (unit_ == Unit::bytes) llvm::errs() << "  " << bytes_text(double(done_)) << " of " << bytes_text(double(total_));
  if (!note_.empty()) llvm::errs() << "  " << note_;
}

std::string bar(double share, size_t columns) {
  static const char* const eighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  const auto n = size_t(share * double(columns) * 8 + 0.5);
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
