#include "runtime/executable.h"

#include <chrono>
#include <cstring>
#include <limits>

#include "frontend/ir/diagnostic.h"
#include "frontend/ir/op.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/StringExtras.h"
#include "runtime/collective.h"
#include "runtime/fusion.h"
#include "runtime/kernel.h"
#include "runtime/memory_plan.h"
#include "runtime/parallel.h"

namespace optp {
namespace {

// Bytes that start on a cache line, and are huge pages' candidates.
class Bytes {
 public:
  Bytes() = default;
  explicit Bytes(int64_t n) : data_(n ? ::operator new(size_t(n), std::align_val_t(64)) : nullptr) {}
  void* get() const { return data_.get(); }
  void reset() { data_.reset(); }

 private:
  struct Free {
    void operator()(void* p) const { ::operator delete(p, std::align_val_t(64)); }
  };
  std::unique_ptr<void, Free> data_;
};

// A buffer; views share their operand's.
struct Root {
  enum class Kind { constant, input, output, arena } kind = Kind::arena;
  int64_t bytes = 0;
  int64_t first = std::numeric_limits<int64_t>::max(), last = -1;  // steps
  Bytes owned;                   // constant
  const void* mapped = nullptr;  // constant: in the model's file
  int index = -1;                // of the graph input or output
  bool read = false;             // constant: by some kernel, or an output
  int merged = -1;               // the root whose bytes it takes
};
struct Place {
  int root = -1;
  int64_t offset = 0;  // bytes
};

struct Step {
  const Node* anchor = nullptr;
  const Node* last = nullptr;
  std::vector<const Node*> nodes;
  Work work;
  Kernel kernel;
  llvm::SmallVector<Place, 4> in;
  llvm::SmallVector<Place, 1> out;
  int64_t scratch_offset = 0;
  double flops = 0;
  // collectives
  std::optional<CollectiveCall> collective;
};

double flops_of(const Node& node) {
  if (!node.op->flops || !node.op->rule) return 0;
  auto rule = node.op->rule(node);
  if (!rule) {
    llvm::consumeError(rule.takeError());
    return 0;
  }
  llvm::SmallVector<double, 6> extents;
  for (const Loop& loop : rule->loops) extents.push_back(double(loop.extent.constant().value_or(0)));
  return node.op->flops(node, extents);
}

std::string shape_text(DType dtype, llvm::ArrayRef<int64_t> dims) {
  std::string out = to_string(dtype).str() + "[";
  for (size_t d = 0; d < dims.size(); ++d) out += (d ? ", " : "") + std::to_string(dims[d]);
  return out + "]";
}

llvm::Expected<CollectiveCall> collective_of(const Node& node) {
  CollectiveCall call;
  call.op = node.op->name;
  call.id = node.text("id").str();
  call.reduce = node.text("reduce").str();
  call.dtype = node.operand(0).type.dtype;
  call.axis = int(node.integer("axis", node.integer("split_axis")));
  call.concat_axis = int(node.integer("concat_axis"));
  call.root = int(node.integer("root"));
  for (int64_t r : node.integers("group")) call.group.push_back(int(r));
  if (call.group.empty()) return node_error(node, "a collective without a group of ranks");
  // all_to_all joins along one axis what it cuts along another: its input is whole along the cut one.
  const Value& shape = call.op == "all_gather" ? node.out() : node.operand(0);
  for (Dim d : shape.type.dims) call.dims.push_back(d.constant().value_or(-1));
  if (call.op == "all_to_all") call.dims[size_t(call.concat_axis)] = node.out().type.dims[size_t(call.concat_axis)].constant().value_or(-1);
  return call;
}
}  // namespace

struct Executable::State {
  const Graph& graph;
  ExecutableOptions options;
  KernelContext context;
  llvm::DenseMap<const Value*, Place> places;
  std::vector<Root> roots;
  std::vector<Step> steps;
  MemoryNumbers memory;
  double flops = 0;
  Bytes arena;
  std::vector<int64_t> offsets;  // of arena roots
  std::vector<char*> base;       // of each root, while running
  std::vector<StepTime> times;

  State(const Graph& g, const ExecutableOptions& o) : graph(g), options(o) {}

  int root_of(int r) const {
    while (roots[size_t(r)].merged >= 0) r = roots[size_t(r)].merged;
    return r;
  }
  int add_root(Root::Kind kind, int64_t bytes) {
    roots.emplace_back();
    roots.back().kind = kind;
    roots.back().bytes = bytes;
    return int(roots.size()) - 1;
  }
  const void* constant_bytes(const Value& v) const {
    auto it = places.find(&v);
    if (it == places.end()) return nullptr;
    const Root& root = roots[size_t(it->second.root)];
    if (root.kind != Root::Kind::constant) return nullptr;
    const char* base = static_cast<const char*>(root.mapped ? root.mapped : root.owned.get());
    static const char none[64] = {};
    return base ? base + it->second.offset : none;
  }

