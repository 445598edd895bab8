// inspect: a plan for people, in a terminal.
#include <algorithm>
#include <map>

#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/raw_ostream.h"
#include "tools/command.h"
#include "tools/plan.h"
#include "tools/progress.h"

namespace optp {
namespace {
using JsonArray = llvm::json::Array;
using JsonObject = llvm::json::Object;

struct InspectOptions {
  std::string folder, tensor, why;
  bool json = false;
};

std::string grouped(int64_t n) {
  std::string digits = std::to_string(n), out;
  for (size_t k = 0; k < digits.size(); ++k) {
    if (k && (digits.size() - k) % 3 == 0) out += ',';
    out += digits[k];
  }
  return out;
}
std::string shape_text(const JsonArray& shape) {
  std::string out = "[";
  for (size_t k = 0; k < shape.size(); ++k) {
    if (k) out += ", ";
    if (auto n = shape[k].getAsInteger()) out += std::to_string(*n);
    else if (auto s = shape[k].getAsString()) out += s->str();
  }
  return out + "]";
}
std::string ranges_text(const JsonArray& ranges) {
  std::string out;
  for (size_t d = 0; d < ranges.size(); ++d) {
    if (d) out += " × ";
    const JsonArray& intervals = *ranges[d].getAsArray();
    for (size_t k = 0; k < intervals.size() && k < 3; ++k) {
      if (k) out += ",";
      const JsonArray& i = *intervals[k].getAsArray();
      auto part = [&](size_t n) { return i[n].getAsInteger() ? std::to_string(*i[n].getAsInteger()) : i[n].getAsString().value_or("?").str(); };
      out += part(0) + ":" + part(1);
    }
    if (intervals.size() > 3) out += ",… (" + std::to_string(intervals.size()) + ")";
  }
  return out;
}
// Layer numbers become '*': equal layers fold to one line.
std::string folded(llvm::StringRef name) {
  std::string out;
  for (size_t k = 0; k < name.size(); ++k) {
    const bool boundary = k == 0 || name[k - 1] == '.' || name[k - 1] == '/' || name[k - 1] == '_';
    if (llvm::isDigit(name[k]) && boundary) {
      size_t end = k;
      while (end < name.size() && llvm::isDigit(name[end])) ++end;
      if (end == name.size() || name[end] == '.' || name[end] == '/' || name[end] == '_') {
        out += '*';
        k = end - 1;
        continue;
      }
    }
    out += name[k];
  }
  return out;
}
std::string fit(std::string text, size_t width) {
  if (text.size() <= width) return text + std::string(width - text.size(), ' ');
  return "…" + text.substr(text.size() - (width - 1));
}
const JsonObject* find_tensor(const JsonObject& plan, llvm::StringRef name) {
  for (const char* list : {"parameters", "constants", "inputs", "outputs", "values"})
    for (const auto& entry : *plan.getArray(list)) {
      const JsonObject& o = *entry.getAsObject();
      if (o.getString("name") == name) return &o;
      if (const JsonArray* aliases = o.getArray("aliases"))
        for (const auto& a : *aliases)
          if (a.getAsString() == name) return &o;
    }
  return nullptr;
}
llvm::Error no_such(const JsonObject& plan, llvm::StringRef name) {
  std::string near;
  unsigned best = 8;
  for (const char* list : {"parameters", "values", "inputs", "outputs", "constants"})
    for (const auto& entry : *plan.getArray(list)) {
      llvm::StringRef known = *entry.getAsObject()->getString("name");
      if (unsigned d = known.edit_distance(name, true, best); d < best) best = d, near = known.str();
      else if (near.empty() && known.contains(name)) near = known.str();
    }
  return error(Fault::not_found, "the plan has no tensor " + quoted(name) + (near.empty() ? "" : "; nearest is " + quoted(near)));
}

llvm::Error print_tensor(const JsonObject& plan, llvm::StringRef name) {
  const JsonObject* t = find_tensor(plan, name);
  if (!t) return no_such(plan, name);
  auto& out = llvm::outs();
  out << *t->getString("name") << "  " << *t->getString("dtype") << " " << shape_text(*t->getArray("shape")) << "  " << *t->getString("sharding") << "\n";
  if (const JsonArray* aliases = t->getArray("aliases"))
    for (const auto& a : *aliases) out << "  also named " << *a.getAsString() << "\n";
  if (const JsonArray* ranks = t->getArray("ranks"))
    for (size_t r = 0; r < ranks->size(); ++r) {
      const JsonObject& o = *(*ranks)[r].getAsObject();
      out << "  device " << r << "  " << fit(shape_text(*o.getArray("shape")), 22) << "  " << ranges_text(*o.getArray("ranges"));
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
    llvm::outs() << (seen.empty() ? "" : "  from ") << current << " " << *t->getString("sharding") << "\n      " << *t->getObject("cause")->getString("text") << "\n";
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

llvm::Error print_plan(const JsonObject& plan) {
  auto& out = llvm::outs();
  const JsonObject& totals = *plan.getObject("totals");
  const JsonObject& mesh = *plan.getObject("mesh");
  const int64_t devices = *mesh.getInteger("devices");
  std::string mesh_text, dims_text;
  for (const auto& a : *mesh.getArray("axes")) mesh_text += (mesh_text.empty() ? "" : " × ") + a.getAsObject()->getString("name")->str() + "=" + std::to_string(*a.getAsObject()->getInteger("size"));
  for (const auto& [name, value] : *plan.getObject("dims"))
    if (!value.getAsObject()->get("equals")) dims_text += (dims_text.empty() ? "" : ", ") + name.str() + " " + std::to_string(value.getAsObject()->getInteger("example").value_or(0));
  out << *plan.getObject("model")->getString("name") << "  strategy " << *plan.getString("strategy") << "  mesh " << mesh_text << "\n";
  out << grouped(*totals.getInteger("parameter_elements")) << " parameters, " << bytes_text(double(*totals.getInteger("parameter_bytes")));
  if (*plan.getBoolean("weights") == false) out << " (weights not written)";
  out << "\n\n";

  out << "each device holds" << (dims_text.empty() ? "" : " (activations and flops at " + dims_text + ")") << "\n";
  int64_t most = 1;
  for (const auto& d : *plan.getArray("devices")) most = std::max(most, *d.getAsObject()->getInteger("parameter_bytes"));
  out << "       parameters       bytes  of all  activations    gflop\n";
  for (const auto& entry : *plan.getArray("devices")) {
    const JsonObject& d = *entry.getAsObject();
    const double bytes = double(*d.getInteger("parameter_bytes"));
    out << llvm::formatv("  {0,2}  {1,13}  {2,10}  {3,5:f1}%  {4,10}  {5,8:f2}  {6}\n", *d.getInteger("rank"), grouped(*d.getInteger("parameter_elements")), bytes_text(bytes),
                         100 * bytes / std::max(1.0, double(*totals.getInteger("parameter_bytes"))), bytes_text(double(*d.getInteger("activation_peak_bytes"))),
                         double(*d.getInteger("flops")) / 1e9, bar(bytes / double(most), 14));
  }
  if (devices > 1) out << "  held twice or more: " << bytes_text(double(*totals.getInteger("replicated_bytes"))) << " on every device\n";

  struct Row {
    std::string name, shape, sharding, local;
    int64_t count = 0, bytes = 0;
  };
  std::vector<Row> rows;
  for (const auto& entry : *plan.getArray("parameters")) {
    const JsonObject& p = *entry.getAsObject();
    Row row{folded(*p.getString("name")), shape_text(*p.getArray("shape")), p.getString("sharding")->str(), "", 1, *p.getInteger("bytes")};
    std::vector<std::string> locals;
    for (const auto& r : *p.getArray("ranks")) {
      std::string s = shape_text(*r.getAsObject()->getArray("shape"));
      if (!llvm::is_contained(locals, s)) locals.push_back(s);
    }
    row.local = llvm::join(locals, " | ");
    // Anonymous names of equal weights say nothing: they fold by shape and sharding.
    if (llvm::StringRef(row.name).starts_with("onnx::")) row.name = row.name.substr(0, row.name.find_last_of('_')) + "_*";
    auto it = std::find_if(rows.begin(), rows.end(), [&](const Row& r) { return r.name == row.name && r.shape == row.shape && r.sharding == row.sharding; });
    if (it == rows.end()) rows.push_back(std::move(row));
    else ++it->count, it->bytes += row.bytes;
  }
  std::stable_sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) { return a.bytes > b.bytes; });
  out << "\nhow the weights are cut (equal layers folded: ×)\n";
  constexpr size_t most_rows = 20;
  int64_t rest_bytes = 0, rest = 0;
  for (size_t k = 0; k < rows.size(); ++k) {
    if (k >= most_rows) {
      rest += rows[k].count, rest_bytes += rows[k].bytes;
      continue;
    }
    const Row& r = rows[k];
    out << llvm::formatv("  {0,3}× ", r.count) << fit(r.name, 34) << " " << r.shape << " " << r.sharding;
    if (r.sharding.find_first_not_of("[_, ]") != std::string::npos) out << " → " << r.local;
    out << "\n";
  }
  if (rest) out << "  and " << rest << " smaller ones, " << bytes_text(double(rest_bytes)) << "\n";

  const JsonObject& counts = *totals.getObject("collectives");
  out << "\nwhat is communicated: ";
  bool any = false;
  for (const char* kind : {"all_reduce", "all_gather", "reduce_scatter", "all_to_all", "broadcast"})
    if (int64_t n = counts.getInteger(kind).value_or(0)) out << (any ? ", " : "") << n << " " << kind << (n > 1 ? "s" : ""), any = true;
  if (!any) out << "nothing";
  out << ", " << bytes_text(double(*totals.getInteger("collective_bytes"))) << "\n";
  struct Meeting {
    std::string kind, bytes, reason, example;
    int64_t count = 0;
  };
  std::vector<Meeting> meetings;
  for (const auto& entry : *plan.getArray("collectives")) {
    const JsonObject& c = *entry.getAsObject();
    std::string formula = c.get("bytes_formula")->getAsString() ? c.get("bytes_formula")->getAsString()->str() : std::to_string(*c.getInteger("bytes"));
    Meeting m{c.getString("kind")->str(), formula, folded(*c.getString("reason")), folded(*c.getString("of")), 1};
    auto it = std::find_if(meetings.begin(), meetings.end(), [&](const Meeting& x) { return x.kind == m.kind && x.bytes == m.bytes && x.reason == m.reason && x.example == m.example; });
    if (it == meetings.end()) meetings.push_back(m);
    else ++it->count;
  }
  for (const Meeting& m : meetings)
    out << llvm::formatv("  {0,3}× ", m.count) << m.kind << " of " << m.bytes << " B: " << m.example << "\n        " << m.reason << "\n";
  if (const JsonArray* remarks = plan.getArray("remarks"); remarks && !remarks->empty()) {
    out << "\nremarks\n";
    for (size_t k = 0; k < remarks->size() && k < 6; ++k) out << "  " << *(*remarks)[k].getAsObject()->getString("text") << "\n";
    if (remarks->size() > 6) out << "  and " << remarks->size() - 6 << " more (--json)\n";
  }
  return llvm::Error::success();
}

llvm::Error inspect(const InspectOptions& o) {
  auto plan = read_plan(o.folder);
  if (!plan) return plan.takeError();
  const JsonObject& top = *plan->getAsObject();
  for (const char* list : {"parameters", "constants", "inputs", "outputs", "values", "collectives", "devices"})
    if (!top.getArray(list)) return bad_input(o.folder + "/plan.json: member '" + list + "' is missing");
  for (const char* object : {"totals", "mesh", "dims", "model"})
    if (!top.getObject(object)) return bad_input(o.folder + "/plan.json: member '" + object + "' is missing");
  if (o.json) {
    llvm::outs() << llvm::formatv("{0:1}\n", *plan);
    return llvm::Error::success();
  }
  if (!o.tensor.empty()) return print_tensor(top, o.tensor);
  if (!o.why.empty()) return print_why(top, o.why);
  return print_plan(top);
}
}  // namespace

Command add_inspect(CLI::App& app) {
  auto o = std::make_shared<InspectOptions>();
  CLI::App* c = app.add_subcommand("inspect", "print a plan: what each device holds, how weights are cut, what is communicated");
  c->add_option("plan", o->folder, "folder written by partition")->required();
  c->add_flag("--json", o->json, "the whole plan");
  c->add_option("--tensor", o->tensor, "one tensor's shards");
  c->add_option("--why", o->why, "the chain of decisions behind one tensor's sharding");
  return {c, [o] { return inspect(*o); }};
}
}  // namespace optp
