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
  const bool of_operators = consume_operator_prefix(pattern);
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
       const auto dtype = dtype_from(v);
       o.passes.compute = dtype.value_or(DType::f32);
       return dtype && (is_half(*dtype) || *dtype == DType::f32);
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
    {"loss-chunks",
     [](NamedPassOptions& o, llvm::StringRef v) {
       return !v.getAsInteger(10, o.training.loss_chunks) && o.training.loss_chunks > 0;
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

// A stage takes from those before it what a text does not say: here from options and outputs, and it is told in outputs
// what it hands on.
struct HandedOn {
  const char* stage;
  llvm::Error (*take)(Compilation&, const NamedPassOptions&) = nullptr;
  void (*give)(Compilation&) = nullptr;
};
llvm::Error take_gradients(Compilation& c, const NamedPassOptions&) {
  auto gradients = gradients_of(*c.whole);
  if (!gradients) return gradients.takeError();
  c.gradients = std::move(*gradients);
  return llvm::Error::success();
}
void give_loss(Compilation& c) {
  const Loss& loss = *c.loss;
  c.whole->outputs.clear();
  if (loss.loss)
    c.whole->outputs = {{"loss", loss.loss}};
  else
    c.whole->outputs = {{"total", loss.total}, {"count", loss.count}};
  c.whole->outputs.push_back({loss.dlogits->name, loss.dlogits});
}
llvm::Error take_logits(Compilation& c, const NamedPassOptions& o) {
  auto from = named_value(*c.whole, "from", o.from);
  if (!from) return from.takeError();
  auto gradient = named_value(*c.whole, "gradient", o.gradient);
  if (!gradient) return gradient.takeError();
  c.loss = {nullptr, *from, *gradient, nullptr, nullptr};
  return llvm::Error::success();
}
void give_gradients(Compilation& c) {
  for (auto [parameter, value] : c.gradients) {
    c.whole->gradients.push_back({parameter->name, parameter->name + ".grad"});
    c.whole->outputs.push_back({parameter->name + ".grad", value});
  }
}
llvm::Error take_sums(Compilation& c, const NamedPassOptions& o) {
  auto total = named_value(*c.whole, "total", o.total);
  if (!total) return total.takeError();
  auto count = named_value(*c.whole, "count", o.count);
  if (!count) return count.takeError();
  c.loss = {nullptr, nullptr, nullptr, *total, *count};
  return take_gradients(c, o);
}
void give_accumulated(Compilation& c) {
  if (!c.loss->loss) return;  // of one micro-batch nothing is summed
  c.whole->outputs.push_back({"loss", c.loss->loss});
  for (size_t k = 0; k < c.gradients.size(); ++k)
    output_of(*c.whole, c.whole->gradients[k].output)->value = c.gradients[k].gradient;
}
llvm::Error take_outputs(Compilation& c, const NamedPassOptions& o) {
  auto loss = named_value(*c.whole, "loss", o.loss);
  if (!loss) return loss.takeError();
  c.loss = {*loss, nullptr, nullptr, nullptr, nullptr};
  if (auto e = take_gradients(c, o)) return e;
  c.whole->gradients.clear();
  return llvm::Error::success();
}
llvm::Error take_head(Compilation& c, const NamedPassOptions& o) {
  auto from = named_value(*c.whole, "from", o.from);
  if (!from) return from.takeError();
  c.loss = {nullptr, *from, nullptr, nullptr, nullptr};
  return llvm::Error::success();
}
const HandedOn handed_on[] = {
    {"build-loss", nullptr, give_loss},
    {"differentiate", take_logits, give_gradients},
    {"accumulate", take_sums, give_accumulated},
    {"training-outputs", take_outputs},
    {"optimizer", take_gradients},
    {"chunk-loss", take_head},
};

// Several stages one after the other: annotate until nothing is left to rewrite for it, and all that make a step.
struct Range {
  const char *name, *from, *to;
};
// After split a type is that of a device's part. What is run on rank graphs from files, too, takes both.
llvm::Error must_be_whole(const Stage& stage, const Graph& graph) {
  if (stage.is(Stage::on_spmd) || stage.when == Stage::When::emitted) return llvm::Error::success();
  for (const Value* v : graph.values())
    if (!v->logical_dims.empty())
      return error(Code::bad_value)
          .what("pass " + llvm::Twine(stage.name))
          .expected("a graph as it is before split")
          .found(called(*v) + " of " + to_string(v->logical_dims))
          .about({.tensor = v->name});
  return llvm::Error::success();
}
const Range ranges[] = {{"annotate", "annotate", "join-partials"}, {"training", "choose-trained", "recompute"}};
}  // namespace

std::vector<std::string> named_passes() {
  std::vector<std::string> out;
  for (const Stage& s : pipeline()) out.push_back(s.name);
  for (const Range& r : ranges)
    if (!llvm::is_contained(out, r.name)) out.push_back(r.name);
  return out;
}
llvm::Expected<std::unique_ptr<Graph>> run_named_pass(llvm::StringRef name, std::unique_ptr<Graph> graph,
                                                      const NamedPassOptions& o) {
  for (const Range& range : ranges)
    if (name == range.name) {
      if (auto e = must_be_whole(*find_stage(range.from), *graph)) return e;
      if (auto e = run_stages(*graph, range.from, range.to, o.passes, o.training)) return e;
      return graph;
    }
  const Stage* stage = find_stage(name);
  if (!stage)
    return error(Code::unknown_pass, "no pass is named " + quoted(name))
        .hint("there are " + llvm::join(named_passes(), ", "));
  const bool makes_ranks = stage->is(Stage::per_rank) && stage->is(Stage::makes_graph);
  if (makes_ranks && o.rank >= graph->mesh.devices())
    return error(Code::bad_value, "option rank")
        .expected("one below " + llvm::Twine(graph->mesh.devices()))
        .found(o.rank);
  if (auto e = must_be_whole(*stage, *graph)) return e;
  Compilation c{.passes = o.passes, .trains = stage->when == Stage::When::training, .training = o.training};
  std::unique_ptr<Graph>& place = place_of(*stage, c);
  place = std::move(graph);
  const auto* row = llvm::find_if(handed_on, [&](const HandedOn& h) { return name == h.stage; });
  const HandedOn handed = row == std::end(handed_on) ? HandedOn{} : *row;
  if (handed.take)
    if (auto e = handed.take(c, o)) return e;
  if (auto e = run_stage(*stage, c, makes_ranks ? o.rank : 0)) return e;
  if (handed.give) handed.give(c);
  if (!c.ranks.empty()) return std::move(c.ranks.back());
  return std::move(c.spmd ? c.spmd : c.whole);
}
}  // namespace optp
