// ops and passes: what is supported, from the registries; passes --run: one of them on a graph as text.
#include "frontend/ir/op.h"
#include "frontend/onnx/lowering.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/raw_ostream.h"
#include "passes/pipeline.h"
#include "runtime/kernel.h"
#include "tools/cli/command.h"
#include "tools/cli/run_pass.h"

namespace optp {
namespace {
std::string left(llvm::StringRef text, size_t width) {
  return text.str() + std::string(text.size() < width ? width - text.size() : 1, ' ');
}
std::string kernels_of(llvm::StringRef op) {
  std::vector<std::string> dtypes;
  bool any = false;
  for (const KernelDef* k : all_kernels()) {
    if (k->op != op) continue;
    any |= k->dtypes.empty();
    for (DType t : k->dtypes)
      if (std::string name = long_name(t).str(); !llvm::is_contained(dtypes, name)) dtypes.push_back(name);
  }
  return any ? "every dtype" : dtypes.empty() ? "–" : llvm::join(dtypes, ", ");
}
std::string sharding_of(const OpDef& op) { return op.collective ? "collective" : op.rule ? "by rule" : "whole"; }

llvm::Error list_ops(bool markdown) {
  auto& out = llvm::outs();
  std::map<std::string, std::vector<int64_t>> operators;
  for (const LoweringRow* r : all_lowerings())
    operators[(*r->domain ? std::string(r->domain) + "::" : std::string()) + r->op_type].push_back(r->since);
  for (auto& [name, since] : operators) std::sort(since.begin(), since.end());
  if (markdown) {
    out << "# Ops\nWritten by `opt-partition ops --markdown`; a test compares. How to add one: "
           "[adding-an-op.md](adding-an-op.md).\n\n"
           "## Core ops\nWhat every model becomes. *Sharding*: *by rule*, an op is split as its loops allow; *whole*, "
           "it runs whole on every device; a *collective* is what splitting puts in. "
           "*Gradient*: whether training passes through it. *Kernel*: the dtypes of operand 0 that have a fast one; "
           "other work is evaluated by the op's meaning, correct and slow.\n\n"
           "| op | meaning | sharding | gradient | kernel |\n| --- | --- | --- | --- | --- |\n";
    for (const OpDef* op : all_ops())
      out << "| `" << op->name << "` | " << op->summary << " | " << sharding_of(*op) << " | "
          << (op->gradient ? "yes" : "–") << " | " << kernels_of(op->name) << " |\n";
    out << "\n## ONNX operators\nThe opsets in which an operator's meaning changed, and from which on it is read. The "
           "domain is ai.onnx where none is named.\n\n| operator | since opset |\n| --- | --- |\n";
    for (const auto& [name, since] : operators) {
      out << "| `" << name << "` | ";
      for (size_t k = 0; k < since.size(); ++k) out << (k ? ", " : "") << since[k];
      out << " |\n";
    }
    return llvm::Error::success();
  }
  for (const OpDef* op : all_ops()) out << left(op->name, 18) << left(sharding_of(*op), 12) << op->summary << "\n";
  out << "\nONNX operators:\n";
  size_t column = 0;
  for (const auto& [name, since] : operators) {
    const std::string text = name + " ";
    if (column + text.size() > 78) out << "\n", column = 0;
    out << text;
    column += text.size();
  }
  out << "\n";
  return llvm::Error::success();
}
const char* text(Stage::When when) {
  switch (when) {
    case Stage::When::always:
      return "always";
    case Stage::When::emitted:
      return "always, and on a rank graph that is run";
    case Stage::When::training:
      return "training";
  }
  return "";
}
llvm::Error list_passes(bool markdown) {
  auto& out = llvm::outs();
  if (markdown)
    out << "# Passes\nWritten by `opt-partition passes --markdown`; a test compares. The graph is verified after "
           "each.\n\n"
           "`partition`, `check`, `bench`, `train` and `generate` show what passes make, in the form of "
           "[ir.md](ir.md): "
           "`--print-before PASS` and `--print-after PASS` print the graph, `--stop-after PASS` ends there, "
           "`--dump-dir DIR` "
           "writes the graph after every pass, `--time-passes` says how long each took. `--rewrite-limit PASS:N` lets "
           "a pass "
           "that counts its rewrites do only the first N, to find the one that breaks something. "
           "`passes --run PASS FILE` runs one pass on such a text.\n\n"
           "In this order:\n\n| pass | what it does | when | counts |\n| --- | --- | --- | --- |\n";
  for (const Stage& s : pipeline())
    if (markdown)
      out << "| `" << s.name << "` | " << s.summary << " | " << text(s.when) << " | "
          << (s.is(Stage::counts) ? "yes" : "–") << " |\n";
    else
      out << left(s.name, 24) << s.summary << "\n";
  return llvm::Error::success();
}
}  // namespace
Command add_ops(CLI::App& app) {
  auto markdown = std::make_shared<bool>(false);
  CLI::App* c = app.add_subcommand("ops", "list the core ops and the ONNX operators that become them");
  c->add_flag("--markdown", *markdown, "as docs/ops.md");
  return {c, [markdown] { return list_ops(*markdown); }};
}
Command add_passes(CLI::App& app) {
  struct Options {
    bool markdown = false;
    RunPassOptions run;
  };
  auto o = std::make_shared<Options>();
  CLI::App* c = app.add_subcommand("passes", "list the passes in order, or run one on a graph that is given as text");
  c->add_flag("--markdown", o->markdown, "as docs/passes.md");
  auto* run = c->add_option("--run", o->run.pass, "run this one on the graph in FILE and print what it becomes")
                  ->type_name("PASS");
  auto* file = c->add_option("file", o->run.file, "a graph as --dump-dir writes it (docs/ir.md)")->type_name("FILE");
  auto* words = c->add_option("options", o->run.options,
                              "of the pass: strategy=origin, rank=1, keep-shared … (docs/ir.md lists them)")
                    ->type_name("OPTION");
  run->needs(file);
  file->needs(run);
  words->needs(run);
  return {c, [o] { return o->run.pass.empty() ? list_passes(o->markdown) : print_after_pass(o->run); }};
}
}  // namespace optp
