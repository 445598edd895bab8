#include "passes/plan/plan.h"

#include "frontend/io/input_folder.h"
#include "frontend/io/json.h"
#include "frontend/io/shard_json.h"
#include "frontend/ir/diagnostic.h"
#include "frontend/ir/op.h"
#include "frontend/onnx/export.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Path.h"
#include "passes/plan/plan_flow.h"
#include "passes/weights.h"

namespace optp {
namespace {
using JsonArray = llvm::json::Array;
using JsonObject = llvm::json::Object;
using JsonValue = llvm::json::Value;

JsonValue extent(Dim d) { return to_json(d); }
JsonArray shape(llvm::ArrayRef<Dim> dims) {
  JsonArray out;
  for (Dim d : dims) out.push_back(extent(d));
  return out;
}
JsonArray ranges(llvm::ArrayRef<Dim> global, const Sharding& s, const Mesh& mesh, int64_t rank) {
  return ranges_of(SymbolicShard::of(global, s, mesh, rank));
}
JsonArray local_shape(llvm::ArrayRef<Dim> global, const Sharding& s, const Mesh& mesh, int64_t rank) {
  Dims local = local_dims(global, s);
  for (Dim& d : local) d = bind_rank(d, mesh, rank);
  return shape(local);
}
// The extents whose product each dim is, major to minor.
JsonArray factors(llvm::ArrayRef<Dim> dims, const Sharding& s) {
  JsonArray out;
  for (size_t d = 0; d < dims.size(); ++d) {
    JsonArray extents;
    for (const FactorSharding& f : s.dims[d].factors) extents.push_back(extent(f.extent));
    if (extents.empty()) extents.push_back(extent(dims[d]));
    out.push_back(std::move(extents));
  }
  return out;
}
JsonObject cause(const Cause& c) {
  llvm::StringRef text = c.text;
  const char* kind = "propagated";
  if (text.starts_with("constraint"))
    kind = "constraint";
  else if (text.starts_with("whole"))
    kind = "default";
  else if (c.from.empty())
    kind = "seed";
  JsonObject out{{"kind", kind}, {"text", c.text}};
  if (!c.from.empty()) out["from"] = c.from;
  return out;
}
Dim elements(llvm::ArrayRef<Dim> dims) { return product(dims); }
// A node's work, from the extents of its loops: products count, the rest is small beside them.
Dim flops_of(const Node& node) {
  if (!node.op->flops || !node.op->rule) return 0;
  auto rule = node.op->rule(node);
  if (!rule) {
    llvm::consumeError(rule.takeError());
    return 0;
  }
  Dim n = 2;
  for (const Loop& loop : rule->loops) n = n * loop.extent;
  return n;
}
Dim flops_of(const Graph& graph) {
  Dim sum = 0;
  for (const auto& node : graph.nodes) sum = sum + flops_of(*node);
  return sum;
}
int64_t number(Dim d, const DimValues& values) {
  auto n = evaluate(d, values);
  if (n) return *n;
  llvm::consumeError(n.takeError());
  return 0;
}
// What a training step's input or output is for.
void add_role(JsonObject& entry, const Graph& graph, llvm::StringRef name, bool input) {
  if (graph.updates.empty()) return;
  if (input && (name == "labels" || name == "learning_rate")) entry["role"] = name;
  if (!input && name == "loss") entry["role"] = "loss";
  for (const GradientOutput& g : graph.gradients)
    if (!input && g.output == name) entry["role"] = "gradient", entry["parameter"] = g.parameter;
  for (const Update& u : graph.updates) {
    if ((input ? u.input : u.output) != name) continue;
    const bool own = u.kind == "parameter" || u.kind == "step" || u.kind == "accumulated";
    entry["role"] = own ? u.kind : "state";
    if (!u.parameter.empty()) entry["parameter"] = u.parameter;
    if (!own) entry["kind"] = u.kind;
  }
}
struct RankMemory {
  int64_t state_bytes = 0, gradient_bytes = 0;
};
// What a training step keeps from step to step, and its gradients.
RankMemory rank_memory(const Graph& rank, const DimValues& examples) {
  RankMemory out;
  auto bytes = [&](const optp::Value& v) { return number(elements(v.type.dims), examples) * size_bytes(v.type.dtype); };
  for (const optp::Value* v : rank.inputs)
    for (const Update& u : rank.updates)
      if (u.input == v->name && u.kind != "step") out.state_bytes += bytes(*v);
  for (const GraphOutput& o : rank.outputs)
    if (llvm::any_of(rank.gradients, [&](const GradientOutput& g) { return g.output == o.name; }))
      out.gradient_bytes += bytes(*o.value);
  return out;
}
}  // namespace

bool weights_missing(const Graph& graph) {
  return llvm::any_of(graph.data(), [](const optp::Value* v) { return v->data->is_missing(); });
}

DimValues example_dims(const Graph& graph, const DimValues& asked) {
  DimValues out = asked;
  for (const optp::Value* v : graph.inputs)
    for (size_t d = 0; d < v->ndim(); ++d)
      for (const std::string& s : symbols_of(v->type.dims[d]))
        // The sequence is the second dim of the ids; whatever else is open counts once.
        if (!out.contains(s))
          out[s] = d == 1 && !is_float(v->type.dtype) ? 128 : (lower_bound(Dim::symbol(s)) == 0 ? 0 : 1);
  // A model with positions for fewer is shown at what it can take.
  for (const auto& node : graph.nodes) {
    const auto extent =
        node->op->name == "slice" ? node->operand(0).type.dims[size_t(node->integer("axis"))].constant() : std::nullopt;
    if (!extent) continue;
    const Dim start = node->dim("start"),
              end = start + (node->dim("size") - Dim(1)) * Dim(node->integer("step", 1)) + Dim(1);
    for (Dim d : {start, end})
      for (const std::string& s : symbols_of(d))
        while (!asked.contains(s) && out[s] > 1 && (number(start, out) < 0 || number(end, out) > *extent)) out[s] /= 2;
  }
  return out;
}

llvm::Expected<JsonValue> make_plan(const Job& job, const DimValues& examples, llvm::StringRef version, bool weights) {
  const Graph& whole = *job.whole;
  const Mesh& mesh = whole.mesh;
  const int64_t devices = mesh.devices();
  auto per_rank = [&](llvm::ArrayRef<Dim> dims, const Sharding& s) {
    JsonArray out;
    for (int64_t r = 0; r < devices; ++r)
      out.push_back(JsonObject{{"shape", local_shape(dims, s, mesh, r)}, {"ranges", ranges(dims, s, mesh, r)}});
    return out;
  };

  JsonObject dims;
  for (const auto& [name, value] : examples)
    dims[name] = JsonObject{{"min", lower_bound(Dim::symbol(name)).value_or(0)}, {"example", value}};
  JsonArray guards;
  for (const Guard& g : whole.guards) {
    guards.push_back(JsonObject{{"left", extent(g.left)}, {"right", extent(g.right)}, {"because", g.at}});
    const auto names = symbols_of(g.left);
    if (names.size() == 1 && !dims.get(names[0]))
      dims[names[0]] = JsonObject{{"min", 0}, {"example", number(g.right, examples)}, {"equals", extent(g.right)}};
  }

  JsonArray inputs, outputs, states;
  for (const optp::Value* v : whole.inputs) {
    JsonObject entry{{"name", v->name},
                     {"dtype", long_name(v->type.dtype)},
                     {"role", "data"},
                     {"shape", shape(v->type.dims)},
                     {"sharding", to_string(*v->sharding)},
                     {"cause", cause(v->cause)},
                     {"ranks", per_rank(v->type.dims, *v->sharding)}};
    const optp::Value* imported = nullptr;
    for (const optp::Value* input : job.imported->inputs)
      if (input->name == v->name) imported = input;
    if (const int64_t rows = imported ? rows_indexed(*imported) : 0; rows > 0) entry["rows"] = rows;
    if (!imported && v->name == "labels" && job.inference)
      if (const optp::Value* logits = find_logits(*job.inference)) entry["classes"] = extent(logits->type.dims[2]);
    add_role(entry, whole, v->name, /*input=*/true);
    inputs.push_back(std::move(entry));
  }
  // A training step's parameters are inputs, too, after the others.
  for (const optp::Value* v : whole.data())
    if (llvm::any_of(whole.updates, [&](const Update& u) { return u.input == v->name; })) {
      JsonObject entry{{"name", v->name},
                       {"dtype", long_name(v->type.dtype)},
                       {"role", "parameter"},
                       {"shape", shape(v->type.dims)},
                       {"sharding", to_string(*v->sharding)},
                       {"cause", cause(v->cause)},
                       {"ranks", per_rank(v->type.dims, *v->sharding)}};
      add_role(entry, whole, v->name, /*input=*/true);
      inputs.push_back(std::move(entry));
    }
  for (size_t k = 0; k < whole.outputs.size(); ++k) {
    const optp::Value& v = *whole.outputs[k].value;
    const Sharding& s = *job.spmd->outputs[k].value->sharding;
    JsonObject entry{{"name", whole.outputs[k].name},    {"dtype", long_name(v.type.dtype)}, {"role", "result"},
                     {"shape", shape(v.type.dims)},      {"sharding", to_string(s)},         {"cause", cause(v.cause)},
                     {"ranks", per_rank(v.type.dims, s)}};
    add_role(entry, whole, whole.outputs[k].name, /*input=*/false);
    outputs.push_back(std::move(entry));
  }
  JsonArray updates;
  for (const Update& u : whole.updates) updates.push_back(JsonObject{{"input", u.input}, {"output", u.output}});
  for (const State& s : whole.states)
    states.push_back(JsonObject{{"input", s.input}, {"output", s.output}, {"axis", s.axis}});

  struct Held {
    int64_t elements = 0, parameter_bytes = 0, constant_bytes = 0;
  };
  std::vector<Held> held(size_t(devices), Held{});
  // LLVM's Value may throw while it moves: an array that grows copies all that it holds.
  JsonArray parameters, constants;
  parameters.reserve(whole.data().size());
  int64_t parameter_elements = 0, parameter_bytes = 0, constant_bytes = 0, held_elements = 0, held_bytes = 0,
          replicated_bytes = 0;
  struct Count {
    int64_t tensors = 0, elements = 0;
    void add(int64_t more) { ++tensors, elements += more; }
    JsonObject json() const { return JsonObject{{"tensors", tensors}, {"elements", elements}}; }
  } trained, frozen, constant;
  for (const optp::Value* v : whole.data()) {
    const Sharding& s = *v->sharding;
    const int64_t all = v->data->elements(), element = size_bytes(v->type.dtype);
    JsonArray ranks, aliases;
    ranks.reserve(size_t(devices));
    for (const std::string& a : v->aliases) aliases.push_back(a);
    JsonArray transposed;
    for (const std::string& a : v->transposed_aliases) transposed.push_back(a);
    for (int64_t r = 0; r < devices; ++r) {
      Dims local = local_dims(v->type.dims, s);
      int64_t n = 1;
      for (Dim d : local) n *= bind_rank(d, mesh, r).constant().value_or(0);
      ranks.push_back(JsonObject{{"shape", local_shape(v->type.dims, s, mesh, r)},
                                 {"ranges", ranges(v->type.dims, s, mesh, r)},
                                 {"elements", n},
                                 {"bytes", n * element}});
      if (v->is_parameter) {
        held[size_t(r)].elements += n;
        held[size_t(r)].parameter_bytes += n * element;
        held_elements += n;
        held_bytes += n * element;
      } else {
        held[size_t(r)].constant_bytes += n * element;
      }
    }
    JsonObject entry{{"name", v->name},
                     {"aliases", std::move(aliases)},
                     {"dtype", long_name(v->type.dtype)},
                     {"shape", shape(v->type.dims)},
                     {"sharding", to_string(s)},
                     {"cause", cause(v->cause)},
                     {"elements", all},
                     {"bytes", all * element},
                     {"ranks", std::move(ranks)}};
    if (llvm::any_of(s.dims, [](const DimSharding& d) { return d.factors.size() > 1; }))
      entry["factors"] = factors(v->type.dims, s);
    if (v->is_parameter) {
      entry["trained"] = !v->frozen;
      (v->frozen ? frozen : trained).add(all);
      if (!transposed.empty()) entry["transposed_aliases"] = std::move(transposed);
      parameter_elements += all;
      parameter_bytes += all * element;
      if (s.is_replicated()) replicated_bytes += all * element;
      parameters.push_back(std::move(entry));
    } else {
      constant.add(all);
      constant_bytes += all * element;
      constants.push_back(std::move(entry));
    }
  }

  JsonArray collectives;
  collectives.reserve(whole.size());
  std::map<std::string, int64_t> counts;
  for (Collective kind : collective_ops) counts[to_string(kind).str()] = 0;
  Dim moved = 0;
  auto groups_along = [&](llvm::ArrayRef<std::string> axes) {
    JsonArray groups;
    llvm::DenseSet<int64_t> grouped;
    for (int64_t r = 0; r < devices; ++r) {
      if (grouped.contains(r)) continue;
      JsonArray group;
      for (int64_t m : mesh.group(axes, r)) {
        grouped.insert(m);
        group.push_back(m);
      }
      groups.push_back(std::move(group));
    }
    return groups;
  };
  // First the sums of extents, which each rank's graph has from materialise.
  std::vector<const Node*> meetings;
  for (const auto& node : job.ranks[0]->nodes)
    if (node->op->collective && call_of(*node).extent) meetings.push_back(node.get());
  for (const auto& node : job.spmd->nodes)
    if (node->op->collective) meetings.push_back(node.get());
  for (const Node* node : meetings) {
    const CollectiveCall call = call_of(*node);
    ++counts[to_string(call.kind).str()];
    const optp::Value& out = node->out();
    const Dim bytes = elements(call.dims) * Dim(size_bytes(call.dtype));
    moved = moved + bytes;
    JsonArray axis_names;
    for (const std::string& a : call.axes) axis_names.push_back(a);
    JsonObject entry{{"id", call.id},
                     {"kind", to_string(call.kind)},
                     {"axes", std::move(axis_names)},
                     {"groups", groups_along(call.axes)},
                     {"tensor", out.name},
                     {"of", out.cause.from.empty() ? node->operand(0).name : out.cause.from},
                     {"dtype", long_name(out.type.dtype)},
                     {"shape", shape(call.dims)},
                     {"bytes_formula", extent(bytes)},
                     {"bytes", number(bytes, examples)},
                     {"reason", call.reason},
                     {"phase", to_string(node->phase)}};
    if (reduces(call.kind)) entry["reduce"] = to_string(call.reduce);
    if (cuts(call.kind) && joins(call.kind))
      entry["split_axis"] = call.cut_axis, entry["concat_axis"] = call.join_axis;
    else if (cuts(call.kind) || joins(call.kind))
      entry["axis"] = cuts(call.kind) ? call.cut_axis : call.join_axis;
    if (!call.extent) {
      if (const Node* producer = node->operand(0).producer) entry["producer"] = node_name(*producer);
      entry["consumers"] = consumers(*job.spmd, out);
    }
    collectives.push_back(std::move(entry));
  }

  JsonArray device_list;
  device_list.reserve(size_t(devices));
  for (int64_t r = 0; r < devices; ++r) {
    JsonObject coordinates;
    for (const MeshAxis& a : mesh.axes) coordinates[a.name] = mesh.coordinate(a.name, r);
    const Dim flops = flops_of(*job.ranks[size_t(r)]);
    const Held& h = held[size_t(r)];
    const RankMemory memory = rank_memory(*job.ranks[size_t(r)], examples);
    device_list.push_back(JsonObject{{"rank", r},
                                     {"coordinates", std::move(coordinates)},
                                     {"parameter_elements", h.elements},
                                     {"parameter_bytes", h.parameter_bytes},
                                     {"constant_bytes", h.constant_bytes},
                                     {"state_bytes", memory.state_bytes},
                                     {"gradient_bytes", memory.gradient_bytes},
                                     {"activation_peak_bytes", 0},
                                     {"flops_formula", extent(flops)},
                                     {"flops", number(flops, examples)},
                                     {"file", "rank" + std::to_string(r) + "/model.onnx"}});
  }

  JsonArray values;
  values.reserve(whole.size() * 2);
  for (const auto& node : whole.nodes)
    for (const auto& v : node->results) {
      JsonObject entry{{"name", v->name},
                       {"dtype", long_name(v->type.dtype)},
                       {"shape", shape(v->type.dims)},
                       {"sharding", to_string(*v->sharding)},
                       {"cause", cause(v->cause)}};
      if (node->phase != Phase::forward) entry["phase"] = to_string(node->phase);
      values.push_back(std::move(entry));
    }
  JsonArray remarks;
  for (const std::string& text : whole.remarks) remarks.push_back(JsonObject{{"pass", "compile"}, {"text", text}});
  for (const auto& node : whole.nodes)
    if (!node->op->rule && devices > 1)
      remarks.push_back(JsonObject{{"pass", "annotate"},
                                   {"node", node->name},
                                   {"text", describe(*node) + " has no sharding rule: it runs whole on every device"}});

  JsonObject kinds;
  for (const auto& [kind, n] : counts) kinds[kind] = n;
  const Dim flops = flops_of(whole);
  JsonObject out{{"format", "opt-partition plan"},
                 {"version", 1},
                 {"tool", version},
                 {"model", JsonObject{{"name", llvm::sys::path::filename(whole.source)}, {"graph", whole.name}}},
                 {"job", whole.updates.empty() ? "inference" : "training"},
                 {"strategy", job.passes.strategy},
                 {"outputs_as", job.passes.outputs == OutputLayout::whole ? "whole" : "sharded"},
                 {"mesh", mesh_json(mesh)},
                 {"weights", weights},
                 {"dims", std::move(dims)},
                 {"guards", std::move(guards)},
                 {"inputs", std::move(inputs)},
                 {"outputs", std::move(outputs)},
                 {"state", std::move(states)},
                 {"updates", std::move(updates)},
                 {"parameters", std::move(parameters)},
                 {"constants", std::move(constants)},
                 {"collectives", std::move(collectives)},
                 {"flow", plan_flow(job)},
                 {"devices", std::move(device_list)},
                 {"totals", JsonObject{{"parameter_elements", parameter_elements},
                                       {"parameter_bytes", parameter_bytes},
                                       {"constant_bytes", constant_bytes},
                                       {"trained", trained.json()},
                                       {"frozen", frozen.json()},
                                       {"constant", constant.json()},
                                       {"held_elements", held_elements},
                                       {"held_bytes", held_bytes},
                                       {"replicated_bytes", replicated_bytes},
                                       {"flops_formula", extent(flops)},
                                       {"flops", number(flops, examples)},
                                       {"collectives", std::move(kinds)},
                                       {"collective_bytes_formula", extent(moved)},
                                       {"collective_bytes", number(moved, examples)}}},
                 {"values", std::move(values)},
                 {"remarks", std::move(remarks)}};
  if (!whole.updates.empty()) {
    const OptimizerOptions& o = job.training.optimizer;
    JsonObject training{{"optimizer", o.name},
                        {"learning_rate", *job.training.learning_rate},
                        {"max_grad_norm", job.training.max_gradient_norm},
                        {"accumulate", job.training.accumulate},
                        {"nesterov", o.nesterov},
                        {"centered", o.centered}};
    for (auto [member, number] : {std::pair{"momentum", &o.momentum},
                                  {"weight_decay", &o.weight_decay},
                                  {"beta1", &o.beta1},
                                  {"beta2", &o.beta2},
                                  {"eps", &o.epsilon},
                                  {"alpha", &o.alpha}})
      if (*number) training[member] = **number;
    JsonArray no_decay;
    for (const std::string& pattern : job.training.no_decay) no_decay.push_back(pattern);
    if (!no_decay.empty()) training["no_decay"] = std::move(no_decay);
    out["training"] = std::move(training);
  }
  return out;
}

JsonValue mesh_json(const Mesh& mesh) {
  JsonArray axes;
  for (const MeshAxis& a : mesh.axes) axes.push_back(JsonObject{{"name", a.name}, {"size", a.size}});
  return JsonObject{{"axes", std::move(axes)}, {"devices", mesh.devices()}};
}

llvm::Expected<JsonValue> read_plan(llvm::StringRef folder) {
  const std::string path = (folder + "/plan.json").str();
  auto file = open_input_file(path);
  if (!file) return file.takeError();
  auto plan = parse_json(path, (*file)->text());
  if (!plan) return plan.takeError();
  const JsonObject* top = plan->getAsObject();
  if (!top || top->getString("format") != llvm::StringRef("opt-partition plan"))
    return bad_input(path + ": format: expected 'opt-partition plan'");
  if (top->getInteger("version") != 1) return bad_input(path + ": version: expected 1");
  if (auto e = check_plan(path, *top)) return e;
  return plan;
}
}  // namespace optp
