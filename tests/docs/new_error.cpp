#include <doctest/doctest.h>

#include "frontend/ir/diagnostic_json.h"
#include "llvm/Support/FormatVariadic.h"

namespace optp {
llvm::Expected<int64_t> read_rank(llvm::StringRef path, llvm::StringRef text, int64_t ranks) {
  int64_t rank = 0;
  if (text.getAsInteger(10, rank))
    return error(Code::malformed).in_file(path).what("rank").expected("a number").found(quoted(text));
  if (rank < 0 || rank >= ranks)
    return error(Code::out_of_range)
        .in_file(path)
        .what("rank")
        .expected("from 0 to " + llvm::Twine(ranks - 1))
        .found(rank)
        .hint("count from 0");
  return rank;
}

TEST_CASE("the example of docs/adding-an-error.md") {
  const Diagnostic d = take_diagnostic(read_rank("ranks.txt", "2", 2).takeError());
  CHECK(d.message() == "ranks.txt: rank: expected from 0 to 1, found 2; count from 0");
  CHECK(llvm::formatv("{0}", llvm::json::Value(error_object(d, 65))).str() ==
        R"({"code":"bad-input/out-of-range","exit":65,"expected":"from 0 to 1","file":"ranks.txt","found":"2",)"
        R"("hint":"count from 0","message":"ranks.txt: rank: expected from 0 to 1, found 2; count from 0",)"
        R"("severity":"error"})");
}
}  // namespace optp
