#include "tools/cli/suggestions.h"

#include <algorithm>
#include <map>

#include "llvm/ADT/STLExtras.h"

namespace optp {
namespace {
using Elsewhere = std::map<const CLI::Option*, std::vector<std::string>>;
Elsewhere& elsewhere() {
  // CLI11's options have no room for it. Of a thread: who declares flags also parses them.
  thread_local Elsewhere all;
  return all;
}

// "--Batch_Size" and "batch-size" are one word.
std::string bare(llvm::StringRef flag) {
  std::string out = flag.ltrim('-').lower();
  std::replace(out.begin(), out.end(), '_', '-');
  return out;
}
// Of a short word every letter counts: --tp is not a slip of the hand for --lr.
unsigned most_slips(llvm::StringRef word) { return word.size() < 3 ? 0 : word.size() < 6 ? 1 : 2; }

struct Nearest {
  std::string word;
  unsigned slips;
  // Keeps the first of those equally near.
  void offer(llvm::StringRef typed, llvm::StringRef known, const std::string& meant) {
    if (slips > 0)
      if (const unsigned d = typed.edit_distance(known, /*AllowReplacements=*/true, slips - 1); d < slips)
        slips = d, word = meant;
  }
};
std::string beginning_with(llvm::StringRef word, const std::vector<std::string>& known) {
  if (word.size() > 3)
    for (const std::string& k : known)
      if (llvm::StringRef(k).starts_with(word)) return k;
  return "";
}
}  // namespace

CLI::Option* also_called(CLI::Option* flag, std::initializer_list<const char*> names) {
  elsewhere()[flag].insert(elsewhere()[flag].end(), names.begin(), names.end());
  return flag;
}

std::vector<std::string> flags_of(const CLI::App& app) {
  std::vector<std::string> out;
  for (const CLI::Option* o : app.get_options())
    for (const std::string& name : o->get_lnames()) out.push_back("--" + name);
  return out;
}

std::string nearest_word(llvm::StringRef word, const std::vector<std::string>& known) {
  const std::string typed = bare(word);
  Nearest nearest{"", most_slips(typed) + 1};
  for (const std::string& k : known) nearest.offer(typed, bare(k), k);
  return nearest.word.empty() ? beginning_with(word, known) : nearest.word;
}

std::string nearest_flag(llvm::StringRef flag, const CLI::App& verb) {
  const std::string typed = bare(flag);
  Nearest nearest{"", most_slips(typed) + 1};
  // A verb's own flags are declared after those that it shares: the words of a named dim are train's of its data.
  const std::vector<const CLI::Option*> options = verb.get_options();
  for (const CLI::Option* o : llvm::reverse(options)) {
    if (o->get_lnames().empty()) continue;
    const std::string meant = "--" + o->get_lnames()[0];
    for (const std::string& name : o->get_lnames()) nearest.offer(typed, name, "--" + name);
    if (const auto names = elsewhere().find(o); names != elsewhere().end())
      for (const std::string& name : names->second) nearest.offer(typed, name, meant);
  }
  return nearest.word;
}
std::string flag_beginning_with(llvm::StringRef flag, const CLI::App& verb) {
  return beginning_with(flag, flags_of(verb));
}
}  // namespace optp
