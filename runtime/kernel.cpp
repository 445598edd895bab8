#include "runtime/kernel.h"

#include <cstring>

#include "frontend/ir/diagnostic.h"

namespace optp {
namespace {
std::vector<const KernelDef*>& registry() {
  static std::vector<const KernelDef*> kernels;
  return kernels;
}
std::vector<const ViewDef*>& views() {
  static std::vector<const ViewDef*> views;
  return views;
}
detail::CompileStep& group() {
  static detail::CompileStep compile = nullptr;
  return compile;
}
detail::CompileStep& attention() {
  static detail::CompileStep compile = nullptr;
  return compile;
}
detail::CompileStep& attention_gradient() {
  static detail::CompileStep compile = nullptr;
  return compile;
}
Array read(const void* bytes, DType dtype, llvm::ArrayRef<int64_t> dims) {
  Tensor view;
  view.dtype = dtype;
  view.dims.assign(dims.begin(), dims.end());
  view.bytes = {static_cast<const char*>(bytes), size_t(count_of(dims) * size_bytes(dtype))};
  return to_array(view);
}
}  // namespace

void detail::register_kernel(const KernelDef* kernel) { registry().push_back(kernel); }
void detail::register_view(const ViewDef* view) { views().push_back(view); }
void detail::register_attention(CompileStep compile) { attention() = compile; }
void detail::register_attention_gradient(CompileStep compile) { attention_gradient() = compile; }
void detail::register_group(CompileStep compile) { group() = compile; }

TensorSpec spec_of(const Value& value) {
  TensorSpec spec;
  spec.dtype = value.type.dtype;
  spec.name = value.name;
  for (Dim d : value.type.dims) spec.dims.push_back(d.constant().value_or(-1));
  return spec;
}

std::optional<double> scalar_constant(const Value& value) {
  if (!value.is_data() || value.data->is_missing() || value.data->elements() != 1 || !is_float(value.type.dtype))
    return std::nullopt;
  return to_array(*value.data).number(0);
}

const KernelDef* find_kernel(llvm::StringRef op, DType dtype) {
  for (const KernelDef* k : registry())
    if (k->op == op && (k->dtypes.empty() || llvm::is_contained(k->dtypes, dtype))) return k;
  return nullptr;
}
Fusion fusion_of(const Node& node) {
  const DType dtype = node.operands.empty() ? node.out().type.dtype : node.operand(0).type.dtype;
  const KernelDef* kernel = find_kernel(node.op->name, dtype);
  return kernel ? kernel->fusion : Fusion::none;
}
std::vector<const KernelDef*> all_kernels() {
  std::vector<const KernelDef*> out = registry();
  std::sort(out.begin(), out.end(), [](const KernelDef* a, const KernelDef* b) { return a->op < b->op; });
  return out;
}

std::optional<int64_t> view_offset(const Node& node) {
  if (node.operands.empty() || node.results.size() != 1) return std::nullopt;
  for (const ViewDef* v : views())
    if (v->op == node.op->name) return v->offset(node);
  return std::nullopt;
}

std::optional<StridedLayout> layout_through(const Node& node, const StridedLayout& of_operand) {
  if (node.operands.empty() || node.results.size() != 1) return std::nullopt;
  for (const ViewDef* v : views())
    if (v->op == node.op->name && v->through) return v->through(node, of_operand);
  return std::nullopt;
}

// Operands as they were before the node's own were widened.
static bool takes_narrow(const Work& work) {
  const size_t count = std::min(work.operands.size(), work.node->operands.size());
  for (size_t k = 0; k < count; ++k)
    if (work.operands[k].dtype != work.node->operand(k).type.dtype) return true;
  return false;
}

llvm::Expected<Kernel> compile_kernel(const Work& work, const KernelContext& context) {
  if (work.attention) return attention()(work, context);
  if (work.attention_gradient) return attention_gradient()(work, context);
  if (work.group) return group()(work, context);
  const std::string& op = work.node->op->name;
  const KernelDef* def = find_kernel(op, work.dtype());
  if (def) {
    auto kernel = def->compile(work, context);
    if (!kernel || kernel->run) return kernel;
  }
  if (!work.before.empty() || !work.after.empty() || takes_narrow(work)) return Kernel{};
  if (!work.node->op->evaluate) return error(Code::malformed).at(*work.node).what("no kernel");
  const bool any = llvm::any_of(registry(), [&](const KernelDef* k) { return k->op == op; });
  return fallback_kernel(work, def   ? "its kernel does not take this form"
                               : any ? "its kernels are for other dtypes"
                                     : "it has no kernel");
}

Kernel fallback_kernel(const Work& work, std::string reason) {
  Kernel kernel;
  kernel.fallback = std::move(reason);
  kernel.run = [node = work.node, ins = work.operands, outs = work.results](const KernelCall& call) -> llvm::Error {
    std::vector<Array> arrays;
    arrays.reserve(ins.size());
    llvm::SmallVector<const Array*, 4> operands;
    for (size_t k = 0; k < ins.size(); ++k) {
      arrays.push_back(read(call.in[k], ins[k].dtype, ins[k].dims));
      operands.push_back(&arrays.back());
    }
    auto results = node->op->evaluate(*node, operands);
    if (!results) return results.takeError();
    for (size_t k = 0; k < outs.size(); ++k) {
      const std::vector<char> bytes = to_bytes((*results)[k], outs[k].dtype);
      if (!bytes.empty()) std::memcpy(call.out[k], bytes.data(), bytes.size());
    }
    return llvm::Error::success();
  };
  return kernel;
}
}  // namespace optp
