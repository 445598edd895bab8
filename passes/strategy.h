// Strategies: what is split over one mesh axis, before constraints and propagation. One file of passes/strategies each;
// a file registers its strategy, and nothing else lists it.
#pragma once
#include <string>

#include "passes/factors.h"
#include "passes/recogniser.h"

namespace optp {

// The mesh axis that the batch is cut along; ZeRO shares what training keeps over it.
constexpr llvm::StringLiteral data_axis = "data";

// What a strategy knows, and what it decides.
class Seeding {
 public:
  virtual ~Seeding() = default;
  const Graph& graph;
  const Factors& factors;
  const Recogniser& recogniser;
  const MeshAxis& axis;
  // All values of the class are split over the axis. `cause` is told of each, after the strategy's name.
  virtual void split(Factors::Class c, const std::string& cause) = 0;
  // This value alone is split along `dim`; nothing follows it. `from`: the value that this one follows; null: none.
  virtual void split_only(Value& v, unsigned dim, const std::string& cause, const Value* from) = 0;

 protected:
  Seeding(const Graph& graph, const Factors& factors, const Recogniser& recogniser, const MeshAxis& axis)
      : graph(graph), factors(factors), recogniser(recogniser), axis(axis) {}
};

struct Strategy {
  const char* name;
  const char* summary;
  // Splits what it wants to. Where it finds nothing, it says why: the recogniser's near misses, for one.
  std::string (*seed)(Seeding& s);
  // The mesh axis that is always this strategy's; null: --strategy chooses it.
  const char* axis = nullptr;
};
llvm::ArrayRef<const Strategy*> all_strategies();  // sorted by name
const Strategy* find_strategy(llvm::StringRef name);
const Strategy* strategy_of_axis(llvm::StringRef axis);  // whose axis it always is; null: none's
std::string strategy_names();                            // "megatron or origin": those that --strategy chooses from

// The axis that --strategy cuts over: of the axes that are no other strategy's the only one, or of several the one that
// is called tensor. Null where there is none.
const MeshAxis* strategy_axis(const Mesh& mesh);

namespace detail {
void register_strategy(const Strategy* strategy);
}
struct RegisteredStrategy {
  Strategy strategy;
  explicit RegisteredStrategy(Strategy s) : strategy(s) { detail::register_strategy(&strategy); }
};

}  // namespace optp
