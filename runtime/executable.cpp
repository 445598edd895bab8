#include "runtime/executable.h"

#include <chrono>
#include <cstring>

#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/StringExtras.h"
#include "runtime/executable_state.h"
#include "runtime/parallel.h"

namespace optp {
namespace {
std::string shape_text(DType dtype, llvm::ArrayRef<int64_t> dims) {
  std::string out = to_string(dtype).str() + "[";
  for (size_t d = 0; d < dims.size(); ++d) out += (d ? ", " : "") + std::to_string(dims[d]);
  return out + "]";
}
double microseconds_now() {
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now().time_since_epoch()).count();
}
}  // namespace

llvm::Error Executable::State::run(const HostInputs& inputs, HostArrays& outputs) {
  const TeamSize team(context.threads);
  if (auto e = take_inputs(inputs)) return e;
  prepare_outputs(outputs);
  if (auto e = run_steps()) return e;
  copy_outputs(outputs);
  return llvm::Error::success();
}
llvm::Error Executable::State::take_inputs(const HostInputs& inputs) {
  for (const Value* v : graph.inputs) {
    auto it = inputs.find(v->name);
    if (it == inputs.end()) return error(Code::input_not_given).tensor("input", v->name).says("is not given");
    const TensorSpec spec = spec_of(*v);
    const HostArray& given = *it->second;
    if (given.dtype != spec.dtype || given.dims != spec.dims)
      return error(given.dtype != spec.dtype ? Code::dtype_mismatch : Code::shape_mismatch)
          .tensor("input", v->name)
          .expected(shape_text(spec.dtype, spec.dims))
          .found(shape_text(given.dtype, given.dims));
    base[size_t(places.lookup(v).root)] = const_cast<char*>(given.bytes.data());
  }
  return llvm::Error::success();
}
void Executable::State::prepare_outputs(HostArrays& outputs) {
  for (const GraphOutput& o : graph.outputs) {
    if (options.unread.contains(o.name)) continue;
    const TensorSpec spec = spec_of(*o.value);
    HostArray& array = outputs[o.name];
    if (array.dtype != spec.dtype || array.dims != spec.dims || int64_t(array.bytes.size()) != spec.bytes())
      array = {spec.dtype, spec.dims, std::vector<char>(size_t(spec.bytes()))};
  }
  for (size_t r = 0; r < roots.size(); ++r)
    if (roots[r].kind == Root::Kind::output)
      base[r] = outputs.find(graph.outputs[size_t(roots[r].index)].name)->second.bytes.data();
}
llvm::Error Executable::State::run_steps() {
  times.clear();
  begun.clear();
  awaited = 0;
  llvm::Error own = step_after_step();
  if (!own) own = await(queue.begun());
  // What is on its way reads and writes these buffers: a run that fails waits for it, too.
  std::optional<Diagnostic> fault;
  if (own) queue.give_up((fault = take_diagnostic(std::move(own)))->message());
  llvm::Error others = queue.finish();
  if (!fault) return others;
  llvm::consumeError(std::move(others));
  return *fault;
}
llvm::Error Executable::State::step_after_step() {
  llvm::SmallVector<const void*, 8> in;
  llvm::SmallVector<void*, 2> out;
  for (Step& step : steps) {
    in.clear();
    out.clear();
    for (const Place& p : step.in) in.push_back(address(p));
    for (const Place& p : step.out) out.push_back(address(p));
    // A collective of this thread's own comes behind all that were begun.
    if (auto e = await(step.collective && !step.is_begun ? queue.begun() : step.awaits)) return e;
    if (step.is_begun) {
      queue.begin(*step.collective, in[0], out[0], step.work.operands[0].bytes());
      begun.push_back(&step);
      continue;
    }
    const double start = options.profile ? microseconds_now() : 0;
    if (auto e = run_step(step, in, out)) return e;
    if (options.profile) times.push_back(step.time(start, microseconds_now() - start));
  }
  return llvm::Error::success();
}
// In a profile a collective takes the time that it was waited for.
llvm::Error Executable::State::await(size_t count) {
  if (count <= awaited) return llvm::Error::success();
  double start = options.profile ? microseconds_now() : 0;
  for (; awaited < count; ++awaited) {
    if (auto e = queue.wait_for(awaited + 1)) return e;
    if (!options.profile) continue;
    const double end = microseconds_now();
    times.push_back(begun[awaited]->time(start, end - start));
    start = end;
  }
  return llvm::Error::success();
}
llvm::Error Executable::State::run_step(Step& step, llvm::ArrayRef<const void*> in, llvm::ArrayRef<void*> out) {
  if (step.collective)
    return communicate(options.communicator, *step.collective, in[0], out[0], step.work.operands[0].bytes());
  return step.kernel.run({in, out, static_cast<char*>(arena.get()) + step.scratch_offset});
}
// Those that were not made in their place.
void Executable::State::copy_outputs(HostArrays& outputs) const {
  for (const GraphOutput& o : graph.outputs) {
    if (options.unread.contains(o.name)) continue;
    HostArray& array = outputs.find(o.name)->second;
    const char* from = static_cast<const char*>(address(places.lookup(o.value)));
    if (from != array.bytes.data() && !array.bytes.empty()) std::memcpy(array.bytes.data(), from, array.bytes.size());
  }
}
StepTime Executable::State::Step::time(double start_us, double duration_us) const {
  int64_t bytes = 0;
  for (const TensorSpec& s : work.operands) bytes += s.bytes();
  for (const TensorSpec& s : work.results) bytes += s.bytes();
  return {last->out().name,
          ops(),
          collective ? last->text("id").str() : std::string(),
          last->phase,
          start_us,
          duration_us,
          flops,
          bytes};
}
std::vector<std::string> Executable::State::Step::ops() const {
  std::vector<std::string> out;
  for (const Node* n : nodes) out.push_back(n->op->name);
  return out;
}

