#include "tools/check/check_report.h"

#include <cmath>

#include "frontend/io/input_folder.h"
#include "frontend/io/json.h"
#include "frontend/ir/diagnostic.h"
#include "llvm/Support/FormatVariadic.h"

namespace optp {
namespace {
constexpr llvm::StringRef format = "opt-partition check";

llvm::json::Value to_json(const Mesh& mesh) {
  llvm::json::Array axes;
  for (const MeshAxis& a : mesh.axes) axes.push_back(llvm::json::Object{{"name", a.name}, {"size", a.size}});
  return llvm::json::Object{{"axes", std::move(axes)}, {"devices", mesh.devices()}};
}
std::string dims_text(const DimValues& dims) {
  std::string out;
  for (const auto& [name, value] : dims) out += (out.empty() ? "" : ", ") + name + "=" + std::to_string(value);
  return out;
}
// In the words that would give them.
std::string made_up_text(const CheckReport& report) {
  std::string out;
  auto add = [&](const std::string& what) { out += (out.empty() ? "not given, so made up: " : "; ") + what; };
  if (report.made_up.devices) add("--devices " + std::to_string(report.mesh.devices()));
  if (!report.made_up.dims.empty()) add("--dim " + dims_text(report.made_up.dims));
  std::string inputs;
  for (const std::string& name : report.made_up.inputs)
    inputs += (inputs.empty() ? "--input " : ", ") + printable(name) + "=rand(1)";
  if (!inputs.empty()) add(inputs);
  return out.empty() ? out : out + "\n";
}
llvm::json::Object to_json(const DimValues& dims) {
  llvm::json::Object out;
  for (const auto& [name, value] : dims) out[name] = value;
  return out;
}
llvm::json::Object to_json(const CheckReport::MadeUp& made_up) {
  llvm::json::Object inputs;
  for (const std::string& name : made_up.inputs) inputs[name] = "rand(1)";
  return llvm::json::Object{
      {"devices", made_up.devices}, {"dims", to_json(made_up.dims)}, {"inputs", std::move(inputs)}};
}
}  // namespace

std::string to_text(const CheckReport& report) {
  const std::string dims = dims_text(report.dims);
  std::string out = report.model + "  " + report.strategy + "  " + to_string(report.mesh) +
                    (dims.empty() ? "" : "  " + dims) + "\n" + made_up_text(report);
  out += "comparison             values     elements   largest error   allowed   result\n";
  for (const Row& r : report.rows)
    out += llvm::formatv("{0,-20}{1,9}{2,13}      {3,10:E2}  {4,8:E1}   {5}   against {6}{7}\n", r.name, r.values,
                         r.elements, r.error, r.tolerance, r.holds ? "holds" : "FAILS", r.against,
                         r.note.empty() ? "" : "; " + r.note)
               .str();
  return out + "errors are |difference| / largest magnitude; those allowed 1 are error / bound\n";
}

llvm::json::Value to_json(const CheckReport& report) {
  llvm::json::Array comparisons;
  for (const Row& r : report.rows) {
    llvm::json::Object row{{"name", r.name},
                           {"against", r.against},
                           {"values", r.values},
                           {"elements", r.elements},
                           {"error", number_or_null(r.error)},
                           {"allowed", r.tolerance},
                           {"holds", r.holds}};
    if (!r.note.empty()) row["note"] = r.note;
    comparisons.push_back(std::move(row));
  }
  llvm::json::Object out{{"format", format},
                         {"version", 1},
                         {"model", report.model},
                         {"job", report.job},
                         {"strategy", report.strategy},
                         {"mesh", to_json(report.mesh)},
                         {"dims", to_json(report.dims)},
                         {"made_up", to_json(report.made_up)},
                         {"holds", report.holds()},
                         {"comparisons", std::move(comparisons)},
                         {"slow_nodes", report.slow_nodes}};
  if (!report.holds()) out["fault"] = report.fault;
  return out;
}

static bool fromJSON(const llvm::json::Value& v, MeshAxis& axis, llvm::json::Path p) {
  llvm::json::ObjectMapper o(v, p);
  return o && o.map("name", axis.name) && o.map("size", axis.size);
}
static bool fromJSON(const llvm::json::Value& v, Mesh& mesh, llvm::json::Path p) {
  llvm::json::ObjectMapper o(v, p);
  return o && o.map("axes", mesh.axes);
}
static bool fromJSON(const llvm::json::Value& v, Row& row, llvm::json::Path p) {
  llvm::json::ObjectMapper o(v, p);
  std::optional<double> error;  // null: not finite
  if (!o || !o.map("name", row.name) || !o.map("against", row.against) || !o.mapOptional("note", row.note) ||
      !o.map("values", row.values) || !o.map("elements", row.elements) || !o.map("error", error) ||
      !o.map("allowed", row.tolerance) || !o.map("holds", row.holds))
    return false;
  row.error = error.value_or(INFINITY);
  return true;
}
static bool fromJSON(const llvm::json::Value& v, CheckReport& report, llvm::json::Path p) {
  llvm::json::ObjectMapper o(v, p);
  std::map<std::string, int64_t> dims;
  bool holds = false;
  if (!o || !o.map("model", report.model) || !o.map("job", report.job) || !o.map("strategy", report.strategy) ||
      !o.map("mesh", report.mesh) || !o.map("dims", dims) || !o.map("holds", holds) ||
      !o.map("comparisons", report.rows) || (!holds && !o.map("fault", report.fault)))
    return false;
  report.dims.insert(dims.begin(), dims.end());
  if (report.rows.empty()) p.field("comparisons").report("expected at least one");
  return !report.rows.empty();
}

llvm::Expected<CheckReport> read_check_report(const std::string& path) {
  auto file = open_input_file(path);
  if (!file) return file.takeError();
  auto json = parse_json(path, (*file)->text());
  if (!json) return json.takeError();
  const llvm::json::Object* top = json->getAsObject();
  if (!top || top->getString("format") != format)
    return error(Code::not_this_format).in_file(path).what("format").expected(quoted(format));
  if (top->getInteger("version") != 1)
    return error(Code::unsupported_version).in_file(path).what("version").expected("1");
  CheckReport report;
  llvm::json::Path::Root root;
  if (!fromJSON(*json, report, root)) return path_error(Code::malformed, path, root);
  return report;
}
}  // namespace optp
