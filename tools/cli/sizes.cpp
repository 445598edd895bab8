#include "tools/cli/sizes.h"

#include <cmath>

#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/StringExtras.h"

namespace optp {
const char* const size_help = "8GB is 8·1000³ bytes, 8GiB and 8G are 8·1024³";

namespace {
// 0: no unit.
double bytes_of(llvm::StringRef unit) {
  if (unit.empty() || unit == "b") return 1;
  const size_t power = llvm::StringRef("kmgt").find(unit[0]);
  if (power == llvm::StringRef::npos) return 0;
  const llvm::StringRef rest = unit.drop_front();
  const double base = rest == "b" ? 1000 : rest.empty() || rest == "ib" ? 1024 : 0;
  return std::pow(base, double(power + 1));
}
}  // namespace

llvm::Expected<int64_t> parse_size(llvm::StringRef flag, llvm::StringRef text) {
  const std::string lower = text.trim().lower();
  const size_t end = std::min(lower.find_first_not_of("0123456789."), lower.size());
  const llvm::StringRef number = llvm::StringRef(lower).take_front(end), unit = llvm::StringRef(lower).drop_front(end);
  double n = 0;
  const double bytes = bytes_of(unit.trim());
  if (number.empty() || number.getAsDouble(n) || bytes == 0 || n * bytes < 1 || n * bytes >= 0x1p62)
    return error(Code::bad_value).flag(flag, quoted(text)).expected("a size such as 8GB, 7.5GiB or 80G");
  return int64_t(std::llround(n * bytes));
}
}  // namespace optp
