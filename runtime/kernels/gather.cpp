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

// scatter_add: each thread owns a range of the columns, so that the rows are added in the order of the indices.
template <class Index>
llvm::Expected<Kernel> scatter_add_by(const Work& work, const KernelContext& context) {
  const Node& node = *work.node;
  const size_t axis = size_t(node.integer("axis"));
  const TensorSpec& table = work.results[0];
  const int64_t rows = table.dims[axis], start = node.dim("row_start").constant().value_or(0);
  const int64_t total = node.dim("rows", rows).constant().value_or(rows);
  const bool masked = node.find<Dim>("row_start") != nullptr;
  const int64_t outer = count_of(llvm::ArrayRef<int64_t>(table.dims).take_front(axis));
  const int64_t inner = count_of(llvm::ArrayRef<int64_t>(table.dims).drop_front(axis + 1));
  const int64_t count = work.operands[1].elements();
  Kernel kernel;
  kernel.run = [=, &node, threads = context.threads](const KernelCall& call) -> llvm::Error {
    const Index* index = static_cast<const Index*>(call.in[1]);
    for (int64_t k = 0; k < count; ++k) {
      const int64_t wanted = int64_t(index[k]), row = wanted < 0 ? wanted + total : wanted;
      const int64_t here = row - start;
      if (row < 0 || row >= total || (!masked && (here < 0 || here >= rows)))
        return node_error(node, "index " + llvm::Twine(wanted) + " of operand 1 " + quoted(node.operand(1).name) + " is outside " + llvm::Twine(total) + " rows");
    }
    const float* from = static_cast<const float*>(call.in[0]);
    float* to = static_cast<float*>(call.out[0]);
    parallel_for(threads, outer * rows, std::max<int64_t>(1, (1 << 14) / std::max<int64_t>(inner, 1)), [&](int64_t begin, int64_t end) { std::memset(to + begin * inner, 0, size_t((end - begin) * inner) * sizeof(float)); });
    parallel_for(threads, inner, std::max<int64_t>(16, (1 << 14) / std::max<int64_t>(count, 1)), [&](int64_t begin, int64_t end) {
      for (int64_t o = 0; o < outer; ++o)
        for (int64_t k = 0; k < count; ++k) {
          const int64_t wanted = int64_t(index[k]), row = (wanted < 0 ? wanted + total : wanted) - start;
          if (row < 0 || row >= rows) continue;
          const float* add = from + (o * count + k) * inner;
          float* sum = to + (o * rows + row) * inner;
          for (int64_t i = begin; i < end; ++i) sum[i] += add[i];
        }
    });
    return llvm::Error::success();
  };
  return kernel;
}
llvm::Expected<Kernel> scatter_add(const Work& work, const KernelContext& context) {
  return work.operands[1].dtype == DType::i64 ? scatter_add_by<int64_t>(work, context) : scatter_add_by<int32_t>(work, context);
}
const RegisteredKernel scatter_add_kernel{{.op = "scatter_add", .dtypes = {DType::f32}, .compile = scatter_add}};
}  // namespace
}  // namespace optp::kernels
