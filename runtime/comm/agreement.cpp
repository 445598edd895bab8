#include "runtime/comm/agreement.h"

#include <algorithm>

#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringExtras.h"

namespace optp {
namespace {
// From the word on in which they differ: the message has no room for more.
std::pair<std::string, std::string> without_common_words(llvm::StringRef a, llvm::StringRef b) {
  llvm::SmallVector<llvm::StringRef, 32> ours, theirs;
  a.split(ours, ' ');
  b.split(theirs, ' ');
  size_t same = 0;
  while (same < std::min(ours.size(), theirs.size()) && ours[same] == theirs[same]) ++same;
  auto rest = [&](llvm::ArrayRef<llvm::StringRef> words) { return llvm::join(words.drop_front(same), " "); };
  return {rest(ours), rest(theirs)};
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
