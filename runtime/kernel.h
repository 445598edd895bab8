// How ops run. A kernel is compiled once for its shapes; what is left is a closure that only runs. Instances are
// registered from runtime/kernels; an op or dtype without one runs by its OpDef::evaluate.
#pragma once
#include <dnnl.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "frontend/ir/op.h"
#include "runtime/packed_weights.h"

namespace optp {

// An operand or result as a kernel sees it while it is compiled.
struct TensorSpec {
  DType dtype = DType::undefined;
  llvm::SmallVector<int64_t, 4> dims;
  std::string name;
  const void* constant = nullptr;  // not null: its bytes are known already and never change
  // Those bytes, brought into memory if need be: a kernel that finds them packed by another executable needs none.
  std::function<const void*()> read;
  bool is_data = false;  // of the model: the same in each executable of a rank
  // Where they lie as pages of a file, to let go of and read again (frontend/ir/file_pages.h); null: in none. A kernel
  // may be given a copy instead.
  const void* in_file = nullptr;
  bool is_wide = false;  // a lookup's table: its bytes are float32, of which each row is rounded as it is read

  int64_t elements() const { return count_of(dims); }
  int64_t bytes() const { return elements() * size_bytes(dtype); }
};
// Of a table of a file that is as large as this, rows are let go of soon after a lookup reads them.
constexpr int64_t large_table_bytes = 1 << 20;
TensorSpec spec_of(const Value& value);  // of a value whose dims are numbers
// A scalar constant's number, where a value is one.
std::optional<double> scalar_constant(const Value& value);

// A row of an elementwise op: n results, each operand stepping by 0 or 1.
using Row = void (*)(int64_t n, const void* const* in, const int64_t* step, void* out);

struct Attention;          // runtime/attention.h
struct AttentionGradient;  // the same
struct ElementwiseGroup;   // runtime/elementwise_group.h

// An elementwise step that runs inside of a neighbour's kernel.
struct Fused {
  enum class Kind { add, scale, relu } kind;
  unsigned operand = 0;  // add: which of Work::operands, broadcast to the value
  double factor = 1;     // scale
};

// What a kernel is compiled for: a node, and what was fused into it.
struct Work {
  const Node* node = nullptr;
  llvm::SmallVector<TensorSpec, 4> operands;  // the node's, then those of fused steps
  llvm::SmallVector<TensorSpec, 1> results;
  llvm::SmallVector<Fused, 2> before;  // applied to operand 0 (softmax)
  llvm::SmallVector<Fused, 4> after;   // applied to result 0 (contract)
  std::shared_ptr<const Attention>
      attention;  // the node is the softmax of this; its operands are others than the node's
  std::shared_ptr<const AttentionGradient> attention_gradient;  // the node is the gradient of its softmax
  std::shared_ptr<const ElementwiseGroup> group;  // the node is the first of this; operands and results are the group's

  DType dtype() const { return operands.empty() ? results[0].dtype : operands[0].dtype; }  // chooses the kernel
};

struct KernelContext {
  dnnl::engine engine;
  dnnl::stream stream;
  int threads = 1;
  bool plan_only = false;           // constants are known to be there, but their bytes are not read
  PackedWeights* packed = nullptr;  // where weights are packed into; it outlives the kernels
};

struct KernelCall {
  llvm::ArrayRef<const void*> in;
  llvm::ArrayRef<void*> out;
  void* scratch;  // 64-byte aligned
};

struct Kernel {
  std::function<llvm::Error(const KernelCall&)> run;  // empty: this kernel can't do the work (as fused)
  unsigned in_place = 0;                              // bit k: result 0 may take the bytes of operand k
  llvm::SmallVector<unsigned, 0> more_in_place;       // the same of the results after it; fewer: none of the rest may
  unsigned packed = 0;  // bit k: operand k was copied into the kernel's own layout and is not read
  int64_t packed_bytes = 0;
  int64_t scratch_bytes = 0;
  unsigned may_take(size_t result) const {
    return result == 0 ? in_place : result <= more_in_place.size() ? more_in_place[result - 1] : 0;
  }
  Row row = nullptr;     // of an elementwise op: what `run` does with each row
  std::string fallback;  // why it is the op's evaluate, in float64, that runs: right and slow. Empty: it is not
};

// How a kernel takes part in fusion: it runs the elementwise steps of its neighbours, or is such a step.
enum class Fusion {
  none,
  takes_before,  // steps that lead to its operand 0
  takes_after,   // steps that its result goes through
  is_add,        // a step: adds an operand of the same shape, or one that is broadcast to it
  is_multiply,   // a step where the other operand is a constant number
  is_divide,     // the same, of operand 0
  is_relu,
  is_subtract,
  is_sum,     // over axes
  is_steady,  // nothing of these, but a result moves by no more than the operands do
};

struct KernelDef {
  std::string op;
  std::vector<DType> dtypes;  // of operand 0
  llvm::Expected<Kernel> (*compile)(const Work& work, const KernelContext& context);
  Fusion fusion = Fusion::none;
};
const KernelDef* find_kernel(llvm::StringRef op, DType dtype);
Fusion fusion_of(const Node& node);           // of its op's kernel for the dtype of operand 0
std::vector<const KernelDef*> all_kernels();  // sorted by op

// Where the elements of a tensor lie in another. A dim is a product of factors, major to minor, each with a stride: of
// a transposed tensor whose dims were joined no single stride is left.
struct Factor {
  int64_t extent = 1, stride = 0;  // elements; 0: repeated
};
struct StridedLayout {
  int64_t offset = 0;  // elements
  llvm::SmallVector<llvm::SmallVector<Factor, 2>, 4> dims;
};

// A node whose result is bytes of its operand 0, as they lie there, needs no kernel: it is a view of them. Where it
// only moves or repeats elements, a kernel that reads by strides can read the operand in its place.
struct ViewDef {
  std::string op;
  std::optional<int64_t> (*offset)(
      const Node& node);  // of the result's first byte in the operand's; none: it must be computed
  // Of the result's elements, from where the operand's lie. None: no strides describe it.
  std::optional<StridedLayout> (*through)(const Node& node, StridedLayout of_operand) = nullptr;
};
std::optional<int64_t> view_offset(const Node& node);
std::optional<StridedLayout> layout_through(const Node& node, const StridedLayout& of_operand);

// The registered kernel, or evaluate. Fused work that no kernel can do gives a Kernel without `run`.
llvm::Expected<Kernel> compile_kernel(const Work& work, const KernelContext& context);
Kernel fallback_kernel(const Work& work, std::string reason);

namespace detail {
void register_kernel(const KernelDef* kernel);
void register_view(const ViewDef* view);
using CompileStep = llvm::Expected<Kernel> (*)(const Work& work, const KernelContext& context);
void register_attention(CompileStep compile);
void register_attention_gradient(CompileStep compile);
void register_group(CompileStep compile);
}  // namespace detail
struct RegisteredKernel {
  KernelDef def;
  explicit RegisteredKernel(KernelDef d) : def(std::move(d)) { detail::register_kernel(&def); }
};
struct RegisteredView {
  ViewDef def;
  explicit RegisteredView(ViewDef d) : def(std::move(d)) { detail::register_view(&def); }
};
struct RegisteredAttention {
  RegisteredAttention(detail::CompileStep compile, detail::CompileStep gradient) {
    detail::register_attention(compile);
    detail::register_attention_gradient(gradient);
  }
};
struct RegisteredGroup {
  explicit RegisteredGroup(detail::CompileStep compile) { detail::register_group(compile); }
};

}  // namespace optp
