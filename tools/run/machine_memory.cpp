#include "tools/run/machine_memory.h"

#include <unistd.h>

#include "frontend/io/limits.h"
#include "frontend/ir/diagnostic.h"
#include "llvm/Support/FormatVariadic.h"
#include "passes/passes.h"

namespace optp {

int64_t machine_memory_bytes() {
  static const int64_t bytes = int64_t(sysconf(_SC_PHYS_PAGES)) * int64_t(sysconf(_SC_PAGESIZE));
  return bytes;
}

llvm::Error fits_in_memory(const Place& place, DType dtype, llvm::ArrayRef<int64_t> dims) {
  const auto count = element_count(dims);
  const auto bytes = count ? checked_mul(*count, size_bytes(dtype)) : std::nullopt;
  if (bytes && *bytes <= machine_memory_bytes()) return llvm::Error::success();
  const Dims extents(dims.begin(), dims.end());
  return error(Code::too_large)
      .at(place)
      .what("shape")
      .expected("at most the " + llvm::formatv("{0:f1}", double(machine_memory_bytes()) / (1 << 30)).str() +
                " GiB of memory that this machine has")
      .found(to_string(Type{dtype, extents}));
}

llvm::Expected<std::unique_ptr<Graph>> bind_to_run(const Graph& graph, const DimValues& dims) {
  auto bound = bind_dims(graph, dims);
  if (!bound) return bound;
  auto check = [](const Value& v) {
    llvm::SmallVector<int64_t, 4> extents;
    for (Dim d : v.type.dims) extents.push_back(d.constant().value_or(0));
    return fits_in_memory(tensor_place("value", v.name), v.type.dtype, extents);
  };
  for (const Value* v : (*bound)->inputs)
    if (auto e = check(*v)) return e;
  for (const auto& node : (*bound)->nodes)
    for (const auto& result : node->results)
      if (auto e = check(*result)) return e;
  return bound;
}
}  // namespace optp
