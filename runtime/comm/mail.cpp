#include "runtime/comm/mail.h"

#include <sched.h>

#include <algorithm>
#include <cstring>
#include <thread>

#include "frontend/ir/diagnostic.h"
#include "llvm/Support/MathExtras.h"
#include "runtime/comm/failure_text.h"

namespace optp {
namespace {
using Clock = std::chrono::steady_clock;
constexpr uint64_t mark = 0x6f707470'6d61696c;
constexpr size_t payload_alignment = 16;  // what new gives, so also where the message lies

Clock::duration seconds(double s) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(s));
}

// Between two looks. At first the awaited one may be about to come; later it should rather have the core.
class Pause {
 public:
  void operator()() {
    if (Clock::now() - began_ < std::chrono::microseconds(500)) {
      ::sched_yield();
      return;
    }
    std::this_thread::sleep_for(nap_);
    nap_ = std::min(nap_ * 2, std::chrono::microseconds(100));
  }
  // What is awaited comes: a message of several pieces, each of which needs both sides, would wait a nap for each.
  void comes() { began_ = Clock::now(), nap_ = std::chrono::microseconds(20); }

 private:
  Clock::time_point began_ = Clock::now();
  std::chrono::microseconds nap_{20};
};
}  // namespace

size_t Mail::Letter::before_payload(size_t stamp_bytes) {
  return llvm::alignTo(sizeof(Head) + stamp_bytes, payload_alignment);
}
Mail::Letter::Letter(llvm::StringRef stamp, size_t payload_bytes)
    : message_(before_payload(stamp.size()) + payload_bytes) {
  head() = {.mark = mark, .stamp_bytes = stamp.size(), .address = {}};
  std::memcpy(message_.data.get() + sizeof(Head), stamp.data(), stamp.size());
}
llvm::StringRef Mail::Letter::stamp() const {
  return {reinterpret_cast<const char*>(message_.data.get()) + sizeof(Head), head().stamp_bytes};
}
char* Mail::Letter::payload() const {
  return reinterpret_cast<char*>(message_.data.get()) + before_payload(head().stamp_bytes);
}
size_t Mail::Letter::payload_bytes() const { return message_.size - before_payload(head().stamp_bytes); }
bool Mail::Letter::is_whole() const {
  return message_.size >= sizeof(Head) && head().mark == mark && head().stamp_bytes <= message_.size &&
         before_payload(head().stamp_bytes) <= message_.size;
}

Mail::Mail(Transport& transport, MailOptions options, std::string host)
    : transport_(transport),
      options_(options),
      process_(transport.process()),
      processes_(transport.processes()),
      heard_at_(size_t(processes_), Clock::now()),
      hosts_(size_t(processes_)),
      ended_(processes_, false) {
  hosts_[size_t(process_)] = std::move(host);
  alive_ = std::thread([this] { tell_that_alive(); });
}
Mail::~Mail() { stop_telling(); }

void Mail::set_options(MailOptions options) {
  const std::lock_guard lock(mutex_);
  options_ = options;
  stop_.notify_one();  // the pace is another
}

void Mail::tell_that_alive() {
  std::unique_lock lock(mutex_);
  while (!stops_) {
    carry();
    tell(Kind::alive, hosts_[size_t(process_)]);
    stop_.wait_for(lock, seconds(std::min(1.0, options_.timeout_seconds / 8)));
  }
}
void Mail::stop_telling() {
  {
    const std::lock_guard lock(mutex_);
    stops_ = true;
  }
  stop_.notify_one();
  if (alive_.joinable()) alive_.join();
}

uint64_t Mail::send(int process, const Address& address, Letter letter) {
  letter.address() = address;
  const std::lock_guard lock(mutex_);
  if (process != process_) return transport_.send(process, std::move(letter.message()));
  deliver(process, std::move(letter));
  return 0;
}

void Mail::deliver(int from, Letter letter) {
  if (!letter.is_whole()) return note_failure("a message between processes is damaged");
  const Address& address = letter.address();
  heard_at_[size_t(from)] = Clock::now();
  if (address.kind == Kind::alive) {
    hosts_[size_t(from)] = letter.stamp().str();
    return;
  }
  if (address.kind == Kind::failure) return note_failure(letter.stamp());
  if (address.kind == Kind::end) {
    ended_[from] = true;
    return;
  }
  if (address.kind == Kind::collective && from != process_) last_stamps_[address.from] = letter.stamp().str();
  letters_.insert_or_assign(address, std::move(letter));
}
void Mail::carry() {
  while (auto received = transport_.receive()) deliver(received->from, Letter(std::move(received->message)));
}
std::optional<Mail::Letter> Mail::take(const Address& address) {
  const auto at = letters_.find(address);
  if (at == letters_.end()) return std::nullopt;
  Letter letter = std::move(at->second);
  letters_.erase(at);
  return letter;
}
bool Mail::has(const Address& address) {
  const std::lock_guard lock(mutex_);
  return letters_.contains(address);
}

