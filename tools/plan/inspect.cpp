// inspect: a plan for people, in a terminal.
#include <unistd.h>

#include <cstdlib>
#include <optional>

#include "frontend/io/output_transaction.h"
#include "frontend/ir/diagnostic.h"
#include "frontend/onnx/model_file.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/raw_ostream.h"
#include "passes/plan/plan_json.h"
#include "passes/strategy.h"
#include "tools/check/check_report.h"
#include "tools/cli/command.h"
#include "tools/cli/job_options.h"
#include "tools/cli/progress.h"
#include "tools/cli/sizes.h"
#include "tools/cli/suggestions.h"
#include "tools/cli/terminal_text.h"
#include "tools/plan/fit.h"
#include "tools/plan/page/page.h"
#include "tools/plan/plan_again.h"
#include "tools/plan/plan_at_dims.h"
#include "tools/plan/plan_diff.h"
#include "tools/plan/plan_overview.h"
#include "tools/plan/plan_text.h"
#include "tools/plan/tensor_choice.h"
#include "tools/plan/tensor_drawing.h"
#include "tools/plan/tp_plan.h"
#include "tools/run/inputs.h"
#include "tools/run/trace.h"

namespace optp {
namespace {
struct InspectOptions {
  std::string folder, tensor, why, what_if, model, html, check, trace, against, colour = "auto";
  std::optional<std::string> fit;
  AskedDims dims;
  std::optional<int64_t> layer, devices;
  bool json = false, dot = false, tensors = false, tp_plan = false;
};

void print_tensor(const FoundTensor& found, bool colour) {
  auto& out = llvm::outs();
  out << found.tensor->name << "  " << long_name(found.tensor->dtype) << " " << shape_text(found.tensor->dims) << "  "
      << to_string(found.tensor->sharding) << "\n";
  if (found.data) {
    if (!found.data->model_name.empty()) out << "  in the model " << found.data->model_name << "\n";
    for (const std::string& a : found.data->aliases) out << "  also named " << a << "\n";
    for (const std::string& a : found.data->model_aliases) out << "  in the model also " << a << "\n";
  }
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
}
void print_why(const Plan& plan, FoundTensor t) {
  const std::string name = t.tensor->name;
  std::vector<std::string> seen;
  while (t) {
    const std::string model_name = t.data && !t.data->model_name.empty() ? " (" + t.data->model_name + ")" : "";
    llvm::outs() << (seen.empty() ? "" : "  from ") << t.tensor->name << model_name << " "
                 << to_string(t.tensor->sharding) << "\n      " << t.tensor->cause.text << "\n";
    seen.push_back(t.tensor->name);
    const std::string& from = t.tensor->cause.from;
    t = from.empty() || llvm::is_contained(seen, from) ? FoundTensor() : find_tensor(plan, from);
  }
  for (const Plan::CollectiveUse& c : plan.collectives)
    if (c.of == name || c.tensor == name)
      llvm::outs() << "  then " << to_string(c.call.kind) << ": " << c.call.reason << "\n";
}
llvm::Error print_chosen(const InspectOptions& o, const Plan& plan, const std::string& name,
                         llvm::function_ref<void(const FoundTensor&)> print) {
  auto chosen = choose_tensors(plan, {.name = name, .layer = o.layer});
  if (!chosen) return chosen.takeError();
  if (o.json) {
    llvm::outs() << tensors_json(plan, *chosen);
    return llvm::Error::success();
  }
  for (size_t k = 0; k < chosen->size(); ++k) {
    if (k) llvm::outs() << "\n";
    print((*chosen)[k]);
  }
  return llvm::Error::success();
}

// A line of constraints, its tensors by their names in the plan; operators' results need not be there.
llvm::Expected<std::vector<Constraint>> asked_by(const InspectOptions& o, const Plan& plan) {
  auto [name, sharding] = llvm::StringRef(o.what_if).split('=');
  if (name.empty() || sharding.empty())
    return error(Code::bad_value)
        .flag("--what-if", quoted(o.what_if))
        .expected("NAME=SHARDING or op:OPERATOR=SHARDING");
  const Place place = flag_place("--what-if");
  if (consume_operator_prefix(name))
    return std::vector{Constraint{name.str(), sharding.str(), place, /*of_operators=*/true}};
  auto chosen = choose_tensors(plan, {.name = name.str(), .layer = o.layer, .may_mean_several = true});
  if (!chosen) return chosen.takeError();
  std::vector<Constraint> out;
  for (const FoundTensor& found : *chosen) out.push_back({found.tensor->name, sharding.str(), place});
  return out;
}
// What a constraint would change, from a plan with it and one without; where it cannot hold, the error names the node.
llvm::Error print_what_if(const InspectOptions& o, const Plan& plan) {
  auto asked = asked_by(o, plan);
  if (!asked) return asked.takeError();
  if (plan.is_training())
    return error(Code::bad_value)
        .flag("--what-if")
        .what("is for inference plans")
        .hint("a training plan's forward part is the same");
  // Both are made now, so that nothing but the constraint is between them.
  auto without = plan_again(plan, o.model, plan.mesh);
  if (!without) return within(words("the model that was partitioned is needed (--model FILE)"), without.takeError());
  auto with = plan_again(plan, o.model, plan.mesh, *asked);
  if (!with) return with.takeError();
  const PlanDiff diff = diff_plans(*without, *with);
  if (diff.same())
    llvm::outs() << "already sharded like this; nothing changes\n";
  else
    llvm::outs() << to_text(diff);
  return llvm::Error::success();
}

// What a model's file or folder is given as: a folder that holds a plan is none.
bool is_model(const std::string& path) {
  if (llvm::sys::fs::exists(path + "/plan.json")) return false;
  if (!llvm::sys::fs::is_directory(path)) return llvm::StringRef(path).ends_with(".onnx");
  auto file = model_file(path);
  return file ? true : (llvm::consumeError(file.takeError()), false);
}
// The caches that generate would make, where the model is a decoder; that it is none is no mistake here.
void add_decoder(Fit& fit, const Plan& plan, const std::string& model) {
  auto decoder = decoder_again(plan, model, plan.mesh);
  if (!decoder) {
    fit.cache_why_none = take_diagnostic(decoder.takeError()).message();
    return;
  }
  fit.cache = Fit::Cache::decoder;
  fit.cached_tokens = decoder->examples()["capacity"];
  fit.devices = memory_of(plan, &*decoder);
}
// Of a plan without rank graphs values are known at the dims alone that it was made for, and workspace is not.
llvm::Error find_activations(Fit& fit, const Plan& plan, const std::string& model) {
  if (llvm::all_of(plan.devices, [](const Plan::Device& d) { return d.arena_bytes.has_value(); }))
    return llvm::Error::success();
  const bool known = llvm::all_of(fit.devices, [](const DeviceMemory& d) { return d.activation_bytes.has_value(); });
  if (known && !fit.why_not.empty()) return llvm::Error::success();
  auto again = plan_again(plan, model, plan.mesh);
  if (!again && known) return llvm::consumeError(again.takeError()), llvm::Error::success();
  if (!again)
    return within(words("--fit: how much activations take at these dims is known by the model alone (--model FILE)"),
                  again.takeError());
  const std::vector<DeviceMemory> found = memory_of(*again);
  for (size_t k = 0; k < fit.devices.size(); ++k) {
    DeviceMemory& own = fit.devices[k];
    const bool is_alike = found[k].weight_bytes + found[k].file_bytes == own.weight_bytes + own.file_bytes;
    if (known && !is_alike) continue;  // by constraints it is another plan
    own.activation_bytes = found[k].activation_bytes, own.gradient_bytes = found[k].gradient_bytes;
    own.weight_bytes = found[k].weight_bytes, own.file_bytes = found[k].file_bytes;
    own.program_bytes = found[k].program_bytes;
  }
  return llvm::Error::success();
}
llvm::Expected<Fit> fit_of(const InspectOptions& o, Plan plan) {
  if (auto e = plan_activations(plan, o.folder)) return e;
  auto limit = parse_size("--fit", *o.fit);
  if (!limit) return limit.takeError();
  Fit fit{.limit_bytes = *limit, .devices = memory_of(plan)};
  if (!plan.state.empty()) fit.cache = Fit::Cache::graph;
  const bool may_decode = !plan.is_training() && plan.state.empty();
  if (o.model.empty() && !llvm::sys::fs::exists(plan.model.name)) {
    fit.why_not = "not known without the model (--model FILE)";
    if (may_decode) fit.cache_why_none = fit.why_not;
  } else if (may_decode) {
    add_decoder(fit, plan, o.model);
  }
  if (auto e = find_activations(fit, plan, o.model)) return e;
  if (!fit.why_not.empty()) return fit;
  auto smallest = smallest_that_fits(*limit, [&](int64_t devices) -> llvm::Expected<std::vector<DeviceMemory>> {
    const Mesh mesh = with_devices(plan.mesh, devices);
    auto again = plan_again(plan, o.model, mesh);
    if (!again) return again.takeError();
    if (fit.cache != Fit::Cache::decoder) return memory_of(*again);
    auto decoder = decoder_again(plan, o.model, mesh);
    if (!decoder) return decoder.takeError();
    return memory_of(*again, &*decoder);
  });
  if (!smallest) return smallest.takeError();
  fit.smallest = *smallest;
  return fit;
}
// A plan was made for its number of devices, but for that of a model alone of which no number was said.
llvm::Error must_fit(const InspectOptions& o, const Fit& fit, const Plan& plan) {
  return must_fit(fit, plan, o.devices || !is_model(o.folder));
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
  std::optional<Fit> fit;
  if (o.fit) {
    auto asked = fit_of(o, plan);
    if (!asked) return asked.takeError();
    evidence.fit = &fit.emplace(std::move(*asked));
  }
  auto page = plan_page(plan, evidence);
  if (!page) return page.takeError();
  if (auto e = write_file_atomically(o.html, llvm::StringRef(*page))) return e;
  return fit ? must_fit(o, *fit, plan) : llvm::Error::success();
}
// https://no-color.org: any value but an empty one turns it off.
bool has_colour(llvm::StringRef asked) {
  const char *no = std::getenv("NO_COLOR"), *terminal = std::getenv("TERM");
  return asked == "always" ||
         (asked == "auto" && isatty(STDOUT_FILENO) && !(no && *no) && terminal && llvm::StringRef(terminal) != "dumb");
}

llvm::Expected<Plan> plan_to_show(const InspectOptions& o) {
  if (is_model(o.folder)) return plan_of_model({o.folder, o.devices, o.dims});
  auto plan = read_plan(o.folder);
  if (!plan) return plan;
  if (!o.dims.empty())
    if (auto e = move_to_dims(*plan, o.dims, o.folder)) return e;
  if (!o.devices || *o.devices == plan->mesh.devices()) return plan;
  if (o.model.empty() && !llvm::sys::fs::exists(plan->model.name))
    return error(Code::missing)
        .flag("--devices", *o.devices)
        .what("the plan is for " + llvm::Twine(plan->mesh.devices()) + "; to plan again takes its model")
        .hint("--model FILE");
  int64_t others = 1;  // along the mesh's other axes
  const MeshAxis* cut = strategy_axis(plan->mesh);
  for (const MeshAxis& a : plan->mesh.axes)
    if (!cut || a.name != cut->name) others *= a.size;
  if (*o.devices % others != 0)
    return error(Code::bad_value)
        .flag("--devices", *o.devices)
        .expected("a multiple of " + llvm::Twine(others) + ", the devices along the other axes of the mesh " +
                  to_string(plan->mesh));
  return plan_again(*plan, o.model, with_devices(plan->mesh, *o.devices / others));
}

llvm::Error inspect(InspectOptions& o) {
  auto plan = plan_to_show(o);
  if (!plan) return plan.takeError();
  if (o.model.empty() && is_model(o.folder)) o.model = o.folder;
  if (o.fit && o.html.empty()) {
    auto fit = fit_of(o, *plan);
    if (!fit) return fit.takeError();
    if (o.json)
      llvm::outs() << llvm::formatv("{0:2}\n", to_json(*fit, *plan));
    else
      llvm::outs() << to_text(*fit, *plan);
    return must_fit(o, *fit, *plan);
  }
  if (o.json && (!o.why.empty() || !o.what_if.empty()))
    return error(Code::bad_value)
        .flag("--json")
        .what("does not go with --why and --what-if")
        .hint("--tensor NAME --json has a tensor's cause");
  const bool of_layer = o.layer && o.why.empty() && o.what_if.empty();
  if (!o.tensor.empty() || of_layer)
    return print_chosen(o, *plan, o.tensor, [&](const FoundTensor& t) { print_tensor(t, has_colour(o.colour)); });
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
  if (o.tp_plan) {
    llvm::outs() << tp_plan_text(*plan);
    return llvm::Error::success();
  }
  if (o.tensors) {
    print_tensors(*plan, llvm::outs());
    return llvm::Error::success();
  }
  if (!o.why.empty()) return print_chosen(o, *plan, o.why, [&](const FoundTensor& t) { print_why(*plan, t); });
  if (!o.what_if.empty()) return print_what_if(o, *plan);
  print_plan(*plan, llvm::outs());
  return llvm::Error::success();
}
}  // namespace

Command add_inspect(CLI::App& app) {
  auto o = std::make_shared<InspectOptions>();
  CLI::App* c = app.add_subcommand("inspect",
                                   "print a plan: what each device holds, how weights are split, what is communicated");
  c->add_option("plan", o->folder, "folder written by partition, or a model: then the plan that partition would write")
      ->required()
      ->type_name("FILE");
  also_called(c->add_option("--devices,--tp", o->devices, "the plan as it would be on so many devices"), device_words);
  c->add_flag("--json", o->json, "the whole plan; with --tensor and --fit what they ask for");
  add_dims(*c, o->dims,
           "NAME=NUMBER: the plan's numbers at this value of a named dim (several between commas, or repeatable)");
  also_called(c->add_option("--tensor", o->tensor, "a tensor's shards; a pattern (* and ?) for those of several"),
              {"parameter", "param", "weight", "name"});
  c->add_option("--layer", o->layer,
                "with --tensor, --why and --what-if: of this layer alone, from 0; without them its parameters");
  c->add_option("--color", o->colour, "colours in the drawing of --tensor")
      ->type_name("auto|always|never")
      ->check(CLI::IsMember({"auto", "always", "never"}).description(""))
      ->capture_default_str();
  c->add_flag("--tensors", o->tensors, "which tensors are trained, frozen or constant, with counts");
  c->add_flag("--tp-plan", o->tp_plan, "how weights are cut, as a Hugging Face tp_plan");
  c->add_flag("--dot", o->dot, "operations and collectives, for Graphviz");
  c->add_option("--html", o->html, "write the plan as a page to this file")->type_name("FILE");
  c->add_option("--check", o->check, "with --html: what check --json found")->type_name("FILE");
  c->add_option("--trace", o->trace, "with --html: the timeline that --profile wrote")->type_name("FILE");
  c->add_option("--against", o->against, "with --html: another plan, to show what changed from it")->type_name("DIR");
  also_called(
      c->add_option("--why", o->why, "the chain of decisions behind a tensor's sharding, or those of a pattern"),
      {"explain", "reason", "because"});
  also_called(c->add_option("--what-if", o->what_if,
                            "NAME=SHARDING or op:OPERATOR=SHARDING: what this constraint would change, or why it "
                            "cannot hold; NAME may be "
                            "a pattern"),
              {"try", "suppose", "constraint"});
  c->add_option("--want", o->what_if)->group("");  // the older name, still read
  also_called(c->add_option("--fit", o->fit,
                            std::string("SIZE of a device's memory: does each device's part fit, at the dims of --dim, "
                                        "and how many devices would do at least; exit code 1 if the plan's or the "
                                        "given number does not do, or, of a model without one, no number tried (") +
                                size_help + "); with --json or --html"),
              {"memory", "mem", "device-memory", "vram"});
  c->add_option("--model", o->model,
                "with --what-if, --fit and --devices: the model file, if it is not here by the plan's name")
      ->type_name("FILE");
  return {c, [o] { return inspect(*o); }};
}
}  // namespace optp
