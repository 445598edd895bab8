// ops and passes: what is supported, from the registries.
#include "frontend/ir/op.h"
#include "frontend/onnx/lowering.h"
#include "llvm/Support/raw_ostream.h"
#include "passes/passes.h"
#include "tools/command.h"

namespace optp {
namespace {
std::string left(llvm::StringRef text, size_t width) { return text.str() + std::string(text.size() < width ? width - text.size() : 1, ' '); }
llvm::Error list_ops(bool markdown) {
  auto& out = llvm::outs();
  auto row = [&](llvm::StringRef name, llvm::StringRef summary, llvm::StringRef rule) {
    if (markdown) out << "| `" << name << "` | " << summary << " | " << rule << " |\n";
    else out << left(name, 18) << left(rule, 12) << summary << "\n";
  };
  if (markdown) out << "| op | meaning | sharding |\n| --- | --- | --- |\n";
  for (const OpDef* op : all_ops()) row(op->name, op->summary, op->is_collective ? "collective" : op->rule ? "by rule" : "whole");
  out << (markdown ? "\n" : "\n") << "ONNX operators (domain, since opset):\n";
  std::map<std::string, int64_t> operators;
  for (const LoweringRow* r : all_lowerings()) {
    const std::string name = (*r->domain ? std::string(r->domain) + "::" : std::string()) + r->op_type;
    auto [it, fresh] = operators.try_emplace(name, r->since);
    it->second = std::min(it->second, r->since);
  }
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
}  // namespace
Command add_ops(CLI::App& app) {
  auto markdown = std::make_shared<bool>(false);
  CLI::App* c = app.add_subcommand("ops", "list the core ops and the ONNX operators that become them");
  c->add_flag("--markdown", *markdown, "as a page");
  return {c, [markdown] { return list_ops(*markdown); }};
}
Command add_passes(CLI::App& app) {
  CLI::App* c = app.add_subcommand("passes", "list the passes in order");
  return {c, [] {
            for (const Pass& p : canonical_passes()) llvm::outs() << left(p.name, 20) << p.summary << "\n";
            llvm::outs() << left("annotate", 20) << "every value gets a sharding and its cause\n"
                         << left("split", 20) << "local shapes, and collectives where data must travel\n"
                         << left("materialise", 20) << "one graph a rank: every extent a number or a named dim\n";
            return llvm::Error::success();
          }};
}
}  // namespace optp
