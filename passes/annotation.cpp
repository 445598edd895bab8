#include "passes/annotation.h"

namespace optp {

bool Annotation::is_cut(const Value& v, unsigned dim) const {
  return llvm::any_of(factors.of(v, dim).classes(), [&](Factors::Class c) { return !axes[size_t(c)].empty(); });
}

llvm::Expected<Annotation> Annotation::of(const Graph& graph) {
  auto factors = Factors::of(graph);
  if (!factors) return factors.takeError();
  Annotation out{std::move(*factors), {}, {}};
  for (size_t c = 0; c < out.factors.size(); ++c) {
    AxisUses& axes = out.axes.emplace_back();
    for (const Factors::Place& p : out.factors.info(Factors::Class(c)).places) {
      if (!p.value->sharding || !p.value->sharding->dims[p.dim].is_product()) continue;
      const FactorShardings& own = p.value->sharding->dims[p.dim].factors();
      if (p.factor < own.size() && !own[p.factor].axes.empty()) axes = own[p.factor].axes;
    }
  }
  return out;
}
}  // namespace optp