std::optional<Mail::Letter> Mail::receive(const Address& address, Clock::time_point end) {
  for (Pause pause;; pause()) {
    const bool is_last = Clock::now() >= end;  // before the look: a process that slept may find its letter after it
    const std::lock_guard lock(mutex_);
    carry();
    if (auto letter = take(address)) return letter;
    if (transport_.is_arriving()) pause.comes();
    if (failure_ || is_last) return std::nullopt;
  }
}

bool Mail::leave(uint64_t number, Clock::time_point end) {
  for (Pause pause;; pause()) {
    const bool is_last = Clock::now() >= end;
    const std::lock_guard lock(mutex_);
    carry();
    if (failure_ || transport_.sent() >= number) return true;
    if (is_last) return false;
    if (transport_.is_arriving()) pause.comes();
  }
}

llvm::Error Mail::hand_over(uint64_t number, int to) {
  if (leave(number, Clock::now() + seconds(options_.timeout_seconds))) return llvm::Error::success();
  const std::lock_guard lock(mutex_);
  lost_ = true;
  tell_failure("process " + std::to_string(to) + on_host_of(to) + " has not taken what was sent to it for " +
               print_seconds(options_.timeout_seconds) + " s");
  return error(Code::rank_failed).what(*failure_);
}

llvm::Expected<Mail::Letter> Mail::await(const Address& address, int from) {
  // The root is the first to give up, so that one line tells of it.
  const auto grace = seconds(options_.grace_seconds * (process_ == 0 ? 1 : 1.25));
  for (Pause pause;; pause()) {
    const std::lock_guard lock(mutex_);
    carry();
    if (auto letter = take(address)) return std::move(*letter);
    const std::string who = "process " + std::to_string(from) + on_host_of(from);
    lost_ = ended_[from] || (failure_ && Clock::now() - failed_at_ >= grace);
    if (ended_[from]) return error(Code::rank_failed, who + " has ended before the run did");
    if (lost_)
      return error(Code::rank_failed)
          .what(*failure_)
          .what(who + " did not answer for " + print_seconds(options_.grace_seconds) + " s after that");
    if (failure_ || Clock::now() - heard_at_[size_t(from)] < seconds(options_.timeout_seconds)) continue;
    lost_ = true;
    tell_failure(who + " has not been heard of for " + print_seconds(options_.timeout_seconds) + " s");
    return error(Code::rank_failed).what(*failure_);
  }
}

void Mail::tell(Kind kind, llvm::StringRef text) {
  for (int to = 0; to < processes_; ++to) {
    if (to == process_) continue;
    Letter letter(text, 0);
    letter.address() = {.kind = kind, .from = process_, .to = to};
    last_number_ = transport_.send(to, std::move(letter.message()));
  }
}
void Mail::note_failure(llvm::StringRef message) {
  if (failure_) return;
  failure_ = message.str();
  failed_at_ = Clock::now();
}
void Mail::fail(const llvm::Twine& message) {
  const std::lock_guard lock(mutex_);
  carry();
  tell_failure(message.str());
}
void Mail::tell_failure(llvm::StringRef message) {
  if (failure_) return;
  note_failure(message);
  tell(Kind::failure, message);
}
bool Mail::has_failed() {
  const std::lock_guard lock(mutex_);
  carry();
  return failure_.has_value();
}
llvm::Error Mail::failure() {
  const std::lock_guard lock(mutex_);
  return error(Code::rank_failed).what(failure_.value_or(""));
}
bool Mail::has_lost_one() {
  const std::lock_guard lock(mutex_);
  return lost_;
}
std::string Mail::last_stamp(int rank) {
  const std::lock_guard lock(mutex_);
  const auto at = last_stamps_.find(rank);
  return at == last_stamps_.end() ? "" : at->second;
}

std::string Mail::on_host_of(int process) const {
  const std::string& host = hosts_[size_t(process)];
  return host.empty() ? "" : " on " + host;
}
std::string Mail::on_host(int process) {
  const std::lock_guard lock(mutex_);
  return on_host_of(process);
}

bool Mail::close() {
  stop_telling();
  {
    const std::lock_guard lock(mutex_);
    tell(Kind::end, "");
    ended_[process_] = true;
    if (lost_) return false;
  }
  const auto end = Clock::now() + seconds(options_.grace_seconds);
  for (Pause pause;; pause()) {
    const std::lock_guard lock(mutex_);
    carry();
    // Messages come in order: after this one there is no other.
    if (llvm::all_of(ended_, [](bool e) { return e; }) && transport_.sent() >= last_number_) return true;
    if (Clock::now() >= end) return false;
  }
}

}  // namespace optp
