#include "tools/run/activation_peak.h"

#include "runtime/executable.h"

namespace optp {
namespace {
// Two ranks of one split: what can differ is the shapes of their parts, and where these begin, which takes no memory.
bool same_shapes(const Graph& a, const Graph& b) {
  auto same = [](const Value& x, const Value& y) { return x.type.dtype == y.type.dtype && x.type.dims == y.type.dims; };
  return std::equal(a.inputs.begin(), a.inputs.end(), b.inputs.begin(), b.inputs.end(),
                    [&](const Value* x, const Value* y) { return same(*x, *y); }) &&
         std::equal(a.nodes.begin(), a.nodes.end(), b.nodes.begin(), b.nodes.end(), [&](const auto& m, const auto& n) {
           return m->op == n->op &&
                  std::equal(m->operands.begin(), m->operands.end(), n->operands.begin(), n->operands.end(),
                             [&](const Value* x, const Value* y) { return same(*x, *y); }) &&
                  std::equal(m->results.begin(), m->results.end(), n->results.begin(), n->results.end(),
                             [&](const auto& x, const auto& y) { return same(*x, *y); });
         });
}

llvm::Expected<int64_t> peak_bytes(const Graph& rank, const DimValues& examples) {
  auto bound = bind_dims(rank, examples);
  if (!bound) return bound.takeError();
  Graph& graph = **bound;
  // What a step trains is not known before it runs.
  for (const Update& u : graph.updates)
    if (Value* v = graph.find(u.input); v && v->is_data()) graph.make_input(*v);
  auto memory = Executable::plan_memory_of(graph);
  if (!memory) return memory.takeError();
  return memory->value_bytes;
}
}  // namespace

llvm::Error add_activation_peaks(llvm::json::Value& plan, const Job& job, const DimValues& examples) {
  llvm::json::Array& devices = *plan.getAsObject()->getArray("devices");
  std::vector<std::pair<const Graph*, int64_t>> peaks;  // of each shape of rank graph
  for (size_t r = 0; r < job.ranks.size(); ++r) {
    const Graph& rank = *job.ranks[r];
    auto peak = llvm::find_if(peaks, [&](const auto& p) { return same_shapes(*p.first, rank); });
    if (peak == peaks.end()) {
      auto bytes = peak_bytes(rank, examples);
      if (!bytes) return bytes.takeError();
      peak = peaks.insert(peaks.end(), {&rank, *bytes});
    }
    (*devices[r].getAsObject())["activation_peak_bytes"] = peak->second;
  }
  return llvm::Error::success();
}
}  // namespace optp
