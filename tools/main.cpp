// opt-partition: parses the command line, runs one verb, prints its error and picks the exit code.
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <iostream>

#include "frontend/io/input_folder.h"
#include "frontend/io/output_transaction.h"
#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/raw_ostream.h"
#include "tools/command.h"

namespace {
using namespace optp;

const char* const footer =
    "exit codes: 0 done, the check holds; 1 the check ran and failed; 2 usage; 65 malformed or unsupported input; 66 input not\n"
    "found; 70 a bug of opt-partition; 73 cannot write; 75 a rank died or hung; 130 interrupted, 143 terminated";

int report(llvm::Error error) {
  int code = 0;
  llvm::handleAllErrors(
      std::move(error),
      [&](const Diagnostic& d) {
        if (d.fault == Fault::stopped) return;
        llvm::errs() << "opt-partition: " << d.message << "\n";
        if (code == 0) code = d.fault == Fault::interrupted && interrupting_signal() ? 128 + interrupting_signal() : int(d.fault);
      },
      [&](const llvm::ErrorInfoBase& other) {
        llvm::errs() << "opt-partition: internal: " << other.message() << "\n";
        code = 70;
      });
  return code;
}

std::string nearest(llvm::StringRef word, const std::vector<std::string>& known) {
  std::string best;
  unsigned distance = 3;
  for (const std::string& k : known)
    if (unsigned d = word.edit_distance(k, true, distance); d < distance) distance = d, best = k;
  return best;
}

int run(std::vector<std::string> words) {
  CLI::App app("cuts a transformer's ONNX graph for tensor parallelism, and proves that the parts compute the whole", "opt-partition");
  app.footer(footer);
  app.set_version_flag("--version", version_text(), "versions of this program and what it runs on");
  app.require_subcommand(1);
  std::vector<Command> commands{add_partition(app), add_inspect(app), add_diff(app), add_run(app), add_train(app), add_export(app), add_check(app), add_bench(app), add_build(app), add_ops(app), add_passes(app)};
  std::vector<std::string> verbs;
  for (const Command& c : commands) verbs.push_back(c.app->get_name());
  // The main job needs no verb: opt-partition MODEL.onnx … is opt-partition partition MODEL.onnx …
  if (!words.empty() && words[0][0] != '-' && std::find(verbs.begin(), verbs.end(), words[0]) == verbs.end()) {
    if (llvm::StringRef(words[0]).ends_with(".onnx") || words[0].find('/') != std::string::npos || access(words[0].c_str(), F_OK) == 0) {
      words.insert(words.begin(), "partition");
    } else {
      const std::string near = nearest(words[0], verbs);
      return report(error(Fault::usage, "unknown verb " + quoted(words[0]) + (near.empty() ? "" : "; did you mean " + near + "?")));
    }
  }
  std::reverse(words.begin(), words.end());
  try {
    app.parse(words);
  } catch (const CLI::Success& e) {
    return app.exit(e, std::cout, std::cerr);
  } catch (const CLI::ExtrasError&) {
    for (const Command& c : commands)
      if (c.app->parsed()) {
        std::vector<std::string> flags;
        for (const CLI::Option* o : c.app->get_options())
          for (const std::string& name : o->get_lnames()) flags.push_back("--" + name);
        for (const std::string& extra : c.app->remaining())
          if (const std::string near = nearest(extra, flags); !near.empty()) return report(error(Fault::usage, "unknown flag " + quoted(extra) + "; did you mean " + near + "?"));
        const auto rest = c.app->remaining();
        return report(error(Fault::usage, "unknown argument " + quoted(rest.empty() ? "" : rest.front()) + " of " + c.app->get_name()));
      }
    return report(error(Fault::usage, "unknown argument"));
  } catch (const CLI::ParseError& e) {
    return report(error(Fault::usage, std::string(e.what())));
  }
  for (const Command& c : commands)
    if (c.app->parsed()) return report(c.run());
  return int(Fault::usage);
}
}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
  install_mapping_guard();
  abandon_outputs_on_signal();
  int code;
  try {
    code = run({argv + 1, argv + argc});
  } catch (const std::bad_alloc&) {
    llvm::errs() << "opt-partition: out of memory\n";
    code = int(Fault::internal);
  } catch (const std::exception& e) {
    llvm::errs() << "opt-partition: internal: " << e.what() << "\n";
    code = int(Fault::internal);
  }
  llvm::outs().flush();
  std::cout.flush();
  if (llvm::outs().has_error() || !std::cout) {
    llvm::outs().clear_error();
    llvm::errs() << "opt-partition: stdout cannot be written\n";
    if (code == 0) code = int(Fault::cannot_write);
  }
  return code;
}
