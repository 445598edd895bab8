// Where an executable's values lie: outputs where the caller wants them, results in their operands' place, the rest in
// one arena; and what has to stay while a collective travels.
#include <algorithm>

#include "runtime/executable_state.h"
#include "runtime/memory_plan.h"

namespace optp {
// Outputs are written where the caller wants them; one that shares its bytes with an input, a constant or another
// output is copied.
void Executable::State::place_outputs() {
  for (size_t k = 0; k < graph.outputs.size(); ++k) {
    if (options.unread.contains(graph.outputs[k].name)) continue;
    const Place place = places.lookup(graph.outputs[k].value);
    Root& root = roots[size_t(place.root)];
    root.read = root.read_elements = true;
    root.last = int64_t(steps.size());
    if (root.kind == Root::Kind::arena && place.offset == 0 && root.bytes == spec_of(*graph.outputs[k].value).bytes()) {
      root.kind = Root::Kind::output;
      root.index = int(k);
    }
  }
}

// What no step reads and nobody wants is not put together; this rank's part of it is still sent.
void Executable::State::drop_unread_gathers() {
  for (size_t s = 0; s < steps.size(); ++s) {
    if (!steps[s].collective || steps[s].collective->kind != Collective::all_gather) continue;
    Root& whole = roots[size_t(steps[s].out[0].root)];
    if (whole.last == int64_t(s) && steps[s].collective->group.size() > 1) whole.kind = Root::Kind::nowhere;
  }
}

// The first step that reads what a collective makes; behind all steps, if none does.
size_t Executable::State::needed_at(size_t collective) const {
  const int made = steps[collective].out[0].root;
  for (size_t s = collective + 1; s < steps.size(); ++s)
    if (llvm::any_of(steps[s].in, [&](const Place& p) { return p.root == made; })) return s;
  return steps.size();
}
// Those behind which something is computed that does not need them. Their operands stay as they are until then.
void Executable::State::begin_collectives() {
  size_t number = 0;
  for (size_t s = 0; s < steps.size(); ++s) {
    Step& step = steps[s];
    if (!step.collective || step.collective->group.size() < 2 || step.work.operands[0].bytes() < *options.overlap_bytes)
      continue;
    const size_t end = needed_at(s);
    const auto first = steps.begin() + ptrdiff_t(s) + 1, last = steps.begin() + ptrdiff_t(end);
    if (std::all_of(first, last, [](const Step& other) { return other.collective.has_value(); })) continue;
    step.is_begun = true;
    ++number;
    if (end < steps.size()) steps[end].awaits = number;
    Root& operand = roots[size_t(step.in[0].root)];
    if (operand.last > int64_t(s)) operand.last = std::max(operand.last, int64_t(end));
  }
}
// An operand that nothing else reads, and whose place the result has not taken.
void Executable::State::keep_until_done() {
  for (size_t s = 0; s < steps.size(); ++s) {
    if (!steps[s].is_begun) continue;
    Root& operand = roots[size_t(root_of(steps[s].in[0].root))];
    operand.last = std::max(operand.last, int64_t(needed_at(s)));
  }
}

// The operand takes the result's place, so that an output's memory can serve what becomes it.
void Executable::State::merge_in_place() {
  for (size_t s = 0; s < steps.size(); ++s) {
    const Step& step = steps[s];
    if (step.out.empty()) continue;
    Root& out = roots[size_t(step.out[0].root)];
    if (is_update(out)) continue;  // its place is that of the old value, which is read until then
    for (size_t k = 0; k < step.in.size(); ++k) {
      if (!becomes_result(step, k, int64_t(s))) continue;
      Root& in = roots[size_t(root_of(step.in[k].root))];
      in.merged = step.out[0].root;
      out.first = std::min(out.first, in.first);
      break;
    }
  }
}
bool Executable::State::is_update(const Root& root) const {
  if (root.kind != Root::Kind::output) return false;
  const std::string& name = graph.outputs[size_t(root.index)].name;
  return llvm::any_of(graph.updates, [&](const Update& u) { return u.output == name; }) ||
         llvm::any_of(graph.states, [&](const optp::State& s) { return s.output == name; });
}
// Steps that read the old value stand before the one that writes the new one, or it writes each element where it read
// it.
bool Executable::State::updates_in_place(llvm::StringRef input, llvm::StringRef output) const {
  const Value* before = nullptr;
  for (const Value* v : graph.inputs)
    if (v->name == input) before = v;
  const auto after = llvm::find_if(graph.outputs, [&](const GraphOutput& o) { return o.name == output; });
  if (!before || after == graph.outputs.end() || before->type != after->value->type) return false;
  const int from = places.lookup(before).root;
  const Place to = places.lookup(after->value);
  const Root &old = roots[size_t(from)], &made = roots[size_t(to.root)];
  if (made.kind != Root::Kind::output || graph.outputs[size_t(made.index)].name != output || old.last > made.first)
    return false;
  if (old.last < made.first) return true;
  const Step& step = steps[size_t(made.first)];
  const auto result = llvm::find_if(step.out, [&](const Place& p) { return p.root == to.root; }) - step.out.begin();
  const unsigned may = step.kernel.may_take(size_t(result));
  for (size_t k = 0; k < step.in.size(); ++k)
    if (step.in[k].root == from && !(may >> k & 1)) return false;
  return true;
}
bool Executable::State::becomes_result(const Step& step, size_t k, int64_t now) const {
  if (!(step.kernel.in_place >> k & 1)) return false;
  const int own = root_of(step.in[k].root);
  for (size_t j = 0; j < step.in.size(); ++j)
    if (j != k && root_of(step.in[j].root) == own) return false;  // another operand reads the same bytes
  const Root& in = roots[size_t(own)];
  return in.kind == Root::Kind::arena && in.last == now && step.in[k].offset == 0 &&
         in.bytes == roots[size_t(step.out[0].root)].bytes;
}

void Executable::State::plan() {
  std::vector<Lifetime> lifetimes;
  std::vector<int> which;
  for (size_t r = 0; r < roots.size(); ++r)
    if (roots[r].kind == Root::Kind::arena && roots[r].merged < 0 && roots[r].last >= 0) {
      lifetimes.push_back({roots[r].bytes, roots[r].first, roots[r].last});
      which.push_back(int(r));
    }
  memory.value_bytes = plan_memory(lifetimes).lower_bound_bytes;
  for (size_t s = 0; s < steps.size(); ++s)
    lifetimes.push_back({steps[s].kernel.scratch_bytes, int64_t(s), int64_t(s)});
  const MemoryPlan plan = plan_memory(lifetimes);
  offsets.assign(roots.size(), -1);
  for (size_t k = 0; k < which.size(); ++k) offsets[size_t(which[k])] = plan.offsets[k];
  for (size_t s = 0; s < steps.size(); ++s) steps[s].scratch_offset = plan.offsets[which.size() + s];
  memory.arena_actual_bytes = plan.bytes;
}

// Whether it is a table of which a lookup reads rows, and nobody anything else (kernels/gather.cpp lets go of them).
bool Executable::State::stays_in_file(const Root& root) const {
  if (!root.data || !root.read || root.read_elements || root.packed || root.bytes < large_table_bytes) return false;
  const Tensor& of_file = root.data->data->wide ? *root.data->data->wide : *root.data->data;
  int64_t runs = 0;  // several are put together in memory
  for_each_run(root.data->data_shard(), [&](int64_t, int64_t) { ++runs; });
  return runs <= 1 && (of_file.in_file || of_file.is_missing());
}
void Executable::State::count_bytes() {
  for (const Root& root : roots)
    if (stays_in_file(root)) memory.looked_up_bytes += root.bytes;
  memory.step_bytes = int64_t(2 * steps.size() * sizeof(Step));  // its kernel and lists take as much again
}

// Takes memory, and lets go of constants that no kernel reads as they are.
void Executable::State::allocate() {
  arena = Bytes(std::max<int64_t>(memory.arena_actual_bytes, 64));
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
    if (roots[r].kind == Root::Kind::constant) base[r] = const_cast<char*>(roots[r].bytes_now());
    if (offsets[r] >= 0) base[r] = static_cast<char*>(arena.get()) + offsets[r];
  }
}
}  // namespace optp