  // Data: the file's own bytes where this rank holds them in one run, else a copy of what it holds.
  llvm::Error load(const Value& v) {
    if (places.count(&v)) return llvm::Error::success();
    const TensorSpec spec = spec_of(v);
    Root& root = roots[size_t(add_root(Root::Kind::constant, spec.bytes()))];
    memory.parameter_bytes += spec.bytes();
    places[&v] = {int(roots.size()) - 1, 0};
    if (context.plan_only) return llvm::Error::success();
    if (v.data->is_missing()) {
      if (options.missing == MissingWeights::refuse)
        return error(Fault::not_found, "weights file " + quoted(v.data->missing) + " of " + quoted(v.name) + " is not there");
      Array array;
      array.resize(is_float(spec.dtype), spec.dims);
      for (size_t k = 0; k < array.f.size(); ++k) array.f[k] = double(int64_t((k * 2654435761u) % 2001) - 1000) * 2e-5;
      const std::vector<char> bytes = to_bytes(array, spec.dtype);
      root.owned = Bytes(spec.bytes());
      if (!bytes.empty()) std::memcpy(root.owned.get(), bytes.data(), bytes.size());
      return llvm::Error::success();
    }
    llvm::SmallVector<llvm::ArrayRef<char>, 1> one;
    int64_t total = 0, runs = 0;
    for_each_run(*v.data, v.held, [&](llvm::ArrayRef<char> run) {
      if (runs++ == 0) one.push_back(run);
      total += int64_t(run.size());
    });
    if (total != spec.bytes())
      return error(Fault::internal, "data " + quoted(v.name) + ": expected " + llvm::Twine(spec.bytes()) + " bytes for " + to_string(v.type) + ", found " + llvm::Twine(total));
    if (runs == 1 && reinterpret_cast<uintptr_t>(one[0].data()) % size_t(size_bytes(spec.dtype)) == 0) {
      root.mapped = one[0].data();
      return llvm::Error::success();
    }
    root.owned = Bytes(spec.bytes());
    char* to = static_cast<char*>(root.owned.get());
    for_each_run(*v.data, v.held, [&](llvm::ArrayRef<char> run) {
      std::memcpy(to, run.data(), run.size());
      to += run.size();
    });
    return llvm::Error::success();
  }

  // A view's place in its operand's bytes, if the node is one.
  std::optional<Place> view_of(const Node& node) const {
    const std::string& op = node.op->name;
    if (node.operands.empty()) return std::nullopt;
    const Value& in = node.operand(0);
    const Place from = places.lookup(&in);
    if (op == "reshape" || (op == "expand" && spec_of(in).elements() == spec_of(node.out()).elements()) ||
        (op == "cast" && in.type.dtype == node.out().type.dtype) || (op == "concat" && node.operands.size() == 1))
      return from;
    if (op == "transpose") {
      // Only dims of extent 1 moved.
      const TensorSpec spec = spec_of(in);
      int64_t previous = -1;
      for (int64_t p : node.integers("perm"))
        if (spec.dims[size_t(p)] != 1) {
          if (p < previous) return std::nullopt;
          previous = p;
        }
      return from;
    }
    if (op == "slice" && node.integer("step", 1) == 1) {
      const TensorSpec spec = spec_of(in), out = spec_of(node.out());
      const size_t axis = size_t(node.integer("axis"));
      const int64_t start = node.dim("start").constant().value_or(-1);
      if (count_of(llvm::ArrayRef<int64_t>(spec.dims).take_front(axis)) != 1 || start < 0 || start + out.dims[axis] > spec.dims[axis]) return std::nullopt;
      return Place{from.root, from.offset + start * count_of(llvm::ArrayRef<int64_t>(spec.dims).drop_front(axis + 1)) * size_bytes(spec.dtype)};
    }
    if (op == "mul" && node.out().type == in.type)
      if (auto s = scalar_constant(node.operand(1)); s && *s == 1) return from;
    return std::nullopt;
  }

  Work work_of(const FusedStep& fused) const {
    Work work;
    work.node = fused.anchor;
    for (const Value* v : fused.operands) {
      work.operands.push_back(spec_of(*v));
      work.operands.back().constant = constant_bytes(*v);
    }
    for (const auto& r : fused.last->results) work.results.push_back(spec_of(*r));
    work.before = fused.before;
    work.after = fused.after;
    return work;
  }

