// The driver of the pipeline: runs stages, drops what they left unused, verifies, and tells who watches.
#include <chrono>
#include <numeric>

#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/ScopeExit.h"
#include "passes/pipeline.h"

namespace optp {
namespace {
Graph& graph_after(const Stage& stage, const Compilation& c, int64_t rank) {
  return stage.is(Stage::per_rank) ? *c.ranks[size_t(rank)] : c.newest();
}
llvm::Error run_verified(const Stage& stage, Compilation& c, int64_t rank) {
  if (auto e = stage.run(c, rank)) return e;
  Graph& graph = graph_after(stage, c, rank);
  if (stage.is(Stage::sweeps)) graph.erase_dead();
  if (auto e = verify(graph)) return within(words(llvm::Twine("after ") + stage.name), std::move(e));
  return llvm::Error::success();
}

class Driver {
 public:
  Driver(Compilation& c, const StageHooks& hooks, std::vector<const Stage*> stages)
      : c_(c), hooks_(hooks), stages_(std::move(stages)) {
    for (const Stage* s : stages_) total_ += times(*s);
    if (hooks_.rewrite_limit) limit_.left = hooks_.rewrite_limit->second;
  }
  llvm::Error run() {
    for (size_t k = 0; k < stages_.size();) {
      const Stage& s = *stages_[k];
      progress(k, 0);
      if (hooks_.before) hooks_.before(s, c_.newest());
      c_.passes.limit = hooks_.rewrite_limit && hooks_.rewrite_limit->first == s.name ? &limit_ : nullptr;
      int64_t done = 0;
      for (const int64_t rank : ranks_of(s)) {
        if (auto e = step(s, rank)) return e;
        progress(k, ++done);
      }
      if (s.is(Stage::per_rank) && c_.whole) c_.ranks.resize(size_t(c_.whole->mesh.devices()));
      c_.passes.limit = nullptr;
      stops_ |= hooks_.stop_after == s.name;
      const size_t next = s.is(Stage::reannotates) && !c_.annotation && annotates() < k ? annotates() : k + 1;
      const bool settles = is_annotating(k) && is_annotating(next);
      k = next;
      if (!settles) c_.annotation.reset();
      if (stops_ && !settles) break;
    }
    return llvm::Error::success();
  }

 private:
  std::vector<int64_t> ranks_of(const Stage& s) const {
    if (!s.is(Stage::per_rank) || !c_.whole) return {0};
    if (c_.wanted) return *c_.wanted;
    std::vector<int64_t> all(size_t(c_.whole->mesh.devices()));
    std::iota(all.begin(), all.end(), 0);
    return all;
  }
  int64_t times(const Stage& s) const { return int64_t(ranks_of(s).size()); }
  size_t annotates() const {
    return size_t(llvm::find_if(stages_, [](const Stage* s) { return s->name == llvm::StringRef("annotate"); }) -
                  stages_.begin());
  }
  bool is_annotating(size_t k) const {
    return k < stages_.size() && (stages_[k]->is(Stage::reannotates) || k == annotates());
  }
  void progress(size_t stage, int64_t rank) const {
    if (!hooks_.progress) return;
    for (size_t k = 0; k < stage; ++k) rank += times(*stages_[k]);
    hooks_.progress(rank, total_);
  }
  llvm::Error step(const Stage& s, int64_t rank) {
    const auto began = std::chrono::steady_clock::now();
    if (auto e = run_verified(s, c_, rank)) return e;
    const std::chrono::duration<double, std::milli> ms = std::chrono::steady_clock::now() - began;
    if (!hooks_.after) return llvm::Error::success();
    const bool one_of_ranks = s.is(Stage::per_rank);
    return hooks_.after(s, graph_after(s, c_, rank), one_of_ranks ? std::optional(rank) : std::nullopt, ms.count());
  }

  Compilation& c_;
  const StageHooks& hooks_;
  std::vector<const Stage*> stages_;
  RewriteLimit limit_;
  int64_t total_ = 0;
  bool stops_ = false;
};

// What the model's source calls a node's module, or a parameter; only asked of an error.
std::string source_of(const Place& place, const Graph& graph) {
  if (place.kind == Place::Kind::tensor) {
    const Value* v = graph.find(place.name);
    return v ? v->model_name : "";
  }
  for (const auto& node : graph.nodes)
    if (node->name == place.name && !node->module.name.empty()) return node->module.name;
  return "";
}

std::vector<const Stage*> stages_that(llvm::function_ref<bool(const Stage&)> are_wanted) {
  std::vector<const Stage*> out;
  for (const Stage& s : pipeline())
    if (are_wanted(s)) out.push_back(&s);
  return out;
}
// Runs stages on a graph that someone else owns.
llvm::Error run_on(Graph& graph, std::vector<const Stage*> stages, const PassOptions& passes,
                   const TrainingOptions& training) {
  Compilation c{.passes = passes, .trains = true, .training = training};
  std::unique_ptr<Graph>& place = place_of(*stages.front(), c);
  place.reset(&graph);
  const auto give_back = llvm::make_scope_exit([&] { (void)place.release(); });  // NOLINT(bugprone-unused-return-value)
  return Driver(c, {}, std::move(stages)).run();
}
}  // namespace

std::unique_ptr<Graph>& place_of(const Stage& stage, Compilation& c) {
  if (stage.is(Stage::per_rank) && !stage.is(Stage::makes_graph)) return c.ranks.emplace_back();
  return stage.is(Stage::on_spmd) ? c.spmd : c.whole;
}

llvm::Error run_pipeline(Compilation& compilation, const StageHooks& hooks, llvm::StringRef from) {
  bool begun = from.empty();
  auto stages = stages_that([&](const Stage& s) {
    begun |= s.name == from;
    return begun && (s.when != Stage::When::training || compilation.trains);
  });
  llvm::Error failed = Driver(compilation, hooks, std::move(stages)).run();
  return with_sources(std::move(failed), [&](const Place& p) { return source_of(p, *compilation.whole); });
}
llvm::Error run_stages(Graph& graph, llvm::StringRef from, llvm::StringRef to, const PassOptions& passes,
                       const TrainingOptions& training) {
  bool begun = false, over = false;
  auto stages = stages_that([&](const Stage& s) {
    begun |= s.name == from;
    const bool wanted = begun && !over;
    over |= s.name == to;
    return wanted && !s.is(Stage::makes_graph);
  });
  if (stages.empty()) return error(Code::unknown_pass).what("no pass is named " + quoted(from));
  return run_on(graph, std::move(stages), passes, training);
}
llvm::Error prepare_emitted(Graph& graph) {
  return run_on(graph, stages_that([](const Stage& s) { return s.when == Stage::When::emitted; }), {}, {});
}
llvm::Error run_stage(const Stage& stage, Compilation& compilation, int64_t rank) {
  return run_verified(stage, compilation, rank);
}
}  // namespace optp
