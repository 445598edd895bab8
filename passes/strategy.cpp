#include "passes/strategy.h"

#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/STLExtras.h"

namespace optp {
namespace {
std::vector<const Strategy*>& registry() {
  static std::vector<const Strategy*> strategies;
  return strategies;
}
}  // namespace

void detail::register_strategy(const Strategy* strategy) {
  auto& all = registry();
  all.insert(llvm::upper_bound(all, strategy,
                               [](const Strategy* a, const Strategy* b) {
                                 return llvm::StringRef(a->name) < llvm::StringRef(b->name);
                               }),
             strategy);
}
llvm::ArrayRef<const Strategy*> all_strategies() { return registry(); }
const Strategy* find_strategy(llvm::StringRef name) {
  const auto at = llvm::find_if(registry(), [&](const Strategy* s) { return s->name == name; });
  return at == registry().end() ? nullptr : *at;
}
const Strategy* strategy_of_axis(llvm::StringRef axis) {
  const auto at = llvm::find_if(registry(), [&](const Strategy* s) { return s->axis && s->axis == axis; });
  return at == registry().end() ? nullptr : *at;
}
std::string strategy_names() {
  llvm::SmallVector<llvm::StringRef, 4> names;
  for (const Strategy* s : registry())
    if (!s->axis) names.push_back(s->name);
  return in_words(names, " or ");
}

const MeshAxis* strategy_axis(const Mesh& mesh) {
  const MeshAxis* only = nullptr;
  size_t count = 0;
  for (const MeshAxis& axis : mesh.axes) {
    if (strategy_of_axis(axis.name) || axis.size == 1) continue;
    only = &axis;
    ++count;
  }
  return count == 1 ? only : mesh.find("tensor");
}
}  // namespace optp
