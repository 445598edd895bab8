// backward and gradients of check --train, and the steps that the other groups share: training_checker.h.
#include <cmath>

#include "frontend/ir/diagnostic.h"
#include "llvm/Support/FormatVariadic.h"
#include "tools/check/first_nan.h"
#include "tools/check/in_parts.h"
#include "tools/check/training_checker.h"
#include "tools/cli/progress.h"

namespace optp {
namespace {
double largest(const Array& a) {
  return in_parts(
      a.elements(),
      [&](int64_t from, int64_t to) {
        double top = 0;
        for (int64_t k = from; k < to; ++k)
          if (const double x = std::fabs(a.number(k)); std::isfinite(x)) top = std::max(top, x);
        return top;
      },
      [](double& all, double part) { all = std::max(all, part); });
}
double error_of(const Array& a, const Array& b, int64_t* worst = nullptr) {
  double most = 0;
  for (int64_t k = 0; k < b.elements(); ++k) {
    const double d = std::isfinite(a.number(k)) ? std::fabs(a.number(k) - b.number(k)) : INFINITY;
    if (d > most) {
      most = d;
      if (worst) *worst = k;
    }
  }
  return most;
}

void drop_update_outputs(Graph& graph) {
  std::erase_if(graph.outputs, [&](const GraphOutput& o) {
    return llvm::any_of(graph.updates, [&](const Update& u) { return u.output == o.name; });
  });
  for (const auto& node : graph.nodes)
    if (node->phase == Phase::optimizer && node->out().ndim() == 0 && !graph.is_output(node->out()))
      graph.outputs.push_back({node->out().name, &node->out()});
}
// What an optimizer does to each element has a comparison of its own, and takes most of the memory: of its values
// only the scalars stay.
void drop_updates(llvm::ArrayRef<Graph*> graphs) {
  for (Graph* graph : graphs) drop_update_outputs(*graph);
  erase_dead(graphs);
  for (Graph* graph : graphs) std::erase_if(graph->inputs, [](const Value* v) { return v->uses.empty(); });
}
}  // namespace

// The inputs of one step of the whole graph, whose state is as it starts.
NamedArrays TrainingChecker::whole_inputs(const Graph& whole) const {
  NamedArrays inputs;
  for (const auto& [name, a] : batches_[0].whole) inputs[name] = to_array(a);
  for (const Value* v : whole.inputs) {
    if (inputs.contains(v->name)) continue;
    if (v->name == learning_rate_name)
      inputs[v->name] = scalar(rate(), /*floating=*/true);
    else if (v->name == step_name)
      inputs[v->name] = scalar(0, /*floating=*/false);
    else {
      Array zeros;
      llvm::SmallVector<int64_t, 4> dims;
      for (Dim d : v->type.dims) dims.push_back(*d.constant());
      zeros.resize(/*floating=*/true, dims);
      inputs[v->name] = std::move(zeros);
    }
  }
  return inputs;
}

llvm::Error TrainingChecker::backward() {
  auto whole = bind_dims(*job_.whole, dims_);
  if (!whole) return whole.takeError();
  drop_updates(whole->get());
  std::vector<size_t> all;
  for (size_t r = 0; r < world_.size(); ++r) all.push_back(r);
  auto graphs = rank_graphs(job_, all);
  if (!graphs) return graphs.takeError();
  std::vector<Graph*> mutable_ranks;
  for (const size_t r : all) {
    auto b = bind_dims(*(*graphs)[r], dims_);
    if (!b) return b.takeError();
    (*graphs)[r] = std::move(*b);
    mutable_ranks.push_back((*graphs)[r].get());
  }
  drop_updates(mutable_ranks);
  const std::vector<const Graph*> ranks(mutable_ranks.begin(), mutable_ranks.end());
  NamedArrays inputs = whole_inputs(**whole);
  std::vector<NamedArrays> rank_inputs;
  for (const size_t r : all) {
    NamedArrays mine;
    for (const Value* v : ranks[r]->inputs)
      mine[v->name] = take(Shard::of(inputs[v->name].dims, *v->sharding, mesh(), int64_t(r)), inputs[v->name]);
    rank_inputs.push_back(std::move(mine));
  }
  std::optional<Progress> progress;
  progress.emplace("checking the training step in float64",
                   int64_t((*whole)->size() + ranks[0]->size() * ranks.size()));
  LocalComparison comparison(mesh(), ranks);
  if (auto e = comparison.run(**whole, inputs, rank_inputs, progress)) return e;
  for (auto [name, phases] : {std::pair{"forward", std::vector{Phase::forward}},
                              {"loss", std::vector{Phase::loss}},
                              {"backward", std::vector{Phase::backward, Phase::optimizer}}}) {
    Row row{
        .name = name, .against = "shards of the whole run's values, float64", .tolerance = LocalComparison::tolerance};
    for (Phase phase : phases) {
      const auto& found = comparison.found(phase);
      row.values += found.values, row.elements += found.elements, row.error = std::max(row.error, found.error);
    }
    if (comparison.fault()) {
      // What comes after a fault was not compared.
      if (llvm::is_contained(phases, comparison.fault_phase()))
        fail(row, *comparison.fault());
      else if (row.values == 0)
        row.holds = false;
    }
    rows_.push_back(std::move(row));
  }
  truth_ = comparison.outputs();
  // Gradients that are no numbers have nothing to be compared with, and no step can be taken.
  if (faults_.empty() &&
      (has_nan(truth_[loss_name]) ||
       llvm::any_of(job_.whole->gradients, [&](const GradientOutput& g) { return has_nan(truth_[g.output]); })))
    return error(Code::diverged).what("training step in float64, unpartitioned").what(comparison.first_nan());
  for (const GradientOutput& g : job_.whole->gradients) addends_[g.output] = comparison.addend_of(g.output);
  return llvm::Error::success();
}

llvm::Error TrainingChecker::whole_steps(Yardstick& yardstick) {
  auto whole = whole_stepper(job_);
  if (!whole) return whole.takeError();
  auto loss = (*whole)->step(dims_, PerRank<HostArrays>::of_all({batches_[0].whole}), rate());
  if (!loss) return loss.takeError();
  yardstick.loss = *loss;
  for (const GradientOutput& g : job_.whole->gradients)
    yardstick.errors.push_back(error_of(to_array(*(*whole)->gradient(0, g.output)), truth_[g.output]));
  unpartitioned_.push_back(*loss);
  return finish(unpartitioned_, **whole, /*whole=*/true);
}
// The whole model's steps, then the ranks': each holds parameters, state and gradients of the whole model.
llvm::Error TrainingChecker::asked_steps() {
  const auto list = checked_optimizers();
  asked_.name = llvm::find_if(list, [&](const auto& o) { return is_asked(o.second); })->first;
  Progress progress("checking the steps of " + asked_.name, optimizer_steps);
  Yardstick yardstick;
  if (auto e = world_.at_root([&] { return whole_steps(yardstick); })) return e;
  give_freed_memory_back();  // it lies between what stays, in pieces that none of the next arrays fits
  auto ranks = optimizer_stepper(job_);
  if (!ranks) return ranks.takeError();
  if (auto e = compare_steps(job_, **ranks, asked_, progress, [&](const Moved& moved) -> llvm::Error {
        const bool is_first = curve_.empty();
        curve_.push_back(moved.loss);
        if (!is_first) return llvm::Error::success();
        auto e = world_.at_root([&] { return compare_gradients(moved, yardstick); });
        truth_.clear();
        return e;
      }))
    return e;
  if (auto e = finish(curve_, **ranks, /*whole=*/false)) return e;
  // A micro-batch before the last one runs another graph.
  if (job_.training.accumulate > 1)
    if (auto e = (*ranks)->accumulate(dims_, batches_[0].ranks)) return e;
  auto memory = measured(**ranks);
  if (!memory) return memory.takeError();
  memory_ = std::move(*memory);
  return llvm::Error::success();
}
llvm::Error TrainingChecker::compare_gradients(const Moved& moved, const Yardstick& whole) {
  // Where a gradient cancels, float32 has rounded each addend: one run's luck is no measure of another's.
  Row row{.name = "gradients",
          .against =
              "float64; allowed: 8 x the unpartitioned run's error, at least 2e-6 of the largest and 8 "
              "roundings of the largest addend",
          .values = 1,  // the loss
          .elements = 1,
          .tolerance = 1};
  const double exact = truth_[loss_name].number(0);
  const double loss_ratio =
      std::fabs(moved.loss - exact) / std::max(8 * std::fabs(whole.loss - exact), 2e-6 * std::fabs(exact));
  row.error = loss_ratio;
  if (!(loss_ratio <= 1))
    fail(row, error(Code::difference)
                  .what("loss")
                  .expected(llvm::formatv("{0}", exact).str())
                  .found(llvm::formatv("{0}", moved.loss).str()));
  for (size_t k = 0; k < job_.whole->gradients.size(); ++k) {
    const GradientOutput& g = job_.whole->gradients[k];
    const Array& expected = truth_[g.output];
    auto found = joined(gradient_of(*job_.whole, g), moved.gradients, g.output);
    if (!found) return found.takeError();
    int64_t at = 0;
    const Array numbers = to_array(*found);
    const double error = error_of(numbers, expected, &at), yardstick = whole.errors[k];
    const double ratio =
        error / std::max({8 * yardstick, 2e-6 * largest(expected), 8 * float32_rounding * addends_[g.output], 1e-30});
    ++row.values;
    row.elements += expected.elements();
    row.error = std::max(row.error, ratio);
    if (!(ratio <= 1)) fail(row, difference_at({tensor_place("gradient of", g.parameter)}, expected, numbers, at));
  }
  rows_.push_back(std::move(row));
  return llvm::Error::success();
}

}  // namespace optp
