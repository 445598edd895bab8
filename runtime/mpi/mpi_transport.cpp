// Messages by MPI: the module that a program started by mpirun loads. Of MPI 3.1 it uses little, and nothing that
// waits: its caller holds a lock while it calls, so MPI_THREAD_SERIALIZED is enough, which every MPI library gives and
// tests more than MPI_THREAD_MULTIPLE, and no thread has to listen all the time.
//
// A message longer than MPI's counts goes in pieces. Their tag says whether another one follows; a receive of any tag
// sees the pieces of one sender in order, so they need no number.
#include <mpi.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <vector>

#include "runtime/comm/transport.h"

namespace optp {
namespace {
constexpr size_t piece_bytes = size_t(1) << 29;
enum Tag { last = 0, more = 1 };

class MpiTransport final : public Transport {
 public:
  MpiTransport(int process, int processes) : process_(process), arriving_(size_t(processes)) {}
  int process() const override { return process_; }
  int processes() const override { return int(arriving_.size()); }

  uint64_t send(int to, Message message) override {
    Sending sending{.message = std::move(message), .requests = {}};
    for (size_t start = 0; start < sending.message.size; start += piece_bytes) {
      const size_t bytes = std::min(piece_bytes, sending.message.size - start);
      const bool is_last = start + bytes == sending.message.size;
      MPI_Isend(sending.message.data.get() + start, int(bytes), MPI_BYTE, to, is_last ? Tag::last : Tag::more,
                MPI_COMM_WORLD, &sending.requests.emplace_back());
    }
    sending_.push_back(std::move(sending));
    return sent_ + sending_.size();
  }

  uint64_t sent() override {
    while (!sending_.empty()) {
      int done = 0;
      std::vector<MPI_Request>& requests = sending_.front().requests;
      MPI_Testall(int(requests.size()), requests.data(), &done, MPI_STATUSES_IGNORE);
      if (!done) break;
      sending_.pop_front();
      ++sent_;
    }
    return sent_;
  }

  std::optional<Received> receive() override {
    begin_receives();
    for (size_t from = 0; from < arriving_.size(); ++from) {
      std::deque<Piece>& pieces = arriving_[from];
      size_t count = 0, bytes = 0;
      for (; count < pieces.size(); ++count) {
        if (!pieces[count].has_come()) break;
        bytes += pieces[count].message.size;
        if (pieces[count].is_last) return Received{int(from), join(pieces, count + 1, bytes)};
      }
    }
    return std::nullopt;
  }

  bool is_arriving() override {
    return std::any_of(arriving_.begin(), arriving_.end(), [](const auto& pieces) { return !pieces.empty(); });
  }

  void close() override { MPI_Finalize(); }
  void abort(int code) override {
    MPI_Abort(MPI_COMM_WORLD, code);
    std::abort();
  }

 private:
  struct Sending {
    Message message;
    std::vector<MPI_Request> requests;
  };
  struct Piece {
    Message message;
    bool is_last;
    MPI_Request request;
    bool has_come() {
      int done = 0;
      MPI_Test(&request, &done, MPI_STATUS_IGNORE);
      return done;
    }
  };

  void begin_receives() {
    while (true) {
      int found = 0, bytes = 0;
      MPI_Message matched;
      MPI_Status status;
      MPI_Improbe(MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &found, &matched, &status);
      if (!found) return;
      MPI_Get_count(&status, MPI_BYTE, &bytes);
      Piece& piece = arriving_[size_t(status.MPI_SOURCE)].emplace_back(
          Piece{Message(size_t(bytes)), status.MPI_TAG == Tag::last, MPI_REQUEST_NULL});
      MPI_Imrecv(piece.message.data.get(), bytes, MPI_BYTE, &matched, &piece.request);
    }
  }
  static Message join(std::deque<Piece>& pieces, size_t count, size_t bytes) {
    Message whole = count == 1 ? std::move(pieces.front().message) : Message(bytes);
    size_t start = 0;
    for (size_t k = 0; k < count; ++k) {
      const Message& piece = pieces.front().message;
      if (count > 1) std::memcpy(whole.data.get() + start, piece.data.get(), piece.size), start += piece.size;
      pieces.pop_front();
    }
    return whole;
  }

  const int process_;
  std::deque<Sending> sending_;
  uint64_t sent_ = 0;
  std::vector<std::deque<Piece>> arriving_;  // by sender, in the order in which they were sent
};
}  // namespace
}  // namespace optp

extern "C" optp::Transport* opt_partition_open_transport(const char* version, const char** why) {
  if (std::strcmp(version, OPTP_VERSION) != 0) {
    *why = "it is of version " OPTP_VERSION;
    return nullptr;
  }
  int level = 0, process = 0, processes = 0;
  if (MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &level) != MPI_SUCCESS) {
    *why = "MPI_Init_thread fails";
    return nullptr;
  }
  if (level < MPI_THREAD_SERIALIZED) {
    *why = "its MPI library lets only one thread call it (MPI_THREAD_SERIALIZED is needed)";
    return nullptr;
  }
  MPI_Comm_rank(MPI_COMM_WORLD, &process);
  MPI_Comm_size(MPI_COMM_WORLD, &processes);
  return new optp::MpiTransport(process, processes);
}
