// How the program behaves towards people's shells and other programs: errors as data, suggestions, completions, quiet.
#include <poll.h>
#include <pty.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <thread>

#include "llvm/Support/JSON.h"
#include "tests/tools/program.h"

using namespace optp;
using namespace std::chrono_literals;

namespace {
llvm::json::Object object(const std::string& line) {
  auto value = llvm::json::parse(line);
  if (!value || !value->getAsObject()) FAIL("no JSON object: " << line);
  return std::move(*value->getAsObject());
}
std::string text(const llvm::json::Object& o, const char* member) { return o.getString(member).value_or("").str(); }
}  // namespace

TEST_CASE("with --diagnostics json, before the verb or after it, stderr is one object a line and stdout as ever") {
  const Sandbox box;
  const std::string model = export_of("opt-tiny") + "/model.onnx";
  write_text(box / "bad.onnx", "no model");
  write_text(box / "full/theirs", "x");
  struct Row {
    std::vector<std::string> command;
    int exit;
    std::string code, member, value;
  };
  const Row rows[] = {
      {{"--diagnostics", "json", "bad.onnx", "-o", "out"}, 65, "bad-input/not-this-format", "file", "bad.onnx"},
      {{"partition", "--diagnostics=json", "nothing.onnx", "-o", "out"}, 66, "not-found/file", "file", "nothing.onnx"},
      {{model, "-o", "full", "--diagnostics", "json"}, 73, "cannot-write/occupied", "file", "full"},
      {{"--diagnostics", "json", "insepct", "out"}, 2, "usage/unknown-verb", "suggestion", "inspect"},
      {{"inspect", "--jsn", "--diagnostics", "json"}, 2, "usage/unknown-flag", "suggestion", "--json"},
      {{"inspect", "--diagnostics", "json"}, 2, "usage/missing", "", ""},
      {{model, "-o", "out", "--devices", "--diagnostics", "json"}, 2, "usage/missing-value", "flag", "--devices"},
      {{"bench", model, "--devices", "2", "--diagnostics", "json"}, 2, "usage/dim-without-value", "dim", "batch"},
      {{"--diagnostics", "json", "inspect", "out", "extra"}, 2, "usage/unknown-argument", "", ""},
      {{"--diagnostics", "json", model, "-o", "out", "--devices", "0"}, 2, "usage/bad-value", "", ""},
      {{"--diagnostics", "json", "check", model, "--dim", "batch=1", "--dim", "sequence=4", "--input", "nope=ones"},
       2,
       "usage/unknown-input",
       "",
       ""},
      {{"--diagnostics", "json", model, "-o", "out", "--stop-after", "nope"}, 2, "usage/unknown-pass", "", ""},
      {{"--diagnostics", "json", model, "-o", "out", "--tie", "nope"}, 2, "usage/unmatched-pattern", "", ""},
      {{"check", model, "--devices", "2", "--mutant", "drop-all-reduce", "--diagnostics", "json", "--inputs-dir",
        export_of("opt-tiny") + "/inputs"},
       1,
       "check-failed/difference",
       "",
       ""},
  };
  for (const Row& row : rows) {
    CAPTURE(row.code);
    const Result r = box.run(row.command);
    CHECK(r.code == row.exit);
    REQUIRE(std::count(r.err.begin(), r.err.end(), '\n') == 1);
    const llvm::json::Object o = object(r.err);
    CHECK(text(o, "code") == row.code);
    CHECK(o.getInteger("exit") == row.exit);
    if (!row.member.empty()) CHECK(text(o, row.member.c_str()) == row.value);
  }
  const Result done = box.run({"--diagnostics", "json", model, "-o", "out"});
  CHECK(done.code == 0);
  CHECK(done.err == "");
  const Result wrong = box.run({"--diagnostics", "xml", "ops"});
  CHECK(wrong.code == 2);
  CHECK(wrong.line() == "--diagnostics 'xml': expected text, json or json:FILE");
  CHECK(box.run({"--diagnostics", "json:", "ops"}).line() == "--diagnostics 'json:': expected text, json or json:FILE");
  CHECK(box.run({"ops", "--diagnostics"}).code == 2);
}

