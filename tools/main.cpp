// opt-partition: parses the command line, runs one verb, prints its error and picks the exit code.
#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <optional>
#include <sstream>
#include <thread>

#include "frontend/io/input_folder.h"
#include "frontend/io/interrupts.h"
#include "frontend/ir/diagnostic.h"
#include "frontend/ir/diagnostic_json.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/raw_ostream.h"
#include "runtime/comm/thread_communicator.h"
#include "runtime/instruction_set.h"
#include "tools/cli/command.h"
#include "tools/cli/process_run.h"
#include "tools/cli/progress.h"
#include "tools/cli/refused.h"
#include "tools/cli/suggestions.h"

namespace {
using namespace optp;

const char* const footer =
    "exit codes: 0 done, the check holds; "
    "1 the check failed, training diverged, plans differ, or a part does not fit;\n"
    "2 usage; 65 malformed or unsupported input; 66 input not found; 70 memory ran out, or a bug of opt-partition;\n"
    "73 cannot write; 75 a rank died or hung; 130 interrupted, 141 nobody reads stdout, 143 terminated";

// Flags of every verb, before it or after it. They are taken out before CLI11 sees the rest: they say how its errors
// look.
bool errors_as_json = false;
std::string errors_file;  // of --diagnostics json:FILE; empty: stderr

std::unique_ptr<ProcessRun> processes;  // where a launcher started several
bool speaks() { return !processes || processes->speaks(); }
llvm::raw_ostream& out() { return speaks() ? llvm::outs() : llvm::nulls(); }

void print_line(const std::string& json) {
  if (!errors_file.empty()) {
    std::error_code failed;
    llvm::raw_fd_ostream file(errors_file, failed, llvm::sys::fs::OF_Append);
    if (!failed) {
      file << json;
      file.close();
      if (!file.has_error()) return;
      file.clear_error();
    }
  }
  // An error is not lost where its file cannot be written.
  llvm::errs() << json;
}
int print(const Diagnostic& d) {
  const int signal = d.code() == Code::interrupted ? interrupting_signal() : 0;
  const int code = signal ? 128 + signal : int(d.fault());
  if (!speaks()) return code;
  if (errors_as_json)
    print_line(llvm::formatv("{0}\n", llvm::json::Value(error_object(d, code))).str());
  else
    llvm::errs() << "opt-partition: " << d.message() << "\n";
  return code;
}
int report(llvm::Error errors) {
  if (processes) errors = processes->settle(std::move(errors));
  int code = 0;
  auto one = [&](const Diagnostic& d) {
    const int its = print(d);
    if (code == 0) code = its;
  };
  llvm::handleAllErrors(
      std::move(errors),
      [&](const Diagnostic& d) {
        if (d.code() != Code::stopped) one(d);
      },
      [&](const llvm::ErrorInfoBase& other) { one(error(Code::bug, "internal: " + other.message())); });
  return code;
}

llvm::Error unknown_words(const CLI::App& app, const std::vector<Command>& commands) {
  const bool is_verb = app.get_parent() != nullptr;
  for (const std::string& word : app.remaining()) {
    if (word.size() < 2 || word[0] != '-') continue;
    const std::string flag = word.substr(0, word.find('='));
    Diagnostic unknown = error(Code::unknown_flag, "unknown flag " + quoted(flag)).about({.flag = flag});
    if (const std::string near = nearest_flag(flag, app); !near.empty()) return unknown.did_you_mean(near);
    std::string others;
    for (const Command& c : commands)
      if (flag.size() > 2 && llvm::is_contained(flags_of(*c.app), flag))
        others += (others.empty() ? "" : ", ") + c.app->get_name();
    // What another verb takes is a word of its own, not the beginning of one.
    if (const std::string longer = others.empty() ? flag_beginning_with(flag, app) : ""; !longer.empty())
      return unknown.did_you_mean(longer);
    if (is_verb) unknown.says("of " + app.get_name());
    return unknown.hint(others.empty() ? "" : "it is one of " + others);
  }
  return error(Code::unknown_argument)
      .what("unknown argument " + quoted(app.remaining().front()) + (is_verb ? " of " + app.get_name() : ""));
}

// CLI11's other errors. They are told apart by their type; which flag it is stands only in their text, before the
// colon.
Diagnostic misused(const CLI::App& app, const CLI::ParseError& e) {
  if (llvm::StringRef conversion(e.what()); conversion.consume_front("Could not convert: ")) {
    const auto [name, value] = conversion.split(" = ");
    for (const CLI::Option* o : app.get_options())
      if (o->check_name(name.str()))
        return error(Code::bad_value)
            .flag(name)
            .expected(o->get_type_name().find("FLOAT") == 0 ? "a number" : "a whole number")
            .found(quoted(value));
  }
  const bool is_missing = dynamic_cast<const CLI::RequiredError*>(&e);
  const bool wants_value =
      dynamic_cast<const CLI::ArgumentMismatch*>(&e) || dynamic_cast<const CLI::RequiresError*>(&e);
  Diagnostic out = error(is_missing ? Code::missing : wants_value ? Code::missing_value : Code::bad_value);
  const auto [name, text] = llvm::StringRef(e.what()).split(": ");
  for (const CLI::Option* o : app.get_options())
    if (o->check_name(name.str()) && o->get_items_expected_max() == 1 && o->count() > 1) {
      std::string others;
      for (const std::string& other : o->get_lnames())
        if ("--" + other != name) others += (others.empty() ? "--" : ", --") + other;
      return error(Code::bad_value)
          .flag(name)
          .expected("once")
          .found(llvm::Twine(o->count()) + " times")
          .hint(others.empty() ? "" : others + " is another name of it");
    }
  if (llvm::is_contained(flags_of(app), name)) return out.flag(name).what(text);
  if (is_missing)
    for (const CLI::Option* o : app.get_options())
      if (o->get_required() && o->count() == 0 && !o->get_lnames().empty())
        return out.what(e.what()).about({.flag = "--" + o->get_lnames()[0]});
  const llvm::StringRef first = llvm::StringRef(e.what()).split(' ').first;  // --lr requires --train
  if (llvm::is_contained(flags_of(app), first)) out.about({.flag = first.str()});
  return out.what(e.what());
}

llvm::Error take_flags_of_all_verbs(std::vector<std::string>& words) {
  for (size_t k = 0; k < words.size() && words[k] != "--";) {
    llvm::StringRef word = words[k];
    if (word == "--quiet") {
      Progress::silence();
    } else if (word == "--diagnostics" || word.starts_with("--diagnostics=")) {
      std::string form;
      if (word.consume_front("--diagnostics="))
        form = word.str();
      else if (k + 1 < words.size())
        form = words[k + 1], words.erase(words.begin() + ptrdiff_t(k) + 1);
      llvm::StringRef file = form;
      errors_as_json = form == "json" || (file.consume_front("json:") && !file.empty());
      if (form != "text" && !errors_as_json)
        return error(Code::bad_value).flag("--diagnostics", quoted(form)).expected("text, json or json:FILE");
      errors_file = errors_as_json && form != "json" ? file.str() : "";
      if (form == "json") Progress::silence();
    } else {
      ++k;
      continue;
    }
    words.erase(words.begin() + ptrdiff_t(k));
  }
  return llvm::Error::success();
}
// What was taken, for help, man page and completions.
void declare_flags_of_all_verbs(CLI::App& app) {
  static bool quiet;
  static std::string form;
  app.add_flag("--quiet", quiet, "no progress and no summary on stderr")->group("Everywhere");
  app.add_option("--diagnostics", form,
                 "error format on stderr: text, or json with one object per line; json:FILE: these go to a file "
                 "(docs/errors.md)")
      ->type_name("text|json")
      ->group("Everywhere");
}

// --timeout, of the verbs that run ranks.
constexpr double most_seconds = 1e8;  // three years: more does not fit a clock's nanoseconds
std::optional<double> timeout_seconds;
void declare_timeout(CLI::App& app) {
  app.add_option("--timeout", timeout_seconds,
                 "a rank that is later than this in a collective is named, and ends the run (default: 300, of "
                 "several processes 1800)")
      ->type_name("SECONDS");
}
llvm::Expected<std::unique_ptr<World>> make_world(llvm::Expected<size_t> ranks) {
  if (timeout_seconds && !(*timeout_seconds > 0)) {
    if (ranks) ranks = error(Code::bad_value).flag("--timeout").expected("a number of seconds above 0");
    timeout_seconds.reset();  // to tell the others of it takes some time, too
  }
  if (timeout_seconds) timeout_seconds = std::min(*timeout_seconds, most_seconds);
  if (!processes) {
    if (!timeout_seconds || !ranks) return make_thread_world(std::move(ranks));
    return std::make_unique<ThreadWorld>(*ranks, ThreadWorldOptions{.timeout_seconds = *timeout_seconds});
  }
  MailOptions options;
  options.timeout_seconds = timeout_seconds.value_or(options.timeout_seconds);
  options.grace_seconds = std::min(options.grace_seconds, options.timeout_seconds);
  return processes->make_world(std::move(ranks), options);
}

// Before the command line is read; what is no number of seconds is refused when it is.
double timeout_in(llvm::ArrayRef<std::string> words) {
  double seconds = 0;
  for (size_t k = 0; k < words.size() && words[k] != "--"; ++k) {
    llvm::StringRef word = words[k];
    if (word == "--timeout" && k + 1 < words.size())
      word = words[k + 1];
    else if (!word.consume_front("--timeout="))
      continue;
    (void)word.getAsDouble(seconds);
  }
  return seconds > 0 ? std::min(seconds, most_seconds) : MailOptions{}.timeout_seconds;
}

// Where a launcher started this process among others, it meets them.
llvm::Error join_processes(llvm::ArrayRef<std::string> words) {
  const auto launched = find_launch();
  if (!launched) return llvm::Error::success();
  std::string program = version_text();
  std::replace(program.begin(), program.end(), '\n', ' ');
  auto joined = ProcessRun::join(*launched, {{"program", program}, {"command line", llvm::join(words, " ")}},
                                 timeout_in(words), [](const Diagnostic& d) { ::_exit(report(Diagnostic(d))); });
  if (joined) {
    processes = std::move(*joined);
    if (!processes->speaks()) Progress::silence();
    return llvm::Error::success();
  }
  // Each process finds this out for itself, and one line is enough: where the launcher ends the others with the first
  // one, they have not spoken yet.
  if (launched->process > 0) {
    std::signal(SIGTERM, SIG_DFL);
    std::this_thread::sleep_for(std::chrono::seconds(5));
  }
  return joined.takeError();
}
llvm::Error begin(std::vector<std::string>& words) {
  const std::vector<std::string> given = words;
  if (auto e = take_flags_of_all_verbs(words)) return e;
  if (auto e = join_processes(given)) return e;
  return check_instruction_set_limit();
}

llvm::Error needs_one_process(const Command& c, llvm::ArrayRef<Command> all) {
  const std::string by = find_launch()->by;
  llvm::SmallVector<llvm::StringRef, 8> shared;
  for (const Command& other : all)
    if (other.runs_ranks) shared.push_back(other.app->get_name());
  return error(Code::bad_value)
      .what(c.app->get_name() + " is the work of one process, and " + by + " started several")
      .hint("run it without " + by + "; " + in_words(shared, " and ") + " are shared among processes");
}

int run(std::vector<std::string> words) {
  if (auto e = begin(words)) return report(std::move(e));
  CLI::App app("cuts a transformer's ONNX graph for tensor parallelism, and checks that the parts compute the whole",
               "opt-partition");
  app.footer(footer);
  app.set_version_flag("--version", version_text(),
                       "versions of this program and what it runs on; with --json as JSON");
  app.add_flag("--json")->group("");
  declare_flags_of_all_verbs(app);
  app.require_subcommand(1);
  const WorldMaker& ranks = make_world;
  const std::vector<Command> commands{
      add_partition(app),      add_inspect(app), add_diff(app),         add_run(app, ranks),   add_train(app, ranks),
      add_reshard(app, ranks), add_export(app),  add_check(app, ranks), add_bench(app, ranks), add_generate(app, ranks),
      add_build(app),          add_ops(app),     add_passes(app),       add_docs(app)};
  std::vector<std::string> verbs;
  for (const Command& c : commands) {
    if (c.runs_ranks) declare_timeout(*c.app);
    declare_flags_of_all_verbs(*c.app);
    verbs.push_back(c.app->get_name());
  }
  if (words == std::vector<std::string>{"--version", "--json"} ||
      words == std::vector<std::string>{"--json", "--version"}) {
    out() << version_json() << "\n";
    return 0;
  }
  if (words.empty()) return (speaks() ? llvm::errs() : llvm::nulls()) << app.help(), int(Fault::usage);
  // The main job needs no verb: opt-partition MODEL.onnx … is opt-partition partition MODEL.onnx …
  if (!words.empty() && words[0][0] != '-' && std::find(verbs.begin(), verbs.end(), words[0]) == verbs.end()) {
    if (llvm::StringRef(words[0]).ends_with(".onnx") || words[0].find('/') != std::string::npos ||
        access(words[0].c_str(), F_OK) == 0) {
      words.insert(words.begin(), "partition");
    } else {
      const std::string near = nearest_word(words[0], verbs);
      return report(error(Code::unknown_verb, "unknown verb " + quoted(words[0])).did_you_mean(near));
    }
  }
  std::reverse(words.begin(), words.end());
  try {
    app.parse(words);
  } catch (const CLI::Success& e) {
    std::ostringstream text;
    app.exit(e, text, text);
    out() << text.str();
    return 0;
  } catch (const CLI::ParseError& e) {
    // A misspelt flag is also a missing one: the word that is there says more.
    for (const Command& c : commands)
      if (c.app->parsed() && !c.app->remaining().empty()) return report(unknown_words(*c.app, commands));
    if (!app.remaining().empty()) return report(unknown_words(app, commands));
    if (const auto* refused = dynamic_cast<const Refused*>(&e)) return report(Diagnostic(refused->why));
    for (const Command& c : commands)
      if (c.app->parsed()) return report(misused(*c.app, e));
    return report(misused(app, e));
  }
  for (const Command& c : commands)
    if (c.app->parsed()) return report(processes && !c.runs_ranks ? needs_one_process(c, commands) : c.run());
  return int(Fault::usage);
}

// What stdout did not take is a failure, but for a reader who has seen enough, as `head` has: then this ends as
// programs do that the signal kills.
int end_output(int code) {
  llvm::outs().flush();
  if (llvm::outs().has_error()) {
    const bool is_unread = llvm::outs().error() == std::errc::broken_pipe;
    llvm::outs().clear_error();
    const int failed = is_unread ? 128 + SIGPIPE : report(error(Code::stdout_closed, "stdout cannot be written"));
    if (code == 0) code = failed;
  }
  llvm::errs().flush();
  llvm::errs().clear_error();  // nobody is left to be told
  return code;
}
}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
  install_mapping_guard();
  // Large blocks go back to the system as soon as they are free: weights that were packed, arrays of one run. Else the
  // first that is freed makes the allocator keep all that are as large.
  ::mallopt(M_MMAP_THRESHOLD, 1 << 18);
  abandon_outputs_on_signal();
  int code;
  try {
    code = run({argv + 1, argv + argc});
  } catch (const std::bad_alloc&) {
    code = report(error(Code::out_of_memory, "out of memory"));
  } catch (const std::exception& e) {
    code = report(error(Code::bug, std::string("internal: ") + e.what()));
  }
  code = end_output(code);
  if (processes) processes->end(code);
  return code;
}
