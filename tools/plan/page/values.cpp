// Every tensor of the plan, each with an anchor of its own.
#include <set>

#include "tools/plan/page/parts.h"
#include "tools/plan/plan_text.h"

namespace optp::page {
namespace {
enum class Kind { parameter, input, output, constant, value };
std::string to_string(Kind kind) {
  constexpr const char* words[] = {"parameter", "input", "output", "constant", "value"};
  return words[size_t(kind)];
}
// A tensor of the plan as a row of the table.
struct Entry {
  const Plan::Tensor* tensor;
  Kind kind;
  llvm::StringRef detail;  // of what training adds: its role or phase
  llvm::ArrayRef<std::string> aliases;
  std::optional<int64_t> bytes;
  llvm::StringRef in_model = {};  // the model's name of a parameter, the module of a value
};
// What training adds is as many again and says little: folded by name, shape and sharding, and the values with it.
std::vector<Entry> entries_of(const Plan& plan) {
  std::vector<Entry> out;
  for (const Plan::Parameter& p : plan.parameters)
    out.push_back({&p, Kind::parameter, "", p.aliases, p.bytes, p.model_name});
  for (auto [ports, kind] : {std::pair{&plan.inputs, Kind::input}, {&plan.outputs, Kind::output}})
    for (const Plan::Port& p : *ports) {
      using enum Plan::Role;
      const bool added =
          plan.is_training() && llvm::is_contained({state, step, gradient, parameter, accumulated}, p.role);
      out.push_back({&p, kind, added ? to_string(p.role) : "", {}, std::nullopt});
    }
  for (const Plan::Constant& c : plan.constants) out.push_back({&c, Kind::constant, "", c.aliases, c.bytes});
  for (const Plan::Value& v : plan.values)
    out.push_back({&v, Kind::value, v.phase == Phase::forward ? "" : to_string(v.phase), {}, std::nullopt, v.module});
  return out;
}
bool is_folded(const Page& page, const Entry& e) {
  return !e.detail.empty() || (page.training && (e.kind == Kind::constant || e.kind == Kind::value));
}

class Table {
 public:
  explicit Table(const Page& page) : page_(page) {
    for (const auto& [name, tensor] : page.tensors) linked_.insert(tensor->cause.from);
    for (const Plan::CollectiveUse& c : page.plan.collectives) linked_.insert(c.of);
  }
  std::string row(const Entry& e) {
    const Plan::Tensor& t = *e.tensor;
    std::string also = e.in_model.empty() ? "" : "<br><small>" + escaped(e.in_model) + "</small>";
    for (const std::string& a : e.aliases)
      also += "<br><small>also <span" + own_anchor(a) + ">" + escaped(a) + "</span></small>";
    return "<tr" + own_anchor(t.name) + "><td>" + escaped(t.name) + also + "<td>" + to_string(e.kind) + type_of(t) +
           (e.bytes ? grouped(*e.bytes) : "") + "<td>" + page_.because(t) + "\n";
  }
  void fold(const Entry& e) {
    const Plan::Tensor& t = *e.tensor;
    const std::string kind = to_string(e.kind) + (e.detail.empty() ? "" : ", " + e.detail.str()),
                      pattern = folded(t.name);
    const std::string key =
        kind + "\n" + pattern + "\n" + shape_text(t.dims) + to_string(t.sharding) + long_name(t.dtype).str();
    auto [it, fresh] = index_.emplace(key, folded_.size());
    if (fresh) folded_.push_back({kind, pattern, &t, {}});
    folded_[it->second].names.push_back(t.name);
  }
  std::string folded_rows() {
    std::string out;
    for (const Folded& f : folded_) {
      std::string names = escaped(f.names[0]);
      if (f.names.size() > 1) {
        names = "<details><summary>" + escaped(f.name) + "</summary>* is ";
        for (llvm::StringRef n : f.names) {
          // Only those that something links to have an anchor.
          const std::string anchor = n != f.names[0] && linked_.contains(n.str()) ? own_anchor(n) : "";
          const std::string numbers = folded_numbers(n);
          names +=
              (n == f.names[0] ? "" : "; ") + (anchor.empty() ? numbers : "<span" + anchor + ">" + numbers + "</span>");
        }
        names += "</details>";
      }
      out += "<tr" + own_anchor(f.names[0]) + "><td>" + names + "<td>" + grouped(int64_t(f.names.size())) + "<td>" +
             f.kind + type_of(*f.first) + page_.because(*f.first) + "\n";
    }
    return out;
  }

 private:
  struct Folded {
    std::string kind, name;
    const Plan::Tensor* first;
    std::vector<llvm::StringRef> names;
  };
  // Once for each name.
  std::string own_anchor(llvm::StringRef name) { return anchored_.insert(name.str()).second ? " " + anchor(name) : ""; }
  static std::string type_of(const Plan::Tensor& t) {
    return "<td>" + long_name(t.dtype).str() + "<td>" + chip(t) + "<td>";
  }

  const Page& page_;
  std::set<std::string> anchored_, linked_;
  std::vector<Folded> folded_;
  std::map<std::string, size_t> index_;
};
}  // namespace

std::string values(const Page& page) {
  Table table(page);
  std::string rows;
  int64_t shown = 0, folded = 0;
  for (const Entry& e : entries_of(page.plan))
    if (is_folded(page, e))
      table.fold(e), ++folded;
    else
      rows += table.row(e), ++shown;
  std::string out =
      "<p>" + grouped(shown) +
      (page.training ? " tensors"
                     : " tensors. Parameters and constants lie in the devices' files, values are between "
                       "operations") +
      ". A link to one is "
      "this page with <code>#tensor=NAME</code>.</p><p class=\"tools\" hidden><label>Show names, kinds or shapes with "
      "<input type=\"search\" data-for=\"tensors\"></label> <output></output></p>";
  out += scrolling("All tensors", "<table id=\"tensors\" class=\"sort\">" +
                                      table_head({"name", "kind", "dtype", "shape", "#bytes", "because"}) + "<tbody>" +
                                      rows + "</tbody></table>");
  if (folded == 0) return out;
  out +=
      "<h3>Values, and what the training step adds</h3><p>What is between operations, gradients, state and what is "
      "computed on the way back, equal layers folded.</p>";
  return out + scrolling("Values, and what the training step adds",
                         "<table class=\"sort\">" +
                             table_head({"name, * is a layer", "#how many", "kind", "dtype", "shape", "because"}) +
                             "<tbody>" + table.folded_rows() + "</tbody></table>");
}
}  // namespace optp::page