  // A node of constants is computed now, unless that would only make a small thing large.
  llvm::Expected<bool> fold(const Node& node) {
    if (node.op->is_collective) return false;
    int64_t from = 1 << 20, to = 0;
    for (const Value* v : node.operands) {
      if (!constant_bytes(*v)) return false;
      from += 4 * spec_of(*v).bytes();
    }
    FusedStep alone;
    alone.anchor = alone.last = &node;
    alone.operands.assign(node.operands.begin(), node.operands.end());
    const Work work = work_of(alone);
    for (const TensorSpec& r : work.results) to += r.bytes();
    if (to > from) return false;
    if (context.plan_only) {
      for (size_t k = 0; k < work.results.size(); ++k) places[&node.out(k)] = {add_root(Root::Kind::constant, work.results[k].bytes()), 0};
      return true;
    }
    auto kernel = compile_kernel(work, context);
    if (!kernel) return kernel.takeError();
    llvm::SmallVector<const void*, 4> in;
    llvm::SmallVector<void*, 1> out;
    for (const Value* v : node.operands) in.push_back(constant_bytes(*v));
    for (size_t k = 0; k < work.results.size(); ++k) {
      Root& root = roots[size_t(add_root(Root::Kind::constant, work.results[k].bytes()))];
      root.owned = Bytes(std::max<int64_t>(root.bytes, 1));
      places[&node.out(k)] = {int(roots.size()) - 1, 0};
      out.push_back(root.owned.get());
    }
    const Bytes scratch(kernel->scratch_bytes);
    if (auto e = kernel->run({in, out, scratch.get()})) return e;
    return true;
  }

  llvm::Error compile() {
    context.threads = std::max(1, options.threads);
    const TeamSize team(context.threads);
    context.engine = dnnl::engine(dnnl::engine::kind::cpu, 0);
    context.stream = dnnl::stream(context.engine);
    for (const Value* v : graph.inputs)
      for (Dim d : v->type.dims)
        if (!d.constant()) return error(Fault::usage, "input " + quoted(v->name) + ": dim " + quoted(d.text()) + " has no value");
    for (size_t k = 0; k < graph.inputs.size(); ++k) {
      const int root = add_root(Root::Kind::input, spec_of(*graph.inputs[k]).bytes());
      roots[size_t(root)].index = int(k);
      places[graph.inputs[k]] = {root, 0};
    }

    // What each node runs in: softmax takes what stands before it first, then products what follows them.
    llvm::DenseMap<const Node*, FusedStep> ends;  // by last node
    llvm::DenseSet<const Node*> taken;
    auto claim = [&](FusedStep step) {
      for (const Node* n : step.nodes) taken.insert(n);
      const Node* last = step.last;
      ends[last] = std::move(step);
    };
    if (options.fuse)
      for (const char* op : {"softmax", "contract"})
        for (const auto& node : graph.nodes) {
          if (node->op->name != op) continue;
          // Kernels say what they can do: fewer steps are tried until one runs.
          for (size_t most = 8;; --most) {
            FusedStep step = fuse(graph, *node, taken, most);
            const size_t fused = step.nodes.size() - 1;
            most = std::min(most, fused);
            if (fused == 0) break;
            Work work = work_of(step);
            for (size_t k = 0; k < work.operands.size(); ++k) work.operands[k].constant = nullptr;  // nothing is packed to try
            auto kernel = compile_kernel(work, context);
            if (!kernel) return kernel.takeError();
            if (kernel->run) {
              claim(std::move(step));
              break;
            }
          }
        }

    for (const auto& owned : graph.nodes) {
      const Node& node = *owned;
      for (const Value* v : node.operands)
        if (v->is_data())
          if (auto e = load(*v)) return e;
      auto end = ends.find(&node);
      if (end == ends.end() && taken.contains(&node)) continue;  // runs with a later node
      if (end == ends.end()) {
        if (!node.op->is_collective && node.results.size() == 1)
          if (auto place = view_of(node)) {
            places[&node.out()] = *place;
            continue;
          }
        auto folded = fold(node);
        if (!folded) return folded.takeError();
        if (*folded) continue;
      }
      FusedStep alone;
      alone.anchor = alone.last = &node;
      alone.nodes = {&node};
      alone.operands.assign(node.operands.begin(), node.operands.end());
      if (auto e = add_step(end == ends.end() ? alone : end->second)) return e;
    }
    for (const GraphOutput& o : graph.outputs)
      if (o.value->is_data())
        if (auto e = load(*o.value)) return e;
    plan();
    return llvm::Error::success();
  }

