#include "tools/run/held_ranks.h"

#include "frontend/io/manifest.h"
#include "llvm/ADT/StringSet.h"
#include "tools/run/draw_weights.h"
#include "tools/run/ports.h"
#include "tools/run/run.h"

namespace optp {

llvm::Error verify_held(const std::string& folder, const Plan& plan, const World& world) {
  llvm::StringSet<> elsewhere;
  for (size_t r = 0; r < world.size(); ++r)
    if (!world.holds(r)) elsewhere.insert(llvm::StringRef(plan.devices[r].file).split('/').first);
  return verify_manifest(folder, /*hashes=*/true, {}, /*others=*/true,
                         [&](llvm::StringRef file) { return !elsewhere.contains(file.split('/').first); });
}

llvm::Expected<PerRank<std::unique_ptr<Graph>>> read_held(const std::string& folder, const Plan& plan,
                                                          const World& world, llvm::StringRef random_weights) {
  PerRank<std::unique_ptr<Graph>> graphs(world.held());
  for (const size_t r : world.held()) {
    auto graph = read_rank(folder + "/" + plan.devices[r].file);
    if (!graph) return graph.takeError();
    if (!random_weights.empty()) {
      auto seed = parse_seed(random_weights);
      if (!seed) return seed.takeError();
      if (auto e = draw_shards(**graph, *seed, [&](const Value& v) { return data_shard(plan, v.name, r); })) return e;
    }
    if (auto e = need_weights(**graph)) return e;
    graphs[r] = std::move(*graph);
  }
  return graphs;
}

}  // namespace optp
