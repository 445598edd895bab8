#include "runtime/comm/agreement.h"

#include <algorithm>

namespace optp {
namespace {
// From the word on in which they differ: the message has no room for more.
std::pair<llvm::StringRef, llvm::StringRef> without_common_words(llvm::StringRef a, llvm::StringRef b) {
  const size_t shorter = std::min(a.size(), b.size());
  const auto end = a.begin() + ptrdiff_t(shorter);
  size_t same = size_t(std::mismatch(a.begin(), end, b.begin()).first - a.begin());
  while (same > 0 && a[same - 1] != ' ') --same;
  return {a.drop_front(same), b.drop_front(same)};
}
}  // namespace

llvm::Error same(World& world, llvm::StringRef what, llvm::function_ref<std::string()> here, llvm::StringRef noun) {
  if (world.is_whole()) return llvm::Error::success();
  PerRank<std::string> own(world.held());
  // Of the ranks that a process holds, only the first has its text.
  own[world.held()[0]] = "=" + here();
  auto all = world.gather(std::move(own));
  if (!all) return all.takeError();
  return world.at_root([&]() -> llvm::Error {
    const auto text_of = [&](size_t r) { return llvm::StringRef((*all)[r]).drop_front(); };
    for (const size_t r : all->ranks()) {
      if ((*all)[r].empty() || (*all)[r] == (*all)[0]) continue;
      const auto [first, other] = without_common_words(text_of(0), text_of(r));
      return error(Code::bad_value)
          .what("the processes of this run differ")
          .what(what)
          .expected(quoted(first) + " as for " + noun + " 0")
          .found(quoted(other) + " for " + noun + " " + llvm::Twine(r));
    }
    return llvm::Error::success();
  });
}

}  // namespace optp
