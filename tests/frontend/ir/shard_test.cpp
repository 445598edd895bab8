#include "frontend/ir/shard.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <random>
#include <vector>

#include "frontend/ir/symbolic_shard.h"

using namespace optp;

namespace {
std::string message(llvm::Error e) { return llvm::toString(std::move(e)); }
template <typename T>
T get(llvm::Expected<T> x) {
  if (!x) FAIL(message(x.takeError()));
  return std::move(*x);
}

std::vector<int64_t> indices(const ShardDim& dim) {
  std::vector<int64_t> out;
  for (const Interval& i : dim)
    for (int64_t k = i.start; k < i.stop; ++k) out.push_back(k);
  return out;
}

// A dim as a product of factors, each with the positions of the mesh axes that split it.
struct Factor {
  int64_t extent;
  std::vector<std::string> axes;
};
using FactorList = std::vector<Factor>;
int64_t extent_of(const FactorList& factors) {
  int64_t n = 1;
  for (const Factor& f : factors) n *= f.extent;
  return n;
}
DimSharding sharding_of(const FactorList& factors) {
  DimSharding out;
  for (const Factor& f : factors) out.factors().push_back({f.extent, AxisUses(f.axes.begin(), f.axes.end())});
  return out;
}
// The indices that a rank holds, found index by index: each factor's digit must lie in the rank's chunk of it.
std::vector<int64_t> indices_digit_by_digit(const FactorList& factors, const Mesh& mesh, int64_t rank) {
  std::vector<int64_t> out;
  for (int64_t x = 0; x < extent_of(factors); ++x) {
    bool held = true;
    int64_t rest = x;
    for (auto f = factors.rbegin(); f != factors.rend(); ++f) {
      const int64_t digit = rest % f->extent;
      rest /= f->extent;
      int64_t start = 0, size = f->extent;
      for (const std::string& axis : f->axes) {
        const int64_t k = mesh.find(axis)->size, i = mesh.coordinate(axis, rank);
        start += chunk_start(size, k, i);
        size = chunk_size(size, k, i);
      }
      held &= start <= digit && digit < start + size;
    }
    if (held) out.push_back(x);
  }
  return out;
}
Sharding one_dim(const FactorList& factors) {
  Sharding s;
  s.dims = {sharding_of(factors)};
  return s;
}
// The same, with a name in place of each extent.
SymbolicShard named(const FactorList& factors, const Mesh& mesh, int64_t rank, DimValues& values) {
  Sharding s;
  s.dims.resize(1);
  Dim whole = 1;
  for (size_t f = 0; f < factors.size(); ++f) {
    const std::string name = "n" + std::to_string(f);
    values[name] = factors[f].extent;
    const Dim extent = Dim::symbol(name, 0);
    s.dims[0].factors().push_back({extent, AxisUses(factors[f].axes.begin(), factors[f].axes.end())});
    whole = whole * extent;
  }
  return SymbolicShard::of({whole}, s, mesh, rank);
}
const std::vector<std::string> meshes = {"1", "2", "3", "5", "8", "a=2,b=3", "a=3,b=2", "a=2,b=2,c=2"};
// FactorList of random extents, each axis of the mesh on one of them or on none.
FactorList random_factors(const Mesh& mesh, std::mt19937_64& random) {
  FactorList out(1 + random() % 4);
  for (Factor& f : out) f.extent = int64_t(random() % 8 ? 1 + random() % 9 : 0);
  for (const MeshAxis& a : mesh.axes)
    if (const size_t at = random() % (out.size() + 1); at < out.size()) out[at].axes.push_back(a.name);
  return out;
}
std::string text_of(const FactorList& factors) {
  std::string out;
  for (const Factor& f : factors) {
    out += std::to_string(f.extent);
    for (const std::string& axis : f.axes) out += "/" + axis;
    out += " ";
  }
  return out;
}
Shard random_shard(std::mt19937_64& random, llvm::ArrayRef<int64_t> whole) {
  llvm::SmallVector<ShardDim, 4> dims;
  for (int64_t n : whole) {
    ShardDim& dim = dims.emplace_back();
    for (int64_t at = 0; at < n;) {
      const int64_t start = at + int64_t(random() % 3), stop = std::min(n, start + int64_t(random() % 4));
      if (start <= stop) dim.push_back({start, stop});
      at = std::max(stop, start);
      if (random() % 4 == 0) break;
    }
  }
  return get(Shard::checked(whole, dims));
}
Extents random_extents(std::mt19937_64& random) {
  Extents out;
  for (size_t d = random() % 4; d-- > 0;) out.push_back(int64_t(random() % 7));
  return out;
}
}  // namespace