TEST_CASE("with --diagnostics json:FILE errors go to the file, and stderr has the rest") {
  const Sandbox box;
  const std::string model = export_of("opt-tiny") + "/model.onnx";
  const Result done = box.run({model, "--devices", "2", "-o", "out", "--diagnostics", "json:errors"});
  CHECK(done.code == 0);
  CHECK(done.err == box.run({model, "--devices", "2", "-o", "out"}).err);
  CHECK(done.err != "");
  CHECK(!fs::exists(box / "errors"));
  const Result failed = box.run({"--diagnostics=json:errors", "nothing.onnx", "-o", "out"});
  CHECK(failed.code == 66);
  CHECK(failed.err == "");
  CHECK(box.run({"--diagnostics=json:errors", "insepct", "out"}).code == 2);
  const std::string errors = contents(box / "errors");
  const auto [first, second] = llvm::StringRef(errors).split('\n');
  CHECK(text(object(first.str()), "code") == "not-found/file");
  CHECK(text(object(second.str()), "code") == "usage/unknown-verb");
  // Where the file cannot be written, the error is still said.
  const Result nowhere = box.run({"--diagnostics=json:none/errors", "nothing.onnx", "-o", "out"});
  CHECK(nowhere.code == 66);
  CHECK(text(object(nowhere.err), "code") == "not-found/file");
}

TEST_CASE("a misspelt flag gets its nearest, also where that makes another one missing") {
  const Sandbox box;
  struct Row {
    std::vector<std::string> command;
    std::string says;
  };
  const Row rows[] = {
      {{"m.onnx", "--ouput", "out"}, "unknown flag '--ouput'; did you mean --output?"},
      {{"m.onnx", "--devise=2", "-o", "out"}, "unknown flag '--devise'; did you mean --devices?"},
      {{"check", "m.onnx", "--random"}, "unknown flag '--random'; did you mean --random-weights?"},
      {{"check", "m.onnx", "--seq-len", "8"}, "unknown flag '--seq-len'; did you mean --dim?"},
      {{"train", "m.onnx", "--seq-len", "8"}, "unknown flag '--seq-len'; did you mean --sequence?"},
      {{"bench", "m.onnx", "--batch-size", "8"}, "unknown flag '--batch-size'; did you mean --dim?"},
      {{"run", "out", "--devices", "2"},
       "unknown flag '--devices' of run; it is one of partition, inspect, train, reshard, check, bench, generate"},
      {{"inspect", "out", "--zzzz"}, "unknown flag '--zzzz' of inspect"},
      {{"inspect", "out", "more"}, "unknown argument 'more' of inspect"},
      {{"--verison"}, "unknown flag '--verison'; did you mean --version?"},
      {{"bnch", "m.onnx"}, "unknown verb 'bnch'; did you mean bench?"},
      // By its meaning, as other programs call it.
      {{"m.onnx", "-o", "out", "--tensor-parallel-size", "4"},
       "unknown flag '--tensor-parallel-size'; did you mean --devices?"},
      {{"m.onnx", "-o", "out", "--world_size=4"}, "unknown flag '--world_size'; did you mean --devices?"},
      {{"check", "m.onnx", "--learning-rte", "1"}, "unknown flag '--learning-rte'; did you mean --lr?"},
      {{"train", "m.onnx", "--batch-size", "4"}, "unknown flag '--batch-size'; did you mean --batch?"},
      {{"train", "m.onnx", "--output", "run"}, "unknown flag '--output'; did you mean --save?"},
      {{"inspect", "out", "--explain", "x"}, "unknown flag '--explain'; did you mean --why?"},
      // A flag of another verb is not the beginning of one of this verb's.
      {{"run", "out", "--tp", "2"},
       "unknown flag '--tp' of run; it is one of partition, inspect, train, reshard, check, bench, generate"},
      // Not of the verbs where it could not hold: a training step has no caches, generate needs whole logits.
      {{"train", "m.onnx", "--kv-cache", "8"},
       "unknown flag '--kv-cache' of train; it is one of partition, check, bench, generate"},
      {{"generate", "m.onnx", "--outputs", "sharded"}, "unknown flag '--outputs'; did you mean --output?"},
      // Two letters that are others are no slip of the hand.
      {{"run", "out", "-o", "res", "--zz"}, "unknown flag '--zz' of run"},
  };
  for (const Row& row : rows) {
    const Result r = box.run(row.command);
    CHECK(r.code == 2);
    CHECK(r.line() == row.says);
  }
}

