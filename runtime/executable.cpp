#include "runtime/executable.h"

#include <chrono>
#include <cstring>

#include "frontend/ir/diagnostic.h"
#include "runtime/executable_state.h"
#include "runtime/parallel.h"

namespace optp {
namespace {
std::string shape_text(DType dtype, llvm::ArrayRef<int64_t> dims) {
  std::string out = to_string(dtype).str() + "[";
  for (size_t d = 0; d < dims.size(); ++d) out += (d ? ", " : "") + std::to_string(dims[d]);
  return out + "]";
}
}  // namespace

llvm::Error Executable::State::run(const HostInputs& inputs, HostArrays& outputs) {
  const TeamSize team(context.threads);
  for (size_t k = 0; k < graph.inputs.size(); ++k) {
    const Value& v = *graph.inputs[k];
    auto it = inputs.find(v.name);
    if (it == inputs.end()) return error(Code::input_not_given).tensor("input", v.name).says("is not given");
    const TensorSpec spec = spec_of(v);
    const HostArray& given = *it->second;
    if (given.dtype != spec.dtype || given.dims != spec.dims)
      return error(given.dtype != spec.dtype ? Code::dtype_mismatch : Code::shape_mismatch)
          .tensor("input", v.name)
          .expected(shape_text(spec.dtype, spec.dims))
          .found(shape_text(given.dtype, given.dims));
    base[size_t(places.lookup(&v).root)] = const_cast<char*>(given.bytes.data());
  }
  for (const GraphOutput& o : graph.outputs) {
    const TensorSpec spec = spec_of(*o.value);
    HostArray& array = outputs[o.name];
    if (array.dtype != spec.dtype || array.dims != spec.dims || int64_t(array.bytes.size()) != spec.bytes())
      array = {spec.dtype, spec.dims, std::vector<char>(size_t(spec.bytes()))};
  }
  for (size_t r = 0; r < roots.size(); ++r)
    if (roots[r].kind == Root::Kind::output)
      base[r] = outputs.find(graph.outputs[size_t(roots[r].index)].name)->second.bytes.data();

  using Clock = std::chrono::steady_clock;
  auto microseconds = [&] {
    return std::chrono::duration<double, std::micro>(Clock::now().time_since_epoch()).count();
  };
  if (options.profile) times.clear();
  llvm::SmallVector<const void*, 8> in;
  llvm::SmallVector<void*, 2> out;
  for (Step& step : steps) {
    in.clear();
    out.clear();
    for (const Place& p : step.in) in.push_back(address(p));
    for (const Place& p : step.out) out.push_back(address(p));
    const double start = options.profile ? microseconds() : 0;
    if (step.collective) {
      if (auto e = communicate(options.communicator, *step.collective, in[0], out[0], step.work.operands[0].bytes()))
        return e;
    } else {
      if (auto e = step.kernel.run({in, out, static_cast<char*>(arena.get()) + step.scratch_offset})) return e;
    }
    if (options.profile) {
      int64_t bytes = 0;
      for (const TensorSpec& s : step.work.operands) bytes += s.bytes();
      for (const TensorSpec& s : step.work.results) bytes += s.bytes();
      times.push_back({step.last->out().name, step.label(),
                       step.collective ? step.last->text("id").str() : std::string(), step.last->phase, start,
                       microseconds() - start, step.flops, bytes});
    }
  }
  for (size_t k = 0; k < graph.outputs.size(); ++k) {
    const Place place = places.lookup(graph.outputs[k].value);
    HostArray& array = outputs.find(graph.outputs[k].name)->second;
    const char* from = static_cast<const char*>(address(place));
    if (from != array.bytes.data() && !array.bytes.empty()) std::memcpy(array.bytes.data(), from, array.bytes.size());
  }
  return llvm::Error::success();
}
std::string Executable::State::Step::label() const {
  std::string out;
  for (const Node* n : nodes) out += (out.empty() ? "" : "+") + n->op->name;
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
  for (const State::Step& s : state_->steps) out.push_back(s.last->out().name + " " + s.label());
  return out;
}
}  // namespace optp
