// One line on stderr while something takes long: only where a person sees it, and gone when it is done.
#pragma once
#include <chrono>
#include <cstdint>
#include <string>

namespace optp {

class Progress {
 public:
  enum class Unit { steps, bytes };
  // Silent if `quiet`, if stderr is no terminal, and for the first half second.
  Progress(std::string what, int64_t total, bool quiet, Unit unit = Unit::steps);
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress();
  void add(int64_t n) { set(done_ + n); }
  void set(int64_t done);
  void note(std::string text) { note_ = std::move(text); }  // after the bar, from the next drawing on

 private:
  using Clock = std::chrono::steady_clock;
  std::string what_, note_;
  int64_t total_, done_ = 0;
  Unit unit_;
  bool shown_ = false, drawn_ = false;
  Clock::time_point next_;
};

// A bar of so many columns, to an eighth of one.
std::string bar(double share, size_t columns);
std::string bytes_text(double bytes);  // "478.0 MiB"

}  // namespace optp
