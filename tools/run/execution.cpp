#include "tools/run/execution.h"

#include <cstring>
#include <thread>

#include "runtime/run_ranks.h"
#include "tools/run/trace.h"

namespace optp {

int threads_for(int64_t devices, int64_t asked) {
  if (asked > 0) return int(asked);
  const unsigned cores = std::max(1u, std::thread::hardware_concurrency());
  return std::max(1, int(cores / unsigned(devices)));
}

llvm::Expected<std::vector<HostArrays>> execute(llvm::ArrayRef<const Graph*> ranks, llvm::ArrayRef<HostArrays> inputs,
                                                const ExecutionOptions& options) {
  RankThreadsOptions threads;
  threads.threads_per_device = threads_for(int64_t(ranks.size()), options.threads_per_device);
  threads.executable.fuse = options.fuse;
  threads.executable.profile = options.trace != nullptr;
  auto world = RankThreads::create(ranks, threads);
  if (!world) return world.takeError();
  std::vector<HostInputs> in;
  for (const HostArrays& each : inputs) {
    HostInputs& refs = in.emplace_back();
    for (const auto& [name, a] : each) refs[name] = a;
  }
  std::vector<HostOutputs> out;
  if (auto e = (*world)->run(in, out)) return e;
  if (options.trace) options.trace->add("run", **world);
  return std::vector<HostArrays>(std::make_move_iterator(out.begin()), std::make_move_iterator(out.end()));
}

namespace {
// Calls visit(byte offset in the whole, byte offset in the part, bytes) for runs along the last dim.
void for_each_run(const HostArray& whole, const Indices& indices,
                  llvm::function_ref<void(size_t, size_t, size_t)> visit) {
  const size_t element = size_t(size_bytes(whole.dtype)), ndim = whole.dims.size();
  llvm::SmallVector<size_t, 6> stride(ndim + 1, element);
  for (size_t d = ndim; d-- > 0;) stride[d] = stride[d + 1] * size_t(whole.dims[d]);
  size_t at = 0;
  auto walk = [&](auto&& self, size_t d, size_t offset) -> void {
    if (d == ndim) {
      visit(offset, at, element);
      at += element;
      return;
    }
    if (d + 1 == ndim) {
      for (size_t k = 0; k < indices[d].size();) {
        size_t end = k + 1;
        while (end < indices[d].size() && indices[d][end] == indices[d][end - 1] + 1) ++end;
        visit(offset + size_t(indices[d][k]) * element, at, (end - k) * element);
        at += (end - k) * element;
        k = end;
      }
      return;
    }
    for (int64_t i : indices[d]) self(self, d + 1, offset + size_t(i) * stride[d + 1]);
  };
  walk(walk, 0, 0);
}
}  // namespace

HostArray take(const HostArray& whole, const Indices& indices) {
  HostArray out;
  out.dtype = whole.dtype;
  size_t n = size_t(size_bytes(whole.dtype));
  for (const auto& dim : indices) {
    out.dims.push_back(int64_t(dim.size()));
    n *= dim.size();
  }
  out.bytes.resize(n);
  if (n)
    for_each_run(whole, indices, [&](size_t from, size_t to, size_t bytes) {
      std::memcpy(out.bytes.data() + to, whole.bytes.data() + from, bytes);
    });
  return out;
}
void put(HostArray& whole, const HostArray& part, const Indices& indices) {
  if (part.bytes.empty()) return;
  for_each_run(whole, indices, [&](size_t to, size_t from, size_t bytes) {
    std::memcpy(whole.bytes.data() + to, part.bytes.data() + from, bytes);
  });
}
}  // namespace optp
