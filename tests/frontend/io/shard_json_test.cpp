#include "frontend/io/shard_json.h"

#include <doctest/doctest.h>

using namespace optp;

namespace {
template <typename T>
T get(llvm::Expected<T> x) {
  if (!x) FAIL(llvm::toString(x.takeError()));
  return std::move(*x);
}
llvm::json::Array array(llvm::StringRef text) { return std::move(*get(llvm::json::parse(text)).getAsArray()); }
}  // namespace

TEST_CASE("a shard is written as intervals, and read back") {
  const Dim batch = Dim::symbol("batch");
  for (auto [text, whole] :
       std::initializer_list<std::pair<const char*, Dims>>{{"[]", {}},
                                                           {"[[[0,768]],[[0,12],[20,32]]]", {768, 60}},
                                                           {"[[[0,\"floor(batch + 1, 2)\"]],[[0,0]]]", {batch, 0}},
                                                           {"[[[6,12,\"batch\",12]]]", {batch * Dim(12)}},
                                                           {"[[[6,12,\"batch\",60,5,12]]]", {batch * Dim(60)}}}) {
    CAPTURE(text);
    const SymbolicShard shard = get(shard_from(array(text), whole));
    CHECK(llvm::json::Value(ranges_of(shard)) == llvm::json::Value(array(text)));
    CHECK(get(shard_from(ranges_of(shard), whole)) == shard);
  }
  const Shard numbers =
      get(get(shard_from(array("[[[6,12,\"batch\",60,2,12]]]"), {batch * Dim(60)})).bind({{"batch", 2}}));
  CHECK(to_string(numbers) == "[6:12+18:24+66:72+78:84] of [120]");
  CHECK(llvm::json::Value(ranges_of(numbers)) == llvm::json::Value(array("[[[6,12],[18,24],[66,72],[78,84]]]")));
}

TEST_CASE("what are no intervals of a whole's dims is refused") {
  for (auto [text, why] : std::initializer_list<std::pair<const char*, const char*>>{
           {"[]", "expected intervals of 1 dims, found 0"},
           {"[5]", "expected a list of intervals for each dim"},
           {"[[5]]", "expected an interval of 2 extents, and pairs of 2 more"},
           {"[[[5]]]", "expected an interval of 2 extents, and pairs of 2 more"},
           {"[[[0,1,2]]]", "expected an interval of 2 extents, and pairs of 2 more"},
           {"[[[0,1.5]]]", "expected an extent"},
           {"[[[0,\"1 +\"]]]", "expected an extent such as"}}) {
    CAPTURE(text);
    auto shard = shard_from(array(text), {7});
    REQUIRE(!shard);
    CHECK(llvm::toString(shard.takeError()).find(why) == 0);
  }
}
