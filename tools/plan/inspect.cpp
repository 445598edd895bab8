// inspect: a plan for people, in a terminal.
#include <unistd.h>

#include <cstdlib>
#include <optional>

#include "frontend/io/output_transaction.h"
#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/raw_ostream.h"
#include "passes/plan/make_plan.h"
#include "passes/plan/plan_json.h"
#include "tools/check/check_report.h"
#include "tools/cli/command.h"
#include "tools/cli/job_options.h"
#include "tools/cli/progress.h"
#include "tools/cli/terminal_text.h"
#include "tools/plan/page/page.h"
#include "tools/plan/plan_diff.h"
#include "tools/plan/plan_overview.h"
#include "tools/plan/plan_text.h"
#include "tools/plan/tensor_drawing.h"
#include "tools/run/activation_peak.h"
#include "tools/run/inputs.h"
#include "tools/run/trace.h"

namespace optp {
namespace {
struct InspectOptions {
  std::string folder, tensor, why, what_if, model, html, check, trace, against, colour = "auto";
  bool json = false, dot = false, tensors = false;
};

llvm::Error no_such(const Plan& plan, llvm::StringRef name) {
  std::string near;
  unsigned best = 8;
  for_each_tensor(plan, [&](const FoundTensor& t) {
    const llvm::StringRef known = t.tensor->name;
    if (unsigned d = known.edit_distance(name, true, best); d < best)
      best = d, near = known.str();
    else if (near.empty() && known.contains(name))
      near = known.str();
  });
  return error(Code::tensor_not_found)
      .what("the plan has no tensor " + quoted(name))
      .about({.tensor = name.str(), .suggestion = near})
      .hint(near.empty() ? "" : "nearest is " + quoted(near));
}

llvm::Error print_tensor(const Plan& plan, llvm::StringRef name, bool colour) {
  const FoundTensor found = find_tensor(plan, name);
  if (!found) return no_such(plan, name);
  auto& out = llvm::outs();
  out << found.tensor->name << "  " << long_name(found.tensor->dtype) << " " << shape_text(found.tensor->dims) << "  "
      << to_string(found.tensor->sharding) << "\n";
  if (found.data)
    for (const std::string& a : found.data->aliases) out << "  also named " << a << "\n";
  if (found.placed) {
    const Plan::Layout& layout = *found.placed->layout;
    draw_layout(layout, colour, out);
    for (size_t r = 0; r < layout.of_rank.size(); ++r) {
      const Plan::RankShard& own = layout[r];
      out << "  device " << r << "  " << padded(shape_text(own.shard.shape()), 22) << "  " << ranges_text(own.shard);
      if (found.data) out << "  " << bytes_text(double(own.bytes.constant().value_or(0)));
      out << "\n";
    }
  }
  out << "  because " << found.tensor->cause.text << "\n";
  return llvm::Error::success();
}
llvm::Error print_why(const Plan& plan, llvm::StringRef name) {
  FoundTensor t = find_tensor(plan, name);
  if (!t) return no_such(plan, name);
  std::vector<std::string> seen;
  while (t) {
    llvm::outs() << (seen.empty() ? "" : "  from ") << t.tensor->name << " " << to_string(t.tensor->sharding)
                 << "\n      " << t.tensor->cause.text << "\n";
    seen.push_back(t.tensor->name);
    const std::string& from = t.tensor->cause.from;
    t = from.empty() || llvm::is_contained(seen, from) ? FoundTensor() : find_tensor(plan, from);
  }
  for (const Plan::Meeting& c : plan.collectives)
    if (c.of == name || c.tensor == name)
      llvm::outs() << "  then " << to_string(c.call.kind) << ": " << c.call.reason << "\n";
  return llvm::Error::success();
}

// What a constraint would change, from a plan with it and one without; where it cannot hold, the error names the node.
llvm::Error print_what_if(const InspectOptions& o, const Plan& plan) {
  const auto [name, sharding] = llvm::StringRef(o.what_if).split('=');
  if (name.empty() || sharding.empty())
    return error(Code::bad_value).flag("--what-if", quoted(o.what_if)).expected("NAME=SHARDING");
  const FoundTensor found = find_tensor(plan, name);
  if (!found) return no_such(plan, name);
  if (plan.is_training())
    return error(Code::bad_value)
        .flag("--what-if")
        .what("is for inference plans")
        .hint("a training plan's forward part is the same");
  JobOptions job;
  job.model = o.model.empty() ? plan.model.name : o.model;
  for (const MeshAxis& a : plan.mesh.axes)
    job.mesh += (job.mesh.empty() ? "" : ",") + a.name + "=" + std::to_string(a.size);
  job.strategy = plan.strategy, job.outputs = to_string(plan.outputs_as).str();
  job.plan_only = true;
  report_progress(job);
  const DimValues dims = plan.examples();
  auto planned = [&](bool with) -> llvm::Expected<Plan> {
    if (with) job.constraints.push_back({found.tensor->name, sharding.str(), flag_place("--what-if")});
    auto made = make_job(job);
    if (!made) return made.takeError();
    Plan out = make_plan(*made, dims, OPTP_VERSION, /*weights=*/false);
    if (auto e = add_activation_peaks(out, *made, dims)) return e;
    return out;
  };
  // Both are made now, so that nothing but the constraint is between them.
  auto without = planned(false);
  if (!without) return within(words("the model that was partitioned is needed (--model FILE)"), without.takeError());
  auto with = planned(true);
  if (!with) return with.takeError();
  const PlanDiff diff = diff_plans(*without, *with);
  if (diff.same())
    llvm::outs() << "already sharded like this; nothing changes\n";
  else
    llvm::outs() << to_text(diff);
  return llvm::Error::success();
}

llvm::Error write_page(const InspectOptions& o, const Plan& plan) {
  PageEvidence evidence;
  std::optional<CheckReport> check;
  std::optional<Trace> trace;
  PlanDiff changes;
  if (!o.check.empty()) {
    auto read = read_check_report(o.check);
    if (!read) return read.takeError();
    evidence.check = &check.emplace(std::move(*read));
  }
  if (!o.trace.empty()) {
    auto read = Trace::read(o.trace);
    if (!read) return read.takeError();
    evidence.trace = &trace.emplace(std::move(*read));
  }
  if (!o.against.empty()) {
    auto other = read_plan(o.against);
    if (!other) return other.takeError();
    changes = diff_plans(*other, plan);
    evidence.changes = &changes, evidence.other = o.against;
  }
  auto page = plan_page(plan, evidence);
  if (!page) return page.takeError();
  return write_file_atomically(o.html, llvm::StringRef(*page));
}
// https://no-color.org: any value but an empty one turns it off.
bool has_colour(llvm::StringRef asked) {
  const char *no = std::getenv("NO_COLOR"), *terminal = std::getenv("TERM");
  return asked == "always" ||
         (asked == "auto" && isatty(STDOUT_FILENO) && !(no && *no) && terminal && llvm::StringRef(terminal) != "dumb");
}

llvm::Error inspect(const InspectOptions& o) {
  auto plan = read_plan(o.folder);
  if (!plan) return plan.takeError();
  if (o.json) {
    llvm::outs() << to_text(*plan);
    return llvm::Error::success();
  }
  if (o.dot) {
    llvm::outs() << plan_dot(*plan);
    return llvm::Error::success();
  }
  if (!o.html.empty()) return write_page(o, *plan);
  if (!o.check.empty() || !o.trace.empty() || !o.against.empty())
    return error(Code::bad_value).what("--check, --trace and --against are for the page: --html FILE");
  if (o.tensors) {
    print_tensors(*plan, llvm::outs());
    return llvm::Error::success();
  }
  if (!o.tensor.empty()) return print_tensor(*plan, o.tensor, has_colour(o.colour));
  if (!o.why.empty()) return print_why(*plan, o.why);
  if (!o.what_if.empty()) return print_what_if(o, *plan);
  print_plan(*plan, llvm::outs());
  return llvm::Error::success();
}
}  // namespace

Command add_inspect(CLI::App& app) {
  auto o = std::make_shared<InspectOptions>();
  CLI::App* c = app.add_subcommand("inspect",
                                   "print a plan: what each device holds, how weights are split, what is communicated");
  c->add_option("plan", o->folder, "folder written by partition")->required()->type_name("DIR");
  c->add_flag("--json", o->json, "the whole plan");
  c->add_option("--tensor", o->tensor, "one tensor's shards");
  c->add_option("--color", o->colour, "colours in the drawing of --tensor")
      ->type_name("auto|always|never")
      ->check(CLI::IsMember({"auto", "always", "never"}))
      ->capture_default_str();
  c->add_flag("--tensors", o->tensors, "which tensors are trained, frozen or constant, with counts");
  c->add_flag("--dot", o->dot, "operations and collectives, for Graphviz");
  c->add_option("--html", o->html, "write the plan as a page to this file")->type_name("FILE");
  c->add_option("--check", o->check, "with --html: what check --json found")->type_name("FILE");
  c->add_option("--trace", o->trace, "with --html: the timeline that --profile wrote")->type_name("FILE");
  c->add_option("--against", o->against, "with --html: another plan, to show what changed from it")->type_name("DIR");
  c->add_option("--why", o->why, "the chain of decisions behind one tensor's sharding");
  c->add_option("--what-if", o->what_if, "NAME=SHARDING: what this constraint would change, or why it cannot hold");
  c->add_option("--want", o->what_if)->group("");  // the older name, still read
  c->add_option("--model", o->model, "with --what-if: the model file, if not next to the plan");
  return {c, [o] { return inspect(*o); }};
}
}  // namespace optp
