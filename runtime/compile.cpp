// From a rank's graph to steps in an arena: constants are computed, nodes fused, kernels compiled.
#include <cassert>
#include <cstring>
#include <stdexcept>

#include "frontend/ir/diagnostic.h"
#include "frontend/ir/file_pages.h"
#include "frontend/ir/op.h"
#include "runtime/attention.h"
#include "runtime/elementwise_group.h"
#include "runtime/executable_state.h"
#include "runtime/parallel.h"

namespace optp {
namespace {
FusedStep alone(const Node& node) {
  FusedStep step;
  step.anchor = step.last = &node;
  step.nodes = {&node};
  step.operands.assign(node.operands.begin(), node.operands.end());
  return step;
}

// Rows of a table are copied as bytes, which may lie anywhere; whatever else reads data reads elements.
bool is_table(const FusedStep& step, size_t operand) {
  return operand == 0 && step.nodes.size() == 1 && step.anchor->op->is(Trait::looks_up);
}

llvm::SmallVector<const Value*, 2> results_of(const FusedStep& step) {
  if (!step.results.empty()) return {step.results.begin(), step.results.end()};
  llvm::SmallVector<const Value*, 2> out;
  for (const auto& r : step.last->results) out.push_back(r.get());
  return out;
}
}  // namespace

int Executable::State::add_root(Root::Kind kind, int64_t bytes) {
  roots.emplace_back();
  roots.back().kind = kind;
  roots.back().bytes = bytes;
  return int(roots.size()) - 1;
}
const void* Executable::State::constant_bytes(const Value& v) const {
  auto it = places.find(&v);
  if (it == places.end()) return nullptr;
  const Root& root = roots[size_t(it->second.root)];
  if (root.kind != Root::Kind::constant) return nullptr;
  const char* base = root.bytes_now();
  static const char none[64] = {};
  return base ? base + it->second.offset : none;
}

// Data is loaded when the first kernel that needs it is compiled, and let go of behind the last, so that no more than
// one weight stands twice.
void Executable::State::declare(const Value& v) {
  if (places.count(&v)) return;
  const TensorSpec spec = spec_of(v);
  Root& root = roots[size_t(add_root(Root::Kind::constant, spec.bytes()))];
  memory.parameter_bytes += spec.bytes();
  places[&v] = {int(roots.size()) - 1, 0};
  root.data = &v;
  root.loaded = context.plan_only;
  root.open_uses = int64_t(v.uses.size());
}
llvm::Error Executable::State::check_weights() const {
  if (context.plan_only || options.missing == MissingWeights::fill) return llvm::Error::success();
  for (const auto& node : graph.nodes)
    for (const Value* v : node->operands)
      if (v->is_data() && v->data->is_missing())
        return error(Code::weights_not_found)
            .what("weights file " + quoted(v->data->missing) + " of " + quoted(v->name) + " is not there")
            .about({.file = v->data->missing, .tensor = v->name});
  return llvm::Error::success();
}
llvm::Error Executable::State::load(const Value& v, bool as_bytes) {
  const auto at = places.find(&v);
  if (at == places.end()) return llvm::Error::success();
  Root& root = roots[size_t(at->second.root)];
  return root.kind == Root::Kind::constant && !root.loaded ? load_data(root, as_bytes) : llvm::Error::success();
}
// The file's own bytes where this rank holds them in one run and they lie where elements may, or are read as bytes;
// else a copy of what it holds. A copy of what is small, too: a page that is read of a file takes up to 2 MiB of its
// neighbours into memory, and biases and norms lie between the weights of products.
llvm::Error Executable::State::load_data(Root& root, bool as_bytes) {
  const Value& v = *root.data;
  const TensorSpec spec = spec_of(v);
  root.loaded = !as_bytes;
  if (v.data->is_missing()) {
    Array array;
    array.resize(is_float(spec.dtype), spec.dims);
    for (size_t k = 0; k < array.f.size(); ++k) array.f[k] = double(int64_t((k * 2654435761u) % 2001) - 1000) * 2e-5;
    const std::vector<char> bytes = to_bytes(array, spec.dtype);
    root.owned = Bytes(spec.bytes());
    if (!bytes.empty()) std::memcpy(root.owned.get(), bytes.data(), bytes.size());
    return llvm::Error::success();
  }
  int64_t first = 0, total = 0, runs = 0;
  const Shard shard = v.data_shard();
  for_each_run(shard, [&](int64_t start, int64_t length) {
    if (runs++ == 0) first = start * size_bytes(spec.dtype);
    total += length * size_bytes(spec.dtype);
  });
  if (total != spec.bytes())
    return error(Code::bug)
        .tensor("data", v.name)
        .expected(llvm::Twine(spec.bytes()) + " bytes for " + to_string(v.type))
        .found(total);
  const bool is_small = v.data->in_file && spec.bytes() < large_table_bytes;
  if (runs == 1 && !v.data->wide && !is_small) {
    root.mapped = v.data->bytes.data() + first;
    root.loaded = reinterpret_cast<uintptr_t>(root.mapped) % size_t(size_bytes(spec.dtype)) == 0;
    if (root.loaded || as_bytes) return llvm::Error::success();
  }
  root.loaded = true;
  root.owned = Bytes(spec.bytes());
  constexpr size_t most_in_memory = size_t(16) << 20;  // of the file, beside the copy
  char* to = static_cast<char*>(root.owned.get());
  size_t read = 0;
  for_each_run(shard, *v.data, [&](llvm::ArrayRef<char> run) {
    std::memcpy(to, run.data(), run.size());
    to += run.size();
    if ((read += run.size()) >= most_in_memory) let_go(*v.data), read = 0;
  });
  let_go_with_neighbours(root);
  return llvm::Error::success();
}
// Where the float32 lie that a table is rounded from, if the rank holds it in one run of them: a copy in half precision
// would stand beside what the same weights are packed into.
std::optional<Executable::State::Place> Executable::State::wide_table(const Value& v) {
  if (context.plan_only || !v.is_data() || !v.data->wide) return std::nullopt;
  if (const auto known = wide.find(&v); known != wide.end()) return known->second;
  llvm::SmallVector<llvm::ArrayRef<char>, 2> runs;
  for_each_run(v.data_shard(), *v.data->wide, [&](llvm::ArrayRef<char> run) { runs.push_back(run); });
  if (runs.size() != 1 || int64_t(runs[0].size()) != 2 * spec_of(v).bytes()) return std::nullopt;
  const Place place{add_root(Root::Kind::constant, int64_t(runs[0].size())), 0};
  roots[size_t(place.root)].mapped = runs[0].data();
  return wide[&v] = place;
}

// The copy is not needed where the file's own bytes are all that is read at run time, or nothing is and another can be
// made.
void Executable::State::let_go_of_copy(Root& root) {
  const bool can_be_made_again = root.data && (root.data->data->wide || root.data->data->in_file);
  if (!root.owned.get() || root.read_elements) return;
  if (!root.mapped && (root.read || !can_be_made_again)) return;
  root.owned.reset();
  root.loaded = false;
}
void Executable::State::used(const Node& node) {
  for (const Value* v : node.operands) {
    if (!v->is_data()) continue;
    Root& root = roots[size_t(places.lookup(v).root)];
    let_go_of_copy(root);
    if (--root.open_uses > 0 || root.read || context.plan_only) continue;
    let_go_with_neighbours(root);
    root.owned.reset();
    root.mapped = nullptr;
    root.loaded = false;
  }
}

Work Executable::State::work_of(const FusedStep& fused) {
  Work work;
  work.node = fused.anchor;
  for (const Value* v : fused.operands) {
    TensorSpec& spec = work.operands.emplace_back(spec_of(*v));
    spec.constant = constant_bytes(*v);
    if (spec.constant)
      spec.read = [this, v] {
        if (auto e = load(*v)) throw std::logic_error(llvm::toString(std::move(e)));  // check_weights found all there
        return constant_bytes(*v);
      };
    spec.is_data = v->is_data();
    if (spec.is_data && v->data->in_file) spec.in_file = roots[size_t(places.lookup(v).root)].mapped;
    // Half precision that had to be widened for want of a product of it: the same in each executable, too.
    const Node* cast = spec.constant && v->producer && v->producer->op->is(Trait::converts) ? v->producer : nullptr;
    if (cast && cast->operand(0).is_data())
      spec.is_data = true, spec.name = cast->operand(0).name + " as " + to_string(spec.dtype).str();
  }
  for (const Value* v : results_of(fused)) work.results.push_back(spec_of(*v));
  work.before = fused.before;
  work.after = fused.after;
  work.attention = fused.attention;
  work.attention_gradient = fused.attention_gradient;
  work.group = fused.group;
  return work;
}

// A node of constants is computed now, unless that would only make a small thing large.
llvm::Expected<bool> Executable::State::fold(const Node& node) {
  if (node.op->collective) return false;
  int64_t from = 1 << 20, to = 0;
  for (const Value* v : node.operands) {
    if (!constant_bytes(*v)) return false;
    from += 4 * spec_of(*v).bytes();
  }
  for (const auto& r : node.results) to += spec_of(*r).bytes();
  if (to > from) return false;
  for (const Value* v : node.operands)
    if (auto e = load(*v)) return e;
  const Work work = work_of(alone(node));
  if (context.plan_only) {
    for (size_t k = 0; k < work.results.size(); ++k)
      places[&node.out(k)] = {add_root(Root::Kind::constant, work.results[k].bytes()), 0};
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
  used(node);
  return true;
}

llvm::Error Executable::State::compile() {
  context.threads = std::max(1, options.threads);
  if (!options.packed) options.packed = std::make_shared<PackedWeights>();
  context.packed = options.packed.get();
  const TeamSize team(context.threads);
  context.engine = dnnl::engine(dnnl::engine::kind::cpu, 0);
  context.stream = dnnl::stream(context.engine);
  if (auto e = add_inputs()) return e;
  for (const auto& node : graph.nodes)
    for (const Value* v : node->operands)
      if (v->is_data()) declare(*v);
  if (auto e = check_weights()) return e;
  // What was read of them before, to compare or to look for ties, is not needed again until they are packed.
  let_go_of_files();
  if (auto e = add_steps()) return e;
  for (const GraphOutput& o : graph.outputs) {
    if (o.value->is_data()) declare(*o.value);
    if (auto e = load(*o.value)) return e;
  }
  place_outputs();
  drop_unread_gathers();
  if (options.overlap_bytes) begin_collectives();
  merge_in_place();
  if (options.overlap_bytes) keep_until_done();
  plan();
  count_bytes();
  if (!context.plan_only) allocate();
  let_go_of_files();
  return llvm::Error::success();
}
void Executable::State::let_go_of_files() const {
  if (context.plan_only) return;
  for (const Value* v : graph.data()) let_go(*v->data);
}

llvm::Error Executable::State::add_inputs() {
  for (const Value* v : graph.inputs)
    for (Dim d : v->type.dims)
      if (!d.constant())
        return error(Code::dim_without_value).tensor("input", v->name).dim(d.text()).says("has no value");
  for (size_t k = 0; k < graph.inputs.size(); ++k) {
    const int root = add_root(Root::Kind::input, spec_of(*graph.inputs[k]).bytes());
    roots[size_t(root)].index = int(k);
    places[graph.inputs[k]] = {root, 0};
  }
  return llvm::Error::success();
}

// The step of a node that does most and that a kernel runs; none where that is the node alone. Kernels say what they
// can do: fewer steps are tried until one runs.
llvm::Expected<std::optional<FusedStep>> Executable::State::widest(const Node& node, const KernelContext& attempt,
                                                                   const llvm::DenseSet<const Node*>& taken) {
  for (const bool narrow : {true, false})
    for (size_t most = 8;; --most) {
      FusedStep step = fuse(graph, node, taken, most, narrow);
      if (narrow && step.absorbed.empty()) break;
      const size_t fused = step.nodes.size() - 1;
      most = std::min(most, fused);
      if (fused == 0 && !narrow) break;
      auto kernel = compile_kernel(work_of(step), attempt);
      if (!kernel) return kernel.takeError();
      if (kernel->run) return step;
      if (fused == 0) break;
    }
  return std::nullopt;
}

// What each node runs in: attentions first, then softmax takes what stands before it, then products what follows them,
// and elementwise nodes that are left are grouped.
llvm::Expected<Executable::State::Fused> Executable::State::fuse_nodes() {
  Fused out;
  if (!options.fuse) return out;
  KernelContext attempt = context;
  attempt.plan_only = true;  // as it will be compiled, but nothing is packed to try
  FoundAttentions attentions = find_attentions(graph, attempt, options.whole_mask_bytes);
  out.taken = std::move(attentions.taken);
  for (FusedStep& step : attentions.steps) out.by_last_node[step.last] = std::move(step);
  llvm::DenseMap<const Node*, size_t> absorbed;
  const auto take = [&](Node& node, Fusion anchor) -> llvm::Error {
    if (fusion_of(node) != anchor || out.taken.contains(&node)) return llvm::Error::success();
    auto step = widest(node, attempt, out.taken);
    if (!step) return step.takeError();
    if (!*step) return llvm::Error::success();
    out.taken.insert((*step)->nodes.begin(), (*step)->nodes.end());
    for (const Node* n : (*step)->absorbed) ++absorbed[n];
    out.by_last_node[(*step)->last] = std::move(**step);
    return llvm::Error::success();
  };
  for (const auto& node : graph.nodes)
    if (auto e = take(*node, Fusion::takes_before)) return e;
  // Of two products that are added up the later one adds: the earlier one need not wait, nor what it reads be kept.
  for (const auto& node : llvm::reverse(graph.nodes))
    if (auto e = take(*node, Fusion::takes_after)) return e;
  // What all users take as it was before needs no step of its own.
  for (const auto& [node, uses] : absorbed)
    if (uses == node->out().uses.size() && !graph.is_output(node->out())) out.taken.insert(node);
  llvm::DenseSet<const Value*> read;
  for (const auto& [last, step] : out.by_last_node) read.insert(step.operands.begin(), step.operands.end());
  for (FusedStep& step : find_elementwise_groups(graph, attempt, out.taken, read)) {
    out.taken.insert(step.nodes.begin(), step.nodes.end());
    out.by_last_node[step.last] = std::move(step);
  }
  return out;
}

// A head as large as all layers together would stand twice beside what they were packed into: such weights come first.
llvm::Error Executable::State::pack_largest(const Fused& fused) {
  if (context.plan_only) return llvm::Error::success();
  for (const auto& node : graph.nodes) {
    const auto found = fused.by_last_node.find(node.get());
    const bool is_fused = found != fused.by_last_node.end();
    if (!is_fused && fused.taken.contains(node.get())) continue;
    const FusedStep step = is_fused ? found->second : alone(*node);
    if (!step.anchor->op->is(Trait::product)) continue;
    const auto factors = llvm::ArrayRef(step.operands).take_front(2);
    if (llvm::none_of(
            factors, [&](const Value* v) { return v->is_data() && spec_of(*v).bytes() >= memory.parameter_bytes / 8; }))
      continue;
    auto kernel = compile_kernel(work_of(step), context);
    if (!kernel) return kernel.takeError();
    for (const Value* v : factors)
      if (v->is_data()) let_go(*v->data), let_go_of_copy(roots[size_t(places.lookup(v).root)]);
    if (kernel->run) early[step.last] = std::move(*kernel);
  }
  return llvm::Error::success();
}

llvm::Error Executable::State::add_steps() {
  auto fused = fuse_nodes();
  if (!fused) return fused.takeError();
  if (auto e = pack_largest(*fused)) return e;
  for (const auto& owned : graph.nodes) {
    const Node& node = *owned;
    auto step = fused->by_last_node.find(&node);
    if (step != fused->by_last_node.end()) {
      if (auto e = add_step(step->second)) return e;
      continue;
    }
    if (fused->taken.contains(&node)) continue;  // runs with a later node
    if (auto offset = view_offset(node)) {
      const Place from = places.lookup(&node.operand(0));
      places[&node.out()] = {from.root, from.offset + *offset};
      // What becomes of its view is not counted: it stays until all is compiled.
      if (node.operand(0).is_data()) roots[size_t(from.root)].open_uses += 1;
      continue;
    }
    auto folded = fold(node);
    if (!folded) return folded.takeError();
    if (*folded) continue;
    if (auto e = add_step(alone(node))) return e;
  }
  return llvm::Error::success();
}

// Step `now` reads this, or has it packed already.
void Executable::State::reads(Root& root, int64_t now, bool packed, bool as_bytes) {
  root.last = std::max(root.last, now);
  if (!packed) {
    root.read = true, root.read_elements |= !as_bytes;
    return;
  }
  root.packed = true;
  let_go_with_neighbours(root);  // others read what they need of it again
}
// What is read of a file brings its neighbours into memory, up to 2 MiB on either side, which may have been let go of
// before.
void Executable::State::let_go_with_neighbours(const Root& root) const {
  if (!root.data) return;
  auto stored = [](const Value& v) -> const Tensor& { return v.data->wide ? *v.data->wide : *v.data; };
  if (!stored(*root.data).in_file) return;
  auto range = [&](const Value& v) {
    const llvm::ArrayRef<char> bytes = stored(v).bytes;
    const auto first = reinterpret_cast<uintptr_t>(bytes.data());
    return std::pair(first, first + bytes.size());
  };
  const auto [first, end] = range(*root.data);
  constexpr uintptr_t reach = 2 << 20;
  for (const Value* v : graph.data()) {  // itself, too
    const auto [begin_of_other, end_of_other] = range(*v);
    if (begin_of_other < end + reach && first < end_of_other + reach) let_go(*v->data);
  }
}

llvm::Error Executable::State::add_step(const FusedStep& fused) {
  Step step;
  step.anchor = fused.anchor;
  step.last = fused.last;
  step.nodes = fused.nodes;
  for (const Node* n : fused.nodes) step.flops += double(flops_of(*n).constant().value_or(0));
  std::optional<Place> wide_operand;
  if (is_table(fused, 0)) wide_operand = wide_table(*fused.operands[0]);
  if (is_table(fused, 0) && !wide_operand)
    if (auto e = load(*fused.operands[0], /*as_bytes=*/true)) return e;
  step.work = work_of(fused);
  if (wide_operand) {
    step.work.operands[0].is_wide = true;
    if (fused.operands[0]->data->wide->in_file)
      step.work.operands[0].in_file = roots[size_t(wide_operand->root)].mapped;
  }
  if (fused.anchor->op->collective) {
    auto call = collective_step(*fused.anchor);
    if (!call) return call.takeError();
    step.kernel.in_place = in_place(*call) ? 1 : 0;
    step.collective = std::move(*call);
  } else {
    auto kernel = early.contains(step.last) ? llvm::Expected<Kernel>(std::move(early.find(step.last)->second))
                                            : compile_kernel(step.work, context);
    if (!kernel) return kernel.takeError();
    early.erase(step.last);
    step.kernel = std::move(*kernel);
    if (!step.kernel.run) {
      // What was computed at compile time since the fusion was tried made another form of it: each node by itself.
      assert((fused.nodes.size() > 1 || !fused.absorbed.empty()) && "a node alone always has a kernel");
      for (const Node* node : fused.absorbed)
        if (!places.count(&node->out()))
          if (auto e = add_step(alone(*node))) return e;
      for (const Node* node : fused.nodes)
        if (auto e = add_step(alone(*node))) return e;
      return llvm::Error::success();
    }
  }
  for (size_t k = 0; k < fused.operands.size(); ++k)
    if (!(step.kernel.packed >> k & 1) && !(k == 0 && wide_operand))
      if (auto e = load(*fused.operands[k], is_table(fused, k))) return e;
  flops += step.flops;
  memory.packed_bytes += step.kernel.packed_bytes;
  const int64_t now = int64_t(steps.size());
  for (size_t k = 0; k < fused.operands.size(); ++k) {
    step.in.push_back(k == 0 && wide_operand ? *wide_operand : places.lookup(fused.operands[k]));
    reads(roots[size_t(step.in[k].root)], now, step.kernel.packed >> k & 1, is_table(fused, k));
  }
  const auto results = results_of(fused);
  for (size_t k = 0; k < results.size(); ++k) {
    const int root = add_root(Root::Kind::arena, step.work.results[k].bytes());
    roots[size_t(root)].first = roots[size_t(root)].last = now;
    places[results[k]] = {root, 0};
    step.out.push_back({root, 0});
  }
  steps.push_back(std::move(step));
  for (const Node* n : fused.nodes) used(*n);
  for (const Node* n : fused.absorbed) used(*n);
  return llvm::Error::success();
}
}  // namespace optp
