// opt-partition as a run of several processes, which are threads of this one: split_processes 0,1/2 VERB …
// The ranks of each process stand between slashes; %p in a word is the number of the process, as if each had its own
// disk. All processes must end alike; the root's error is printed.
#include <algorithm>
#include <csignal>
#include <iostream>
#include <thread>

#include "frontend/io/input_folder.h"
#include "frontend/io/interrupts.h"
#include "frontend/ir/diagnostic_json.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/raw_ostream.h"
#include "tests/runtime/comm/split_world.h"
#include "tools/cli/command.h"
#include "tools/cli/progress.h"

namespace {
using namespace optp;

std::vector<std::vector<size_t>> parse_held(llvm::StringRef text) {
  std::vector<std::vector<size_t>> out;
  llvm::SmallVector<llvm::StringRef> processes, ranks;
  text.split(processes, '/');
  for (const llvm::StringRef process : processes) {
    ranks.clear();
    process.split(ranks, ',');
    auto& held = out.emplace_back();
    for (const llvm::StringRef rank : ranks) held.push_back(std::stoul(rank.str()));
  }
  return out;
}

// One process: its own command line, and how it ended.
std::optional<Diagnostic> run(std::vector<std::string> words, size_t process, const WorldMaker& maker) {
  CLI::App app;
  app.require_subcommand(1);
  const Command commands[] = {add_run(app, maker), add_train(app, maker), add_check(app, maker), add_bench(app, maker)};
  for (std::string& word : words)
    if (const size_t at = word.find("%p"); at != std::string::npos) word.replace(at, 2, std::to_string(process));
  std::reverse(words.begin(), words.end());
  app.parse(words);
  for (const Command& c : commands)
    if (c.app->parsed())
      if (llvm::Error e = c.run()) return take_diagnostic(std::move(e));
  return std::nullopt;
}
std::string text_of(const std::optional<Diagnostic>& fault) {
  return fault ? llvm::formatv("{0}", llvm::json::Value(error_object(*fault, int(fault->fault())))).str() : "success";
}
}  // namespace

int main(int argc, char** argv) {
  install_mapping_guard();
  abandon_outputs_on_signal();
  Progress::silence();
  testing::SplitRun split(parse_held(argv[1]));
  const std::vector<std::string> words(argv + 2, argv + argc);
  std::vector<std::optional<Diagnostic>> faults(split.processes());
  {
    std::vector<std::jthread> processes;
    for (size_t p = 0; p < split.processes(); ++p)
      processes.emplace_back([&, p] { faults[p] = run(words, p, split.maker(p)); });
  }
  llvm::outs().flush();
  for (const auto& fault : faults)
    if (text_of(fault) != text_of(faults[0])) {
      llvm::errs() << "processes end differently: " << text_of(faults[0]) << " and " << text_of(fault) << "\n";
      return 99;
    }
  if (!faults[0]) return 0;
  llvm::errs() << "opt-partition: " << faults[0]->message() << "\n";
  const int signal = faults[0]->code() == Code::interrupted ? interrupting_signal() : 0;
  return signal ? 128 + signal : int(faults[0]->fault());
}
