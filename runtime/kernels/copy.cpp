// Ops that only move elements: transpose, expand, repeat, reshape, slice, concat, pad. Whole runs of bytes where there
// are any, and none where the result lies in the operand already.
#include "frontend/ir/diagnostic.h"
#include "runtime/kernel.h"
#include "runtime/kernels/strided.h"

namespace optp::kernels {
namespace {

// `dims`: the result's, or what they are apart.
Kernel copy_kernel(const Work& work, const KernelContext& context, llvm::ArrayRef<int64_t> dims,
                   llvm::ArrayRef<int64_t> from, int64_t base) {
  const TensorSpec& y = work.results[0];
  const int64_t element = size_bytes(y.dtype);
  Kernel kernel;
  if (y.elements() == 0) base = 0;
  kernel.run = [copy = StridedCopy(dims, strides_of(dims), from, element), offset = base * element,
                empty = y.elements() == 0, threads = context.threads](const KernelCall& call) {
    if (!empty) copy(call.out[0], static_cast<const char*>(call.in[0]) + offset, threads);
    return llvm::Error::success();
  };
  return kernel;
}
Kernel copy_kernel(const Work& work, const KernelContext& context, llvm::ArrayRef<int64_t> from, int64_t base) {
  return copy_kernel(work, context, work.results[0].dims, from, base);
}
llvm::Expected<Kernel> transpose(const Work& work, const KernelContext& context) {
  const Ints own = strides_of(work.operands[0].dims);
  Ints from;
  for (int64_t p : work.node->integers("perm")) from.push_back(own[size_t(p)]);
  return copy_kernel(work, context, from, 0);
}
llvm::Expected<Kernel> reshape(const Work& work, const KernelContext& context) {
  return copy_kernel(work, context, strides_of(work.results[0].dims), 0);
}
llvm::Expected<Kernel> expand(const Work& work, const KernelContext& context) {
  return copy_kernel(work, context, broadcast_strides(work.operands[0].dims, work.results[0].dims), 0);
}
llvm::Expected<Kernel> repeat(const Work& work, const KernelContext& context) {
  const auto behind = work.node->integer("axis") + 1;
  Ints dims(work.operands[0].dims.begin(), work.operands[0].dims.end()), from = strides_of(dims);
  dims.insert(dims.begin() + behind, work.node->integer("times"));
  from.insert(from.begin() + behind, 0);
  return copy_kernel(work, context, dims, from, 0);
}
llvm::Expected<Kernel> slice(const Work& work, const KernelContext& context) {
  const size_t axis = size_t(work.node->integer("axis"));
  const int64_t start = work.node->dim("start").constant().value_or(-1), step = work.node->integer("step", 1);
  const int64_t n = work.results[0].dims[axis], extent = work.operands[0].dims[axis], last = start + (n - 1) * step;
  if (n > 0 && (start < 0 || last < 0 || start >= extent || last >= extent))
    return error(Code::malformed)
        .at(*work.node)
        .what("slice from " + llvm::Twine(start) + " to " + llvm::Twine(last) + " of an axis of " +
              llvm::Twine(extent));
  Ints from = strides_of(work.operands[0].dims);
  const int64_t base = start * from[axis];
  from[axis] *= step;
  return copy_kernel(work, context, from, base);
}

// Blocks of [outer, run] bytes placed into rows of the result.
void place(char* to, int64_t to_row, const char* from, int64_t run, int64_t outer, int threads) {
  parallel_for(threads, outer, std::max<int64_t>(1, (1 << 16) / std::max<int64_t>(run, 1)), [&](int64_t b, int64_t e) {
    for (int64_t o = b; o < e; ++o) std::memcpy(to + o * to_row, from + o * run, size_t(run));
  });
}
llvm::Expected<Kernel> concat(const Work& work, const KernelContext& context) {
  const size_t axis = size_t(work.node->integer("axis"));
  const TensorSpec& y = work.results[0];
  const int64_t outer = count_of(llvm::ArrayRef<int64_t>(y.dims).take_front(axis));
  llvm::SmallVector<int64_t, 4> runs;
  int64_t row = 0;
  for (const TensorSpec& s : work.operands) {
    runs.push_back(count_of(llvm::ArrayRef<int64_t>(s.dims).drop_front(axis)) * size_bytes(s.dtype));
    row += runs.back();
  }
  Kernel kernel;
  kernel.run = [outer, runs, row, threads = context.threads](const KernelCall& call) {
    char* to = static_cast<char*>(call.out[0]);
    if (outer == 0) return llvm::Error::success();
    for (size_t k = 0; k < runs.size(); ++k) {
      if (runs[k]) place(to, row, static_cast<const char*>(call.in[k]), runs[k], outer, threads);
      to += runs[k];
    }
    return llvm::Error::success();
  };
  return kernel;
}
llvm::Expected<Kernel> pad(const Work& work, const KernelContext& context) {
  const size_t axis = size_t(work.node->integer("axis"));
  const TensorSpec &x = work.operands[0], &y = work.results[0];
  const int64_t element = size_bytes(y.dtype), outer = count_of(llvm::ArrayRef<int64_t>(y.dims).take_front(axis));
  const int64_t inner = count_of(llvm::ArrayRef<int64_t>(y.dims).drop_front(axis + 1)) * element;
  const int64_t before = work.node->dim("before").constant().value_or(0) * inner, run = x.dims[axis] * inner,
                row = y.dims[axis] * inner;
  if (before < 0 || before + run > row)
    return error(Code::malformed)
        .at(*work.node)
        .what("pad of " + work.node->dim(before < 0 ? "before" : "after").text() + " elements along axis " +
              llvm::Twine(axis));
  Array one;
  one.resize(is_float(y.dtype), {1});
  if (one.is_float)
    one.f[0] = work.node->number("value");
  else
    one.i[0] = int64_t(work.node->number("value"));
  Kernel kernel;
  kernel.run = [=, value = to_bytes(one, y.dtype), threads = context.threads](const KernelCall& call) {
    char* to = static_cast<char*>(call.out[0]);
    auto fill = [&](char* at, int64_t bytes) {
      for (int64_t k = 0; k < bytes; k += element) std::memcpy(at + k, value.data(), size_t(element));
    };
    for (int64_t o = 0; o < outer; ++o) {
      fill(to + o * row, before);
      fill(to + o * row + before + run, row - before - run);
    }
    if (run && outer) place(to + before, row, static_cast<const char*>(call.in[0]), run, outer, threads);
    return llvm::Error::success();
  };
  return kernel;
}

// Nothing but dims of extent 1 is moved.
std::optional<int64_t> transpose_view(const Node& node) {
  const TensorSpec x = spec_of(node.operand(0));
  int64_t previous = -1;
  for (int64_t p : node.integers("perm"))
    if (x.dims[size_t(p)] != 1) {
      if (p < previous) return std::nullopt;
      previous = p;
    }
  return 0;
}
std::optional<int64_t> reshape_view(const Node&) { return 0; }
std::optional<int64_t> expand_view(const Node& node) {
  if (spec_of(node.operand(0)).elements() != spec_of(node.out()).elements()) return std::nullopt;
  return 0;
}
// A run of the outermost dim.
std::optional<int64_t> slice_view(const Node& node) {
  if (node.integer("step", 1) != 1) return std::nullopt;
  const TensorSpec x = spec_of(node.operand(0)), y = spec_of(node.out());
  const llvm::ArrayRef<int64_t> dims = x.dims;
  const size_t axis = size_t(node.integer("axis"));
  const int64_t start = node.dim("start").constant().value_or(-1);
  if (count_of(dims.take_front(axis)) != 1 || start < 0 || start + y.dims[axis] > dims[axis]) return std::nullopt;
  return start * count_of(dims.drop_front(axis + 1)) * size_bytes(x.dtype);
}
std::optional<int64_t> concat_view(const Node& node) {
  if (node.operands.size() != 1) return std::nullopt;
  return 0;
}

// The same views by strides, where a result's first byte and its dims don't say it all.
std::optional<StridedLayout> transpose_layout(const Node& node, StridedLayout x) {
  StridedLayout y{.offset = x.offset, .dims = {}};
  for (int64_t p : node.integers("perm")) y.dims.push_back(std::move(x.dims[size_t(p)]));
  return y;
}
// All factors in a row, cut and joined anew.
std::optional<StridedLayout> reshape_layout(const Node& node, StridedLayout x) {
  llvm::SmallVector<Factor, 8> factors;
  for (const auto& dim : llvm::reverse(x.dims))
    for (const Factor& f : llvm::reverse(dim))
      if (f.extent != 1) factors.push_back(f);
  StridedLayout y{.offset = x.offset, .dims = {}};
  for (int64_t rest : spec_of(node.out()).dims) {
    y.dims.emplace_back();
    while (rest > 1) {
      if (factors.empty()) return std::nullopt;
      Factor& f = factors.back();
      if (rest % f.extent == 0) {
        rest /= f.extent;
        y.dims.back().push_back(factors.pop_back_val());
      } else if (f.extent % rest == 0) {
        f.extent /= rest;
        y.dims.back().push_back({rest, f.stride * f.extent});
        rest = 1;
      } else {
        return std::nullopt;
      }
    }
  }
  return y;
}
std::optional<StridedLayout> expand_layout(const Node& node, StridedLayout x) {
  const TensorSpec from = spec_of(node.operand(0)), to = spec_of(node.out());
  const size_t more = to.dims.size() - from.dims.size();
  StridedLayout y{.offset = x.offset, .dims = {}};
  for (size_t d = 0; d < to.dims.size(); ++d) {
    const bool is_own = d >= more && from.dims[d - more] == to.dims[d];
    y.dims.emplace_back();
    if (is_own)
      y.dims.back() = std::move(x.dims[d - more]);
    else
      y.dims.back().push_back({to.dims[d], 0});
  }
  return y;
}
std::optional<StridedLayout> repeat_layout(const Node& node, StridedLayout x) {
  x.dims[size_t(node.integer("axis"))].push_back({node.integer("times"), 0});
  return x;
}
std::optional<StridedLayout> slice_layout(const Node& node, StridedLayout x) {
  auto& dim = x.dims[size_t(node.integer("axis"))];
  const int64_t start = node.dim("start").constant().value_or(-1), step = node.integer("step", 1);
  const int64_t n = spec_of(node.out()).dims[size_t(node.integer("axis"))];
  if (dim.size() != 1 || n < 1 || start < 0 || start >= dim[0].extent) return std::nullopt;
  if (const int64_t last = start + (n - 1) * step; last < 0 || last >= dim[0].extent) return std::nullopt;
  x.offset += start * dim[0].stride;
  dim[0] = {n, step * dim[0].stride};
  return x;
}

const RegisteredView views[] = {
    RegisteredView{{"transpose", transpose_view, transpose_layout}},
    RegisteredView{{"reshape", reshape_view, reshape_layout}},
    RegisteredView{{"expand", expand_view, expand_layout}},
    RegisteredView{{"slice", slice_view, slice_layout}},
    RegisteredView{{"repeat", [](const Node&) -> std::optional<int64_t> { return std::nullopt; }, repeat_layout}},
    RegisteredView{{"concat", concat_view}},
};
const RegisteredKernel kernels[] = {
    RegisteredKernel{{"transpose", {}, transpose}},
    RegisteredKernel{{"reshape", {}, reshape}},
    RegisteredKernel{{"expand", {}, expand}},
    RegisteredKernel{{"slice", {}, slice}},
    RegisteredKernel{{"repeat", {}, repeat}},
    RegisteredKernel{{"concat", {}, concat}},
    RegisteredKernel{{"pad", {}, pad}},
};
}  // namespace
}  // namespace optp::kernels
