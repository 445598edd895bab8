// Arrays that are typed in.
#include "tools/run/literal.h"

#include <doctest/doctest.h>

#include "tests/must.h"

using namespace optp;

TEST_CASE("brackets say the shape; a list without them runs along the last dim") {
  struct Row {
    const char* text;
    DType dtype;
    size_t ndim;
    Extents dims;
    std::vector<double> values;
  };
  for (const Row& row : {Row{"1,2,3", DType::i64, 2, {1, 3}, {1, 2, 3}},
                         {"[[1,2],[3,4]]", DType::i64, 2, {2, 2}, {1, 2, 3, 4}},
                         {"[ [1, 2, 3] ]", DType::i32, 2, {1, 3}, {1, 2, 3}},
                         {"7", DType::i64, 0, {}, {7}},
                         {"7", DType::i64, 1, {1}, {7}},
                         {"-1.5, 2e3", DType::f32, 1, {2}, {-1.5, 2000}},
                         {"[[[0.5]],[[1]]]", DType::f32, 3, {2, 1, 1}, {0.5, 1}},
                         {"[]", DType::i64, 1, {0}, {}},
                         {"true,false", DType::boolean, 1, {2}, {1, 0}}}) {
    CAPTURE(row.text);
    CHECK((is_literal(row.text) || row.text[0] == '-'));
    const HostArray array = must(parse_literal(row.text, row.dtype, row.ndim));
    CHECK(array.dtype == row.dtype);
    CHECK(array.dims == row.dims);
    const Array found = to_array(array);
    std::vector<double> values(found.f.begin(), found.f.end());
    values.insert(values.end(), found.i.begin(), found.i.end());
    CHECK(values == row.values);
  }
}

TEST_CASE("what is no array of that dtype and depth is told") {
  struct Row {
    const char* text;
    DType dtype;
    size_t ndim;
    const char* says;
  };
  for (const Row& row : {Row{"[[1,2],[3]]", DType::i64, 2, "the lists: expected one length, 2, found 1"},
                         {"[1,2]", DType::i64, 2, "expected brackets of depth 2, found 1"},
                         {"[[[1]]]", DType::i64, 2, "expected brackets of depth 2, found more"},
                         {"1,2,", DType::i64, 1, "expected an integer, found the end"},
                         {"1.5", DType::i64, 1, "expected an integer, found '1.5'"},
                         {"[[1,2]", DType::i64, 2, "expected ']' or ',', found the end"},
                         {"[[1,2]]x", DType::i64, 2, "expected the end, found 'x'"},
                         {"1,x", DType::f32, 1, "expected a number, found 'x'"},
                         {"300", DType::u8, 1, "expected a number that uint8 holds, found 300"}}) {
    CAPTURE(row.text);
    auto array = parse_literal(row.text, row.dtype, row.ndim);
    REQUIRE(!array);
    CHECK(llvm::toString(array.takeError()) == row.says);
  }
}
