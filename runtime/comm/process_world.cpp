#include "runtime/comm/process_world.h"

#include <cstring>
#include <numeric>
#include <stdexcept>

#include "frontend/ir/diagnostic.h"
#include "runtime/comm/agreement.h"
#include "runtime/comm/process_communicator.h"

namespace optp {
namespace {
// Texts of the ranks of one process, each with its size before it.
std::string pack(const PerRank<std::string>& parts) {
  std::string out;
  for (const size_t r : parts.ranks()) {
    const uint64_t size = parts[r].size();
    out.append(reinterpret_cast<const char*>(&size), sizeof size);
    out += parts[r];
  }
  return out;
}
bool unpack(llvm::StringRef bytes, llvm::MutableArrayRef<std::string> parts) {
  for (std::string& part : parts) {
    uint64_t size = 0;
    if (bytes.size() < sizeof size) return false;
    std::memcpy(&size, bytes.data(), sizeof size);
    bytes = bytes.drop_front(sizeof size);
    if (bytes.size() < size) return false;
    part = bytes.take_front(size).str();
    bytes = bytes.drop_front(size);
  }
  return bytes.empty();
}
Mail::Letter letter_of(llvm::StringRef text) {
  Mail::Letter letter("", text.size());
  std::memcpy(letter.payload(), text.data(), text.size());
  return letter;
}
std::string print_divisors(size_t n) {
  std::string out;
  for (size_t d = 1; d <= n; ++d)
    if (n % d == 0) out += (d == 1 ? "" : d == n ? " or " : ", ") + std::to_string(d);
  return out;
}
llvm::StringRef text_of(const Mail::Letter& letter) { return {letter.payload(), letter.payload_bytes()}; }
}  // namespace

struct ProcessWorld::State {
  PeerMemory peers;
  std::vector<std::unique_ptr<ProcessCommunicator>> communicators;  // of the held ranks
};

ProcessWorld::ProcessWorld(Mail& mail, size_t ranks, PeerMemory peers)
    : mail_(mail), state_(std::make_unique<State>()) {
  state_->peers = std::move(peers);
  const size_t each = ranks / size_t(mail.processes());
  for (int p = 0; p <= mail.processes(); ++p) first_rank_.push_back(size_t(p) * each);
  for (size_t k = 0; k < each; ++k) {
    held_.push_back(first_rank_[mail.process()] + k);
    state_->communicators.push_back(
        std::make_unique<ProcessCommunicator>(mail, state_->peers, first_rank_, int(held_.back())));
  }
}
ProcessWorld::~ProcessWorld() = default;

Communicator& ProcessWorld::communicator(size_t rank) {
  if (!holds(rank)) throw std::out_of_range("a communicator of a rank that is held elsewhere");
  return *state_->communicators[rank - held_[0]];
}

std::string ProcessWorld::flight_record() const {
  std::string text;
  for (const size_t r : held_)
    text += "rank " + std::to_string(r) + "\n" + state_->communicators[r - held_[0]]->flight_record();
  return text;
}

// Processes that read each other's memory do so with the core that would compute.
bool ProcessWorld::overlaps() const {
  llvm::SmallVector<int> all(size_t(mail_.processes()));
  std::iota(all.begin(), all.end(), 0);
  return all.size() > 1 && !state_->peers.is_shared_by(all);
}

llvm::Expected<PerRank<std::string>> ProcessWorld::gather_bytes(PerRank<std::string> own) {
  if (own.ranks() != held()) return error(Code::bug, "parts of other ranks than those that are held");
  ++round_;
  auto address = [&](int from) {
    return Mail::Address{.kind = Mail::Kind::gather, .from = from, .group = size(), .turn = round_};
  };
  if (!is_root()) {
    if (auto e = mail_.hand_over(mail_.send(0, address(mail_.process()), letter_of(pack(own))), 0)) return e;
    return PerRank<std::string>();
  }
  std::vector<std::string> all(size());
  for (int p = 0; p < mail_.processes(); ++p) {
    const auto parts = llvm::MutableArrayRef(all).slice(first_rank_[p], held_.size());
    if (p == mail_.process()) {
      for (const size_t r : held_) all[r] = std::move(own[r]);
      continue;
    }
    auto letter = mail_.await(address(p), p);
    if (!letter) return letter.takeError();
    if (!unpack(text_of(*letter), parts)) return error(Code::bug, "a message between processes is damaged");
  }
  return PerRank<std::string>::of_all(std::move(all));
}

llvm::Expected<std::string> ProcessWorld::broadcast_bytes(std::string roots) {
  auto address = [&](int to) {
    return Mail::Address{.kind = Mail::Kind::broadcast, .to = to, .group = size(), .turn = round_};
  };
  if (!is_root()) {
    auto letter = mail_.await(address(mail_.process()), 0);
    if (!letter) return letter.takeError();
    return text_of(*letter).str();
  }
  std::vector<uint64_t> numbers;
  for (int p = 1; p < mail_.processes(); ++p) numbers.push_back(mail_.send(p, address(p), letter_of(roots)));
  for (int p = 1; p < mail_.processes(); ++p)
    if (auto e = mail_.hand_over(numbers[size_t(p) - 1], p)) return e;
  return roots;
}

llvm::Expected<std::unique_ptr<World>> make_process_world(Mail& mail, llvm::Expected<size_t> ranks,
                                                          const Facts& facts) {
  // They meet before they know how many ranks there are, as a world with one for each.
  ProcessWorld all(mail, size_t(mail.processes()));
  if (!ranks) return all.agree(ranks.takeError());
  for (const auto& [what, value] : facts)
    if (auto e = same(all, what, [&] { return value; }, "process")) return e;
  if (auto e = same(all, "number of ranks", [&] { return std::to_string(*ranks); }, "process")) return e;
  if (*ranks % size_t(mail.processes()) != 0)
    return error(Code::bad_value)
        .what(llvm::Twine(mail.processes()) + " processes for " + llvm::Twine(*ranks) +
              (*ranks == 1 ? " rank" : " ranks"))
        .what("each must hold as many as the others")
        .hint("start as many as divide the ranks: " + print_divisors(*ranks));
  auto peers = PeerMemory::meet(all);
  if (!peers) return peers.takeError();
  return std::make_unique<ProcessWorld>(mail, *ranks, std::move(*peers));
}

}  // namespace optp
