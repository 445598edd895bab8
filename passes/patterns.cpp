#include "passes/patterns.h"

#include <algorithm>

#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/GlobPattern.h"

namespace optp {
namespace {
bool ends_part(char c) { return c == '.' || c == '/'; }
std::string with_dots(llvm::StringRef text) {
  std::string out = text.str();
  std::replace(out.begin(), out.end(), '/', '.');
  return out;
}
// Where a part begins, and where the last one ends.
llvm::SmallVector<size_t, 12> part_starts(llvm::StringRef name) {
  llvm::SmallVector<size_t, 12> out;
  for (size_t k = 0; k < name.size(); ++k)
    if (!ends_part(name[k]) && (k == 0 || ends_part(name[k - 1]))) out.push_back(k);
  out.push_back(name.size() + 1);
  return out;
}
// A layer's number is any number: layers.0 is layers.*.
std::string with_any_number(llvm::StringRef text) {
  std::string out;
  for (llvm::StringRef rest = text; !rest.empty();) {
    const auto [part, after] = rest.split('.');
    out += (out.empty() ? "" : ".") + (llvm::all_of(part, llvm::isDigit) ? "*" : part.str());
    rest = after;
  }
  return out;
}
}  // namespace

struct NamePattern::State {
  std::string text, parts;
  std::optional<llvm::GlobPattern> whole, dotted;
};

llvm::Expected<NamePattern> NamePattern::parse(llvm::StringRef text) {
  auto state = std::make_shared<State>();
  state->text = text.str();
  state->parts = with_dots(text.trim("/."));
  auto whole = llvm::GlobPattern::create(state->text);
  if (!whole) return whole.takeError();
  state->whole.emplace(std::move(*whole));
  auto dotted = llvm::GlobPattern::create(state->parts);
  if (!dotted) return dotted.takeError();
  state->dotted.emplace(std::move(*dotted));
  NamePattern out;
  out.state_ = std::move(state);
  return out;
}
bool NamePattern::has_wildcards() const { return state_->text.find_first_of("*?[{") != std::string::npos; }

Fit NamePattern::fit(llvm::StringRef name) const {
  if (state_->whole->match(name) || state_->text == name) return Fit::whole;
  if (state_->parts.empty()) return Fit::none;
  const std::string dotted = with_dots(name);
  const auto starts = part_starts(dotted);
  const size_t count = starts.size() - 1;
  const bool wild = has_wildcards();
  Fit best = Fit::none;
  for (size_t from = 0; from < count; ++from)
    for (size_t to = count; to > from; --to) {
      const Fit as = to == count ? Fit::part : Fit::module;
      if (as <= best) break;
      const auto run = llvm::StringRef(dotted).slice(starts[from], starts[to] - 1);
      if (wild ? state_->dotted->match(run) : run == state_->parts) best = as;
    }
  return best;
}
Fit NamePattern::fit(llvm::ArrayRef<llvm::StringRef> names) const {
  Fit best = Fit::none;
  for (llvm::StringRef name : names) best = std::max(best, fit(name));
  return best;
}

// Do the parts stand in the name in their order, with others between them? `numbers`: a number may be any other.
static bool has_in_order(llvm::StringRef name, llvm::StringRef parts, bool numbers) {
  llvm::SmallVector<llvm::StringRef, 8> wanted, there;
  parts.split(wanted, '.');
  name.split(there, '.');
  const auto is_number = [](llvm::StringRef part) { return llvm::all_of(part, llvm::isDigit); };
  size_t found = 0;
  for (llvm::StringRef part : there)
    if (found < wanted.size() && (part == wanted[found] || (numbers && is_number(part) && is_number(wanted[found]))))
      ++found;
  return found == wanted.size();
}

std::string nearest_name(llvm::StringRef text, llvm::ArrayRef<llvm::StringRef> names) {
  const std::string parts = with_dots(text.trim("/."));
  for (const bool numbers : {false, true})
    for (llvm::StringRef name : names)
      if (!parts.empty() && has_in_order(with_dots(name), parts, numbers)) return name.str();
  const size_t count = part_starts(parts).size() - 1;
  std::string near;
  unsigned best = parts.size() < 3 ? 1 : std::max<unsigned>(1, unsigned(parts.size() / 3)) + 1;
  auto consider = [&](llvm::StringRef run, llvm::StringRef name) {
    if (const unsigned d = run.edit_distance(parts, true, best); d < best) best = d, near = name.str();
  };
  for (llvm::StringRef name : names) {
    const std::string dotted = with_dots(name);
    const auto starts = part_starts(dotted);
    consider(dotted, name);
    for (size_t from = 0; from + count < starts.size(); ++from) {
      const auto run = llvm::StringRef(dotted).slice(starts[from], starts[from + count] - 1);
      consider(run, name);
      consider(with_any_number(run), name);
    }
  }
  // Of layers.*.q_porj, where the * is several parts, the last part tells.
  const size_t dot = parts.rfind('.');
  if (near.empty() && parts.find('*') != std::string::npos && dot != std::string::npos)
    return nearest_name(llvm::StringRef(parts).drop_front(dot + 1), names);
  return near;
}

llvm::SmallVector<llvm::StringRef, 4> names_of(const Value& v) {
  llvm::SmallVector<llvm::StringRef, 4> out{v.name};
  out.append(v.aliases.begin(), v.aliases.end());
  if (!v.model_name.empty()) out.push_back(v.model_name);
  out.append(v.model_aliases.begin(), v.model_aliases.end());
  return out;
}

llvm::Expected<Patterns> Patterns::parse(llvm::ArrayRef<std::string> texts, llvm::StringRef flag,
                                         llvm::ArrayRef<Value*> all, Fit least) {
  Patterns out;
  out.flag_ = flag.str();
  for (const std::string& text : texts) {
    auto pattern = NamePattern::parse(text);
    if (!pattern) return error(Code::bad_value).flag(flag, quoted(text)).what(llvm::toString(pattern.takeError()));
    const auto found = pattern->among<Value*>(all, [](Value* const& v) { return names_of(*v); });
    for (const auto& [v, fit] : found)
      if (fit >= least) out.chosen_.insert(v);
    if (!found.empty()) continue;
    out.unmatched_.push_back(text);
    if (out.unmatched_.size() > 1) continue;
    llvm::SmallVector<llvm::StringRef, 0> known;
    for (const Value* v : all) known.append(names_of(*v));
    out.nearest_ = nearest_name(text, known);
  }
  return out;
}
llvm::Error Patterns::unmatched(llvm::StringRef what) const {
  if (unmatched_.empty()) return llvm::Error::success();
  return error(Code::unmatched_pattern)
      .flag(flag_, quoted(unmatched_.front()))
      .what("matches no " + what)
      .about({.suggestion = nearest_})
      .hint(nearest_.empty() ? "" : "nearest is " + quoted(nearest_));
}
}  // namespace optp