TEST_CASE("a split of a middle factor is one interval for each index above it") {
  const Mesh mesh = get(parse_mesh("2"));
  const FactorList qkv{{3, {}}, {5, {"tensor"}}, {4, {}}};  // a fused qkv: 3 × 5 heads × 4
  CHECK(Shard::of({60}, one_dim(qkv), mesh, 0) == Shard{{60}, {{{0, 12}, {20, 32}, {40, 52}}}});
  CHECK(Shard::of({60}, one_dim(qkv), mesh, 1) == Shard{{60}, {{{12, 20}, {32, 40}, {52, 60}}}});
  CHECK(to_string(Shard::of({60}, one_dim(qkv), mesh, 0)) == "[0:12+20:32+40:52] of [60]");
}

TEST_CASE("a dim split along two axes in two factors holds what both splits leave") {
  const Mesh mesh = get(parse_mesh("data=2,tensor=2"));
  const FactorList both{{3, {"data"}}, {2, {}}, {5, {"tensor"}}, {2, {}}};
  CHECK(to_string(Shard::of({60}, one_dim(both), mesh, 0)) == "[0:6+10:16+20:26+30:36] of [60]");
  CHECK(to_string(Shard::of({60}, one_dim(both), mesh, 3)) == "[46:50+56:60] of [60]");
  // An open batch of sequences: what is above the inner split is repeated for each of the outer one's indices.
  const Dim batch = Dim::symbol("batch");
  Sharding s;
  s.dims = {DimSharding{{{batch, {}}, {6, {"tensor"}}, {2, {}}}}};
  CHECK(to_string(SymbolicShard::of({batch * Dim(12)}, s, mesh, 1)) == "[6:12 (batch times, 12 apart)] of [12*batch]");
  s.dims = {DimSharding{{{batch, {"data"}}, {6, {"tensor"}}, {2, {}}}}};
  const SymbolicShard last = SymbolicShard::of({batch * Dim(12)}, s, mesh, 3);
  CHECK(to_string(get(last.bind({{"batch", 5}}))) == "[42:48+54:60] of [60]");
  CHECK(to_string(get(last.bind({{"batch", 1}}))) == "[0:0] of [12]");  // the other half has the one sequence
}

TEST_CASE("a shard made from a sharding is what each factor's chunks say, index by index, on each rank") {
  std::mt19937_64 random(404);
  for (int n = 0; n < 600; ++n) {
    const Mesh mesh = get(parse_mesh(meshes[size_t(n) % meshes.size()]));
    const FactorList factors = random_factors(mesh, random);
    CAPTURE(to_string(mesh));
    CAPTURE(text_of(factors));
    std::vector<Shard> shards;
    for (int64_t r = 0; r < mesh.devices(); ++r) {
      CAPTURE(r);
      const Shard shard = Shard::of({extent_of(factors)}, one_dim(factors), mesh, r);
      const auto expected = indices_digit_by_digit(factors, mesh, r);
      REQUIRE(indices(shard.dims[0]) == expected);
      CHECK(shard.shape() == Extents{int64_t(expected.size())});
      DimValues values;
      const SymbolicShard symbolic = named(factors, mesh, r, values);
      CHECK(get(symbolic.bind(values)) == shard);
      CHECK(get(evaluate(symbolic.shape()[0], values)) == int64_t(expected.size()));
      shards.push_back(shard);
    }
    CHECK(!held_by_none({extent_of(factors)}, shards));
  }
}

