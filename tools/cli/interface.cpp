#include "tools/cli/interface.h"

#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"

namespace optp {
namespace {
std::vector<Flag> flags_of(const CLI::App& app) {
  std::vector<Flag> out;
  for (const CLI::Option* o : app.get_options()) {
    if (o->get_group().empty()) continue;  // hidden
    Flag flag{.help = o->get_description(),
              .group = o->get_group(),
              .otherwise = o->get_default_str(),
              .positional = o->get_positional(),
              .required = o->get_required(),
              .repeats = o->get_items_expected_max() >= CLI::detail::expected_max_vector_size};
    for (const std::string& name : o->get_lnames()) flag.names.push_back("--" + name);
    for (const std::string& name : o->get_snames()) flag.names.push_back("-" + name);
    if (flag.positional) flag.names = {o->get_name(true, false)};
    if (o->get_items_expected_max() > 0) flag.value = o->get_type_name();
    if (llvm::StringRef(flag.value).contains('|')) {
      llvm::SmallVector<llvm::StringRef> words;
      llvm::StringRef(flag.value).split(words, '|');
      for (llvm::StringRef w : words) flag.words.push_back(w.str());
    }
    out.push_back(std::move(flag));
  }
  return out;
}
}  // namespace

Interface interface_of(const CLI::App& app) {
  Interface out{app.get_name(), app.get_description(), app.get_footer(), flags_of(app), {}};
  for (const CLI::App* verb : app.get_subcommands([](const CLI::App* a) { return !a->get_group().empty(); }))
    out.verbs.push_back({verb->get_name(), verb->get_description(), flags_of(*verb)});
  return out;
}
}  // namespace optp
