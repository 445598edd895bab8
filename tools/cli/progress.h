// One line on stderr while something takes long: only where a person sees it, and gone when it is done.
#pragma once
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

namespace optp {

class Progress {
 public:
  enum class Unit { steps, bytes };
  // Of work that can't say how far it is the total is 0: seconds are shown. Silent if stderr is no terminal, after
  // `silence`, and for the first half second. Of nested ones the inner is seen.
  explicit Progress(std::string what, int64_t total = 0, Unit unit = Unit::steps);
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress();
  void add(int64_t n) { done_ += n; }
  void set(int64_t done) { done_ = done; }
  void note(std::string text);  // after the bar, from the next drawing on
  static void silence();        // --quiet
  static bool silenced();
  // The line is gone, and stays so while this is held: for other text on stderr.
  [[nodiscard]] static std::unique_lock<std::mutex> hold();

 private:
  using Clock = std::chrono::steady_clock;
  void draw();
  const std::string what_;
  const int64_t total_;
  const Unit unit_;
  const Clock::time_point began_ = Clock::now();
  std::atomic<int64_t> done_ = 0;
  std::string note_;
  bool drawn_ = false;
  std::optional<Progress*> outer_;  // none: this one is never shown
  std::condition_variable_any ended_;
  std::jthread clock_;  // draws, so that the line is there also before the first step is done
};

// A bar of so many columns, to an eighth of one.
std::string bar(double share, size_t columns);
std::string bytes_text(double bytes);  // "478.0 MiB"

}  // namespace optp