TEST_CASE("a value that is no number is told with its flag and what is wanted") {
  const Sandbox box;
  const std::string model = export_of("opt-tiny") + "/model.onnx";
  const std::pair<Words, const char*> rows[] = {
      {{"bench", model, "--runs", "abc"}, "--runs: expected a whole number, found 'abc'"},
      {{"bench", model, "--decode", "1e3"}, "--decode: expected a whole number, found '1e3'"},
      {{"bench", model, "--decode", "0"}, "--decode: expected at least 1, found 0"},
      {{"check", model, "--kv-cache", "many"}, "--kv-cache: expected a whole number, found 'many'"},
      {{"train", model, "--lr", "a: b"}, "--lr: expected a number, found 'a: b'"},
  };
  for (const auto& [words, says] : rows) {
    const Result r = box.run(words);
    CHECK(r.code == 2);
    CHECK(r.line() == says);
  }
}

TEST_CASE("a file for results whose folder isn't there is told before the work begins") {
  const Sandbox box;
  const std::string model = export_of("opt-tiny") + "/model.onnx";
  tokens_into(box / "tokens.bin");
  REQUIRE(box.run({model, "-o", "cut"}).code == 0);
  const Words commands[] = {
      {"check", model, "--json", "none/file"},
      {"bench", model, "--json", "none/file"},
      {"bench", model, "--profile", "none/file"},
      {"generate", model, "--prompt-ids", "1", "--json", "none/file"},
      {"run", "cut", "--input", "input_ids=1,2", "-o", "results", "--profile", "none/file"},
      {"run", "cut", "--input", "input_ids=1,2", "-o", "none/file"},
      {"train", model, "--data", "tokens.bin", "--save", "run", "--max-steps", "1", "--plot", "none/file"},
  };
  for (const Words& words : commands) {
    const Result r = box.run(words);
    CAPTURE(words[0]);
    CHECK(r.code == 73);
    CHECK(r.line() == "none/file: its folder cannot be opened: no such file or directory");
    CHECK(r.out == "");
  }
  CHECK(!fs::exists(box / "results"));
  CHECK(!fs::exists(box / "run"));
}

TEST_CASE("no words at all are answered with the help, as wrong usage") {
  const Sandbox box;
  const Result bare = box.run({});
  CHECK(bare.code == 2);
  CHECK(bare.out == "");
  CHECK(bare.err == box.run({"--help"}).out);
}

TEST_CASE("--tp is --devices, and the number that is taken without either is said") {
  const Sandbox box;
  const std::string model = export_of("opt-tiny") + "/model.onnx";
  CHECK(box.run({model, "--tp", "3", "--plan-only", "-o", "three"}).err.find("three: 3 devices, ") == 0);
  CHECK(box.run({model, "--plan-only", "-o", "two"})
            .err.find("two: 2 devices (the default; --devices N says how many), ") == 0);
  CHECK(box.run({model, "--mesh", "2", "--plan-only", "-o", "two"}).err.find("two: 2 devices, ") == 0);
}

TEST_CASE("extents of inputs are said by their shapes as well as by their dims") {
  const Sandbox box;
  const std::string model = export_of("opt-tiny") + "/model.onnx";
  const auto example = [&](const std::vector<std::string>& words) {
    std::vector<std::string> all{model, "--plan-only", "-o", "out"};
    all.insert(all.end(), words.begin(), words.end());
    const Result r = box.run(all);
    return r.code == 0 ? box.run({"inspect", "out"}).out : r.line();
  };
  const std::string asked = example({"--dim", "batch=3", "--dim", "sequence=24"});
  CHECK(asked.find("batch 3, sequence 24") != std::string::npos);
  CHECK(example({"--dim", "batch=3,sequence=24"}) == asked);
  CHECK(example({"--dim", "batch=3,sequence"}) ==
        "--dim 'batch=3,sequence': expected NAME=NUMBER, or several between commas");
  const std::string unknown = "--dim 'bach=3': the model has no such dim; it has batch, sequence";
  CHECK(example({"--dim", "bach=3"}) == unknown);
  for (const std::string verb : {"check", "bench"}) CHECK(box.run({verb, model, "--dim", "bach=3"}).line() == unknown);
  CHECK(example({"--input-shapes", "input_ids:3x24"}) == asked);
  CHECK(example({"--input-shapes", "input_ids:3x24,attention_mask:3x24"}) == asked);
  CHECK(example({"--input-shapes", "input_ids:3x24", "--input-shapes", "attention_mask:3x24"}) == asked);
  CHECK(example({"--input-shapes", "input_ids:3x24", "--dim", "batch=4"}) ==
        "--input-shapes: input 'input_ids', dim 0 (batch): expected 4, found 3");
  CHECK(example({"--input-shapes", "ids:3x24"}) ==
        "--input-shapes: the model has no input 'ids'; it has input_ids, attention_mask");
  CHECK(example({"--input-shapes", "input_ids=3,24"}) ==
        "--input-shapes 'input_ids=3,24': expected NAME:1x128, or several between commas");
}

