#include "tools/train/training_batch.h"

#include <numeric>

#include "frontend/ir/diagnostic.h"
#include "passes/input_names.h"
#include "passes/training.h"
#include "tools/run/inputs.h"
#include "tools/run/labels.h"

namespace optp {
namespace {
// Only a cache may be empty: of all else that has a length nothing can be computed without any.
bool is_cache(const Port& p) {
  return is_float(p.dtype) && p.dims.size() >= 3 &&
         llvm::any_of(p.dims, [](Dim d) { return !d.constant() && lower_bound(d) == 0; });
}
bool is_mask(const Port& p) { return input_name(p.name) == InputName::mask && p.dims.size() == 2; }
bool is_positions(const Port& p) {
  return input_name(p.name) == InputName::positions && p.dims.size() == 2 && is_integer(p.dtype);
}

HostArray integers(DType dtype, llvm::ArrayRef<int64_t> dims, std::vector<int64_t> values) {
  Array a;
  a.resize(/*floating=*/false, dims);
  a.i = std::move(values);
  return host_array(a, dtype);
}

HostArray ones(DType dtype, llvm::ArrayRef<int64_t> dims) {
  Array a;
  a.resize(is_float(dtype), dims);
  if (a.is_float)
    a.f.assign(a.f.size(), 1);
  else
    a.i.assign(a.i.size(), 1);
  return host_array(a, dtype);
}

llvm::Expected<HostArray> empty_cache(const Port& port, const DimValues& dims) {
  HostArray cache;
  cache.dtype = port.dtype;
  int64_t n = 1;
  for (Dim d : port.dims) {
    auto extent = evaluate(d, dims);
    if (!extent) return extent.takeError();
    cache.dims.push_back(*extent);
    n *= *extent;
  }
  if (n != 0)
    return error(Code::malformed)
        .tensor("input", port.name)
        .expected("a cache that may be empty")
        .found(to_string(port.dims));
  return cache;
}

// What a batch says to the model's inputs, a row a sequence.
struct Tokens {
  llvm::SmallVector<int64_t, 4> shape;  // [batch, sequence]
  std::vector<int64_t> ids, labels, positions;
  int64_t count = 0;  // excluding padding
};
Tokens tokens_of(const Sequences& sequences, llvm::ArrayRef<int64_t> rows, int64_t batch) {
  const int64_t length = sequences.length();
  const auto elements = size_t(batch * length);
  Tokens t{.shape = {batch, length},
           .ids = std::vector<int64_t>(elements, 0),
           .labels = std::vector<int64_t>(elements, ignored_label),
           .positions = std::vector<int64_t>(elements)};
  for (size_t r = 0; r < rows.size(); ++r) {
    sequences.fill(rows[r], t.ids.data() + r * size_t(length), t.labels.data() + r * size_t(length));
    t.count += sequences.tokens_of(rows[r]);
  }
  for (size_t k = 0; k < elements; ++k) t.positions[k] = int64_t(k) % length;
  return t;
}

// Extents follow from the tokens; a cache is empty.
llvm::Expected<DimValues> dims_of(llvm::ArrayRef<Port> ports, llvm::ArrayRef<int64_t> shape, const DimValues& asked) {
  Graph global;
  Shapes shapes;
  for (const Port& p : ports) {
    global.add_input(p.name, {p.dtype, p.dims});
    if (!is_cache(p)) shapes[p.name].assign(shape.begin(), shape.end());
  }
  auto dims = bind_input_dims(global, shapes, asked);
  if (!dims) return dims.takeError();
  for (const Port& p : ports)
    if (is_cache(p))
      for (Dim d : p.dims)
        for (const std::string& s : symbols_of(d)) dims->try_emplace(s, 0);
  return dims;
}
}  // namespace

llvm::Expected<BatchMaker> BatchMaker::create(llvm::StringRef model, std::vector<Port> ports, DimValues asked,
                                              llvm::ArrayRef<size_t> ranks) {
  BatchMaker out;
  out.asked_ = std::move(asked), out.ranks_ = ranks.vec();
  std::optional<size_t> found;
  auto could_be_ids = [](const Port& p) {
    return p.role == Plan::Role::data && is_integer(p.dtype) && p.dims.size() == 2 && may_be_ids(input_name(p.name));
  };
  for (size_t k = 0; k < ports.size(); ++k)
    if (could_be_ids(ports[k]) && (!found || input_name(ports[k].name) == InputName::input_ids)) found = k;
  if (!found)
    return error(Code::malformed)
        .in_file(model)
        .what("inputs")
        .expected("one of token ids, [batch, sequence] and integer")
        .found("none");
  out.ids_ = *found;
  for (size_t k = 0; k < ports.size(); ++k) {
    const Port& p = ports[k];
    if (k != *found && p.role != Plan::Role::labels && !is_mask(p) && !is_positions(p) && !is_cache(p))
      return error(Code::malformed)
          .in_file(model)
          .tensor("input", p.name)
          .what("expected token ids, a mask, positions or a cache, which tokens say; found another")
          .about({.expected = "token ids, a mask, positions or a cache, which tokens say", .found = "another"})
          .hint("give arrays by --inputs-dir");
  }
  if (ports[*found].rows <= 0)
    return error(Code::malformed)
        .in_file(model)
        .tensor("input", ports[*found].name)
        .expected("ids of the rows of one table")
        .found("none");
  out.vocabulary_ = ports[*found].rows;
  for (const Port& p : ports)
    if (p.role == Plan::Role::labels && p.classes)
      out.vocabulary_ = std::min(out.vocabulary_, p.classes->constant().value_or(out.vocabulary_));
  out.ports_ = std::move(ports);
  return out;
}

llvm::Expected<WholeBatch> BatchMaker::make_whole(const Sequences& sequences, llvm::ArrayRef<int64_t> rows,
                                                  int64_t batch) const {
  const Tokens tokens = tokens_of(sequences, rows, fixed_batch() ? batch : int64_t(rows.size()));
  WholeBatch out;
  out.tokens = tokens.count;
  auto dims = dims_of(ports_, tokens.shape, asked_);
  if (!dims) return dims.takeError();
  out.dims = std::move(*dims);
  for (size_t k = 0; k < ports_.size(); ++k) {
    const Port& p = ports_[k];
    HostArray& whole = out.arrays[p.name];
    if (k == ids_) {
      whole = integers(p.dtype, tokens.shape, tokens.ids);
    } else if (p.role == Plan::Role::labels) {
      whole = integers(p.dtype, tokens.shape, tokens.labels);
      out.counted = counted_labels(whole);
    } else if (is_positions(p)) {
      whole = integers(p.dtype, tokens.shape, tokens.positions);
    } else if (is_mask(p)) {
      whole = ones(p.dtype, tokens.shape);
    } else {
      auto cache = empty_cache(p, out.dims);
      if (!cache) return cache.takeError();
      whole = std::move(*cache);
    }
  }
  return out;
}

llvm::Expected<TrainingBatch> BatchMaker::make(const Sequences& sequences, llvm::ArrayRef<int64_t> rows,
                                               int64_t batch) const {
  auto whole = make_whole(sequences, rows, batch);
  if (!whole) return whole.takeError();
  TrainingBatch out{PerRank<HostArrays>(ranks_), whole->dims, whole->tokens, whole->counted};
  for (const Port& p : ports_)
    for (const size_t r : ranks_) {
      auto shard = shard_of(p, r, out.dims);
      if (!shard) return shard.takeError();
      out.ranks[r][p.name] = take(*shard, whole->arrays[p.name]);
    }
  return out;
}
}  // namespace optp
