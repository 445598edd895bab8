// What several sections of the page ask of a plan: its layers, its kinds of weights, its causes.
#include <algorithm>

#include "frontend/ir/dim.h"
#include "llvm/ADT/STLExtras.h"
#include "tools/plan/page/parts.h"
#include "tools/plan/plan_text.h"

namespace optp::page {
namespace {
const Object* entry_of(const Object& plan, int64_t k) { return list(plan, "flow")[size_t(k)].getAsObject(); }

// What two operations must share to be drawn as one.
std::string look_of(const Page& page, const Object& e) {
  if (e.get("collective")) {
    const auto at = page.collectives.find(text(e, "collective").str());
    if (at == page.collectives.end()) return "?";
    const Object& c = *at->second;
    return text(c, "kind").str() + extent_text(*c.get("bytes_formula")) + text(c, "reason").str() + "\n";
  }
  std::string out = text(e, "operator").str() + text(e, "sharding").str();
  for (const auto& p : list(e, "parameters"))
    if (const auto t = page.tensors.find(p.getAsString().value_or("").str()); t != page.tensors.end())
      out += text(*t->second, "sharding").str() + text(*t->second, "dtype").str();
  return out + "\n";
}

// The run of operations that is repeated most, by operator and shapes of parameters alone: names may say nothing.
Layers find_layers(const Page& page) {
  Layers out;
  std::map<std::string, int> known, known_looks;
  std::vector<int> signature;
  std::vector<std::string> looks;
  std::vector<bool> weighted;
  const Array& flow = list(page.plan, "flow");
  for (size_t k = 0; k < flow.size(); ++k) {
    const Object& o = *flow[k].getAsObject();
    const std::string look = look_of(page, o);
    if (o.get("collective")) {
      if (!looks.empty()) looks.back() += look;
      continue;
    }
    std::string s = text(o, "operator").str();
    for (const auto& p : list(o, "parameters"))
      if (auto t = page.tensors.find(p.getAsString().value_or("").str()); t != page.tensors.end())
        s += " " + shape_text(list(*t->second, "shape"));
    out.operations.push_back(int64_t(k));
    signature.push_back(known.emplace(s, int(known.size())).first->second);
    looks.push_back(look);
    weighted.push_back(!list(o, "parameters").empty());
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
    const Object& o = *entry_of(page.plan, l.operations[i]);
    const Array& parameters = list(o, "parameters");
    const auto at = int64_t(i) - l.start;
    for (size_t k = 0; k < parameters.size(); ++k) {
      const std::string name = parameters[k].getAsString().value_or("").str();
      if (at >= 0 && at < l.period * l.count)
        place.emplace(name, std::to_string(at % l.period) + "." + std::to_string(k));
      user.emplace(name, text(o, o.get("node") ? "node" : "result").str());
    }
  }
  std::vector<Kind> kinds;
  std::map<std::string, size_t> index;
  for (const auto& entry : list(page.plan, "parameters")) {
    const Object& p = *entry.getAsObject();
    const std::string name = text(p, "name").str();
    const auto at = place.find(name);
    const std::string key = (at != place.end() ? "at " + at->second : folded(name)) + " " +
                            shape_text(list(p, "shape")) + " " + text(p, "sharding").str() + " " +
                            text(p, "dtype").str();
    auto [it, fresh] = index.emplace(key, kinds.size());
    if (fresh) kinds.push_back({folded(page.short_name(name)), "", {}, 0, is_whole(text(p, "sharding"))});
    Kind& kind = kinds[it->second];
    kind.tensors.push_back(&p);
    kind.bytes += number(p, "bytes");
    // Exporters name transposed copies by number.
    if (llvm::StringRef(name).starts_with("onnx::") || kind.name != folded(page.short_name(name)))
      if (auto u = user.find(name); u != user.end()) kind.user = folded(page.short_name(u->second));
    if (llvm::StringRef(name).starts_with("onnx::"))
      kind.name = name.substr(0, name.find_last_of('_')) + "_*";
    else if (kind.name != folded(page.short_name(name)))
      kind.name = page.short_name(text(*kind.tensors[0], "name")) + " …";
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
std::string cause_key(const Object& tensor) {
  const Object& cause = object(tensor, "cause");
  return text(cause, "kind").str() + " " + text(cause, "text").str();
}

Page::Page(const Object& plan)
    : plan(plan),
      totals(object(plan, "totals")),
      devices(number(object(plan, "mesh"), "devices")),
      training(text(plan, "job") == "training") {
  std::vector<std::string> names;
  for (const char* kind : {"parameters", "values", "inputs", "outputs", "constants"})
    for (const auto& entry : list(plan, kind)) {
      const Object& o = *entry.getAsObject();
      tensors.emplace(text(o, "name").str(), &o);
      for (const auto& a : list(o, "aliases")) tensors.emplace(a.getAsString().value_or("").str(), &o);
      causes.emplace(cause_key(o), int64_t(causes.size()) + 1);
      if (std::string(kind) == "parameters" && !text(o, "name").starts_with("onnx::"))
        names.push_back(text(o, "name").str());
    }
  for (const auto& entry : list(plan, "collectives"))
    collectives.emplace(text(*entry.getAsObject(), "id").str(), entry.getAsObject());
  start = common_start(names);
  layers = find_layers(*this);
  kinds = find_kinds(*this);
}
std::string Page::short_name(llvm::StringRef name) const {
  if (!start.empty()) name.consume_front(start);
  return name.str();
}
std::string Page::because(const Object& tensor) const {
  const Object& cause = object(tensor, "cause");
  std::string out =
      "<a href=\"#why-" + std::to_string(causes.at(cause_key(tensor))) + "\">" + escaped(text(cause, "kind")) + "</a>";
  if (auto from = text(cause, "from"); !from.empty())
    out += " ← " + (tensors.count(from.str()) ? link(from) : escaped(from));
  return out;
}
std::string Page::at_one_token(const llvm::json::Value& formula, int64_t* number) const {
  int64_t n = formula.getAsInteger().value_or(0);
  if (auto text = formula.getAsString()) {
    DimValues values;
    for (const auto& [name, dim] : object(plan, "dims"))
      values[name.str()] =
          dim.getAsObject() ? std::min<int64_t>(1, dim.getAsObject()->getInteger("min").value_or(1)) : 1;
    auto dim = parse_dim(*text);
    if (!dim) return llvm::consumeError(dim.takeError()), "unknown";
    auto value = evaluate(*dim, values);
    if (!value) return llvm::consumeError(value.takeError()), "unknown";
    n = *value;
  }
  if (number) *number = n;
  return bytes(n);
}
}  // namespace optp::page
