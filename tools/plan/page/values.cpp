// Every tensor of the plan, each with an anchor of its own.
#include <set>

#include "tools/plan/page/parts.h"
#include "tools/plan/plan_text.h"

namespace optp::page {
namespace {
// What training adds is as many again and says little: folded by name, shape and sharding.
bool is_training_detail(const Object& o, llvm::StringRef list_name, bool training) {
  if (!training) return false;
  if (list_name == "constants" || !text(o, "phase").empty()) return true;
  const llvm::StringRef role = text(o, "role");
  return role == "state" || role == "step" || role == "gradient" || role == "parameter" || role == "accumulated";
}
struct Folded {
  std::string kind, name;
  const Object* first;
  std::vector<llvm::StringRef> names;
};
}  // namespace

std::string values(const Page& page) {
  std::string table =
      "<table class=\"sort\">" + table_head({"name", "kind", "dtype", "shape", "#bytes", "because"}) + "<tbody>";
  std::set<std::string> anchored, linked;  // of the folded ones only those that something links to have an anchor
  for (const auto& [name, tensor] : page.tensors) linked.insert(text(object(*tensor, "cause"), "from").str());
  for (const auto& c : list(page.plan, "collectives")) linked.insert(text(*c.getAsObject(), "of").str());
  std::vector<Folded> folded_rows;
  std::map<std::string, size_t> index;
  int64_t rows = 0;
  for (auto [list_name, word] : {std::pair{"parameters", "parameter"},
                                 {"inputs", "input"},
                                 {"outputs", "output"},
                                 {"constants", "constant"},
                                 {"values", "value"}})
    for (const auto& entry : list(page.plan, list_name)) {
      const Object& o = *entry.getAsObject();
      const llvm::StringRef name = text(o, "name");
      if (is_training_detail(o, list_name, page.training)) {
        const llvm::StringRef role = text(o, o.get("role") ? "role" : "phase");
        const std::string kind = role.empty() ? word : word + (", " + role.str()), pattern = folded(name);
        const std::string key = kind + "\n" + pattern + "\n" + shape_text(list(o, "shape")) +
                                text(o, "sharding").str() + text(o, "dtype").str();
        auto [it, fresh] = index.emplace(key, folded_rows.size());
        if (fresh) folded_rows.push_back({kind, pattern, &o, {}});
        folded_rows[it->second].names.push_back(name);
        continue;
      }
      std::string also;
      for (const auto& a : list(o, "aliases")) {
        const llvm::StringRef alias = a.getAsString().value_or("");
        also += "<br><small>also <span" + (anchored.insert(alias.str()).second ? " " + anchor(alias) : "") + ">" +
                escaped(alias) + "</span></small>";
      }
      ++rows;
      table += "<tr" + (anchored.insert(name.str()).second ? " " + anchor(name) : "") + "><td>" + escaped(name) + also +
               "<td>" + word + "<td>" + escaped(text(o, "dtype")) + "<td>" +
               chip(list(o, "shape"), text(o, "sharding")) + "<td>" +
               (o.get("bytes") ? grouped(number(o, "bytes")) : "") + "<td>" + page.because(o) + "\n";
    }
  std::string out =
      "<p>" + grouped(rows) +
      " tensors. Parameters and constants lie in the devices' files, values are between operations. A link to one is "
      "this page with <code>#tensor=NAME</code>.</p><p class=\"tools\" hidden><label>Show names, kinds or shapes with "
      "<input type=\"search\" data-for=\"tensors\"></label> <output></output></p>";
  table.replace(0, 6, "<table id=\"tensors\"");
  out += scrolling("All tensors", table + "</tbody></table>");
  if (folded_rows.empty()) return out;
  out +=
      "<h3>What the training step adds</h3><p>Gradients, state and what is computed on the way back, equal layers "
      "folded.</p>";
  std::string more = "<table class=\"sort\">" +
                     table_head({"name, * is a layer", "#how many", "kind", "dtype", "shape", "because"}) + "<tbody>";
  for (const Folded& f : folded_rows) {
    std::string names = escaped(f.names[0]);
    if (f.names.size() > 1) {
      names = "<details><summary>" + escaped(f.name) + "</summary>";
      for (llvm::StringRef n : f.names)
        names += (n != f.names[0] && linked.count(n.str()) && anchored.insert(n.str()).second
                      ? "<span " + anchor(n) + ">" + escaped(n) + "</span>"
                      : escaped(n)) +
                 "<br>";
      names += "</details>";
    }
    more += "<tr" + (anchored.insert(f.names[0].str()).second ? " " + anchor(f.names[0]) : "") + "><td>" + names +
            "<td>" + grouped(int64_t(f.names.size())) + "<td>" + f.kind + "<td>" + escaped(text(*f.first, "dtype")) +
            "<td>" + chip(list(*f.first, "shape"), text(*f.first, "sharding")) + "<td>" + page.because(*f.first) + "\n";
  }
  return out + scrolling("What the training step adds", more + "</tbody></table>");
}
}  // namespace optp::page
