// Messages between the processes of a run. What carries them is a module that the program loads when a launcher started
// it (runtime/mpi), so that the program itself needs no network library. This class is all that the two share.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

namespace optp {

// Bytes of a message, not initialised.
struct Message {
  Message() = default;
  explicit Message(size_t size) : data(std::make_unique_for_overwrite<std::byte[]>(size)), size(size) {}
  std::unique_ptr<std::byte[]> data;
  size_t size = 0;
};

// Messages between two processes come in the order in which they were sent. Used by one thread at a time, not always
// the same one. Nothing here waits, so a thread that waits for a message can look after everything else as well.
class Transport {
 public:
  virtual ~Transport() = default;
  virtual int process() const = 0;
  virtual int processes() const = 0;
  // To another process. The number of the message, counted from 1.
  virtual uint64_t send(int to, Message message) = 0;
  // All messages up to this number have left: the others get them without further calls here.
  virtual uint64_t sent() = 0;
  struct Received {
    int from;
    Message message;
  };
  virtual std::optional<Received> receive() = 0;  // none: nothing has come
  // Part of a message is here and the rest is on its way. Some networks carry it on within calls of both sides only.
  virtual bool is_arriving() { return false; }
  // The last call, together, when all messages have come.
  virtual void close() = 0;
  // Ends all processes of the run at once.
  [[noreturn]] virtual void abort(int code) = 0;
};

// The module's only symbol, opt_partition_open_transport. Null, and why, if it can't join the other processes.
// `version`: of the program, which must be the module's, since the two share this header.
using OpenTransport = Transport* (*)(const char* version, const char** why);

}  // namespace optp
