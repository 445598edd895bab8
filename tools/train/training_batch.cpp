#include "tools/train/training_batch.h"

#include <numeric>

#include "frontend/ir/diagnostic.h"
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
bool is_mask(const Port& p) { return llvm::StringRef(p.name).contains("mask") && p.dims.size() == 2; }
bool is_positions(const Port& p) {
  return llvm::StringRef(p.name).contains("position") && p.dims.size() == 2 && is_integer(p.dtype);
}

HostArray integers(DType dtype, llvm::ArrayRef<int64_t> dims, std::vector<int64_t> values) {
  Array a;
  a.resize(/*floating=*/false, dims);
  a.i = std::move(values);
  return host_array(a, dtype);
}
}  // namespace

llvm::Expected<BatchMaker> BatchMaker::create(llvm::StringRef model, std::vector<Port> ports, DimValues asked,
                                              llvm::ArrayRef<size_t> ranks) {
  BatchMaker out;
  out.asked_ = std::move(asked), out.ranks_ = ranks.vec();
  std::optional<size_t> found;
  auto could_be_ids = [](const Port& p) {
    return p.role == Plan::Role::data && is_integer(p.dtype) && p.dims.size() == 2 && !is_mask(p) && !is_positions(p);
  };
  for (size_t k = 0; k < ports.size(); ++k)
    if (could_be_ids(ports[k]) && (!found || ports[k].name == "input_ids")) found = k;
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

llvm::Expected<TrainingBatch> BatchMaker::make(const Sequences& sequences, llvm::ArrayRef<int64_t> rows,
                                               int64_t batch) const {
  const int64_t count = fixed_batch() ? batch : int64_t(rows.size()), length = sequences.length();
  const llvm::SmallVector<int64_t, 4> shape{count, length};
  const auto elements = size_t(count * length);
  std::vector<int64_t> ids(elements, 0), labels(elements, ignored_label), positions(elements);
  TrainingBatch out;
  for (size_t r = 0; r < rows.size(); ++r) {
    sequences.fill(rows[r], ids.data() + r * size_t(length), labels.data() + r * size_t(length));
    out.tokens += sequences.tokens_of(rows[r]);
  }
  for (size_t k = 0; k < elements; ++k) positions[k] = int64_t(k) % length;

  // Extents follow from the tokens; a cache is empty.
  Graph global;
  Shapes shapes;
  for (const Port& p : ports_) {
    global.add_input(p.name, {p.dtype, p.dims});
    if (!is_cache(p)) shapes[p.name] = shape;
  }
  auto bound = bind_input_dims(global, shapes, asked_);
  if (!bound) return bound.takeError();
  out.dims = std::move(*bound);
  for (const Port& p : ports_)
    if (is_cache(p))
      for (Dim d : p.dims)
        for (const std::string& s : symbols_of(d)) out.dims.try_emplace(s, 0);

  out.ranks = PerRank<HostArrays>(ranks_);
  for (size_t k = 0; k < ports_.size(); ++k) {
    const Port& p = ports_[k];
    HostArray whole;
    if (k == ids_)
      whole = integers(p.dtype, shape, ids);
    else if (p.role == Plan::Role::labels)
      whole = integers(p.dtype, shape, labels), out.counted = counted_labels(whole);
    else if (is_positions(p))
      whole = integers(p.dtype, shape, positions);
    else if (is_mask(p)) {
      Array ones;
      ones.resize(is_float(p.dtype), shape);
      if (ones.is_float)
        ones.f.assign(elements, 1);
      else
        ones.i.assign(elements, 1);
      whole = host_array(ones, p.dtype);
    } else {
      int64_t n = 1;
      whole.dtype = p.dtype;
      for (Dim d : p.dims) {
        auto extent = evaluate(d, out.dims);
        if (!extent) return extent.takeError();
        whole.dims.push_back(*extent);
        n *= *extent;
      }
      if (n != 0)
        return error(Code::malformed)
            .tensor("input", p.name)
            .expected("a cache that may be empty")
            .found(to_string(p.dims));
    }
    for (const size_t r : ranks_) {
      auto shard = shard_of(p, r, out.dims);
      if (!shard) return shard.takeError();
      out.ranks[r][p.name] = take(*shard, whole);
    }
  }
  return out;
}
}  // namespace optp
