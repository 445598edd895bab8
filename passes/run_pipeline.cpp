// The driver of the pipeline: runs stages, drops what they left unused, verifies, and tells who watches.
#include <chrono>

#include "frontend/ir/diagnostic.h"
#include "passes/pipeline.h"

namespace optp {
namespace {
llvm::Error run_verified(const Stage& stage, Compilation& c, int64_t rank) {
  if (auto e = stage.run(c, rank)) return e;
  Graph& graph = stage.is(Stage::per_rank) ? *c.ranks.back() : c.newest();
  if (stage.is(Stage::sweeps)) graph.erase_dead();
  if (auto e = verify(graph)) return within(words(llvm::Twine("after ") + stage.name), std::move(e));
  return llvm::Error::success();
}

class Driver {
 public:
  Driver(Compilation& c, const StageHooks& hooks, llvm::StringRef from) : c_(c), hooks_(hooks) {
    bool begun = from.empty();
    for (const Stage& s : pipeline()) {
      begun |= s.name == from;
      if (!begun || (s.when == Stage::When::training && !c.trains)) continue;
      stages_.push_back(&s);
      total_ += times(s);
    }
  }
  llvm::Error run() {
    advance(0);
    for (const Stage* s : stages_) {
      if (hooks_.before) hooks_.before(*s, c_.newest());
      RewriteLimit limit;
      if (hooks_.rewrite_limit && hooks_.rewrite_limit->first == s->name) {
        limit.left = hooks_.rewrite_limit->second;
        c_.passes.limit = &limit;
      }
      for (int64_t rank = 0; rank < times(*s); ++rank)
        if (auto e = step(*s, rank)) return e;
      if (s->is(Stage::per_rank)) c_.ranks.resize(size_t(c_.whole->mesh.devices()));
      c_.passes.limit = nullptr;
      if (hooks_.stop_after == s->name) break;
    }
    return llvm::Error::success();
  }

 private:
  int64_t times(const Stage& s) const {
    return s.is(Stage::per_rank) && !c_.first_alone ? c_.whole->mesh.devices() : 1;
  }
  void advance(int64_t n) {
    done_ += n;
    if (hooks_.progress) hooks_.progress(done_, total_);
  }
  llvm::Error step(const Stage& s, int64_t rank) {
    const auto began = std::chrono::steady_clock::now();
    if (auto e = run_verified(s, c_, rank)) return e;
    const std::chrono::duration<double, std::milli> ms = std::chrono::steady_clock::now() - began;
    advance(1);
    if (!hooks_.after) return llvm::Error::success();
    if (s.is(Stage::per_rank)) return hooks_.after(s, *c_.ranks.back(), rank, ms.count());
    return hooks_.after(s, c_.newest(), std::nullopt, ms.count());
  }

  Compilation& c_;
  const StageHooks& hooks_;
  std::vector<const Stage*> stages_;
  int64_t done_ = 0, total_ = 0;
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

// Runs some stages on a graph that someone else owns.
llvm::Error run_on(Graph& graph, const PassOptions& passes, const TrainingOptions& training,
                   llvm::function_ref<bool(const Stage&)> wanted) {
  Compilation c{.passes = passes, .trains = true, .training = training};
  llvm::Error failed = llvm::Error::success();
  for (const Stage& s : pipeline()) {
    if (failed || !wanted(s)) continue;
    std::unique_ptr<Graph>& place = s.is(Stage::on_spmd) ? c.spmd : c.whole;
    place.reset(&graph);
    failed = run_verified(s, c, 0);
    (void)place.release();  // NOLINT(bugprone-unused-return-value): the caller's
  }
  return failed;
}
}  // namespace

llvm::Error run_pipeline(Compilation& compilation, const StageHooks& hooks, llvm::StringRef from) {
  llvm::Error failed = Driver(compilation, hooks, from).run();
  return with_sources(std::move(failed), [&](const Place& p) { return source_of(p, *compilation.whole); });
}

llvm::Error canonicalise(Graph& graph, const PassOptions& options) {
  bool over = false;
  return run_on(graph, options, {}, [&](const Stage& s) {
    return !(over |= llvm::StringRef(s.name) == "annotate") && !s.is(Stage::makes_graph);
  });
}
llvm::Error run_pass(llvm::StringRef name, Graph& graph, const PassOptions& options) {
  const Stage* stage = find_stage(name);
  if (!stage) return error(Code::unknown_pass).what("no pass is named " + quoted(name));
  if (stage->is(Stage::makes_graph)) return error(Code::bad_value).what("pass " + name + " makes another graph");
  return run_on(graph, options, {}, [&](const Stage& s) { return &s == stage; });
}
llvm::Error prepare_emitted(Graph& graph) {
  return run_on(graph, {}, {}, [](const Stage& s) { return s.when == Stage::When::emitted; });
}
llvm::Error make_training_step(Graph& graph, const PassOptions& passes, const TrainingOptions& options) {
  if (auto e = check_settings(options)) return e;
  return run_on(graph, passes, options, [](const Stage& s) { return s.when == Stage::When::training; });
}
llvm::Expected<std::unique_ptr<Graph>> run_stage(const Stage& stage, std::unique_ptr<Graph> graph,
                                                 const PassOptions& options, const TrainingOptions& training,
                                                 int64_t rank) {
  Compilation c{.passes = options, .trains = stage.when == Stage::When::training, .training = training};
  (stage.is(Stage::on_spmd) ? c.spmd : c.whole) = std::move(graph);
  if (auto e = run_verified(stage, c, rank)) return e;
  if (stage.is(Stage::per_rank)) return std::move(c.ranks.back());
  return std::move(c.spmd ? c.spmd : c.whole);
}
}  // namespace optp
