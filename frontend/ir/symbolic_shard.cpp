#include "frontend/ir/symbolic_shard.h"

#include "frontend/ir/diagnostic.h"
#include "llvm/Support/MathExtras.h"

namespace optp {

Dim SymbolicInterval::size() const {
  Dim n = stop - start;
  for (const Repeat& r : repeats) n = n * r.count;
  return n;
}

namespace {
// What a rank holds of a product, as one interval with its repetitions. From the minor factor up: as long as the
// factors below are held whole, a factor's part is one longer interval; above that, each of its indices repeats what is
// below.
SymbolicInterval held_of(const ProductSharding& product, const Mesh& mesh, int64_t rank) {
  SymbolicInterval held{0, 1, {}};
  Dim block = 1;  // the extent of the factors so far
  bool all = true;
  bool last_repeats_whole = false;  // the outermost repeat is of a whole factor: another whole one above joins it
  for (auto f = product.factors.rbegin(); f != product.factors.rend(); ++f) {
    if (f->axes.empty() && f->extent.is(1)) continue;
    const Dim start = bind_rank(Dim::start(f->extent, f->axes), mesh, rank),
              size = bind_rank(Dim::part(f->extent, f->axes), mesh, rank);
    if (all) {
      held = {start * block, (start + size) * block, {}};
      all = f->axes.empty();
    } else {
      held.start = held.start + start * block;
      held.stop = held.stop + start * block;
      if (f->axes.empty() && last_repeats_whole)
        held.repeats.front().count = held.repeats.front().count * size;
      else if (!size.is(1))
        held.repeats.insert(held.repeats.begin(), {size, block});
      last_repeats_whole = f->axes.empty();
    }
    block = block * f->extent;
  }
  return held;
}

// Of each part in turn. Intervals that touch are one, as far as the parts' extents tell.
SymbolicShardDim held_of(const DimSharding& dim, const Mesh& mesh, int64_t rank) {
  SymbolicShardDim out;
  Dim before = 0;
  for (const ProductSharding& part : dim.parts) {
    SymbolicInterval held = held_of(part, mesh, rank);
    held.start = held.start + before, held.stop = held.stop + before;
    before = before + part.extent();
    if (!out.empty() && out.back().stop == held.start && out.back().repeats.empty() && held.repeats.empty())
      out.back().stop = held.stop;
    else
      out.push_back(std::move(held));
  }
  return out;
}
bool has_numbers_only(const DimSharding& dim) {
  return llvm::all_of(dim.parts, [](const ProductSharding& p) {
    return llvm::all_of(p.factors, [](const FactorSharding& f) { return f.extent.constant().has_value(); });
  });
}

llvm::Error out_of_range(const SymbolicInterval& i) {
  return error(Code::malformed)
      .expected("intervals that ascend within the whole")
      .found(i.start.text() + ":" + i.stop.text());
}

// Adds the intervals that `i` stands for. `extent` bounds their number: each that is not empty has an index of its own.
llvm::Error expand(const SymbolicInterval& i, const DimValues& values, int64_t extent, ShardDim& out) {
  auto start = evaluate(i.start, values), stop = evaluate(i.stop, values);
  if (!start || !stop) return llvm::joinErrors(start.takeError(), stop.takeError());
  llvm::SmallVector<std::pair<int64_t, int64_t>, 2> repeats;  // count, stride
  bool wrong = *start < 0 || *stop < *start, empty = *start == *stop;
  for (const auto& r : i.repeats) {
    auto count = evaluate(r.count, values), stride = evaluate(r.stride, values);
    if (!count || !stride) return llvm::joinErrors(count.takeError(), stride.takeError());
    wrong |= *count < 0 || *stride < 0;
    empty |= *count == 0;
    repeats.emplace_back(*count, *stride);
  }
  if (wrong) return out_of_range(i);
  if (empty) return llvm::Error::success();
  // What the repetitions span, from the inner ones out: they must not overlap.
  int64_t span = *stop - *start;
  for (auto [count, stride] : llvm::reverse(repeats)) {
    if (count == 1) continue;
    int64_t last = 0;
    wrong |= stride < span || llvm::MulOverflow(count - 1, stride, last) || llvm::AddOverflow(last, span, span);
    if (wrong) return out_of_range(i);
  }
  if (*start > extent || span > extent - *start) return out_of_range(i);
  auto walk = [&](auto&& self, size_t level, int64_t offset) -> void {
    if (level == repeats.size()) return void(out.push_back({*start + offset, *stop + offset}));
    for (int64_t k = 0; k < repeats[level].first; ++k) self(self, level + 1, offset + k * repeats[level].second);
  };
  walk(walk, 0, 0);
  return llvm::Error::success();
}

llvm::Expected<ShardDim> expand(const SymbolicShardDim& dim, const DimValues& values, int64_t extent) {
  ShardDim out;
  for (const SymbolicInterval& i : dim)
    if (auto e = expand(i, values, extent, out)) return e;
  return out;
}
}  // namespace

SymbolicShard SymbolicShard::of(llvm::ArrayRef<Dim> whole, const Sharding& sharding, const Mesh& mesh, int64_t rank) {
  SymbolicShard out;
  out.whole.assign(whole.begin(), whole.end());
  for (size_t d = 0; d < whole.size(); ++d) {
    SymbolicShardDim& dim = out.dims.emplace_back();
    if (!sharding.dims[d].is_split()) {
      dim.push_back({0, whole[d], {}});
      continue;
    }
    dim = held_of(sharding.dims[d], mesh, rank);
    // Of numbers, the intervals one by one.
    if (!whole[d].constant() || !has_numbers_only(sharding.dims[d])) continue;
    const ShardDim numbers = llvm::cantFail(expand(dim, {}, *whole[d].constant()));
    const Shard merged = llvm::cantFail(Shard::checked({*whole[d].constant()}, {numbers}));
    dim.clear();
    for (const Interval& i : merged.dims[0]) dim.push_back({i.start, i.stop, {}});
  }
  return out;
}

Dims SymbolicShard::shape() const {
  Dims out;
  for (const SymbolicShardDim& dim : dims) {
    out.push_back(0);
    for (const SymbolicInterval& i : dim) out.back() = out.back() + i.size();
  }
  return out;
}

llvm::Expected<Shard> SymbolicShard::bind(const DimValues& values) const {
  Extents extents;
  llvm::SmallVector<ShardDim, 4> bound;
  for (size_t d = 0; d < dims.size(); ++d) {
    auto extent = evaluate(whole[d], values);
    if (!extent) return extent.takeError();
    auto dim = expand(dims[d], values, *extent);
    if (!dim) return within(words("dim " + llvm::Twine(d)), dim.takeError());
    extents.push_back(*extent);
    bound.push_back(std::move(*dim));
  }
  return Shard::checked(extents, bound);
}

std::string to_string(const SymbolicShard& shard) {
  std::string out = "[";
  for (size_t d = 0; d < shard.dims.size(); ++d) {
    if (d) out += ", ";
    for (size_t k = 0; k < shard.dims[d].size(); ++k) {
      const SymbolicInterval& i = shard.dims[d][k];
      out += (k ? "+" : "") + i.start.text() + ":" + i.stop.text();
      for (const auto& r : i.repeats) out += " (" + r.count.text() + " times, " + r.stride.text() + " apart)";
    }
  }
  return out + "] of " + to_string(llvm::ArrayRef<Dim>(shard.whole));
}
}  // namespace optp