TEST_CASE("of a dim of several products, one after the other, a rank holds its own of each") {
  const Mesh mesh = get(parse_mesh("2"));
  // Four heads of queries, two of keys and two of values: a rank has the queries of its own keys.
  DimSharding qkv;
  for (int64_t heads : {4, 2, 2}) qkv.parts.push_back({{{heads, {"tensor"}}, {8, {}}}});
  Sharding s;
  s.dims = {qkv};
  CHECK(to_string(Shard::of({64}, s, mesh, 0)) == "[0:16+32:40+48:56] of [64]");
  CHECK(to_string(Shard::of({64}, s, mesh, 1)) == "[16:32+40:48+56:64] of [64]");
  CHECK(local_dims({Dim(64)}, s) == Dims{Dim(8) * (Dim::part(4, {"tensor"}) + 2 * Dim::part(2, {"tensor"}))});
  // One head of keys and of values is what every rank has.
  for (size_t k : {1, 2}) qkv.parts[k] = {{{8, {}}}};
  s.dims = {qkv};
  CHECK(to_string(Shard::of({48}, s, mesh, 0)) == "[0:16+32:48] of [48]");
  CHECK(to_string(Shard::of({48}, s, mesh, 1)) == "[16:48] of [48]");
  // Named widths.
  const Dim q = Dim::symbol("q"), k = Dim::symbol("k");
  s.dims = {DimSharding()};
  for (Dim width : {q, k, k}) s.dims[0].parts.push_back({{{width, {}}, {8, {"tensor"}}}});
  const SymbolicShard named = SymbolicShard::of({8 * (q + 2 * k)}, s, mesh, 1);
  CHECK(to_string(get(named.bind({{"q", 2}, {"k", 1}}))) == "[4:8+12:16+20:24+28:32] of [32]");
}
TEST_CASE(
    "ranks that split every part of a dim along all axes hold each index once; else what each part's split says") {
  std::mt19937_64 random(406);
  for (int n = 0; n < 600; ++n) {
    const Mesh mesh = get(parse_mesh(meshes[size_t(n) % meshes.size()]));
    const bool once = n % 2;
    Sharding s;
    s.dims.resize(1);
    std::vector<FactorList> parts(2 + random() % 3);
    int64_t whole = 0;
    CAPTURE(to_string(mesh));
    std::string text;
    for (FactorList& part : parts) {
      part = random_factors(mesh, random);
      if (once) {
        for (Factor& f : part) f.axes.clear();
        for (const MeshAxis& a : mesh.axes) part[random() % part.size()].axes.push_back(a.name);
      }
      s.dims[0].parts.push_back({sharding_of(part).factors()});
      whole += extent_of(part);
      text += text_of(part) + "+ ";
    }
    CAPTURE(text);
    std::vector<Shard> shards;
    int64_t held = 0;
    for (int64_t r = 0; r < mesh.devices(); ++r) {
      CAPTURE(r);
      std::vector<int64_t> expected;
      int64_t before = 0;
      for (const FactorList& part : parts) {
        for (int64_t x : indices_digit_by_digit(part, mesh, r)) expected.push_back(before + x);
        before += extent_of(part);
      }
      const Shard shard = Shard::of({whole}, s, mesh, r);
      REQUIRE(indices(shard.dims[0]) == expected);
      CHECK(evaluate(bind_rank(s.dims[0].local_extent(whole), mesh, r), {}).get() == int64_t(expected.size()));
      held += int64_t(expected.size());
      shards.push_back(shard);
    }
    CHECK(!held_by_none({whole}, shards));
    if (once) CHECK(held == whole);
  }
}

TEST_CASE("taken from a whole and put back at their places, shards give the whole again; put alone, only their own") {
  std::mt19937_64 random(405);
  for (int n = 0; n < 400; ++n) {
    const Extents whole = random_extents(random);
    const Shard shard = random_shard(random, whole);
    CAPTURE(to_string(shard));
    const auto elements = size_t(Shard::whole_of(whole).elements());
    std::vector<char> bytes(elements * 2);
    for (char& c : bytes) c = char(1 + random() % 100);
    // Element by element.
    std::vector<char> expected, only(bytes.size(), 0);
    for (size_t k = 0; k < elements; ++k) {
      bool held = true;
      size_t rest = k;
      for (size_t d = whole.size(); d-- > 0; rest /= size_t(whole[d])) {
        const auto at = int64_t(rest % size_t(whole[d]));
        held &= std::ranges::any_of(shard.dims[d], [&](const Interval& i) { return i.start <= at && at < i.stop; });
      }
      if (!held) continue;
      for (size_t b = 2 * k; b < 2 * k + 2; ++b) expected.push_back(bytes[b]), only[b] = bytes[b];
    }
    std::vector<char> part(size_t(shard.elements()) * 2), back(bytes.size(), 0);
    take(shard, bytes, part, 2);
    CHECK(part == expected);
    put(shard, back, part, 2);
    CHECK(back == only);
    int64_t end = -1;
    for_each_run(shard, [&](int64_t start, int64_t length) {
      CHECK(start > end);  // ascending, and neighbours are one run
      CHECK(length > 0);
      end = start + length;
    });
    CHECK(shard.is_whole() == (part.size() == bytes.size() && shard.shape() == whole));
  }
}