  llvm::Error add_step(const FusedStep& fused) {
    Step step;
    step.anchor = fused.anchor;
    step.last = fused.last;
    step.nodes = fused.nodes;
    for (const Node* n : fused.nodes) step.flops += flops_of(*n);
    flops += step.flops;
    step.work = work_of(fused);
    if (fused.anchor->op->is_collective) {
      auto call = collective_of(*fused.anchor);
      if (!call) return call.takeError();
      step.kernel.in_place = in_place(*call) ? 1 : 0;
      step.collective = std::move(*call);
    } else {
      auto kernel = compile_kernel(step.work, context);
      if (!kernel) return kernel.takeError();
      step.kernel = std::move(*kernel);
      if (!step.kernel.run) return node_error(*fused.anchor, "its fused form runs only without constants");
    }
    memory.packed_bytes += step.kernel.packed_bytes;
    const int64_t now = int64_t(steps.size());
    for (size_t k = 0; k < fused.operands.size(); ++k) {
      const Place place = places.lookup(fused.operands[k]);
      Root& root = roots[size_t(place.root)];
      if (!(step.kernel.packed >> k & 1)) root.read = true;
      root.last = std::max(root.last, now);
      step.in.push_back(place);
    }
    for (size_t k = 0; k < step.work.results.size(); ++k) {
      const int root = add_root(Root::Kind::arena, step.work.results[k].bytes());
      roots[size_t(root)].first = roots[size_t(root)].last = now;
      places[&fused.last->out(k)] = {root, 0};
      step.out.push_back({root, 0});
    }
    steps.push_back(std::move(step));
    return llvm::Error::success();
  }

  void plan() {
    // Outputs are written where the caller wants them; one that shares its bytes with an input, a constant or another
    // output is copied.
    for (size_t k = 0; k < graph.outputs.size(); ++k) {
      const Place place = places.lookup(graph.outputs[k].value);
      Root& root = roots[size_t(place.root)];
      root.read = true;
      root.last = int64_t(steps.size());
      if (root.kind == Root::Kind::arena && place.offset == 0 && root.bytes == spec_of(*graph.outputs[k].value).bytes()) {
        root.kind = Root::Kind::output;
        root.index = int(k);
      }
    }
    for (size_t s = 0; s < steps.size(); ++s) {
      Step& step = steps[s];
      if (step.out.empty()) continue;
      Root& out = roots[size_t(step.out[0].root)];
      for (size_t k = 0; k < step.in.size(); ++k) {
        if (!(step.kernel.in_place >> k & 1)) continue;
        const int own = root_of(step.in[k].root);
        Root& in = roots[size_t(own)];
        bool again = false;  // another operand reads the same bytes
        for (size_t j = 0; j < step.in.size(); ++j) again |= j != k && root_of(step.in[j].root) == own;
        if (in.kind != Root::Kind::arena || in.last != int64_t(s) || step.in[k].offset != 0 || in.bytes != out.bytes || again) continue;
        // The operand takes the result's place, so that an output's memory can serve what becomes it.
        in.merged = step.out[0].root;
        out.first = std::min(out.first, in.first);
        break;
      }
    }
    std::vector<Lifetime> lifetimes;
    std::vector<int> which;
    for (size_t r = 0; r < roots.size(); ++r)
      if (roots[r].kind == Root::Kind::arena && roots[r].merged < 0 && roots[r].last >= 0) {
        lifetimes.push_back({roots[r].bytes, roots[r].first, roots[r].last});
        which.push_back(int(r));
      }
    memory.value_bytes = plan_memory(lifetimes).lower_bound_bytes;
    for (size_t s = 0; s < steps.size(); ++s) lifetimes.push_back({steps[s].kernel.scratch_bytes, int64_t(s), int64_t(s)});
    const MemoryPlan plan = plan_memory(lifetimes);
    offsets.assign(roots.size(), -1);
    for (size_t k = 0; k < which.size(); ++k) offsets[size_t(which[k])] = plan.offsets[k];
    for (size_t s = 0; s < steps.size(); ++s) steps[s].scratch_offset = plan.offsets[which.size() + s];
    memory.arena_planned_bytes = plan.lower_bound_bytes;
    memory.arena_actual_bytes = plan.bytes;
    if (context.plan_only) return;
    arena = Bytes(std::max<int64_t>(plan.bytes, 64));
    for (Root& root : roots) {
      if (root.kind != Root::Kind::constant) continue;
      if (!root.read) {
        root.owned.reset();
        root.mapped = nullptr;
      } else {
        memory.constant_bytes += root.bytes;
      }
    }
    base.assign(roots.size(), nullptr);
    for (size_t r = 0; r < roots.size(); ++r) {
      if (roots[r].kind == Root::Kind::constant) base[r] = const_cast<char*>(static_cast<const char*>(roots[r].mapped ? roots[r].mapped : roots[r].owned.get()));
      if (offsets[r] >= 0) base[r] = static_cast<char*>(arena.get()) + offsets[r];
    }
  }

