#include "tools/check/check_report.h"

#include "frontend/io/input_folder.h"
#include "frontend/io/json.h"
#include "frontend/ir/diagnostic.h"
#include "llvm/Support/FormatVariadic.h"
#include "passes/plan/plan.h"

namespace optp {
namespace {
constexpr llvm::StringRef format = "opt-partition check";
}  // namespace

std::string to_text(const CheckReport& report) {
  std::string dims;
  for (const auto& [name, value] : report.dims) dims += (dims.empty() ? "" : ", ") + name + "=" + std::to_string(value);
  std::string out =
      report.model + "  " + report.strategy + "  " + to_string(report.mesh) + (dims.empty() ? "" : "  " + dims) + "\n";
  out += "comparison             values     elements   largest error   allowed   result\n";
  for (const Row& r : report.rows)
    out += llvm::formatv("{0,-20}{1,9}{2,13}      {3,10:E2}  {4,8:E1}   {5}   against {6}{7}\n", r.name, r.values,
                         r.elements, r.error, r.tolerance, r.holds ? "holds" : "FAILS", r.against,
                         r.note.empty() ? "" : "; " + r.note)
               .str();
  return out + "errors are |difference| / largest magnitude; those allowed 1 are error / bound\n";
}

llvm::json::Value to_json(const CheckReport& report) {
  llvm::json::Object dims;
  for (const auto& [name, value] : report.dims) dims[name] = value;
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
                         {"mesh", mesh_json(report.mesh)},
                         {"dims", std::move(dims)},
                         {"holds", report.fault.empty()},
                         {"comparisons", std::move(comparisons)}};
  if (!report.fault.empty()) out["fault"] = report.fault;
  return out;
}

llvm::Expected<llvm::json::Value> read_check_report(const std::string& path) {
  auto file = open_input_file(path);
  if (!file) return file.takeError();
  auto report = parse_json(path, (*file)->text());
  if (!report) return report.takeError();
  const llvm::json::Object* top = report->getAsObject();
  if (!top || top->getString("format") != format) return bad_input(path + ": format: expected " + quoted(format));
  if (top->getInteger("version") != 1) return bad_input(path + ": version: expected 1");
  auto missing = [&](const llvm::Twine& place) {
    return bad_input(path + ": " + place + ": is not what check --json writes");
  };
  for (const char* member : {"model", "job", "strategy"})
    if (!top->getString(member)) return missing(member);
  if (!top->getObject("mesh") || !top->getObject("dims")) return missing("mesh");
  if (!top->getBoolean("holds")) return missing("holds");
  const llvm::json::Array* rows = top->getArray("comparisons");
  if (!rows || rows->empty()) return missing("comparisons");
  for (size_t k = 0; k < rows->size(); ++k) {
    const llvm::json::Object* row = (*rows)[k].getAsObject();
    if (!row || !row->getString("name") || !row->getString("against") || !row->getInteger("elements") ||
        !row->getNumber("allowed") || !row->get("error") || !row->getBoolean("holds"))
      return missing("comparisons[" + llvm::Twine(k) + "]");
  }
  return report;
}
}  // namespace optp
