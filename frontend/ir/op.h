// What the compiler knows of an op, and the registry of ops. Instances are registered from passes/ops; everything else
// makes ops by name and knows them by what their OpDef says.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "frontend/ir/collective.h"
#include "frontend/ir/graph.h"

namespace optp {

// A loop of an op, as an einsum names it.
struct Loop {
  Dim extent;
  bool whole = false;            // can't be split
  Reduce reduce = Reduce::none;  // in no result: splitting it leaves a partial of this kind
  bool counted = false;          // the op counts from this rank's start: what a rank has must be one range
};
constexpr int no_loop = -1;  // a dim of extent 1 that is repeated

// Two groups of loops, major to minor, that enumerate the same elements: a reshape's.
struct LoopLink {
  llvm::SmallVector<int, 4> left, right;
};
// A loop that runs over a stretch of another one, from index `start` of it on: a slice's result over its operand, a
// concat's operands over its result.
struct LoopPiece {
  int whole, piece;
  Dim start;
};
// A loop whose every index stands for `times` neighbouring ones of a finer loop: the heads of keys beside those of the
// queries. Where the finer one is cut, the coarser is covered (frontend/ir/axis_use.h).
struct LoopCover {
  int fine, coarse;
  int64_t times;
};

// Through which operands a partial may pass.
enum class Linear {
  none,
  view,             // moves elements only: any partial passes
  jointly,          // add: all floating operands are partial sums alike, or none
  in_each_operand,  // mul, contract: through one, the others being whole
  in_first,         // div's numerator, a norm's gradient in dy
  addends,          // a sum of any number of operands: its partial ones are added up and reduced together
};

struct Rule {
  llvm::SmallVector<Loop, 6> loops;
  llvm::SmallVector<llvm::SmallVector<int, 4>, 3> operands, results;  // loop of each dim, or no_loop
  llvm::SmallVector<LoopLink, 2> links;
  llvm::SmallVector<LoopPiece, 2> pieces;
  llvm::SmallVector<LoopCover, 1> covers;
  Linear linear = Linear::none;