  llvm::Error run(const HostInputs& inputs, HostOutputs& outputs) {
    const TeamSize team(context.threads);
    for (size_t k = 0; k < graph.inputs.size(); ++k) {
      const Value& v = *graph.inputs[k];
      auto it = inputs.find(v.name);
      if (it == inputs.end()) return error(Fault::usage, "input " + quoted(v.name) + " is not given");
      const TensorSpec spec = spec_of(v);
      if (it->second.dtype != spec.dtype || it->second.dims != spec.dims)
        return bad_input("input " + quoted(v.name) + ": expected " + shape_text(spec.dtype, spec.dims) + ", found " + shape_text(it->second.dtype, it->second.dims));
      base[size_t(places.lookup(&v).root)] = const_cast<char*>(static_cast<const char*>(it->second.data));
    }
    for (const GraphOutput& o : graph.outputs) {
      const TensorSpec spec = spec_of(*o.value);
      HostArray& array = outputs[o.name];
      if (array.dtype != spec.dtype || array.dims != spec.dims || int64_t(array.bytes.size()) != spec.bytes())
        array = {spec.dtype, spec.dims, std::vector<char>(size_t(spec.bytes()))};
    }
    for (size_t r = 0; r < roots.size(); ++r)
      if (roots[r].kind == Root::Kind::output) base[r] = outputs.find(graph.outputs[size_t(roots[r].index)].name)->second.bytes.data();

    using Clock = std::chrono::steady_clock;
    auto microseconds = [&] { return std::chrono::duration<double, std::micro>(Clock::now().time_since_epoch()).count(); };
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
        if (auto e = communicate(options.communicator, *step.collective, in[0], out[0], step.work.operands[0].bytes())) return e;
      } else {
        if (auto e = step.kernel.run({in, out, static_cast<char*>(arena.get()) + step.scratch_offset})) return e;
      }
      if (options.profile) {
        int64_t bytes = 0;
        for (const TensorSpec& s : step.work.operands) bytes += s.bytes();
        for (const TensorSpec& s : step.work.results) bytes += s.bytes();
        times.push_back({step.last->out().name, label(step), step.collective ? step.last->text("id").str() : std::string(), step.last->phase, start, microseconds() - start, step.flops, bytes});
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
  void* address(const Place& p) const {
    char* b = base[size_t(root_of(p.root))];
    return b ? b + p.offset : nullptr;
  }
  static std::string label(const Step& step) {
    std::string out;
    for (const Node* n : step.nodes) out += (out.empty() ? "" : "+") + n->op->name;
    return out;
  }
};

Executable::Executable() = default;
Executable::~Executable() = default;

llvm::Expected<std::unique_ptr<Executable>> Executable::compile(const Graph& rank_graph, const ExecutableOptions& options) {
  std::unique_ptr<Executable> out(new Executable());
  out->state_ = std::make_unique<State>(rank_graph, options);
  try {
    if (auto e = out->state_->compile()) return e;
  } catch (const dnnl::error& e) {
    return error(Fault::internal, llvm::Twine("oneDNN: ") + e.what());
  }
  return out;
}
llvm::Expected<MemoryNumbers> Executable::plan_memory_of(const Graph& rank_graph) {
  State state(rank_graph, {});
  state.context.plan_only = true;
  try {
    if (auto e = state.compile()) return e;
  } catch (const dnnl::error& e) {
    return error(Fault::internal, llvm::Twine("oneDNN: ") + e.what());
  }
  return state.memory;
}
llvm::Error Executable::run(const HostInputs& inputs, HostOutputs& outputs) {
  try {
    return state_->run(inputs, outputs);
  } catch (const dnnl::error& e) {
    return error(Fault::internal, llvm::Twine("oneDNN: ") + e.what());
  }
}
const MemoryNumbers& Executable::memory() const { return state_->memory; }
double Executable::flops() const { return state_->flops; }
llvm::ArrayRef<StepTime> Executable::profile() const { return state_->times; }
std::vector<std::string> Executable::steps() const {
  std::vector<std::string> out;
  for (const Step& s : state_->steps) out.push_back(s.last->out().name + " " + State::label(s));
  return out;
}
}  // namespace optp
