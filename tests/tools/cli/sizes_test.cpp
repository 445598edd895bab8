// Sizes of memory, from text.
#include "tools/cli/sizes.h"

#include <doctest/doctest.h>

using namespace optp;

TEST_CASE("a size is decimal with a B, binary with an i or a letter alone") {
  struct Row {
    const char* text;
    int64_t bytes;
  };
  for (const Row& row : {Row{"8GB", 8'000'000'000},
                         {"8GiB", 8ll << 30},
                         {"80G", 80ll << 30},
                         {"1.5GB", 1'500'000'000},
                         {"512 MiB", 512 << 20},
                         {"24gb", 24'000'000'000},
                         {"4096", 4096},
                         {"10kB", 10'000},
                         {"2T", 2ll << 40},
                         {"7b", 7}}) {
    CAPTURE(row.text);
    auto bytes = parse_size("--fit", row.text);
    REQUIRE(bool(bytes));
    CHECK(*bytes == row.bytes);
  }
  for (const char* text : {"", "GB", "8XB", "8GiBs", "-1GB", "0", "1.2.3G", "8 G B", "99999999T"}) {
    CAPTURE(text);
    auto bytes = parse_size("--fit", text);
    REQUIRE(!bytes);
    CHECK(llvm::toString(bytes.takeError()) ==
          "--fit '" + std::string(text) + "': expected a size such as 8GB, 7.5GiB or 80G");
  }
}