TEST_CASE("a folder that holds a model is taken for it") {
  const Sandbox box;
  fs::copy(export_of("opt-tiny") + "/model.onnx", box / "model.onnx");
  fs::create_directories(box / "export");
  fs::rename(box / "model.onnx", box / "export/model.onnx");
  CHECK(box.run({"export", "--plan-only", "-o", "out"}).code == 2);  // the verb
  CHECK(box.run({"./export", "--plan-only", "-o", "out"}).code == 0);
  write_text(box / "export/decoder_model.onnx", "x");
  CHECK(box.run({"partition", "export", "--plan-only", "-o", "out"}).code == 0);
  fs::rename(box / "export/model.onnx", box / "export/encoder_model.onnx");
  const Result several = box.run({"check", "export"});
  CHECK(several.code == 65);
  CHECK(
      several.line() ==
      "export: models: expected one, or a model.onnx, found decoder_model.onnx, encoder_model.onnx; give the file, as "
      "export/decoder_model.onnx");
}

TEST_CASE("versions are JSON for programs") {
  const Sandbox box;
  for (const auto& command : {std::vector<std::string>{"--version", "--json"}, {"--json", "--version"}}) {
    const Result r = box.run(command);
    REQUIRE(r.code == 0);
    const llvm::json::Object o = object(r.out);
    CHECK(box.run({"--version"})
              .out.find("opt-partition " + text(o, "opt-partition") + "\noneDNN " + text(o, "onednn") + "\n") == 0);
    CHECK(o.getInteger("onnx_opset") == 17);
  }
}

TEST_CASE("docs/errors.md is what the program says") {
  const Sandbox box;
  const Result r = box.run({"docs", "errors"});
  const std::string path = OPTP_TEST_DATA "/../../docs/errors.md";
  if (std::getenv("UPDATE_GOLDEN")) write_text(path, r.out);
  CHECK(r.out == contents(path));
}

TEST_CASE("man page and completions have every verb and flag of --help, and are what the build made") {
  const Sandbox box;
  const std::vector<std::string> verbs = {"partition", "inspect", "run", "train",  "export",  "check",
                                          "bench",     "build",   "ops", "passes", "generate"};
  std::vector<std::string> words;
  const auto add_flags = [&](std::string help) {
    std::replace(help.begin(), help.end(), ',', ' ');  // "-h,--help", or "-h,     --help"
    std::istringstream lines(help);
    for (std::string line; std::getline(lines, line);) {
      std::istringstream each(line);
      for (std::string name; each >> name && name[0] == '-' && name.size() > 1;) words.push_back(name);
    }
  };
  const std::string help = box.run({"--help"}).out;
  add_flags(help);
  for (const std::string& verb : verbs) {
    CHECK(help.find("\n  " + verb + " ") != std::string::npos);
    add_flags(box.run({verb, "--help"}).out);
  }
  CHECK(words.size() > 100);
  words.insert(words.end(), verbs.begin(), verbs.end());
  const std::string folder = fs::path(OPTP_PROGRAM).parent_path().string() + "/generated/";
  for (auto [what, file] : {std::pair{"man", "opt-partition.1"},
                            {"bash", "opt-partition"},
                            {"zsh", "_opt-partition"},
                            {"fish", "opt-partition.fish"}}) {
    CAPTURE(what);
    const Result r = box.run({"docs", what});
    REQUIRE(r.code == 0);
    CHECK(r.out == contents(folder + file));
    for (const std::string& word : words) {
      CAPTURE(word);
      std::string spelt = word;
      if (what == std::string("fish") && word[0] == '-')
        spelt = (word[1] == '-' ? "-l " + word.substr(2) : "-s " + word.substr(1));
      if (what == std::string("man"))
        for (size_t k = 0; (k = spelt.find('-', k)) != std::string::npos; k += 2) spelt.insert(k, "\\");
      CHECK(r.out.find(spelt) != std::string::npos);
    }
  }
}

