// partition: model in, plan and rank graphs out.
#include <sys/stat.h>

#include "frontend/io/files.h"
#include "frontend/io/output_transaction.h"
#include "frontend/ir/diagnostic.h"
#include "llvm/Support/raw_ostream.h"
#include "passes/constraints.h"
#include "passes/plan/make_plan.h"
#include "passes/plan/plan_json.h"
#include "passes/plan/write_partition.h"
#include "tools/cli/command.h"
#include "tools/cli/job_options.h"
#include "tools/cli/progress.h"
#include "tools/cli/suggestions.h"
#include "tools/cli/terminal_text.h"
#include "tools/plan/page/page.h"
#include "tools/plan/plan_text.h"
#include "tools/run/activation_peak.h"

namespace optp {
namespace {
struct PartitionOptions {
  JobOptions job;
  std::string out;
  bool plan_only = false, no_weights = false, no_html = false, overwrite = false;
};

// What constraints cost or could not do, and what the strategy leaves whole: a user decides by it.
void print_lines_of(const Job& job) {
  for (const Remark& remark : job.whole->remarks)
    if (remark.kind != RemarkKind::note) print_wrapped(llvm::errs(), printable(remark.text), 2);
}

// Weights are left out where the user says so, or because their file is not there.
std::string why_without(const Graph& whole) {
  for (const Value* v : whole.data())
    if (v->data->is_missing()) return ": " + quoted(v->data->missing) + " is not there";
  return "";
}

llvm::Error partition(const PartitionOptions& o) {
  std::optional<Progress> planning(std::in_place, "planning");
  JobOptions options = o.job;
  if (o.plan_only) options.ranks.emplace();
  auto job = make_job(options);
  if (!job) return job.takeError();
  const bool weights = !o.no_weights && !o.plan_only && !weights_missing(*job->whole);
  const DimValues examples = example_dims(*job->whole, job->asked);
  Plan plan = make_plan(*job, examples, OPTP_VERSION, weights);
  if (auto e = add_activation_peaks(plan, *job, examples, /*workspace=*/false)) return e;
  planning.reset();
  OutputOptions writing{.overwrite = o.overwrite};
  for (const std::string& input : {job->imported->source, o.job.sharding_file, o.job.tp_plan})
    if (struct stat status; stat(input.c_str(), &status) == 0) writing.inputs.push_back(id_of(status));
  auto out = OutputTransaction::begin(o.out, writing);
  if (!out) return out.takeError();
  int64_t bytes = 0;
  for (const Plan::Device& device : plan.devices) bytes += device.parameter_bytes + device.constant_bytes;
  std::optional<Progress> progress(std::in_place, "writing " + o.out, bytes, Progress::Unit::bytes);
  auto add = [&](int64_t more) { progress->add(more); };
  if (auto e = o.plan_only ? write_text_file(*out, "plan.json", to_text(plan)) : write_partition(*job, plan, *out, add))
    return e;
  if (!o.no_html) {
    auto page = plan_page(plan);
    if (!page) return page.takeError();
    if (auto e = write_text_file(*out, "plan.html", *page)) return e;
  }
  if (auto e = out->commit()) return e;
  progress.reset();
  if (!Progress::silenced()) {
    std::string idle;
    for (const MeshAxis& axis : idle_axes(*job->whole)) idle += "; nothing is cut over the mesh axis " + axis.name;
    llvm::errs() << o.out << ": " << job->ranks.size() << (job->ranks.size() == 1 ? " device" : " devices")
                 << (is_default_mesh(o.job) ? " (the default; --devices N says how many), " : ", ")
                 << plan.totals.parameter_elements << " parameters; communicated: " << collectives_text(plan.totals)
                 << idle
                 << (o.plan_only ? "; the plan alone, without graphs"
                     : weights   ? ""
                                 : "; without weights" + why_without(*job->whole))
                 << "\n";
    print_lines_of(*job);
  }
  return llvm::Error::success();
}
}  // namespace

Command add_partition(CLI::App& app) {
  auto o = std::make_shared<PartitionOptions>();
  CLI::App* c = app.add_subcommand(
      "partition",
      "split a model: write plan.json, plan.html and, per device, a graph with its weights (the default verb)");
  add_job_options(*c, o->job);
  add_outputs_option(*c, o->job);
  add_kv_cache_option(*c, o->job);
  CLI::Option* train = c->add_flag("--train", o->job.train, "plan the whole training step: loss, gradients, optimizer");
  add_training_options(*c, o->job, train);
  also_called(c->add_option("-o,--output", o->out, "folder to write; an earlier output of opt-partition is replaced")
                  ->required()
                  ->type_name("DIR"),
              {"out", "out-dir", "output-dir", "save", "dest"});
  also_called(c->add_flag("--no-weights", o->no_weights,
                          "write plan and graphs without weights, as for a model whose weights are missing"),
              {"structure-only", "skip-weights"});
  also_called(c->add_flag("--plan-only", o->plan_only, "write plan.json and its page only, no graphs"),
              {"dry-run", "no-graphs"});
  c->add_flag("--no-html", o->no_html, "no plan.html, the plan as a page");
  also_called(c->add_flag("--overwrite", o->overwrite, "replace the folder whatever it holds"),
              {"force", "replace", "clobber"});
  return {c, [o] { return partition(*o); }};
}
}  // namespace optp
