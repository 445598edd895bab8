// Collectives between the ranks of a run, whatever joins them: memory, or a network. The World gives each rank its end.
#pragma once
#include <cstdint>
#include <string>

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include "runtime/comm/call.h"

namespace optp {

// One rank's end. It is used by one thread. A group lists ranks in order, this one among them: the order of chunks and
// of additions. Members of a group run its collectives in the same order; groups that share no rank are independent.
//
// Buffers are dense, row-major, aligned to their element. `in` and `out` must not overlap except where a call says so.
// An empty buffer may be null. When a call returns, with or without an error, no other rank touches its buffers.
//
// Errors are Fault::rank_failed: a member came with another call, gave up (abort), or did not come in time. The first
// one ends the run: all ranks, in whatever collective they are or begin later, get the same message.
class Communicator {
 public:
  virtual ~Communicator();
  virtual int rank() const = 0;
  virtual int size() const = 0;

  // all_reduce       in, out: [dims]; may be the same buffer. f32, f64, i32, i64 (wrapping), f16 and bf16 (summed in
  //                  f32, rounded once). Contributions are combined in the group's order, one after the other, and all
  //                  members get the same bytes. A NaN wins over every number in max and min too.
  // all_gather       in: member i's chunk of dims along join_axis; out: [dims]. in may lie at its place in out if all
  //                  dims before the axis are 1. A member that does not want the whole gives a null `out`.
  // reduce_scatter   in: [dims]; out: the sum's (max's, min's) chunk i along cut_axis, the same bytes that all_reduce
  //                  would give. out may lie at its place in in if all dims before the axis are 1.
  // all_to_all       in: chunk i of dims along join_axis, whole along cut_axis; out: whole along join_axis, chunk i
  //                  along cut_axis.
  // barrier          neither.
  virtual llvm::Error run(const CollectiveCall& call, const void* in, void* out) = 0;

  // This rank can't go on: all others get "rank 3 failed: <message>" instead of waiting for it.
  virtual void abort(llvm::StringRef message) = 0;
  // The last 1024 collectives of this rank, oldest first, a line each.
  virtual std::string flight_record() const = 0;
};

}  // namespace optp
