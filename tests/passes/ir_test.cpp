// Passes on graphs as text: each file tests/passes/*.ir is a list of cases of the pass it is named after, up to a dot:
// split.reshard.ir has those of split that move values.
//
//   # a sentence that says what happens, and may go on over lines
//   options: strategy=origin constrain="fc1 [_, tensor]"
//   input %x: f32[b, 8]
//   …
//   =>
//   the whole graph after it, or "error: " and the whole message
//
// UPDATE_GOLDEN=1 rewrites what differs.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "frontend/ir/parse.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/StringSaver.h"
#include "passes/named_passes.h"

using namespace optp;
namespace fs = std::filesystem;

namespace {
struct Case {
  std::string sentence, options, before, after;  // lines, each with its end
  size_t line = 0;                               // of `before`, in its file
};
std::string text_of(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
// A case begins with the first # line after a graph.
std::vector<Case> cases_of(llvm::StringRef text) {
  std::vector<Case> out;
  bool in_sentence = false, in_after = false;
  size_t number = 0;
  while (!text.empty()) {
    auto [line, rest] = text.split('\n');
    text = rest;
    ++number;
    const std::string whole = line.str() + "\n";
    if (line.starts_with("#")) {
      if (!in_sentence) out.emplace_back();
      in_sentence = true, in_after = false;
      out.back().sentence += whole;
      continue;
    }
    if (line.empty() || out.empty()) continue;
    in_sentence = false;
    Case& c = out.back();
    if (line.starts_with("options: ") && c.before.empty()) {
      c.options += whole;
    } else if (line == "=>") {
      in_after = true;
    } else {
      if (c.before.empty()) c.line = number;
      (in_after ? c.after : c.before) += whole;
    }
  }
  return out;
}
std::vector<std::string> words_of(llvm::StringRef options) {
  llvm::BumpPtrAllocator memory;
  llvm::StringSaver saver(memory);
  llvm::SmallVector<const char*, 8> words;
  options.consume_front("options: ");
  llvm::cl::TokenizeGNUCommandLine(options, saver, words);
  return {words.begin(), words.end()};
}
std::string message(llvm::Error e) { return "error: " + llvm::toString(std::move(e)) + "\n"; }

std::string result_of(llvm::StringRef pass, llvm::StringRef file, const Case& c) {
  auto options = parse_pass_options(words_of(c.options));
  if (!options) return message(options.takeError());
  // Empty lines stand for those above the graph, so that messages name lines of the file.
  auto graph = parse_graph(std::string(c.line - 1, '\n') + c.before, file);
  if (!graph) return message(graph.takeError());
  auto after = run_named_pass(pass, std::move(*graph), *options);
  if (!after) return message(after.takeError());
  if (auto e = verify(**after)) return message(std::move(e));
  const std::string text = to_string(**after);
  auto again = parse_graph(text, "the graph after it");
  if (!again) return message(again.takeError());
  CHECK(to_string(**again) == text);
  return text;
}
std::vector<fs::path> files() {
  std::vector<fs::path> out;
  for (const auto& entry : fs::directory_iterator(OPTP_SOURCE "/tests/passes"))
    if (entry.path().extension() == ".ir") out.push_back(entry.path());
  std::sort(out.begin(), out.end());
  return out;
}
// merge_views.ir has cases of merge-views.
std::string pass_of(const fs::path& path) {
  std::string out = llvm::StringRef(path.stem().string()).split('.').first.str();
  std::replace(out.begin(), out.end(), '_', '-');
  return out;
}
void rewrite(const fs::path& path) {
  std::string text;
  for (const Case& c : cases_of(text_of(path)))
    text += (text.empty() ? "" : "\n") + c.sentence + c.options + c.before + "=>\n" +
            result_of(pass_of(path), path.filename().string(), c);
  if (text != text_of(path)) std::ofstream(path, std::ios::binary) << text;
}
}  // namespace

TEST_CASE("a pass makes of each graph in its file the one that stands behind it") {
  for (const fs::path& path : files()) {
    if (std::getenv("UPDATE_GOLDEN")) {
      rewrite(path);
      continue;
    }
    const std::string file = path.filename().string();
    for (const Case& c : cases_of(text_of(path))) {
      const std::string name = file + ":" + std::to_string(c.line) + ": " + c.sentence;
      SUBCASE(name.c_str()) { CHECK(result_of(pass_of(path), file, c) == c.after); }
    }
  }
}

TEST_CASE("a pass on a graph that was made for another pass gives a graph that holds, or refuses it") {
  std::vector<std::pair<std::string, Case>> cases;
  for (const fs::path& path : files())
    for (Case& c : cases_of(text_of(path))) cases.emplace_back(path.filename().string(), std::move(c));
  size_t made = 0, refused = 0;
  for (const std::string& pass : named_passes())
    for (const auto& [file, c] : cases) {
      CAPTURE(pass);
      CAPTURE(file);
      CAPTURE(c.sentence);
      auto options = parse_pass_options(words_of(c.options));
      auto graph = parse_graph(c.before, file);
      if (!options || !graph) {  // mistakes of the text itself
        if (!options) llvm::consumeError(options.takeError());
        if (!graph) llvm::consumeError(graph.takeError());
        continue;
      }
      auto after = run_named_pass(pass, std::move(*graph), *options);
      if (!after) {
        ++refused;
        const Diagnostic why = take_diagnostic(after.takeError());
        CHECK_MESSAGE(why.fault() != Fault::internal, why.message());
        continue;
      }
      ++made;
      CHECK(message(verify(**after)) == message(llvm::Error::success()));
    }
  CHECK(made > 1000);
  CHECK(refused > 100);
}

TEST_CASE("every pass that has a name has a file of cases") {
  std::vector<std::string> tested;
  for (const fs::path& path : files()) {
    tested.push_back(pass_of(path));
    CHECK_MESSAGE(!cases_of(text_of(path)).empty(), path);
    CHECK_MESSAGE(llvm::is_contained(named_passes(), tested.back()), path, " is named after no pass");
  }
  for (const std::string& name : named_passes()) CHECK_MESSAGE(llvm::is_contained(tested, name), name);
}
