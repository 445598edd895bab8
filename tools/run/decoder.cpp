#include "tools/run/decoder.h"

#include <cstring>

#include "frontend/ir/diagnostic.h"
#include "passes/cached_decoder.h"
#include "passes/input_names.h"
#include "passes/weights.h"
#include "runtime/packed_weights.h"
#include "tools/run/dead_nodes.h"
#include "tools/run/execution.h"
#include "tools/run/machine_memory.h"
#include "tools/run/prepare.h"

namespace optp {
namespace {
bool is_cache(const Graph& graph, const Value& input) {
  return llvm::any_of(graph.states, [&](const State& s) { return s.input == input.name; });
}
const State& state_of(const Graph& graph, const Value& input) {
  return *llvm::find_if(graph.states, [&](const State& s) { return s.input == input.name; });
}
llvm::SmallVector<int64_t, 4> numbers(llvm::ArrayRef<Dim> dims) {
  llvm::SmallVector<int64_t, 4> out;
  for (Dim d : dims) out.push_back(*d.constant());
  return out;
}
HostArray zeros(DType dtype, llvm::ArrayRef<int64_t> dims) {
  HostArray out{dtype, Extents(dims.begin(), dims.end()), {}};
  out.bytes.resize(size_t(count_of(dims) * size_bytes(dtype)));
  return out;
}
// The rows along `axis` that `from` has, at the front of `to`.
void copy_front(const HostArray& from, HostArray& to, size_t axis) {
  int64_t outer = 1, inner = size_bytes(from.dtype);
  for (size_t d = 0; d < axis; ++d) outer *= from.dims[d];
  for (size_t d = axis + 1; d < from.dims.size(); ++d) inner *= from.dims[d];
  const size_t n = size_t(from.dims[axis] * inner), step = size_t(to.dims[axis] * inner);
  for (int64_t o = 0; o < outer; ++o)
    std::memcpy(to.bytes.data() + size_t(o) * step, from.bytes.data() + size_t(o) * n, n);
}
}  // namespace

llvm::Expected<std::unique_ptr<Decoder>> Decoder::create(World& world, PerRank<std::unique_ptr<Graph>> ranks,
                                                         const Mesh& mesh, const DecoderOptions& options) {
  std::unique_ptr<Decoder> out(new Decoder(world));
  out->mesh_ = mesh;
  out->options_ = options;
  out->graphs_ = std::move(ranks);
  out->kept_ = PerRank<HostArrays>(world.held());
  out->packed_ = PerRank<std::shared_ptr<PackedWeights>>(world.held());
  for (const size_t r : world.held()) out->packed_[r] = std::make_shared<PackedWeights>();
  if (auto e = out->find_roles()) return e;
  return out;
}

llvm::Expected<std::unique_ptr<Decoder>> Decoder::create(World& world, Job& job, llvm::StringRef random_weights,
                                                         DecoderOptions options) {
  if (auto e = prepare_weights(job, random_weights)) return e;
  auto ids = ids_of(*job.whole);
  if (!ids) return ids.takeError();
  options.ids = (*ids)->name;
  if (const Value* v = job.imported->find(options.ids)) options.table_rows = rows_indexed(*v);
  PerRank<std::unique_ptr<Graph>> ranks(world.held());
  for (const size_t r : world.held()) ranks[r] = std::move(job.ranks[r]);
  return create(world, std::move(ranks), job.whole->mesh, options);
}

static llvm::ArrayRef<Dim> whole_dims(const Value& v) { return v.logical_dims.empty() ? v.type.dims : v.logical_dims; }
// By what an input runs over: rows and new tokens, or all of them.
llvm::Error Decoder::find_roles() {
  const Graph& graph = *graphs_[world_.held().front()];
  const Value* ids = graph.find(options_.ids);
  if (!ids || ids->ndim() != 2) return error(Code::bug).tensor("input", options_.ids).expected("ids of two dims");
  rows_dim_ = whole_dims(*ids)[0];
  count_dim_ = ids->type.dims[1];
  for (const Value* v : graph.inputs)
    if (is_cache(graph, *v)) capacity_dim_ = v->type.dims[size_t(state_of(graph, *v).axis)];
  for (const Value* v : graph.inputs) {
    if (is_cache(graph, *v)) continue;
    const Dim last = v->ndim() == 0 ? Dim(0) : v->type.dims.back();
    const bool has_rows = v->ndim() == 2 && whole_dims(*v)[0] == rows_dim_;
    const bool is_table = v->ndim() == 2 && (has_rows || v->type.dims[0].is(1));
    if (v == ids)
      inputs_.push_back({v->name, Role::ids, has_rows});
    else if (options_.given.contains(v->name))
      inputs_.push_back({v->name, Role::given});
    else if (v->ndim() == 1 && last == count_dim_)
      inputs_.push_back({v->name, Role::places});
    else if (is_table && last == capacity_dim_)
      inputs_.push_back({v->name, Role::mask, has_rows});
    else if (is_table && last == count_dim_ && !is_float(v->type.dtype))
      inputs_.push_back(
          {v->name, input_name(v->name) == InputName::positions ? Role::positions : Role::zeros, has_rows});
    else
      return error(Code::not_supported)
          .in_file(graph.source)
          .tensor("input", v->name)
          .expected("ids, a mask or positions of tokens")
          .found(to_string(v->type))
          .hint("give it one that is the same in each step: --input " + v->name + "=@FILE.npy");
  }
  const GraphOutput* output = logits_among(graph, rows_dim_, options_.table_rows);
  if (!output)
    return error(Code::not_supported)
        .in_file(graph.source)
        .what("generating")
        .expected("an output of logits, [batch, sequence, vocabulary] or those of the last token, [batch, vocabulary]")
        .found("none");
  logits_ = output->name;
  const Value& logits = *output->value;
  if (logits.ndim() == 3 && !(logits.type.dims[1] == count_dim_ || logits.type.dims[1].is(1)))
    return error(Code::not_supported)
        .in_file(graph.source)
        .what("generating")
        .tensor("output", logits_)
        .expected("[batch, sequence, vocabulary]")
        .found(to_string(logits.type));
  if (logits.sharding && !logits.sharding->is_replicated())
    return error(Code::not_supported)
        .in_file(graph.source)
        .what("generating")
        .tensor("output", logits_)
        .expected("whole on every device")
        .found(to_string(*logits.sharding))
        .hint("--outputs whole, which is the default");
  for (const size_t r : graphs_.ranks()) {
    llvm::erase_if(graphs_[r]->outputs, [&](const GraphOutput& o) {
      return o.name != logits_ && llvm::none_of(graph.states, [&](const State& s) { return s.output == o.name; });
    });
  }
  return erase_dead(world_, graphs_);
}

llvm::Error Decoder::begin(int64_t rows, int64_t most) {
  rows_ = rows, most_ = most, taken_ = 0;
  capacity_ = capacity_dim_.constant().value_or(0);
  for (const size_t r : world_.held()) kept_[r].clear();
  if (capacity_ == 0 || most <= capacity_) return llvm::Error::success();
  return too_long_for_caches(graphs_[world_.held().front()]->source, capacity_, most);
}
llvm::Error too_long_for_caches(llvm::StringRef file, int64_t capacity, int64_t tokens) {
  return error(Code::out_of_range)
      .in_file(file)
      .what("caches")
      .expected("room for " + llvm::Twine(tokens) + " tokens, prompt and all new ones but the last")
      .found("for " + llvm::Twine(capacity))
      .hint("cut the model with a larger --kv-cache, or make fewer tokens");
}
// Capacity doubles, so that few shapes are compiled and short texts don't pay for long ones.
void Decoder::make_room(int64_t tokens) {
  if (tokens <= capacity_) return;
  constexpr int64_t least = 64;
  int64_t wanted = std::max(least, capacity_);
  while (wanted < tokens) wanted *= 2;
  capacity_ = std::max(tokens, std::min(wanted, most_));
}

llvm::Expected<RankThreads*> Decoder::bound(int64_t count) {
  Bound& b = bound_[{rows_, count, capacity_}];
  if (b.threads) return b.threads.get();
  DimValues dims = options_.dims;
  for (const auto& [dim, extent] : {std::pair(rows_dim_, rows_), {count_dim_, count}, {capacity_dim_, capacity_}})
    if (const auto name = name_of(dim)) dims[name->str()] = extent;
  PerRank<std::unique_ptr<Graph>> graphs(world_.held());
  for (const size_t r : world_.held()) {
    auto g = bind_to_run(*graphs_[r], dims);
    if (!g) return g.takeError();
    graphs[r] = std::move(*g);
  }
  RankThreadsOptions options;
  options.threads_per_device = threads_for(int64_t(world_.size()), options_.threads_per_device);
  options.packed = &packed_;
  options.executable.profile = options_.profile;
  auto threads = RankThreads::create(world_, pointers_to(graphs), options);
  if (!threads) return threads.takeError();
  b.graphs = std::move(graphs);
  b.threads = std::move(*threads);
  return b.threads.get();
}

// Rows that were never written are zeros: masks leave them out, and what is no number would not be left out.
void Decoder::grow_caches(const PerRank<std::unique_ptr<Graph>>& graphs) {
  for (const size_t r : world_.held())
    for (const Value* v : graphs[r]->inputs) {
      if (!is_cache(*graphs[r], *v)) continue;
      const State& state = state_of(*graphs[r], *v);
      HostArray& cache = kept_[r][state.output];
      const auto dims = numbers(v->type.dims);
      if (cache.dims == dims) continue;
      HostArray larger = zeros(v->type.dtype, dims);
      if (taken_ > 0) copy_front(cache, larger, size_t(state.axis));
      cache = std::move(larger);
    }
}

HostArrays Decoder::inputs_for(const Graph& graph, llvm::ArrayRef<int64_t> ids, int64_t count) const {
  HostArrays out;
  for (const Input& input : inputs_) {
    if (input.role == Role::given) {
      out[input.name] = options_.given.find(input.name)->second;
      continue;
    }
    const DType dtype = graph.find(input.name)->type.dtype;
    const int64_t rows = input.has_rows ? rows_ : 1;
    Array a;
    switch (input.role) {
      case Role::places:
        a.resize(/*floating=*/false, {count});
        for (int64_t k = 0; k < count; ++k) a.i[size_t(k)] = taken_ + k;
        break;
      case Role::mask:
        a.resize(is_float(dtype), {rows, capacity_});
        std::fill(a.f.begin(), a.f.end(), 1);
        std::fill(a.i.begin(), a.i.end(), 1);
        break;
      default:
        a.resize(/*floating=*/false, {rows, count});
        for (size_t k = 0; k < a.i.size(); ++k)
          a.i[k] = input.role == Role::ids ? ids[k] : input.role == Role::positions ? taken_ + int64_t(k) % count : 0;
    }
    out[input.name] = host_array(a, dtype);
  }
  return out;
}

llvm::Expected<std::vector<double>> Decoder::take(llvm::ArrayRef<int64_t> ids, int64_t count) {
  make_room(taken_ + count);
  auto threads = bound(count);
  if (!threads) return threads.takeError();
  const auto& graphs = bound_[{rows_, count, capacity_}].graphs;
  grow_caches(graphs);
  PerRank<HostArrays> given(world_.held());
  PerRank<HostInputs> inputs(world_.held());
  for (const size_t r : world_.held()) {
    given[r] = take_shards(inputs_for(*graphs[r], ids, count), *graphs[r], mesh_, int64_t(r));
    inputs[r] = inputs_of(given[r]);
    // The same array goes in and comes out: a rank writes the new rows only.
    for (const State& s : graphs[r]->states) inputs[r][s.input] = &kept_[r][s.output];
  }
  if (auto e = (*threads)->run(inputs, kept_)) return e;
  taken_ += count, last_run_ = *threads;
  return last_logits(kept_[world_.held().front()][logits_]);
}
llvm::Expected<std::vector<double>> Decoder::last_logits(const HostArray& logits) const {
  const int64_t rows = logits.dims[0], count = logits.dims.size() == 3 ? logits.dims[1] : 1,
                vocabulary = logits.dims.back();
  if (rows != rows_) return error(Code::bug).what("logits of " + llvm::Twine(rows) + " rows");
  std::vector<double> out;
  out.reserve(size_t(rows * vocabulary));
  const size_t bytes = size_t(vocabulary * size_bytes(logits.dtype));
  for (int64_t r = 0; r < rows; ++r) {
    HostArray row{logits.dtype, {vocabulary}, {}};
    const char* from = logits.bytes.data() + size_t((r + 1) * count - 1) * bytes;
    row.bytes.assign(from, from + bytes);
    llvm::append_range(out, to_array(row).f);
  }
  return out;
}
int64_t Decoder::cache_bytes(size_t rank) const {
  int64_t out = 0;
  for (const State& s : graphs_[rank]->states)
    if (auto at = kept_[rank].find(s.output); at != kept_[rank].end()) out += int64_t(at->second.bytes.size());
  return out;
}
}  // namespace optp
