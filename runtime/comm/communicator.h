// Collectives between the ranks of a run. The one virtual interface: threads of a process or MPI, chosen at run time.
#pragma once
#include <cstdint>
#include <string>

#include "frontend/ir/dtype.h"
#include "frontend/ir/reduce.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

namespace optp {

enum class Collective : uint8_t { all_reduce, all_gather, reduce_scatter, all_to_all, broadcast, barrier };
llvm::StringRef to_string(Collective kind);

// What all members of a collective must agree on. Kind, reduce, axes and root, from the call, are compared with it.
struct CollectiveStamp {
  llvm::StringRef id;  // the same on all members: what messages and the flight record name
  DType dtype = DType::undefined;
  // The shape as a rank would see it if the group were one rank: whole along the axes that the collective cuts or
  // joins. It gives every extent; those of one member follow from the chunk rule, so uneven and empty ones are exact.
  llvm::ArrayRef<int64_t> dims;
};

// One rank's end. It is used by one thread. A group lists ranks in order, this one among them: the order of chunks and
// of additions. Members of a group run its collectives in the same order; groups that share no rank are independent.
//
// Buffers are dense, row-major, aligned to their element. `in` and `out` must not overlap except where a call says so.
// An empty buffer may be null. When a call returns, with or without an error, no other rank touches its buffers.
//
// Errors are Fault::rank_failed: a member came with another stamp, gave up (abort), or did not come in time. The first
// one ends the run: all ranks, in whatever collective they are or begin later, get the same message.
class Communicator {
 public:
  virtual ~Communicator();
  virtual int rank() const = 0;
  virtual int size() const = 0;

  // in, out: [dims]; may be the same buffer. f32, f64, i32, i64 (wrapping), f16 and bf16 (summed in f32, rounded once).
  // Contributions are combined in the group's order, one after the other, and all members get the same bytes. A NaN
  // wins over every number in max and min too.
  virtual llvm::Error all_reduce(const CollectiveStamp& stamp, llvm::ArrayRef<int> group, Reduce reduce, const void* in,
                                 void* out) = 0;
  // in: member i's chunk of dims along axis; out: [dims]. in may lie at its place in out if all dims before axis are 1.
  virtual llvm::Error all_gather(const CollectiveStamp& stamp, llvm::ArrayRef<int> group, int axis, const void* in,
                                 void* out) = 0;
  // in: [dims]; out: the sum's (max's, min's) chunk i along axis, the same bytes that all_reduce would give. out may
  // lie at its place in in if all dims before axis are 1.
  virtual llvm::Error reduce_scatter(const CollectiveStamp& stamp, llvm::ArrayRef<int> group, Reduce reduce, int axis,
                                     const void* in, void* out) = 0;
  // in: chunk i of dims along concat_axis, whole along split_axis; out: chunk i along split_axis, whole along
  // concat_axis.
  virtual llvm::Error all_to_all(const CollectiveStamp& stamp, llvm::ArrayRef<int> group, int split_axis,
                                 int concat_axis, const void* in, void* out) = 0;
  // data: [dims]; that of the member group[root] is copied to the others.
  virtual llvm::Error broadcast(const CollectiveStamp& stamp, llvm::ArrayRef<int> group, int root, void* data) = 0;
  virtual llvm::Error barrier(const CollectiveStamp& stamp, llvm::ArrayRef<int> group) = 0;

  // This rank can't go on: all others get "rank 3 failed: <message>" instead of waiting for it.
  virtual void abort(llvm::StringRef message) = 0;
  // The last 1024 collectives of this rank, oldest first, a line each.
  virtual std::string flight_record() const = 0;
};

}  // namespace optp
