// Is a plan.json what docs/plan-schema.md says? Whoever reads a plan after this need not ask again whether a member is
// there.
#include <set>

#include "frontend/ir/diagnostic.h"
#include "passes/plan/plan.h"

namespace optp {
namespace {
using JsonArray = llvm::json::Array;
using JsonObject = llvm::json::Object;
using JsonValue = llvm::json::Value;

enum class Kind { text, boolean, integer, extent, list, object };
struct Member {
  const char* name;
  Kind kind;
};
constexpr const char* words[] = {"text", "true or false", "an integer", "an extent", "a list", "an object"};
bool is_a(const JsonValue* v, Kind kind) {
  if (!v) return false;
  switch (kind) {
    case Kind::text:
      return v->getAsString().has_value();
    case Kind::boolean:
      return v->getAsBoolean().has_value();
    case Kind::integer:
      return v->getAsInteger().has_value();
    case Kind::extent:
      return v->getAsInteger() || v->getAsString();
    case Kind::list:
      return v->getAsArray() != nullptr;
    case Kind::object:
      return v->getAsObject() != nullptr;
  }
  return false;
}
llvm::Error need(const llvm::Twine& place, const JsonObject* o, llvm::ArrayRef<Member> members) {
  if (!o) return bad_input(place + ": expected an object");
  for (const Member& m : members)
    if (!is_a(o->get(m.name), m.kind))
      return bad_input(place + ": member " + quoted(m.name) + ": expected " + words[int(m.kind)] + ", found " +
                       (o->get(m.name) ? "something else" : "none"));
  return llvm::Error::success();
}

constexpr int64_t most_devices = 4096;

// Of the lists of all ranks for one dim: each pair is the same or has nothing in common, and together they are all
// indices. Only where all ends are numbers; others are checked when they are bound.
llvm::Error check_cover(const llvm::Twine& place, llvm::ArrayRef<const JsonArray*> lists, int64_t extent,
                        bool everything) {
  std::set<std::vector<std::pair<int64_t, int64_t>>> distinct;
  for (const JsonArray* list : lists) {
    std::vector<std::pair<int64_t, int64_t>> own;
    int64_t last = 0;
    for (const JsonValue& v : *list) {
      const JsonArray& interval = *v.getAsArray();
      const auto start = interval[0].getAsInteger(), stop = interval[1].getAsInteger();
      if (interval.size() != 2 || !start || !stop) return llvm::Error::success();
      if (*start < last || *stop < *start || *stop > extent)
        return bad_input(place + ": interval [" + llvm::Twine(*start) + ", " + llvm::Twine(*stop) + "] of " +
                         llvm::Twine(extent) + " indices: expected ascending ones within");
      last = *stop;
      if (*stop > *start) own.emplace_back(*start, *stop);
    }
    distinct.insert(std::move(own));
  }
  std::vector<std::pair<int64_t, int64_t>> all;
  for (const auto& own : distinct) all.insert(all.end(), own.begin(), own.end());
  std::sort(all.begin(), all.end());
  int64_t at = 0;
  for (auto [start, stop] : all) {
    if (start < at) return bad_input(place + ": index " + llvm::Twine(start) + " is in two ranks' ranges that differ");
    if (start > at && everything) return bad_input(place + ": index " + llvm::Twine(at) + " is on no rank");
    at = stop;
  }
  if (at < extent && everything) return bad_input(place + ": index " + llvm::Twine(at) + " is on no rank");
  return llvm::Error::success();
}

llvm::Error check_tensor(const std::string& place, const JsonObject* t, int64_t devices, bool stored) {
  if (auto e = need(place, t,
                    {{"name", Kind::text},
                     {"dtype", Kind::text},
                     {"shape", Kind::list},
                     {"sharding", Kind::text},
                     {"cause", Kind::object}}))
    return e;
  const std::string named = place + " (" + quoted(*t->getString("name")) + ")";
  if (auto e = need(named + ": cause", t->getObject("cause"), {{"text", Kind::text}})) return e;
  const JsonArray& shape = *t->getArray("shape");
  for (const JsonValue& v : shape)
    if (!is_a(&v, stored ? Kind::integer : Kind::extent) || v.getAsInteger().value_or(0) < 0)
      return bad_input(named + ": shape: expected extents");
  const JsonArray* ranks = t->getArray("ranks");
  if (!ranks && !stored && place.find("values[") != std::string::npos) return llvm::Error::success();
  if (stored)
    if (auto e = need(named, t, {{"elements", Kind::integer}, {"bytes", Kind::integer}})) return e;
  if (!ranks || int64_t(ranks->size()) != devices)
    return bad_input(named + ": ranks: expected one for each of " + llvm::Twine(devices) + " devices");
  for (int64_t r = 0; r < devices; ++r) {
    const JsonObject* rank = (*ranks)[size_t(r)].getAsObject();
    const std::string at = named + ": rank " + std::to_string(r);
    if (auto e = need(at, rank, {{"shape", Kind::list}, {"ranges", Kind::list}})) return e;
    if (stored)
      if (auto e = need(at, rank, {{"elements", Kind::integer}, {"bytes", Kind::integer}})) return e;
    if (rank->getArray("shape")->size() != shape.size() || rank->getArray("ranges")->size() != shape.size())
      return bad_input(at + ": expected " + llvm::Twine(shape.size()) + " dims");
    for (const JsonValue& dim : *rank->getArray("ranges")) {
      const JsonArray* list = dim.getAsArray();
      if (!list || list->empty()) return bad_input(at + ": ranges: expected a list of intervals for each dim");
      for (const JsonValue& v : *list) {
        const JsonArray* interval = v.getAsArray();
        if (!interval || interval->size() < 2 || interval->size() % 2 != 0 ||
            !llvm::all_of(*interval, [](const JsonValue& x) { return is_a(&x, Kind::extent); }))
          return bad_input(at + ": ranges: expected intervals of 2 extents, and pairs of 2 more");
      }
    }
  }
  for (size_t d = 0; d < shape.size(); ++d) {
    if (!shape[d].getAsInteger()) continue;
    std::vector<const JsonArray*> lists;
    for (const JsonValue& rank : *ranks) lists.push_back((*rank.getAsObject()->getArray("ranges"))[d].getAsArray());
    if (auto e = check_cover(named + ": dim " + llvm::Twine(d), lists, *shape[d].getAsInteger(), true)) return e;
  }
  return llvm::Error::success();
}
llvm::Error check_flow(const std::string& path, const JsonArray* flow) {
  if (!flow) return bad_input(path + ": expected a list");
  for (size_t k = 0; k < flow->size(); ++k) {
    const std::string place = path + "[" + std::to_string(k) + "]";
    const JsonObject* o = (*flow)[k].getAsObject();
    if (auto e = o && o->get("collective") ? need(place, o, {{"collective", Kind::text}, {"after", Kind::list}})
                                           : need(place, o,
                                                  {{"operator", Kind::text},
                                                   {"result", Kind::text},
                                                   {"sharding", Kind::text},
                                                   {"parameters", Kind::list},
                                                   {"after", Kind::list}}))
      return e;
    for (const JsonValue& v : *o->getArray("after"))
      if (auto n = v.getAsInteger(); !n || *n < 0 || size_t(*n) >= k)
        return bad_input(place + ": after: expected positions before it");
  }
  return llvm::Error::success();
}
}  // namespace

llvm::Error check_plan(const std::string& path, const JsonObject& top) {
  using enum Kind;
  if (auto e = need(path, &top,
                    {{"model", object},
                     {"strategy", text},
                     {"mesh", object},
                     {"weights", boolean},
                     {"dims", object},
                     {"totals", object},
                     {"inputs", list},
                     {"outputs", list},
                     {"parameters", list},
                     {"constants", list},
                     {"collectives", list},
                     {"devices", list},
                     {"values", list},
                     {"remarks", list}}))
    return e;
  if (auto e = need(path + ": model", top.getObject("model"), {{"name", text}})) return e;
  const JsonObject& mesh = *top.getObject("mesh");
  if (auto e = need(path + ": mesh", &mesh, {{"axes", list}, {"devices", integer}})) return e;
  const int64_t devices = *mesh.getInteger("devices");
  if (devices < 1 || devices > most_devices)
    return bad_input(path + ": mesh.devices: expected from 1 to " + llvm::Twine(most_devices) + ", found " +
                     llvm::Twine(devices));
  int64_t product = 1;
  for (const JsonValue& axis : *mesh.getArray("axes")) {
    if (auto e = need(path + ": mesh.axes", axis.getAsObject(), {{"name", text}, {"size", integer}})) return e;
    const int64_t size = *axis.getAsObject()->getInteger("size");
    if (size < 1 || size > most_devices) return bad_input(path + ": mesh.axes: size " + llvm::Twine(size));
    product = std::min(product * size, most_devices + 1);
  }
  if (product != devices)
    return bad_input(path + ": mesh.devices: expected the product of the axes' sizes, found " + llvm::Twine(devices));
  for (const auto& [name, dim] : *top.getObject("dims"))
    if (auto e = need(path + ": dims." + name.str(), dim.getAsObject(), {{"example", integer}})) return e;
  struct {
    const char* name;
    bool stored;
  } const tensors[] = {
      {"inputs", false}, {"outputs", false}, {"parameters", true}, {"constants", true}, {"values", false}};
  for (auto [name, stored] : tensors) {
    const JsonArray& entries = *top.getArray(name);
    for (size_t k = 0; k < entries.size(); ++k)
      if (auto e = check_tensor(path + ": " + name + "[" + std::to_string(k) + "]", entries[k].getAsObject(), devices,
                                stored))
        return e;
  }
  const JsonArray& list_of_devices = *top.getArray("devices");
  if (int64_t(list_of_devices.size()) != devices)
    return bad_input(path + ": devices: expected " + llvm::Twine(devices) + ", found " +
                     llvm::Twine(list_of_devices.size()));
  for (int64_t r = 0; r < devices; ++r) {
    const JsonObject* d = list_of_devices[size_t(r)].getAsObject();
    const std::string place = path + ": devices[" + std::to_string(r) + "]";
    if (auto e = need(place, d,
                      {{"rank", integer},
                       {"parameter_elements", integer},
                       {"parameter_bytes", integer},
                       {"activation_peak_bytes", integer},
                       {"flops", integer},
                       {"file", text}}))
      return e;
    if (*d->getInteger("rank") != r)
      return bad_input(place + ": rank: expected " + llvm::Twine(r) + ", found " + llvm::Twine(*d->getInteger("rank")));
    const std::string file = "rank" + std::to_string(r) + "/model.onnx";
    if (*d->getString("file") != file)
      return bad_input(place + ": file: expected '" + file + "', found " + quoted(*d->getString("file")));
  }
  const JsonArray& collectives = *top.getArray("collectives");
  for (size_t k = 0; k < collectives.size(); ++k)
    if (auto e = need(path + ": collectives[" + llvm::Twine(k) + "]", collectives[k].getAsObject(),
                      {{"id", text},
                       {"kind", text},
                       {"tensor", text},
                       {"of", text},
                       {"bytes_formula", extent},
                       {"bytes", integer},
                       {"reason", text}}))
      return e;
  if (const JsonObject* t = top.getObject("training")) {
    TrainingOptions settings;
    settings.learning_rate = t->getNumber("learning_rate"),
    settings.max_gradient_norm = t->getNumber("max_grad_norm").value_or(0);
    OptimizerOptions& o = settings.optimizer;
    o.momentum = t->getNumber("momentum"), o.weight_decay = t->getNumber("weight_decay"),
    o.beta1 = t->getNumber("beta1"), o.beta2 = t->getNumber("beta2"), o.epsilon = t->getNumber("eps"),
    o.alpha = t->getNumber("alpha");
    if (auto outside = outside_domain(settings))
      return bad_input(path + ": training: " + outside->member + ": " + outside->text);
  }
  if (top.get("flow"))
    if (auto e = check_flow(path + ": flow", top.getArray("flow"))) return e;
  for (const JsonValue& remark : *top.getArray("remarks"))
    if (auto e = need(path + ": remarks", remark.getAsObject(), {{"text", text}})) return e;
  const JsonObject& totals = *top.getObject("totals");
  return need(path + ": totals", &totals,
              {{"parameter_elements", integer},
               {"parameter_bytes", integer},
               {"replicated_bytes", integer},
               {"collectives", object},
               {"collective_bytes", integer}});
}
}  // namespace optp
