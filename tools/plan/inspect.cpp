// inspect: a plan for people, in a terminal.
#include <unistd.h>

#include <cstdlib>
#include <list>
#include <optional>

#include "frontend/io/output_transaction.h"
#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/raw_ostream.h"
#include "passes/plan/job.h"
#include "passes/plan/plan.h"
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
using JsonArray = llvm::json::Array;
using JsonObject = llvm::json::Object;

struct InspectOptions {
  std::string folder, tensor, why, want, model, html, check, trace, against, colour = "auto";
  bool json = false, dot = false, tensors = false;
};

llvm::Error no_such(const JsonObject& plan, llvm::StringRef name) {
  std::string near;
  unsigned best = 8;
  for (const char* list : {"parameters", "values", "inputs", "outputs", "constants"})
    for (const auto& entry : *plan.getArray(list)) {
      llvm::StringRef known = *entry.getAsObject()->getString("name");
      if (unsigned d = known.edit_distance(name, true, best); d < best)
        best = d, near = known.str();
      else if (near.empty() && known.contains(name))
        near = known.str();
    }
  return error(Fault::not_found,
               "the plan has no tensor " + quoted(name) + (near.empty() ? "" : "; nearest is " + quoted(near)));
}

llvm::Error print_tensor(const JsonObject& plan, llvm::StringRef name, bool colour) {
  const JsonObject* t = find_tensor(plan, name);
  if (!t) return no_such(plan, name);
  auto& out = llvm::outs();
  out << *t->getString("name") << "  " << *t->getString("dtype") << " " << shape_text(*t->getArray("shape")) << "  "
      << *t->getString("sharding") << "\n";
  if (const JsonArray* aliases = t->getArray("aliases"))
    for (const auto& a : *aliases) out << "  also named " << *a.getAsString() << "\n";
  draw_shards(*t, colour, out);
  if (const JsonArray* ranks = t->getArray("ranks"))
    for (size_t r = 0; r < ranks->size(); ++r) {
      const JsonObject& o = *(*ranks)[r].getAsObject();
      out << "  device " << r << "  " << padded(shape_text(*o.getArray("shape")), 22) << "  "
          << ranges_text(*o.getArray("ranges"));
      if (auto bytes = o.getInteger("bytes")) out << "  " << bytes_text(double(*bytes));
      out << "\n";
    }
  out << "  because " << *t->getObject("cause")->getString("text") << "\n";
  return llvm::Error::success();
}
llvm::Error print_why(const JsonObject& plan, llvm::StringRef name) {
  const JsonObject* t = find_tensor(plan, name);
  if (!t) return no_such(plan, name);
  std::vector<std::string> seen;
  while (t) {
    llvm::StringRef current = *t->getString("name");
    llvm::outs() << (seen.empty() ? "" : "  from ") << current << " " << *t->getString("sharding") << "\n      "
                 << *t->getObject("cause")->getString("text") << "\n";
    seen.push_back(current.str());
    auto from = t->getObject("cause")->getString("from");
    t = from && !llvm::is_contained(seen, from->str()) ? find_tensor(plan, *from) : nullptr;
  }
  for (const auto& entry : *plan.getArray("collectives")) {
    const JsonObject& c = *entry.getAsObject();
    if (c.getString("of") == name || c.getString("tensor") == name)
      llvm::outs() << "  then " << *c.getString("kind") << ": " << *c.getString("reason") << "\n";
  }
  return llvm::Error::success();
}

