// diff: what moved between two plans; exit 1 when anything did.
#include "frontend/ir/diagnostic.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/raw_ostream.h"
#include "passes/plan/plan_json.h"
#include "tools/cli/command.h"
#include "tools/plan/plan_diff.h"

namespace optp {
namespace {
struct DiffOptions {
  std::string a, b;
  bool json = false;
};
llvm::Error diff(const DiffOptions& o) {
  auto a = read_plan(o.a), b = read_plan(o.b);
  if (!a || !b) return llvm::joinErrors(a.takeError(), b.takeError());
  const PlanDiff found = diff_plans(*a, *b);
  if (o.json)
    llvm::outs() << llvm::formatv("{0:2}\n", to_json(found));
  else
    llvm::outs() << to_text(found);
  if (!found.same()) return error(Code::difference).what(o.a + " and " + o.b + " differ");
  if (!o.json) llvm::outs() << "no difference\n";
  return llvm::Error::success();
}
}  // namespace

Command add_diff(CLI::App& app) {
  auto o = std::make_shared<DiffOptions>();
  CLI::App* c =
      app.add_subcommand("diff", "compare two plans: shardings, bytes per device, collectives; exit 1 if they differ");
  c->add_option("a", o->a, "folder written by partition")->required()->type_name("DIR");
  c->add_option("b", o->b, "another")->required()->type_name("DIR");
  c->add_flag("--json", o->json, "as JSON");
  return {c, [o] { return diff(*o); }};
}
}  // namespace optp
