#include "frontend/ir/dim_solve.h"

#include <numeric>

#include "llvm/ADT/STLExtras.h"

namespace optp {
namespace {
Dim value_of(const DimProduct& p) { return Dim(p.coefficient) * product(p.factors); }

// What divides each side of an equation comes out of it: batch*total = batch*past + batch*sequence.
Dim without_common_factors(Dim difference) {
  const DimProduct first = products_of(difference).front();
  for (Dim factor : first.factors)
    while (auto quotient = exact_div(difference, factor)) difference = *quotient;
  int64_t divisor = 0;
  for (const DimProduct& p : products_of(difference)) divisor = std::gcd(divisor, p.coefficient);
  return divisor > 1 ? *exact_div(difference, divisor) : difference;
}
}  // namespace

std::optional<std::pair<Dim, Dim>> solve_equal(Dim a, Dim b) {
  if (a.is_overflow() || b.is_overflow()) return std::nullopt;
  Dim difference = a - b;
  if (difference.is(0) || difference.is_overflow()) return std::nullopt;
  difference = without_common_factors(difference);
  std::optional<std::pair<Dim, Dim>> best;
  for (const DimProduct& p : products_of(difference)) {
    const auto name = p.factors.size() == 1 ? name_of(p.factors[0]) : std::nullopt;
    if (!name || (p.coefficient != 1 && p.coefficient != -1)) continue;
    const Dim rest = Dim(-p.coefficient) * (difference - value_of(p));
    if (llvm::is_contained(symbols_of(rest), *name)) continue;
    const auto bound = lower_bound(rest);
    if (bound && *bound >= 0) return std::pair{p.factors[0], rest};
    if (!best && !rest.constant()) best = {p.factors[0], rest};
  }
  return best;
}

std::optional<std::pair<Dim, Dim>> solve_order(Dim a, Dim b) {
  if (a.is_overflow() || b.is_overflow()) return std::nullopt;
  const Dim difference = a - b;
  for (const DimProduct& p : products_of(difference)) {
    const auto call = p.factors.size() == 1 ? call_of(p.factors[0]) : std::nullopt;
    if (!call || !call->is_minimum) continue;
    const Dim rest = difference - value_of(p);
    if ((rest + Dim(p.coefficient) * call->a).is(0)) return std::pair{call->a, call->b};
    if ((rest + Dim(p.coefficient) * call->b).is(0)) return std::pair{call->b, call->a};
  }
  return std::nullopt;
}
}  // namespace optp