  int add(Dim extent, bool whole = false, Reduce reduce = Reduce::none) {
    loops.push_back({extent, whole, reduce});
    return int(loops.size()) - 1;
  }
};

// How split tells an op where its loops went: the axes of each loop's factors.
struct LoopSharding {
  llvm::ArrayRef<DimSharding> loops;
  Dim start(int loop) const;  // this rank's first index of a loop of one split factor
  bool is_split(int loop) const { return loops[size_t(loop)].is_split(); }
  Dim local(int loop, Dim extent) const { return loops[size_t(loop)].local_extent(extent); }
  // Where a piece begins among this rank's indices of the whole loop.
  Dim local_start(const LoopPiece& piece, Dim piece_extent) const;
};

// What passes, kernels and tools ask about an op instead of its name. A new op that has a trait takes part in what asks
// for it; one that has none is still split, run and differentiated by its rule.
enum class Trait : uint32_t {
  product = 1u << 0,         // sums products of its two operands over named loops (attribute "loops")
  reshapes = 1u << 1,        // its operand's elements, in row-major order, with other dims
  permutes = 1u << 2,        // its operand's dims in another order (attribute "perm")
  repeats = 1u << 3,         // its operand repeated along dims
  converts = 1u << 4,        // its operand in another dtype (attribute "to")
  joins = 1u << 5,           // its operands one after the other along attribute "axis"
  cuts = 1u << 6,            // attribute "size" indices of its operand along "axis", from "start" on by "step"
  looks_up = 1u << 7,        // slices of operand 0, a table, that the indices in operand 1 choose
  counts = 1u << 8,          // numbers that count positions
  adds = 1u << 9,            // operand 0 + operand 1
  multiplies = 1u << 10,     // operand 0 · operand 1
  divides = 1u << 11,        // operand 0 / operand 1
  adds_many = 1u << 12,      // the sum of any number of operands, until lower-sums makes binary adds of it
  waves = 1u << 13,          // sines and cosines: of numbers that count, a table of positions
  normalizes = 1u << 14,     // operand 1 scales it, operand 2 is its bias
  empty_is_zero = 1u << 15,  // where nothing is to be summed its result is zeros, which no kernel writes
  subtracts = 1u << 16,      // operand 0 - operand 1
  activates = 1u << 17,      // a network's nonlinear step, element by element
  shares_out = 1u << 18,     // softmax: positive numbers that add up to 1 along attribute "axis"
  negates = 1u << 19,        // -operand
  rounds_down = 1u << 20,    // ⌊operand⌋
  rounds_up = 1u << 21,      // ⌈operand⌉
};
constexpr Trait operator|(Trait a, Trait b) { return Trait(uint32_t(a) | uint32_t(b)); }
// The same elements, perhaps repeated or rounded: what they are a view of is what they mean.
constexpr Trait view_traits = Trait::reshapes | Trait::permutes | Trait::repeats | Trait::converts;

// How a picture of a model calls an op where all operands are activations, and where a parameter is one of them. Empty:
// by its name.
struct OpWords {
  std::string of_activations, with_parameter;
};

using Arrays = std::vector<Array>;

class GradientContext;  // frontend/ir/formula.h

constexpr int any_number = -1;

struct OpDef {
  std::string name;
  std::string summary;
  int operands = 1;                       // how many it takes; any_number: one or more
  std::vector<std::string> extents = {};  // the attributes that hold extents: [2, 3] in one of these are dims
  // Loops and marks. Null: the op has no rule and runs whole.
  llvm::Expected<Rule> (*rule)(const Node& node) = nullptr;
  // Result types from operands and attributes; errors are the user's: dtype clashes, wrong shapes.
  llvm::Expected<llvm::SmallVector<Type, 1>> (*infer)(const Node& node) = nullptr;
  // The op's meaning. Attributes hold numbers only (dims are bound). Operand shapes agree with their types.
  llvm::Expected<Arrays> (*evaluate)(const Node& node, llvm::ArrayRef<const Array*> operands) = nullptr;
  // Elements of a small integer result as dim expressions, where those of the operands are known.
  std::optional<Content> (*content)(const Node& node) = nullptr;
  // Rewrites attributes of a node whose loops are split: global to local.
  llvm::Error (*localize)(Node& node, const Rule& rule, const LoopSharding& sharding) = nullptr;
  // Null: negligible.
  Dim (*flops)(const Rule& rule) = nullptr;
  // Reverse mode: from the result's gradient those of the operands that need one. Null: none passes (rounding,
  // comparisons).
  void (*gradient)(GradientContext& c) = nullptr;
  std::optional<Collective> collective;  // the op is this one
  Trait traits = Trait(0);
  OpWords words = {};

  bool holds_loops(llvm::StringRef attribute) const { return is(Trait::product) && attribute == "loops"; }
  bool is(Trait any) const { return (uint32_t(traits) & uint32_t(any)) != 0; }  // one of these
};

llvm::ArrayRef<const OpDef*> all_ops();  // sorted by name
const OpDef* find_op(llvm::StringRef name);
const OpDef& get_op(llvm::StringRef name);  // must exist
Dim flops_of(const Node& node);             // 0: negligible

namespace detail {
void register_op(const OpDef* op);
}
struct RegisteredOp {
  OpDef def;
  explicit RegisteredOp(OpDef d) : def(std::move(d)) { detail::register_op(&def); }
};

// Of one operand, e.g. "node 'n' (MatMul), operand 1 'w': dtype: expected f32 as operand 0, found string".
Diagnostic wrong_dtype(const Node& node, unsigned operand, const llvm::Twine& expected, const llvm::Twine& found);
Diagnostic wrong_shape(const Node& node, unsigned operand, const llvm::Twine& expected, const llvm::Twine& found);

// Two extents that must be equal and are not the same expression: import solves for a symbol and starts again.
class DimClash : public llvm::ErrorInfo<DimClash> {
 public:
  static char ID;
  DimClash(Dim left, Dim right, Where at) : left(left), right(right), at(std::move(at)) {}
  void log(llvm::raw_ostream& out) const override;
  std::error_code convertToErrorCode() const override { return llvm::inconvertibleErrorCode(); }
  Dim left, right;
  Where at;
};
llvm::Error must_agree(const Node& node, llvm::StringRef what, Dim left, Dim right);

}  // namespace optp