TEST_CASE("bash completes verbs, flags, words and paths") {
  const Sandbox box;
  write_text(box / "completion", box.run({"docs", "bash"}).out);
  write_text(box / "out/plan.json", "{}");
  write_text(box / "a model.onnx", "");
  struct Row {
    std::string words, offers;  // of the last word
  };
  const Row rows[] = {
      {"insp", "inspect\n"},
      {"inspect --js", "--json\n"},
      {"m.onnx --devi", "--devices\n"},  // the verb that needs no name
      {"--diagnostics json che", "check\n"},
      {"--diagnostics json check m.onnx --golde", "--golden\n"},
      {"partition m.onnx --strategy m", "megatron\n"},
      {"partition m.onnx --strategy = o", "origin\n"},
      {"train m.onnx --schedule c", "constant\ncosine\n"},
      {"run o", "out\n"},
      {"run out -o a", ""},  // a folder, not a file
      {"check a", "a model.onnx\n"},
      {"build opt-1.", "opt-1.3b\n"},
      {"bench m.onnx --runs ", ""},
  };
  for (const Row& row : rows) {
    CAPTURE(row.words);
    const std::string last = row.words.back() == ' ' ? " ''" : "";
    write_text(box / "script", ". ./completion; COMP_WORDS=(opt-partition " + row.words + last +
                                   "); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _opt_partition; for w in "
                                   "\"${COMPREPLY[@]}\"; do echo \"$w\"; done >given\n");
    REQUIRE(std::system(("cd '" + box.work() + "' && bash script").c_str()) == 0);
    CHECK(contents(box / "given") == row.offers);
  }
}

TEST_CASE("--quiet is every verb's, before it or after it") {
  const Sandbox box;
  const std::string model = export_of("opt-tiny") + "/model.onnx";
  for (const auto& command : {std::vector<std::string>{"--quiet", model, "-o", "out"},
                              {model, "-o", "out", "--quiet"},
                              {"--quiet", "inspect", "out"},
                              {"ops", "--quiet"},
                              {"build", "opt-125m", "--no-weights", "--quiet", "-o", "m.onnx"}}) {
    const Result r = box.run(command);
    CHECK(r.code == 0);
    CHECK(r.err == "");
  }
  CHECK(box.run({model, "-o", "out"}).err.find("out: 2 devices") == 0);
}

TEST_CASE("what takes long tells a terminal so within a second, and is gone from the line when done") {
  const Sandbox box;
  int ours = -1, theirs = -1;
  if (const int failed = ::openpty(&ours, &theirs, nullptr, nullptr, nullptr); failed && !fs::exists("/dev/pts/ptmx")) {
    MESSAGE("skipped: it needs a pseudo-terminal, and /dev/pts is not mounted");
    return;
  } else {
    REQUIRE(failed == 0);
  }
  std::string seen;
  const auto told = [&] {
    return seen.find("planning  ") != std::string::npos && seen.find(" %") != std::string::npos;
  };
  // Until it has told so the child runs a sixth of the time: it takes long on any machine.
  const auto read_until_end = [&](pid_t child) {
    siginfo_t end{};
    for (bool last = false; !last;) {
      last = ::waitid(P_PID, id_t(child), &end, WEXITED | WNOHANG | WNOWAIT) != 0 || end.si_pid != 0;
      if (!last && !told()) ::kill(child, SIGSTOP), std::this_thread::sleep_for(25ms), ::kill(child, SIGCONT);
      char part[4096];
      pollfd ready{ours, POLLIN, 0};
      while (::poll(&ready, 1, last ? 0 : 5) > 0 && (ready.revents & POLLIN))
        seen.append(part, size_t(std::max<ssize_t>(0, ::read(ours, part, sizeof part))));
    }
  };
  REQUIRE(box.run({"build", "opt-175b", "--no-weights", "-o", "m.onnx"}).code == 0);
  const Sandbox::Options terminal{.in_child = [&] { ::setenv("TERM", "xterm", 1), ::dup2(theirs, 2); },
                                  .meanwhile = read_until_end};
  const Result r = box.run({"m.onnx", "--devices", "16", "--plan-only", "-o", "out"}, terminal);
  CHECK(r.code == 0);
  CHECK(told());
  const size_t cleared = seen.rfind("\r\x1b[K");
  CHECK(seen.find("out: 16 devices", cleared) != std::string::npos);
  seen.clear();
  CHECK(box.run({"m.onnx", "--devices", "2", "--plan-only", "-o", "out", "--quiet"}, terminal).code == 0);
  CHECK(seen == "");
  ::close(ours), ::close(theirs);
}
