#include "tools/run/stepper.h"

#include <algorithm>

#include "frontend/ir/diagnostic.h"
#include "passes/passes.h"
#include "tools/run/execution.h"
#include "tools/run/machine_memory.h"
#include "tools/run/slow_nodes.h"

namespace optp {
namespace {
HostArray f32_scalar(double x) {
  Array a;
  a.resize(true, {});
  a.f[0] = x;
  return host_array(a, DType::f32);
}
bool is_accumulated(const Update& u) { return u.kind == "accumulated"; }
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

llvm::Expected<std::unique_ptr<Stepper>> Stepper::create(std::vector<std::unique_ptr<Graph>> ranks,
                                                         const StepperOptions& options) {
  std::unique_ptr<Stepper> out(new Stepper());
  out->options_ = options;
  for (auto& graph : ranks) {
    HostArrays& values = out->values_.emplace_back();
    for (const Update& u : graph->updates) {
      Value* v = graph->find(u.input);
      if (!v) return error(Code::malformed).in_file(graph->source).what("updates").what("no input " + quoted(u.input));
      if (v->is_data()) {
        values[u.input] = take(v->data_shard(), *v->data);
        graph->make_input(*v);
      } else {
        auto array = zeros(*v);
        if (!array) return array.takeError();
        values[u.input] = std::move(*array);
      }
    }
    if (!options.gradients)
      std::erase_if(graph->outputs, [&](const GraphOutput& o) {
        return llvm::any_of(graph->gradients, [&](const GradientOutput& g) { return g.output == o.name; });
      });
    out->graphs_.push_back(std::move(graph));
  }
  out->outputs_.resize(out->graphs_.size());
  return out;
}

llvm::Expected<RankThreads*> Stepper::bound(const DimValues& dims, bool last) {
  Bound& b = bound_[{dims, last}];
  if (b.threads) return b.threads.get();
  std::vector<Graph*> graphs;
  for (const auto& graph : graphs_) {
    auto g = bind_to_run(*graph, dims);
    if (!g) return g.takeError();
    std::erase_if((*g)->outputs, [&](const GraphOutput& o) {
      const bool sums =
          llvm::any_of(graph->updates, [&](const Update& u) { return u.output == o.name && is_accumulated(u); });
      return sums == last;
    });
    b.graphs.push_back(std::move(*g));
    graphs.push_back(b.graphs.back().get());
  }
  erase_dead(graphs);
  RankThreadsOptions threads;
  threads.threads_per_device = threads_for(int64_t(graphs.size()), options_.threads_per_device);
  threads.executable.profile = options_.profile;
  auto made = RankThreads::create(std::vector<const Graph*>(graphs.begin(), graphs.end()), threads);
  if (!made) return made.takeError();
  b.threads = std::move(*made);
  if (options_.slow) options_.slow->add(*b.threads);
  return b.threads.get();
}

llvm::Error Stepper::run(const DimValues& dims, std::vector<HostArrays> inputs, double learning_rate, bool last) {
  auto threads = bound(dims, last);
  if (!threads) return threads.takeError();
  last_ = *threads;
  const HostArray rate = f32_scalar(learning_rate);
  std::vector<HostInputs> refs(graphs_.size());
  for (size_t r = 0; r < graphs_.size(); ++r) {
    refs[r] = inputs_of(inputs[r]);
    refs[r].merge(inputs_of(values_[r]));
    refs[r]["learning_rate"] = &rate;
  }
  if (auto e = (*threads)->run(refs, outputs_)) return e;
  // What was written becomes what is read, and the other way round.
  for (size_t r = 0; r < graphs_.size(); ++r)
    for (const Update& u : graphs_[r]->updates)
      if (is_accumulated(u) != last) std::swap(values_[r][u.input], outputs_[r][u.output]);
  return llvm::Error::success();
}

llvm::Error Stepper::accumulate(const DimValues& dims, std::vector<HostArrays> inputs) {
  if (llvm::none_of(graphs_[0]->updates, is_accumulated))
    return error(Code::bug, "a training step without sums over micro-batches was asked to accumulate");
  if (auto e = run(dims, std::move(inputs), 0, /*last=*/false)) return e;
  accumulated_ = true;
  return llvm::Error::success();
}

llvm::Expected<double> Stepper::step(const DimValues& dims, std::vector<HostArrays> inputs, double learning_rate) {
  if (auto e = run(dims, std::move(inputs), learning_rate, /*last=*/true)) return e;
  if (accumulated_)
    for (size_t r = 0; r < graphs_.size(); ++r)
      for (const Update& u : graphs_[r]->updates)
        if (is_accumulated(u)) std::ranges::fill(values_[r][u.input].bytes, 0);
  accumulated_ = false;
  return to_array(outputs_[0]["loss"]).number(0);
}

const HostArray* Stepper::gradient(size_t rank, llvm::StringRef output) const {
  auto it = outputs_[rank].find(output);
  return it == outputs_[rank].end() ? nullptr : &it->second;
}
}  // namespace optp
