// A collective (docs/collectives.md): what the ranks of a group do together. One type from a graph's node over plan and
// file to the transport.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "frontend/ir/graph.h"
#include "frontend/ir/reduce.h"

namespace optp {

// A barrier moves nothing: transports have it, graphs don't.
enum class Collective : uint8_t { all_reduce, all_gather, reduce_scatter, all_to_all, barrier };
constexpr Collective collective_ops[] = {Collective::all_reduce, Collective::all_gather, Collective::reduce_scatter,
                                         Collective::all_to_all};
llvm::StringRef to_string(Collective kind);  // the op's name, too

constexpr bool reduces(Collective kind) { return kind == Collective::all_reduce || kind == Collective::reduce_scatter; }
// Gives each member its chunk along a dim; joins the members' chunks along one.
constexpr bool cuts(Collective kind) { return kind == Collective::reduce_scatter || kind == Collective::all_to_all; }
constexpr bool joins(Collective kind) { return kind == Collective::all_gather || kind == Collective::all_to_all; }

struct CollectiveCall {
  Collective kind = Collective::all_reduce;
  std::string id;  // members meet by it
  Reduce reduce = Reduce::none;
  std::vector<std::string> axes;          // of the mesh; none in a graph that was read from a file
  llvm::SmallVector<int, 4> group;        // the ranks along these axes, once the graph is one rank's
  int64_t cut_axis = -1, join_axis = -1;  // dims of the tensor
  Dim local = 0;                          // of `cut_axis`: the extent of this member's chunk
  DType dtype = DType::undefined;
  Dims dims;           // as a rank would see the tensor if the group were one rank: whole along both axes
  std::string reason;  // for the plan
  // All-reduces that add up the ranks' parts of a named extent, such as the batch, which no input of a rank has whole:
  // that extent. What needs it says so by its name, so the result has no users in the graph.
  std::optional<Dim> extent;
};
CollectiveCall call_of(const Node& node);  // of a node whose op is a collective
Attributes attributes_of(const CollectiveCall& call);

}  // namespace optp
