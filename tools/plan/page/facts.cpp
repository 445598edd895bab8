// Facts of a plan that several sections of the page share: its layers, its kinds of weights, its causes.
#include <algorithm>

#include "frontend/ir/dim.h"
#include "llvm/ADT/STLExtras.h"
#include "tools/plan/page/parts.h"
#include "tools/plan/plan_text.h"

namespace optp::page {
namespace {
// What two operations must share to be drawn as one.
std::string look_of(const Page& page, const Plan::FlowEntry& e) {
  if (e.is_collective()) {
    const Plan::CollectiveUse& c = *page.collectives.at(e.collective);
    return to_string(c.call.kind).str() + c.bytes_formula.text() + folded(c.call.reason) + "\n";
  }
  std::string out = e.op + to_string(e.sharding);
  for (const std::string& p : e.parameters)
    if (const auto t = page.tensors.find(p); t != page.tensors.end())
      out += to_string(t->second->sharding) + long_name(t->second->dtype).str();
  return out + "\n";
}

// The run of operations that is repeated most, by operator and shapes of parameters alone: names may say nothing.
Layers find_layers(const Page& page) {
  Layers out;
  std::map<std::string, int> known, known_looks;
  std::vector<int> signature;
  std::vector<std::string> looks;
  std::vector<bool> weighted;
  for (size_t k = 0; k < page.plan.flow.size(); ++k) {
    const Plan::FlowEntry& e = page.plan.flow[k];
    const std::string look = look_of(page, e);
    if (e.is_collective()) {
      if (!looks.empty()) looks.back() += look;
      continue;
    }
    std::string s = e.op;
    for (const std::string& p : e.parameters)
      if (auto t = page.tensors.find(p); t != page.tensors.end()) s += " " + shape_text(t->second->dims);
    out.operations.push_back(int64_t(k));
    signature.push_back(known.emplace(s, int(known.size())).first->second);
    looks.push_back(look);
    weighted.push_back(!e.parameters.empty());
  }
  for (const std::string& look : looks)
    out.looks.push_back(known_looks.emplace(look, int(known_looks.size())).first->second);
  const auto n = int64_t(signature.size());
  constexpr int64_t most_operations = 4096;  // the search is quadratic
  int64_t length = 0;
  for (int64_t period = 2; period * 2 <= n && n <= most_operations; ++period)
    for (int64_t i = 0, same = 0; i + period < n; ++i) {
      same = signature[size_t(i)] == signature[size_t(i + period)] ? same + 1 : 0;
      const int64_t count = (same + period) / period;
      const bool more = count * period > out.count * out.period,
                 longer = period == out.period && count == out.count && i - same + 1 == out.start;
      if (count >= 2 && (more || longer))
        out.count = count, out.period = period, out.start = i - same + 1, length = same + period;
    }
  // The run may begin anywhere in its first few operations: where most layers look alike, then where one begins with a
  // weight.
  std::pair<int64_t, bool> best{-1, false};
  int64_t best_start = out.start;
  const int64_t first = out.start;
  for (int64_t shift = 0; shift <= length - out.count * out.period; ++shift) {
    out.start = first + shift;
    std::pair<int64_t, bool> here{0, out.count > 0 && weighted[size_t(out.start)]};
    for (int64_t k = 0; k + 1 < out.count; ++k) here.first += out.alike(k, k + 1);
    if (here > best) best = here, best_start = out.start;
  }
  out.start = best_start;
  return out;
}

std::vector<Kind> find_kinds(const Page& page) {
  // A weight's place: position in its layer and among the operation's parameters.
  std::map<std::string, std::string> place, user;
  const Layers& l = page.layers;
  for (size_t i = 0; i < l.operations.size(); ++i) {
    const Plan::FlowEntry& e = page.plan.flow[size_t(l.operations[i])];
    const auto at = int64_t(i) - l.start;
    for (size_t k = 0; k < e.parameters.size(); ++k) {
      if (at >= 0 && at < l.period * l.count)
        place.emplace(e.parameters[k], std::to_string(at % l.period) + "." + std::to_string(k));
      user.emplace(e.parameters[k], e.node.empty() ? e.result : e.node);
    }
  }
  std::vector<Kind> kinds;
  std::map<std::string, size_t> index;
  for (const Plan::Parameter& p : page.plan.parameters) {
    const auto at = place.find(p.name);
    const std::string key = (at != place.end() ? "at " + at->second : folded(model_name(p))) + " " +
                            shape_text(p.dims) + " " + to_string(p.sharding) + " " + long_name(p.dtype).str();
    auto [it, fresh] = index.emplace(key, kinds.size());
    if (fresh) kinds.push_back({folded(page.short_name(p.name)), "", {}, 0, p.sharding.is_replicated()});
    Kind& kind = kinds[it->second];
    kind.tensors.push_back(&p);
    kind.bytes += p.bytes;
    // Exporters name transposed copies by number.
    const bool anonymous = is_numbered(model_name(p));
    if (anonymous || kind.name != folded(page.short_name(p.name)))
      if (auto u = user.find(p.name); u != user.end()) kind.user = folded(page.short_name(u->second));
    if (anonymous)
      kind.name = p.name.substr(0, p.name.find_last_of('_')) + "_*";
    else if (kind.name != folded(page.short_name(p.name)))
      kind.name = page.short_name(kind.tensors[0]->name) + " …";
  }
  std::stable_sort(kinds.begin(), kinds.end(), [](const Kind& a, const Kind& b) { return a.bytes > b.bytes; });
  return kinds;
}
}  // namespace

bool Layers::alike(int64_t layer, int64_t other) const {
  const auto at = [&](int64_t k) { return looks.begin() + start + k * period; };
  return std::equal(at(layer), at(layer) + period, at(other));
}
int64_t Layers::end(int64_t layer, int64_t flow_size) const {
  const auto next = size_t(start + (layer + 1) * period);
  return next < operations.size() ? operations[next] : flow_size;
}
std::string cause_key(const Plan::Tensor& tensor) {
  return to_string(tensor.cause.kind).str() + " " + tensor.cause.text;
}

Page::Page(const Plan& plan) : plan(plan), devices(plan.mesh.devices()), training(plan.is_training()) {
  auto add = [&](const Plan::Tensor& t, llvm::ArrayRef<std::string> aliases) {
    tensors.emplace(t.name, &t);
    for (const std::string& a : aliases) tensors.emplace(a, &t);
    causes.emplace(cause_key(t), int64_t(causes.size()) + 1);
  };
  std::vector<std::string> names;
  for (const Plan::Parameter& p : plan.parameters) {
    add(p, p.aliases);
    if (!p.model_name.empty()) model_names[p.name] = p.model_name;
    if (!is_numbered(model_name(p))) names.push_back(model_name(p));
  }
  for (const Plan::Value& v : plan.values) add(v, {});
  for (const auto* ports : {&plan.inputs, &plan.outputs})
    for (const Plan::Port& p : *ports) add(p, {});
  for (const Plan::Constant& c : plan.constants) add(c, c.aliases);
  for (const Plan::CollectiveUse& c : plan.collectives) collectives.emplace(c.call.id, &c);
  start = common_start(names);
  layers = find_layers(*this);
  kinds = find_kinds(*this);
}
std::string Page::short_name(llvm::StringRef name) const {
  if (const auto own = model_names.find(name.str()); own != model_names.end()) name = own->second;
  if (!start.empty()) name.consume_front(start);
  return name.str();
}
std::string Page::because(const Plan::Tensor& tensor) const {
  const Cause& cause = tensor.cause;
  std::string out = "<a href=\"#why-" + std::to_string(causes.at(cause_key(tensor))) + "\">" +
                    escaped(to_string(cause.kind)) + "</a>";
  if (!cause.from.empty())
    out += " ← " + (tensors.count(cause.from) ? link(cause.from, short_name(cause.from)) : escaped(cause.from));
  return out;
}
std::optional<int64_t> Page::at_one_token(Dim formula) const {
  DimValues values;
  for (const auto& [name, info] : plan.dims) values[name] = std::min<int64_t>(1, info.min);
  auto value = evaluate(formula, values);
  if (value) return *value;
  llvm::consumeError(value.takeError());
  return std::nullopt;
}
}  // namespace optp::page