HostInputs inputs_of(const HostArrays& arrays) {
  HostInputs out;
  for (const auto& [name, array] : arrays) out[name] = &array;
  return out;
}

// oneDNN throws where it returns a status; where it cannot get memory inside, some versions return none and crash.
static llvm::Error rejected(const dnnl::error& e) {
  return error(e.status == dnnl_out_of_memory ? Code::out_of_memory : Code::onednn).what("oneDNN").what(e.what());
}

Executable::Executable() = default;
Executable::~Executable() = default;

llvm::Expected<std::unique_ptr<Executable>> Executable::compile(const Graph& rank_graph,
                                                                const ExecutableOptions& options) {
  std::unique_ptr<Executable> out(new Executable());
  out->state_ = std::make_unique<State>(rank_graph, options);
  try {
    if (auto e = out->state_->compile()) return e;
  } catch (const dnnl::error& e) {
    return rejected(e);
  }
  return out;
}
llvm::Expected<MemoryNumbers> Executable::plan_memory_of(const Graph& rank_graph) {
  State state(rank_graph, {});
  state.context.plan_only = true;
  try {
    if (auto e = state.compile()) return e;
  } catch (const dnnl::error& e) {
    return rejected(e);
  }
  return state.memory;
}
llvm::Error Executable::run(const HostInputs& inputs, HostArrays& outputs) {
  try {
    return state_->run(inputs, outputs);
  } catch (const dnnl::error& e) {
    return rejected(e);
  }
}
bool Executable::updates_in_place(llvm::StringRef input, llvm::StringRef output) const {
  return state_->updates_in_place(input, output);
}
const MemoryNumbers& Executable::memory() const { return state_->memory; }
double Executable::flops() const { return state_->flops; }
llvm::ArrayRef<StepTime> Executable::profile() const { return state_->times; }
std::vector<SlowNode> Executable::slow_nodes() const {
  std::vector<SlowNode> out;
  for (const State::Step& s : state_->steps)
    if (!s.kernel.fallback.empty())
      out.push_back({s.anchor->op->name, s.last->out().name, s.work.dtype(), s.kernel.fallback});
  return out;
}
std::vector<std::string> Executable::steps() const {
  std::vector<std::string> out;
  for (const State::Step& s : state_->steps) out.push_back(s.last->out().name + " " + llvm::join(s.ops(), "+"));
  return out;
}
}  // namespace optp
