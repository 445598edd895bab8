// gather: rows of a table by index. With "row_start", the rows that other ranks hold are zeros here.
#include "frontend/ir/diagnostic.h"
#include "runtime/kernel.h"
#include "runtime/kernels/strided.h"

namespace optp::kernels {
namespace {

template <class Index>
llvm::Expected<Kernel> gather_by(const Work& work, const KernelContext& context) {
  const Node& node = *work.node;
  const size_t axis = size_t(node.integer("axis"));
  const TensorSpec& table = work.operands[0];
  const int64_t rows = table.dims[axis], start = node.dim("row_start").constant().value_or(0);
  const int64_t total = node.dim("rows", rows).constant().value_or(rows);
  const bool masked = node.find<Dim>("row_start") != nullptr;
  const int64_t outer = count_of(llvm::ArrayRef<int64_t>(table.dims).take_front(axis));
  const int64_t run = count_of(llvm::ArrayRef<int64_t>(table.dims).drop_front(axis + 1)) * size_bytes(table.dtype);
  const int64_t count = work.operands[1].elements();
  Kernel kernel;
  kernel.run = [=, &node, threads = context.threads](const KernelCall& call) -> llvm::Error {
    const Index* index = static_cast<const Index*>(call.in[1]);
    // Checked before anything is read: an index is the user's data.
    for (int64_t k = 0; k < count; ++k) {
      const int64_t wanted = int64_t(index[k]), row = wanted < 0 ? wanted + total : wanted;
      const int64_t here = row - start;
      if (row < 0 || row >= total || (!masked && (here < 0 || here >= rows)))
        return node_error(node, "index " + llvm::Twine(wanted) + " of operand 1 " + quoted(node.operand(1).name) + " is outside " + llvm::Twine(total) + " rows of " + quoted(node.operand(0).name));
    }
    const char* from = static_cast<const char*>(call.in[0]);
    char* to = static_cast<char*>(call.out[0]);
    if (run == 0) return llvm::Error::success();
    parallel_for(threads, outer * count, std::max<int64_t>(1, (1 << 15) / run), [&](int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k) {
        const int64_t wanted = int64_t(index[k % count]), row = (wanted < 0 ? wanted + total : wanted) - start;
        if (row < 0 || row >= rows) std::memset(to + k * run, 0, size_t(run));
        else std::memcpy(to + k * run, from + ((k / count) * rows + row) * run, size_t(run));
      }
    });
    return llvm::Error::success();
  };
  return kernel;
}
llvm::Expected<Kernel> gather(const Work& work, const KernelContext& context) {
  return work.operands[1].dtype == DType::i64 ? gather_by<int64_t>(work, context) : gather_by<int32_t>(work, context);
}
const RegisteredKernel gather_kernel{{.op = "gather", .dtypes = {}, .compile = gather}};
}  // namespace
}  // namespace optp::kernels
