#include "tools/generate/source.h"

#include "frontend/ir/diagnostic.h"
#include "llvm/Support/FileSystem.h"
#include "passes/input_names.h"
#include "tools/cli/machine.h"
#include "tools/run/held_ranks.h"
#include "tools/run/prepare.h"
#include "tools/run/run.h"

namespace optp {
namespace {
// Of those that choose rows of a table by [batch, sequence].
llvm::Expected<InputSpec> ids_among(llvm::ArrayRef<Port> inputs, llvm::StringRef folder) {
  const Port* found = nullptr;
  for (const Port& p : inputs) {
    const InputName name = input_name(p.name);
    if (is_float(p.dtype) || p.dims.size() != 2 || p.rows == 0 || !may_be_ids(name)) continue;
    if (!found || name == InputName::input_ids) found = &p;
  }
  if (found) return InputSpec{found->name, found->dtype, found->dims, found->rows};
  return error(Code::not_supported)
      .in_file(folder)
      .what("generating")
      .expected("an input of ids, [batch, sequence]")
      .found("none");
}
llvm::Error take_plan(Source& s) {
  auto plan = read_plan(s.path);
  if (!plan) return plan.takeError();
  // One that grows is the model's own.
  if (llvm::none_of(plan->state, [](const Plan::State& state) { return state.capacity.has_value(); }))
    return error(Code::not_supported)
        .in_file(s.path)
        .what("generating")
        .expected("rank graphs with caches of a fixed number of tokens")
        .found(plan->state.empty() ? "none" : "caches that grow")
        .hint("partition the model with --kv-cache");
  auto ids = ids_among(plan->inputs, s.path);
  if (!ids) return ids.takeError();
  s.ids = ids->name, s.vocabulary = ids->rows;
  s.plan = std::move(*plan);
  return llvm::Error::success();
}
llvm::Error take_model(Source& s, const JobOptions& options) {
  if (auto e = can_compute(options.compute)) return e;
  remark_on_compute(options.compute);
  auto job = make_job(options);
  if (!job) return job.takeError();
  auto ids = ids_of(*job->whole);
  if (!ids) return ids.takeError();
  s.ids = (*ids)->name;
  for (const InputSpec& spec : input_specs(*job->imported))
    if (spec.name == s.ids) s.vocabulary = spec.rows;
  s.job = std::move(*job);
  return llvm::Error::success();
}
// A rank's file does not say how its inputs are cut, nor which are caches; the plan does.
void note_layouts(Graph& graph, const Plan& plan) {
  for (const Plan::State& s : plan.state) graph.states.push_back({s.input, s.output, s.axis});
  for (const Port& p : plan.inputs)
    if (Value* input = graph.find(p.name)) input->sharding = p.sharding, input->logical_dims = p.dims;
  for (const Port& p : plan.outputs)
    for (GraphOutput& o : graph.outputs)
      if (o.name == p.name) o.value->sharding = p.sharding, o.value->logical_dims = p.dims;
}
std::vector<InputSpec> specs_of(const Source& s) {
  if (s.job) return input_specs(*s.job->imported);
  std::vector<InputSpec> out;
  for (const Port& p : s.plan->inputs) out.push_back({p.name, p.dtype, p.dims, p.rows});
  return out;
}
// --input, whole, and the named dims that its shapes say.
llvm::Error take_inputs(const Source& s, llvm::ArrayRef<std::string> given, DecoderOptions& o) {
  Graph global;
  std::vector<InputSpec> specs = specs_of(s);
  for (const InputSpec& spec : specs) global.add_input(spec.name, {spec.dtype, spec.dims});
  auto is_given = [&](const InputSpec& spec) {
    return llvm::any_of(given, [&](llvm::StringRef text) { return text.starts_with(spec.name + "="); });
  };
  // What names no input is an error of its own: all are asked then.
  if (llvm::count_if(specs, is_given) == long(given.size()))
    llvm::erase_if(specs, [&](const InputSpec& spec) { return !is_given(spec); });
  if (s.job) o.dims = s.job->asked;
  auto arrays = make_inputs(
      specs, given, /*folder=*/"", o.dims,
      [&](const Shapes& shapes, DimValues values) { return bind_input_dims(global, shapes, std::move(values)); },
      /*invented=*/nullptr);
  if (!arrays) return arrays.takeError();
  o.given = std::move(*arrays);
  return llvm::Error::success();
}
}  // namespace

bool is_partitioned(const std::string& path) { return llvm::sys::fs::exists(path + "/plan.json"); }
llvm::Expected<Source> source_of(const JobOptions& options) {
  Source out{.path = options.model};
  if (auto e = is_partitioned(options.model) ? take_plan(out) : take_model(out, options)) return e;
  return out;
}

llvm::Error has_row(const Source& s, llvm::StringRef what, int64_t id) {
  if (s.vocabulary == 0 || id < s.vocabulary) return llvm::Error::success();
  return error(Code::out_of_range)
      .what(what)
      .expected("ids below " + llvm::Twine(s.vocabulary) + ", the rows of the table that '" + s.ids + "' chooses from")
      .found(id);
}
llvm::Error has_room(const Source& s, int64_t tokens) {
  if (s.plan) {
    for (const Plan::State& state : s.plan->state)
      if (const auto capacity = state.capacity ? state.capacity->constant() : std::nullopt)
        if (*capacity < tokens) return too_long_for_caches(s.path, *capacity, tokens);
    return llvm::Error::success();
  }
  // Tables have room for caches of a fixed number of tokens, or these would not have been made.
  if (const auto capacity = s.job->passes.kv_cache->constant())
    return *capacity < tokens ? too_long_for_caches(s.path, *capacity, tokens) : llvm::Error::success();
  auto limit = token_limit(*s.job->whole);
  if (!limit) return limit.takeError();
  if (*limit && (*limit)->tokens < tokens) return too_many_tokens(*s.job->whole, **limit, tokens);
  return llvm::Error::success();
}

llvm::Expected<std::unique_ptr<Decoder>> decoder_of(Source& s, World& world, llvm::ArrayRef<std::string> inputs,
                                                    llvm::StringRef random_weights, int64_t threads_per_device) {
  DecoderOptions options{.ids = s.ids, .table_rows = s.vocabulary, .threads_per_device = threads_per_device};
  if (auto e = take_inputs(s, inputs, options)) return e;
  if (s.job) return Decoder::create(world, *s.job, random_weights, std::move(options));
  auto ranks = read_held(s.path, *s.plan, world, random_weights);
  if (!ranks) return ranks.takeError();
  for (const size_t r : world.held()) note_layouts(*(*ranks)[r], *s.plan);
  return Decoder::create(world, std::move(*ranks), s.mesh(), options);
}
}  // namespace optp