// What a wish would change, by a plan that has it; where it cannot hold, the reason names the node.
llvm::Error print_want(const InspectOptions& o, const JsonObject& plan) {
  const auto [name, wish] = llvm::StringRef(o.want).split('=');
  if (name.empty() || wish.empty()) return error(Fault::usage, "--want " + quoted(o.want) + ": expected NAME=SHARDING");
  const JsonObject* tensor = find_tensor(plan, name);
  if (!tensor) return no_such(plan, name);
  JobOptions job;
  job.model = o.model.empty() ? plan.getObject("model")->getString("name")->str() : o.model;
  job.mesh.clear();
  for (const auto& a : *plan.getObject("mesh")->getArray("axes")) {
    const JsonObject& axis = *a.getAsObject();
    job.mesh +=
        (job.mesh.empty() ? "" : ",") + axis.getString("name")->str() + "=" + std::to_string(*axis.getInteger("size"));
  }
  job.strategy = plan.getString("strategy")->str(), job.outputs = plan.getString("outputs_as")->str();
  if (plan.getString("job") == llvm::StringRef("training"))
    return error(Fault::usage, "--want: is for inference plans; a training plan's forward part is the same");
  report_progress(job);
  DimValues dims;
  for (const auto& [dim, about] : *plan.getObject("dims"))
    if (auto example = about.getAsObject()->getInteger("example")) dims[dim.str()] = *example;
  std::list<Job> jobs;  // whose texts the plans point to
  auto wished = [&](bool with) -> llvm::Expected<llvm::json::Value> {
    if (with) job.constraints.push_back({tensor->getString("name")->str(), wish.str(), "--want"});
    auto made = make_job(job);
    if (!made) return made.takeError();
    jobs.push_back(std::move(*made));
    auto plan = make_plan(jobs.back(), dims, OPTP_VERSION, /*weights=*/false);
    if (!plan) return plan;
    if (auto e = add_activation_peaks(*plan, jobs.back(), dims)) return e;
    return plan;
  };
  // Both are made now, so that nothing but the wish is between them.
  auto without = wished(false);
  if (!without) return with_prefix("the model that was partitioned is needed (--model FILE)", without.takeError());
  auto with = wished(true);
  if (!with) return with.takeError();
  const PlanDiff diff = diff_plans(*without->getAsObject(), *with->getAsObject());
  if (diff.same())
    llvm::outs() << "it is so already\n";
  else
    llvm::outs() << to_text(diff);
  return llvm::Error::success();
}

llvm::Error write_page(const InspectOptions& o, const JsonObject& plan) {
  PageEvidence evidence;
  std::optional<llvm::json::Value> check, other;
  std::optional<Trace> trace;
  PlanDiff changes;
  if (!o.check.empty()) {
    auto read = read_check_report(o.check);
    if (!read) return read.takeError();
    evidence.check = check.emplace(std::move(*read)).getAsObject();
  }
  if (!o.trace.empty()) {
    auto read = Trace::read(o.trace);
    if (!read) return read.takeError();
    evidence.trace = &trace.emplace(std::move(*read));
  }
  if (!o.against.empty()) {
    auto read = read_plan(o.against);
    if (!read) return read.takeError();
    changes = diff_plans(*other.emplace(std::move(*read)).getAsObject(), plan);
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
  const JsonObject& top = *plan->getAsObject();
  if (o.json) {
    llvm::outs() << llvm::formatv("{0:1}\n", *plan);
    return llvm::Error::success();
  }
  if (o.dot) {
    llvm::outs() << plan_dot(top);
    return llvm::Error::success();
  }
  if (!o.html.empty()) return write_page(o, top);
  if (!o.check.empty() || !o.trace.empty() || !o.against.empty())
    return error(Fault::usage, "--check, --trace and --against are for the page: --html FILE");
  if (o.tensors) {
    print_tensors(top, llvm::outs());
    return llvm::Error::success();
  }
  if (!o.tensor.empty()) return print_tensor(top, o.tensor, has_colour(o.colour));
  if (!o.why.empty()) return print_why(top, o.why);
  if (!o.want.empty()) return print_want(o, top);
  print_plan(top, llvm::outs());
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
  c->add_option("--want", o->want, "NAME=SHARDING: what this would change, or what stands in its way");
  c->add_option("--model", o->model, "with --want: the model file, if not next to the plan");
  return {c, [o] { return inspect(*o); }};
}
}  // namespace optp
