#include "frontend/ir/dim_sources.h"

namespace optp {
namespace {
Dim dim_of(const DimProduct& product) {
  Dim d = product.coefficient;
  for (Dim factor : product.factors) d = d * factor;
  return d;
}
}  // namespace

const DimSources::Source* DimSources::find(Dim d) const {
  auto it = sources_.find(d);
  return it == sources_.end() ? nullptr : &it->second;
}

bool DimSources::is_known(Dim d) const {
  if (d.constant() || find(d)) return true;
  for (const DimProduct& product : products_of(d))
    for (Dim factor : product.factors) {
      if (find(factor)) continue;
      auto call = call_of(factor);
      if (!call || !is_known(call->a) || !is_known(call->b)) return false;
    }
  return true;
}

void DimSources::add(llvm::ArrayRef<Dim> extents) {
  for (Dim d : extents) {
    extents_.push_back(d);
    if (!d.constant()) sources_.try_emplace(d, Source{extents_.size() - 1});
  }
  // Each round finds one more, or is the last.
  for (bool found = true; found;) {
    found = false;
    for (size_t e = 0; e < extents_.size(); ++e)
      for (const DimProduct& product : products_of(extents_[e])) {
        if (product.factors.size() != 1) continue;
        const Dim unknown = product.factors[0], rest = extents_[e] - dim_of(product);
        if (is_known(unknown) || !is_known(rest)) continue;
        sources_.try_emplace(unknown, Source{e, rest, product.coefficient});
        found = true;
        break;
      }
  }
}
}  // namespace optp