TEST_CASE("an element that no shard holds is found, though each of its indices is held by some") {
  auto shard = [](const char* text) { return get(parse_shard(text)); };
  CHECK(!held_by_none({4, 6}, {shard("[0:4, 0:3] of [4, 6]"), shard("[0:4, 2:6] of [4, 6]")}));
  // Three of four quadrants.
  CHECK(held_by_none({4, 6}, {shard("[0:2, 0:3] of [4, 6]"), shard("[0:2, 3:6] of [4, 6]"),
                              shard("[2:4, 0:3] of [4, 6]")}) == Extents{2, 3});
  CHECK(held_by_none({}, {}) == Extents{});
  CHECK(!held_by_none({}, {shard("[] of []")}));
  CHECK(held_by_none({2}, {}) == Extents{0});
  CHECK(!held_by_none({0, 5}, {}));
  std::mt19937_64 random(406);
  for (int n = 0; n < 300; ++n) {
    const Extents whole = random_extents(random);
    std::vector<Shard> shards;
    for (size_t k = random() % 6; k-- > 0;) shards.push_back(random_shard(random, whole));
    std::vector<char> held(size_t(Shard::whole_of(whole).elements()), 0);
    for (const Shard& s : shards) put(s, held, std::vector<char>(size_t(s.elements()), 1), 1);
    const auto first = std::ranges::find(held, 0);
    const auto found = held_by_none(whole, shards);
    REQUIRE(bool(found) == (first != held.end()));
    if (!found) continue;
    int64_t at = 0;
    for (size_t d = 0; d < whole.size(); ++d) at = at * whole[d] + (*found)[d];
    CHECK(at == first - held.begin());
  }
}

TEST_CASE("a shard's text is read back as the same shard") {
  std::mt19937_64 random(407);
  for (int n = 0; n < 300; ++n) {
    const Shard shard = random_shard(random, random_extents(random));
    CAPTURE(to_string(shard));
    CHECK(get(parse_shard(to_string(shard))) == shard);
  }
  CHECK(to_string(Shard::whole_of({768, 60})) == "[0:768, 0:60] of [768, 60]");
  CHECK(to_string(get(parse_shard("[0:1+2:3+4:5+6:7] of [8]")), 2) == "[0:1+2:3+ and 2 more] of [8]");
  CHECK(get(parse_shard(" [ 0:2 + 2:5 , 3:3 ]  of [ 5,7 ] ")) == Shard{{5, 7}, {{{0, 5}}, {{0, 0}}}});
}

TEST_CASE("what is no shard is refused") {
  for (auto [text, why] : std::initializer_list<std::pair<const char*, const char*>>{
           {"", "expected a shard such as"},
           {"[0:2]", "expected a shard such as"},
           {"[0:2] of [2] x", "expected the end, found 'x'"},
           {"[0:-2] of [2]", "expected a shard such as"},
           {"[0:99999999999999999999] of [2]", "expected a shard such as"},
           {"[0:2] of [2, 3]", "expected intervals of 2 dims, found 1"},
           {"[0:3] of [2]", "dim 0: expected ascending intervals within 0:2, found 0:3"},
           {"[2:1] of [2]", "dim 0: expected ascending intervals within 0:2, found 2:1"},
           {"[0:2, 0:2+1:3] of [2, 3]", "dim 1: expected ascending intervals within 0:3, found 1:3"}}) {
    CAPTURE(text);
    auto shard = parse_shard(text);
    REQUIRE(!shard);
    const std::string found = message(shard.takeError());
    CAPTURE(found);
    CHECK(found.find(why) != std::string::npos);
  }
}

TEST_CASE("a symbolic shard that does not fit its whole is refused, however large its numbers are") {
  const Dim n = Dim::symbol("n"), big = int64_t(1) << 62;
  auto refused = [&](SymbolicInterval i) {
    auto shard = SymbolicShard{{n}, {{std::move(i)}}}.bind({{"n", 10}});
    const bool out = !shard;
    if (!shard) CHECK(message(shard.takeError()).find("dim 0") == 0);
    return out;
  };
  CHECK(!refused({0, 2, {{5, 2}}}));
  CHECK(!refused({0, 1, {{2, 5}, {2, 2}}}));
  CHECK(!refused({3, 3, {{big, big}}}));  // nothing, as often as one likes
  CHECK(refused({0, 2, {{6, 2}}}));
  CHECK(refused({0, 3, {{2, 2}}}));
  CHECK(refused({1, 2, {{big, 2}}}));
  CHECK(refused({1, 2, {{3, big}}}));
  CHECK(refused({-1, 2, {}}));
  CHECK(refused({2, 1, {}}));
  CHECK(refused({0, 11, {}}));
  CHECK(refused({0, 1, {{-1, 2}}}));
  auto unbound = SymbolicShard{{n}, {{{0, n, {}}}}}.bind({});
  REQUIRE(!unbound);
  CHECK(message(unbound.takeError()).find("'n'") != std::string::npos);
}
