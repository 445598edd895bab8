#include "frontend/ir/shard.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "frontend/ir/diagnostic.h"
#include "frontend/ir/symbolic_shard.h"
#include "llvm/ADT/BitVector.h"

namespace optp {

Shard Shard::whole_of(llvm::ArrayRef<int64_t> whole) {
  Shard out;
  out.whole.assign(whole.begin(), whole.end());
  for (int64_t n : whole) out.dims.push_back({{0, n}});
  return out;
}

Shard Shard::of(llvm::ArrayRef<int64_t> whole, const Sharding& sharding, const Mesh& mesh, int64_t rank) {
  const Dims dims(whole.begin(), whole.end());
  return llvm::cantFail(SymbolicShard::of(dims, sharding, mesh, rank).bind({}));
}

std::vector<Shard> Shard::of_all(llvm::ArrayRef<int64_t> whole, const Sharding& sharding, const Mesh& mesh) {
  std::vector<Shard> out;
  for (int64_t r = 0; r < mesh.devices(); ++r) out.push_back(of(whole, sharding, mesh, r));
  return out;
}

Shard Shard::chunk_of(llvm::ArrayRef<int64_t> whole, size_t dim, int64_t n, int64_t i) {
  Shard out = whole_of(whole);
  const int64_t start = chunk_start(whole[dim], n, i), size = chunk_size(whole[dim], n, i);
  out.dims[dim] = {size > 0 ? Interval{start, start + size} : Interval{}};
  return out;
}

llvm::Expected<Shard> Shard::checked(llvm::ArrayRef<int64_t> whole, llvm::ArrayRef<ShardDim> dims) {
  if (whole.size() != dims.size())
    return error(Code::shape_mismatch)
        .expected("intervals of " + llvm::Twine(whole.size()) + " dims")
        .found(dims.size());
  Shard out;
  out.whole.assign(whole.begin(), whole.end());
  for (size_t d = 0; d < dims.size(); ++d) {
    ShardDim& to = out.dims.emplace_back();
    int64_t end = 0;
    for (const Interval& i : dims[d]) {
      if (i.start < end || i.stop < i.start || i.stop > whole[d])
        return error(Code::shape_mismatch)
            .what("dim " + llvm::Twine(d))
            .expected("ascending intervals within 0:" + llvm::Twine(whole[d]))
            .found(llvm::Twine(i.start) + ":" + llvm::Twine(i.stop));
      end = i.stop;
      if (i.size() == 0) continue;
      if (!to.empty() && to.back().stop == i.start)
        to.back().stop = i.stop;
      else
        to.push_back(i);
    }
    if (to.empty()) to.push_back({0, 0});
  }
  return out;
}

Extents Shard::shape() const {
  Extents out;
  for (const ShardDim& dim : dims) {
    out.push_back(0);
    for (const Interval& i : dim) out.back() += i.size();
  }
  return out;
}
int64_t Shard::elements() const {
  int64_t n = 1;
  for (int64_t extent : shape()) n *= extent;
  return n;
}
bool Shard::is_whole() const { return shape() == whole; }

std::string to_string(const Shard& shard, size_t most) {
  std::string out = "[", whole;
  for (size_t d = 0; d < shard.dims.size(); ++d) {
    const ShardDim& dim = shard.dims[d];
    if (d) out += ", ", whole += ", ";
    for (size_t k = 0; k < dim.size() && k < most; ++k)
      out += (k ? "+" : "") + std::to_string(dim[k].start) + ":" + std::to_string(dim[k].stop);
    if (dim.size() > most) out += "+ and " + std::to_string(dim.size() - most) + " more";
    whole += std::to_string(shard.whole[d]);
  }
  return out + "] of [" + whole + "]";
}

namespace {
struct ShardParser {
  llvm::StringRef rest;
  bool eat(llvm::StringRef token) {
    rest = rest.ltrim();
    return rest.consume_front(token);
  }
  bool number(int64_t& n) {
    rest = rest.ltrim();
    return !rest.starts_with("-") && !rest.consumeInteger(10, n);
  }
  // "[" item ("," item)* "]", or "[]"
  bool list(llvm::function_ref<bool()> item) {
    if (!eat("[")) return false;
    if (eat("]")) return true;
    do {
      if (!item()) return false;
    } while (eat(","));
    return eat("]");
  }
  bool intervals(ShardDim& dim) {
    do {
      Interval& i = dim.emplace_back();
      if (!number(i.start) || !eat(":") || !number(i.stop)) return false;
    } while (eat("+"));
    return true;
  }
};
}  // namespace

llvm::Expected<Shard> take_shard(llvm::StringRef& rest) {
  ShardParser parser{rest};
  Extents whole;
  llvm::SmallVector<ShardDim, 4> dims;
  const bool read = parser.list([&] { return parser.intervals(dims.emplace_back()); }) && parser.eat("of") &&
                    parser.list([&] { return parser.number(whole.emplace_back()); });
  if (!read)
    return error(Code::malformed).expected("a shard such as '[0:12+20:32, 0:768] of [60, 768]'").found(quoted(rest));
  rest = parser.rest;
  return Shard::checked(whole, dims);
}
llvm::Expected<Shard> parse_shard(llvm::StringRef text) {
  llvm::StringRef rest = text;
  auto shard = take_shard(rest);
  if (!shard) return within(words("shard " + quoted(text)), shard.takeError());
  if (!rest.trim().empty())
    return error(Code::malformed).what("shard " + quoted(text)).expected("the end").found(quoted(rest.trim()));
  return shard;
}

void for_each_run(const Shard& shard, llvm::function_ref<void(int64_t, int64_t)> visit) {
  if (shard.elements() == 0) return;
  const size_t ndim = shard.whole.size();
  llvm::SmallVector<int64_t, 5> stride(ndim + 1, 1);
  for (size_t d = ndim; d-- > 0;) stride[d] = stride[d + 1] * shard.whole[d];
  // Trailing dims that are held whole belong to one run.
  size_t inner = ndim;
  while (inner > 0 && shard.dims[inner - 1][0] == Interval{0, shard.whole[inner - 1]}) --inner;
  if (inner == 0) return visit(0, stride[0]);
  int64_t at = 0, length = 0;  // the run so far: the next row's first interval may touch this row's last
  auto add = [&](int64_t start, int64_t more) {
    if (length > 0 && at + length != start) {
      visit(at, length);
      length = 0;
    }
    if (length == 0) at = start;
    length += more;
  };
  auto walk = [&](auto&& self, size_t d, int64_t offset) -> void {
    for (const Interval& i : shard.dims[d])
      if (d + 1 == inner)
        add(offset + i.start * stride[inner], i.size() * stride[inner]);
      else
        for (int64_t k = i.start; k < i.stop; ++k) self(self, d + 1, offset + k * stride[d + 1]);
  };
  walk(walk, 0, 0);
  visit(at, length);
}

void take(const Shard& shard, llvm::ArrayRef<char> whole, llvm::MutableArrayRef<char> part, int64_t element_bytes) {
  assert(int64_t(part.size()) == shard.elements() * element_bytes && "the part has the shard's elements");
  char* to = part.data();
  for_each_run(shard, [&](int64_t start, int64_t length) {
    std::memcpy(to, whole.data() + start * element_bytes, size_t(length * element_bytes));
    to += length * element_bytes;
  });
}
void put(const Shard& shard, llvm::MutableArrayRef<char> whole, llvm::ArrayRef<char> part, int64_t element_bytes) {
  assert(int64_t(part.size()) == shard.elements() * element_bytes && "the part has the shard's elements");
  const char* from = part.data();
  for_each_run(shard, [&](int64_t start, int64_t length) {
    std::memcpy(whole.data() + start * element_bytes, from, size_t(length * element_bytes));
    from += length * element_bytes;
  });
}

namespace {
// The indices of a dim, told apart by which shards hold them: the first index of each kind, in ascending order.
struct Holders {
  int64_t first;
  llvm::BitVector shards;
};
std::vector<Holders> holders_along(size_t dim, int64_t extent, llvm::ArrayRef<Shard> shards) {
  std::vector<int64_t> ends{0, extent};
  for (const Shard& s : shards)
    for (const Interval& i : s.dims[dim]) ends.push_back(i.start), ends.push_back(i.stop);
  std::ranges::sort(ends);
  ends.erase(std::unique(ends.begin(), ends.end()), ends.end());
  std::vector<llvm::BitVector> held(ends.size() - 1, llvm::BitVector(unsigned(shards.size())));
  for (size_t s = 0; s < shards.size(); ++s)
    for (const Interval& i : shards[s].dims[dim]) {
      const size_t from = size_t(std::ranges::lower_bound(ends, i.start) - ends.begin());
      for (size_t k = from; k < held.size() && ends[k] < i.stop; ++k) held[k].set(unsigned(s));
    }
  std::vector<Holders> out;
  for (size_t k = 0; k < held.size(); ++k)
    if (std::ranges::none_of(out, [&](const Holders& h) { return h.shards == held[k]; }))
      out.push_back({ends[k], std::move(held[k])});
  return out;
}
}  // namespace

std::optional<Extents> held_by_none(llvm::ArrayRef<int64_t> whole, llvm::ArrayRef<Shard> shards) {
  if (std::ranges::find(whole, 0) != whole.end()) return std::nullopt;
  std::vector<std::vector<Holders>> along;
  for (size_t d = 0; d < whole.size(); ++d) along.push_back(holders_along(d, whole[d], shards));
  // An element is held by the shards that hold its index along each dim.
  Extents at(whole.size(), 0);
  auto search = [&](auto&& self, size_t d, const llvm::BitVector& all) -> bool {
    if (all.none()) return true;
    if (d == whole.size()) return false;
    for (const Holders& h : along[d]) {
      llvm::BitVector both = all;
      both &= h.shards;
      at[d] = h.first;
      if (self(self, d + 1, both)) return true;
    }
    at[d] = 0;
    return false;
  };
  if (search(search, 0, llvm::BitVector(unsigned(shards.size()), true))) return at;
  return std::nullopt;
}
}  // namespace optp
