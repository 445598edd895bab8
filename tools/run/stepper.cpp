#include "tools/run/stepper.h"

#include <algorithm>

#include "frontend/ir/diagnostic.h"
#include "frontend/ir/file_pages.h"
#include "frontend/ir/op.h"
#include "passes/passes.h"
#include "tools/run/dead_nodes.h"
#include "tools/run/execution.h"
#include "tools/run/machine_memory.h"
#include "tools/run/slow_nodes.h"

namespace optp {
namespace {
HostArray f32_scalar(double x) {
  Array a;
  a.resize(/*floating=*/true, {});
  a.f[0] = x;
  return host_array(a, DType::f32);
}
llvm::Expected<HostArray> zeros(const Value& v) {
  HostArray out;
  out.dtype = v.type.dtype;
  int64_t bytes = size_bytes(v.type.dtype);
  for (Dim d : v.type.dims) {
    if (!d.constant())
      return error(Code::shape_mismatch).tensor("state", v.name).what("extent " + d.text()).expected("a number");
    out.dims.push_back(*d.constant());
    bytes *= *d.constant();
  }
  out.bytes.assign(size_t(bytes), 0);
  return out;
}
}  // namespace

llvm::Expected<std::unique_ptr<Stepper>> Stepper::create(World& world, PerRank<std::unique_ptr<Graph>> ranks,
                                                         const StepperOptions& options) {
  std::unique_ptr<Stepper> out(new Stepper(world));
  out->options_ = options;
  out->values_ = out->outputs_ = PerRank<HostArrays>(world.held());
  for (const size_t r : world.held())
    if (auto e = out->start(*ranks[r], out->values_[r])) return e;
  out->graphs_ = std::move(ranks);
  return out;
}

bool is_accumulated(const Update& u) { return u.kind.of == UpdateKind::accumulated; }
void keep_outputs(Graph& graph, llvm::ArrayRef<Update> updates, bool of_last) {
  std::erase_if(graph.outputs, [&](const GraphOutput& o) {
    return of_last == llvm::any_of(updates, [&](const Update& u) { return u.output == o.name && is_accumulated(u); });
  });
}
MemoryNumbers Stepper::memory(size_t rank) const {
  MemoryNumbers most;
  for (const auto& [of, bound] : bound_) {
    if (!bound.threads) continue;
    const MemoryNumbers& m = bound.threads->executable(rank).memory();
    most.value_bytes = std::max(most.value_bytes, m.value_bytes);
    most.arena_actual_bytes = std::max(most.arena_actual_bytes, m.arena_actual_bytes);
  }
  return most;
}

llvm::Error Stepper::start(Graph& graph, HostArrays& values) const {
  for (const Update& u : graph.updates) {
    Value* v = graph.find(u.input);
    if (!v) return error(Code::malformed).in_file(graph.source).what("updates").what("no input " + quoted(u.input));
    if (v->is_data()) {
      values[u.input] = take(v->data_shard(), *v->data);
      let_go(*v->data);
      graph.make_input(*v);
    } else {
      auto array = zeros(*v);
      if (!array) return array.takeError();
      values[u.input] = std::move(*array);
    }
  }
  if (!options_.gradients)
    std::erase_if(graph.outputs, [&](const GraphOutput& o) {
      return llvm::any_of(graph.gradients, [&](const GradientOutput& g) { return g.output == o.name; });
    });
  return llvm::Error::success();
}

llvm::Expected<Stepper::Bound*> Stepper::bound(const DimValues& dims, bool last) {
  Bound& b = bound_[{dims, last}];
  if (b.threads) return &b;
  b.graphs = PerRank<std::unique_ptr<Graph>>(ranks());
  for (const size_t r : ranks()) {
    auto g = bind_to_run(*graphs_[r], dims);
    if (!g) return g.takeError();
    keep_outputs(**g, graphs_[r]->updates, last);
    b.graphs[r] = std::move(*g);
  }
  if (auto e = erase_dead(world_, b.graphs)) return e;
  RankThreadsOptions threads;
  threads.threads_per_device = threads_for(int64_t(world_.size()), options_.threads_per_device);
  threads.executable.profile = options_.profile;
  auto made = RankThreads::create(world_, pointers_to(b.graphs), threads);
  if (!made) return made.takeError();
  b.threads = std::move(*made);
  if (options_.slow) options_.slow->add(*b.threads);
  b.in_place = PerRank<llvm::StringSet<>>(ranks());
  for (const size_t r : ranks())
    for (const Update& u : graphs_[r]->updates)
      if (is_accumulated(u) != last && b.threads->executable(r).updates_in_place(u.input, u.output))
        b.in_place[r].insert(u.input);
  return &b;
}

llvm::Error Stepper::run(const DimValues& dims, const PerRank<HostArrays>& inputs, double learning_rate, bool last) {
  auto made = bound(dims, last);
  if (!made) return made.takeError();
  Bound& b = **made;
  last_ = b.threads.get();
  const HostArray rate = f32_scalar(learning_rate);
  PerRank<HostInputs> refs(ranks());
  for (const size_t r : ranks()) {
    refs[r] = inputs_of(inputs[r]);
    refs[r].merge(inputs_of(values_[r]));
    refs[r][learning_rate_name] = &rate;
    // Where the old value is not read once the new one is written, one array is both.
    for (const Update& u : graphs_[r]->updates)
      if (b.in_place[r].contains(u.input)) {
        outputs_[r][u.output] = std::move(values_[r][u.input]);
        refs[r][u.input] = &outputs_[r][u.output];
      }
  }
  if (auto e = b.threads->run(refs, outputs_)) return e;
  // What was written becomes what is read, and the other way round.
  for (const size_t r : ranks())
    for (const Update& u : graphs_[r]->updates)
      if (is_accumulated(u) != last) std::swap(values_[r][u.input], outputs_[r][u.output]);
  return llvm::Error::success();
}

llvm::Error Stepper::accumulate(const DimValues& dims, const PerRank<HostArrays>& inputs) {
  if (llvm::none_of(graphs_[ranks()[0]]->updates, is_accumulated))
    return error(Code::bug, "a training step without sums over micro-batches was asked to accumulate");
  if (auto e = run(dims, inputs, 0, /*last=*/false)) return e;
  accumulated_ = true;
  return llvm::Error::success();
}

llvm::Expected<double> Stepper::step(const DimValues& dims, const PerRank<HostArrays>& inputs, double learning_rate) {
  if (auto e = run(dims, inputs, learning_rate, /*last=*/true)) return e;
  if (accumulated_)
    for (const size_t r : ranks())
      for (const Update& u : graphs_[r]->updates)
        if (is_accumulated(u)) std::ranges::fill(values_[r][u.input].bytes, 0);
  accumulated_ = false;
  return to_array(outputs_[ranks()[0]][loss_name]).number(0);
}

const HostArray* Stepper::gradient(size_t rank, llvm::StringRef output) const {
  auto it = outputs_[rank].find(output);
  return it == outputs_[rank].end() ? nullptr : &it->second;
}
}  // namespace optp
