#include "passes/named_passes.h"

#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/StringExtras.h"
#include "passes/partials.h"
#include "passes/pipeline.h"

namespace optp {
namespace {
struct Option {
  const char* name;
  bool (*set)(NamedPassOptions&, llvm::StringRef value);  // false: not a value of this option
};
template <auto member>
bool set_text(NamedPassOptions& o, llvm::StringRef value) {
  member(o) = value.str();
  return !value.empty();
}
template <auto list>
bool append(NamedPassOptions& o, llvm::StringRef value) {
  list(o).push_back(value.str());
  return !value.empty();
}
template <auto member>
bool set_number(NamedPassOptions& o, llvm::StringRef value) {
  double number = 0;
  if (value.getAsDouble(number)) return false;
  member(o) = number;
  return true;
}
bool set_constraint(NamedPassOptions& o, llvm::StringRef value) {
  auto [pattern, sharding] = value.split(' ');
  const bool of_operators = pattern.consume_front("op:");
  o.passes.constraints.push_back({pattern.str(), sharding.trim().str(), words("constrain"), of_operators});
  return !pattern.empty() && !sharding.trim().empty();
}
bool set_outputs(NamedPassOptions& o, llvm::StringRef value) {
  o.passes.outputs = value == "sharded" ? OutputLayout::sharded : OutputLayout::whole;
  return value == "sharded" || value == "whole";
}

#define OPTP_MEMBER(member) [](NamedPassOptions& o) -> auto& { return (o.member); }
const Option all_options[] = {
    {"keep-shared", [](NamedPassOptions& o, llvm::StringRef v) { return o.passes.keep_shared = v.empty(); }},
    {"no-tie", [](NamedPassOptions& o, llvm::StringRef v) { return !(o.passes.tie_weights = !v.empty()); }},
    {"kv-cache",
     [](NamedPassOptions& o, llvm::StringRef v) {
       int64_t tokens = 0;
       o.passes.kv_cache = v.getAsInteger(10, tokens) ? Dim::symbol(v.empty() ? "capacity" : v) : Dim(tokens);
       return true;
     }},
    {"compute",
     [](NamedPassOptions& o, llvm::StringRef v) {
       o.passes.compute = v == "bf16" ? DType::bf16 : DType::f32;
       return v == "bf16" || v == "f32";
     }},
    {"last-logits", [](NamedPassOptions& o, llvm::StringRef v) { return o.passes.last_logits = v.empty(); }},
    {"nesterov", [](NamedPassOptions& o, llvm::StringRef v) { return o.training.optimizer.nesterov = v.empty(); }},
    {"centered", [](NamedPassOptions& o, llvm::StringRef v) { return o.training.optimizer.centered = v.empty(); }},
    {"outputs", set_outputs},
    {"constrain", set_constraint},
    {"strategy", set_text<OPTP_MEMBER(passes.strategy)>},
    {"tie", append<OPTP_MEMBER(passes.tie)>},
    {"untie", append<OPTP_MEMBER(passes.untie)>},
    {"freeze", append<OPTP_MEMBER(training.freeze)>},
    {"no-decay", append<OPTP_MEMBER(training.no_decay)>},
    {"optimizer", set_text<OPTP_MEMBER(training.optimizer.name)>},
    {"lr", set_number<OPTP_MEMBER(training.learning_rate)>},
    {"momentum", set_number<OPTP_MEMBER(training.optimizer.momentum)>},
    {"weight-decay", set_number<OPTP_MEMBER(training.optimizer.weight_decay)>},
    {"max-grad-norm", set_number<OPTP_MEMBER(training.max_gradient_norm)>},
    {"accumulate",
     [](NamedPassOptions& o, llvm::StringRef v) {
       return !v.getAsInteger(10, o.training.accumulate) && o.training.accumulate > 0;
     }},
    {"sequence-parallel",
     [](NamedPassOptions& o, llvm::StringRef v) { return o.passes.sequence_parallel = v.empty(); }},
    {"zero",
     [](NamedPassOptions& o, llvm::StringRef v) {
       return !v.getAsInteger(10, o.training.zero) && o.training.zero >= 0 && o.training.zero <= 3;
     }},
    {"recompute", [](NamedPassOptions& o, llvm::StringRef v) { return o.training.recompute = v.empty(); }},
    {"trainable",
     [](NamedPassOptions& o, llvm::StringRef v) {
       o.passes.trainable.push_back(v.str());
       return append<OPTP_MEMBER(training.trainable)>(o, v);
     }},
    {"rank", [](NamedPassOptions& o, llvm::StringRef v) { return !v.getAsInteger(10, o.rank) && o.rank >= 0; }},
    {"loss", set_text<OPTP_MEMBER(loss)>},
    {"from", set_text<OPTP_MEMBER(from)>},
    {"gradient", set_text<OPTP_MEMBER(gradient)>},
    {"total", set_text<OPTP_MEMBER(total)>},
    {"count", set_text<OPTP_MEMBER(count)>},
};
#undef OPTP_MEMBER
}  // namespace

llvm::Expected<NamedPassOptions> parse_pass_options(llvm::ArrayRef<std::string> words) {
  NamedPassOptions out;
  for (const std::string& word : words) {
    const auto [name, value] = llvm::StringRef(word).split('=');
    const auto* option = llvm::find_if(all_options, [&](const Option& o) { return name == o.name; });
    if (option == std::end(all_options)) {
      std::string known;
      for (const Option& o : all_options) known += (known.empty() ? "" : ", ") + std::string(o.name);
      return error(Code::bad_value, "no option of a pass is named " + quoted(name)).hint("there are " + known);
    }
    if (!option->set(out, value))
      return error(Code::bad_value, "option " + quoted(word)).what(llvm::Twine("no value of ") + option->name);
  }
  return out;
}

namespace {
llvm::Expected<Value*> named_value(const Graph& graph, llvm::StringRef option, llvm::StringRef name) {
  if (Value* v = graph.find(name)) return v;
  return error(Code::bad_value, "option " + option).expected("a value of the graph").found(quoted(name));
}
GraphOutput* output_of(Graph& graph, llvm::StringRef name) {
  auto it = llvm::find_if(graph.outputs, [&](const GraphOutput& o) { return o.name == name; });
  return it == graph.outputs.end() ? nullptr : &*it;
}
// The gradients that the graph says it has.
llvm::Expected<std::vector<ParameterGradient>> gradients_of(Graph& graph) {
  std::vector<ParameterGradient> out;
  for (const GradientOutput& g : graph.gradients) {
    Value* parameter = graph.find(g.parameter);
    GraphOutput* output = output_of(graph, g.output);
    if (!parameter || !output)
      return error(Code::undefined)
          .tensor("gradient of", g.parameter)
          .expected("a parameter and an output")
          .found("neither " + quoted(g.parameter) + " nor " + quoted(g.output));
    out.push_back({parameter, output->value});
  }
  return out;
}

llvm::Error run_build_loss(Graph& graph, const NamedPassOptions& o) {
  auto loss = build_loss(graph, o.training.accumulate > 1);
  if (!loss) return loss.takeError();
  graph.outputs.clear();
  if (loss->loss)
    graph.outputs = {{"loss", loss->loss}};
  else
    graph.outputs = {{"total", loss->total}, {"count", loss->count}};
  graph.outputs.push_back({loss->dlogits->name, loss->dlogits});
  return llvm::Error::success();
}
llvm::Error run_differentiate(Graph& graph, const NamedPassOptions& o) {
  auto from = named_value(graph, "from", o.from);
  if (!from) return from.takeError();
  auto gradient = named_value(graph, "gradient", o.gradient);
  if (!gradient) return gradient.takeError();
  auto gradients = differentiate(graph, **from, **gradient);
  if (!gradients) return gradients.takeError();
  for (auto [parameter, value] : *gradients) {
    graph.gradients.push_back({parameter->name, parameter->name + ".grad"});
    graph.outputs.push_back({parameter->name + ".grad", value});
  }
  return llvm::Error::success();
}
llvm::Error run_accumulate(Graph& graph, const NamedPassOptions& o) {
  auto total = named_value(graph, "total", o.total);
  if (!total) return total.takeError();
  auto count = named_value(graph, "count", o.count);
  if (!count) return count.takeError();
  auto gradients = gradients_of(graph);
  if (!gradients) return gradients.takeError();
  Loss loss{nullptr, nullptr, nullptr, *total, *count};
  if (auto e = accumulate_micro_batches(graph, loss, *gradients)) return e;
  graph.outputs.push_back({"loss", loss.loss});
  for (size_t k = 0; k < gradients->size(); ++k)
    output_of(graph, graph.gradients[k].output)->value = (*gradients)[k].gradient;
  return llvm::Error::success();
}
llvm::Error run_training_outputs(Graph& graph, const NamedPassOptions& o) {
  auto loss = named_value(graph, "loss", o.loss);
  if (!loss) return loss.takeError();
  auto gradients = gradients_of(graph);
  if (!gradients) return gradients.takeError();
  graph.gradients.clear();
  set_training_outputs(graph, {*loss, nullptr, nullptr, nullptr, nullptr}, *gradients);
  return llvm::Error::success();
}
llvm::Error run_optimizer(Graph& graph, const NamedPassOptions& o) {
  if (auto e = check_settings(o.training)) return e;
  auto gradients = gradients_of(graph);
  if (!gradients) return gradients.takeError();
  return add_optimizer(graph, *gradients, o.training);
}
llvm::Error run_join_partials(Graph& graph, const NamedPassOptions& o) {
  auto factors = Factors::of(graph);
  if (!factors) return factors.takeError();
  return join_partials(graph, *factors, o.passes, [](const Value&) { return false; }).takeError();
}
llvm::Error run_lower_norms(Graph& graph, const NamedPassOptions& o) {
  auto is_cut = [](const Value& v, unsigned dim) { return v.sharding && v.sharding->dims[dim].is_split(); };
  return lower_norms(graph, o.passes, is_cut).takeError();
}
llvm::Error run_repeat_heads(Graph& graph, const NamedPassOptions& o) {
  auto factors = Factors::of(graph);
  if (!factors) return factors.takeError();
  auto axes_of = [&](Factors::Class c) -> Axes {
    for (const Factors::Place& p : factors->info(c).places)
      if (p.value->sharding && p.value->sharding->dims[p.dim].is_product() && p.value->sharding->dims[p.dim].is_split())
        return p.value->sharding->dims[p.dim].factors()[p.factor].axes;
    return {};
  };
  return repeat_heads(graph, *factors, o.passes, axes_of).takeError();
}

// Stages that take from those before them what a text does not say, and what is no stage.
struct Step {
  const char* name;
  llvm::Error (*run)(Graph&, const NamedPassOptions&);
};
const Step steps[] = {
    {"build-loss", run_build_loss},
    {"differentiate", run_differentiate},
    {"accumulate", run_accumulate},
    {"training-outputs", run_training_outputs},
    {"optimizer", run_optimizer},
    {"join-partials", run_join_partials},
    {"lower-norms", run_lower_norms},
    {"repeat-heads", run_repeat_heads},
    {"training", [](Graph& g, const NamedPassOptions& o) { return make_training_step(g, o.passes, o.training); }},
};
}  // namespace

std::vector<std::string> named_passes() {
  std::vector<std::string> out;
  for (const Stage& s : pipeline()) out.push_back(s.name);
  for (const Step& s : steps)
    if (!llvm::is_contained(out, s.name)) out.push_back(s.name);
  return out;
}
llvm::Expected<std::unique_ptr<Graph>> run_named_pass(llvm::StringRef name, std::unique_ptr<Graph> graph,
                                                      const NamedPassOptions& o) {
  for (const Step& step : steps)
    if (name == step.name) {
      if (auto e = step.run(*graph, o)) return e;
      if (const Stage* stage = find_stage(name); stage && stage->is(Stage::sweeps)) graph->erase_dead();
      if (auto e = verify(*graph)) return e;
      return graph;
    }
  const Stage* stage = find_stage(name);
  if (!stage)
    return error(Code::unknown_pass, "no pass is named " + quoted(name))
        .hint("there are " + llvm::join(named_passes(), ", "));
  if (stage->is(Stage::per_rank) && o.rank >= graph->mesh.devices())
    return error(Code::bad_value, "option rank")
        .expected("one below " + llvm::Twine(graph->mesh.devices()))
        .found(o.rank);
  return run_stage(*stage, std::move(graph), o.passes, o.training, o.rank);
}
}  // namespace optp
