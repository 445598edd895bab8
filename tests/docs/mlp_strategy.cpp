// Splits the MLPs and leaves the rest whole: one all-reduce per layer.
#include "passes/strategy.h"

namespace optp {
namespace {
std::string seed(Seeding& s) {
  const auto mlps = s.recogniser.chosen([](const Candidate& c) { return c.role == Role::mlp; });
  for (Factors::Class c : mlps) s.split(c, s.recogniser.what_is(c));
  return mlps.empty() ? s.recogniser.nearly_matched() : "";
}
const RegisteredStrategy mlp({.name = "mlp", .summary = "the MLP's inner dim alone", .seed = seed});
}  // namespace
}  // namespace optp
