#include "runtime/comm/world.h"

#include <new>

#include "frontend/ir/diagnostic_json.h"
#include "llvm/Support/FormatVariadic.h"

namespace optp {
namespace {
// A part on its way: 'e' and a diagnostic, or 'o' and what was given.
std::string in_full(llvm::StringRef part) { return "o" + part.str(); }
std::string in_full(const Diagnostic& d) { return llvm::formatv("e{0}", write_diagnostic(d)).str(); }
std::optional<Diagnostic> error_in(llvm::StringRef text) {
  if (text.consume_front("o")) return std::nullopt;
  Diagnostic unreadable = error(Code::bug, "a message between processes is damaged");
  if (!text.consume_front("e")) return unreadable;
  auto json = llvm::json::parse(text);
  if (!json) {
    llvm::consumeError(json.takeError());
    return unreadable;
  }
  return read_diagnostic(*json).value_or(unreadable);
}
// What a failed rank did to others is not the cause.
std::optional<Diagnostic> cause_in(const PerRank<std::string>& parts) {
  std::optional<Diagnostic> first;
  for (const size_t r : parts.ranks()) {
    auto found = error_in(parts[r]);
    if (found && found->fault() != Fault::rank_failed) return found;
    if (found && !first) first = std::move(found);
  }
  return first;
}
std::string no_answer(PerRank<std::string>&) { return ""; }

// An exception would leave the other processes waiting.
llvm::Error attempt(llvm::function_ref<llvm::Error()> work) {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    return error(Code::out_of_memory, "out of memory");
  } catch (const std::exception& e) {
    return error(Code::bug, std::string("internal: ") + e.what());
  }
}
}  // namespace

World::~World() = default;

bool World::holds(size_t rank) const { return llvm::is_contained(held(), rank); }

llvm::Expected<std::string> World::exchange(llvm::Expected<PerRank<std::string>> own, Answer answer) {
  PerRank<std::string> parts(held());
  if (own) {
    for (const size_t r : held()) parts[r] = in_full(own->holds(r) ? (*own)[r] : "");
  } else {
    Diagnostic fault = take_diagnostic(own.takeError());
    if (ended_) return fault;  // the others have it, and do not come
    for (const size_t r : held()) parts[r] = in_full(fault);
  }
  if (ended_) return error(Code::bug, "a run goes on after an error of all its processes");
  auto all = gather_bytes(std::move(parts));
  if (!all) return ended_ = true, all.takeError();
  std::string verdict;
  if (is_root()) {
    if (auto cause = cause_in(*all)) {
      verdict = in_full(*cause);
    } else {
      for (const size_t r : all->ranks()) (*all)[r].erase(0, 1);
      verdict = in_full(answer(*all));
    }
  }
  auto told = broadcast_bytes(std::move(verdict));
  if (!told) return ended_ = true, told.takeError();
  if (auto cause = error_in(*told)) return ended_ = true, *cause;
  return told->substr(1);
}

llvm::Error World::agree(llvm::Error own) {
  if (is_whole()) return own;
  if (own) return exchange(std::move(own), no_answer).takeError();
  return exchange(PerRank<std::string>(), no_answer).takeError();
}

llvm::Expected<PerRank<std::string>> World::gather(llvm::Expected<PerRank<std::string>> own) {
  if (is_whole()) return own;
  PerRank<std::string> all;
  auto done = exchange(std::move(own), [&](PerRank<std::string>& parts) {
    all = std::move(parts);
    return std::string();
  });
  if (!done) return done.takeError();
  return all;
}

llvm::Expected<std::string> World::broadcast(llvm::Expected<std::string> roots) {
  if (is_whole()) return roots;
  if (!roots) return exchange(roots.takeError(), no_answer);
  return exchange(PerRank<std::string>(), [&](PerRank<std::string>&) { return std::move(*roots); });
}

llvm::Expected<bool> World::any(bool here) {
  if (is_whole()) return here;
  PerRank<std::string> own(held());
  for (const size_t r : held()) own[r] = here ? "1" : "0";
  auto found = exchange(std::move(own), [](PerRank<std::string>& parts) {
    const bool some = llvm::any_of(parts.ranks(), [&](size_t r) { return parts[r] == "1"; });
    return std::string(some ? "1" : "0");
  });
  if (!found) return found.takeError();
  return *found == "1";
}

llvm::Error World::unite(llvm::StringSet<>& names) {
  if (is_whole()) return llvm::Error::success();
  PerRank<std::string> own(held());
  for (const auto& name : names) own[held()[0]] += name.first().str() + '\0';
  auto all = exchange(std::move(own), [](PerRank<std::string>& parts) {
    std::string joined;
    for (const size_t r : parts.ranks()) joined += parts[r];
    return joined;
  });
  if (!all) return all.takeError();
  llvm::SmallVector<llvm::StringRef> found;
  llvm::StringRef(*all).split(found, '\0', -1, /*KeepEmpty=*/false);
  for (const llvm::StringRef name : found) names.insert(name);
  return llvm::Error::success();
}

llvm::Error World::at_root(llvm::function_ref<llvm::Error()> work) {
  return agree(is_root() ? attempt(work) : llvm::Error::success());
}

llvm::Error World::run(llvm::function_ref<llvm::Error()> work) {
  if (is_whole()) return work();
  llvm::Error own = attempt(work);
  if (ended_) return own;
  if (own) {
    Diagnostic fault = take_diagnostic(std::move(own));
    abort(fault.message());
    own = fault;
  }
  return agree(std::move(own));
}

}  // namespace optp
