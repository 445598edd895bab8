#include "tools/run/bench_record.h"

#include "frontend/io/input_folder.h"
#include "frontend/io/json.h"
#include "frontend/io/output_transaction.h"
#include "frontend/ir/diagnostic.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"
#include "tools/cli/machine.h"

namespace optp {
namespace {
// Two records are of the same work on the same machine if these agree, those of a bench's own kind among them.
constexpr const char* settings[] = {"model",   "compute", "dims",          "mesh",   "devices", "threads_per_device",
                                    "trained", "rows",    "prompt_tokens", "tokens", "machine"};

std::string value_text(const llvm::json::Value* v) { return v ? llvm::formatv("{0}", *v).str() : "not said"; }
void add_differences(const std::string& name, const llvm::json::Value* before, const llvm::json::Value* now,
                     std::string& out) {
  if (before && now && *before == *now) return;
  const llvm::json::Object *a = before ? before->getAsObject() : nullptr, *b = now ? now->getAsObject() : nullptr;
  if (a && b) {
    for (const auto& [member, value] : *b) add_differences(name + "." + member.str(), a->get(member), &value, out);
    return;
  }
  out += (out.empty() ? "" : "; ") + name + " " + value_text(before) + ", now " + value_text(now);
}

void print_comparison(llvm::StringRef file, const llvm::json::Object& before, const llvm::json::Object& now) {
  std::string ratios, differences;
  for (const llvm::StringRef name : {"median_ms", "min_ms", "p90_ms"}) {
    const auto a = before.getNumber(name), b = now.getNumber(name);
    if (a && b && *a > 0) ratios += llvm::formatv("   {0} {1:f3}", name.drop_back(3), *b / *a).str();
  }
  llvm::outs() << "now / " << file << ":" << ratios << "\n";
  for (const char* name : settings)
    if (before.get(name) || now.get(name)) add_differences(name, before.get(name), now.get(name), differences);
  if (!differences.empty()) llvm::outs() << "  measured otherwise: " << differences << "\n";
}
}  // namespace

llvm::Error BenchRecord::begin(std::string file, const std::string& against) {
  file_ = std::move(file), against_ = against;
  if (against.empty()) return llvm::Error::success();
  auto earlier = open_input_file(against);
  if (!earlier) return earlier.takeError();
  auto json = parse_json(against, (*earlier)->text());
  if (!json) return json.takeError();
  const llvm::json::Object* object = json->getAsObject();
  if (!object || !object->getNumber("median_ms"))
    return error(Code::malformed).in_file(against).what("median_ms").expected("a number, as bench --json writes it");
  before_ = *object;
  return llvm::Error::success();
}

llvm::Error BenchRecord::end(const Job& job, const JobOptions& options, llvm::json::Object numbers) const {
  numbers["model"] = llvm::json::fixUTF8(llvm::sys::path::filename(job.whole->source));
  numbers["compute"] = to_string(options.compute);
  numbers["trained"] = options.train;
  numbers["mesh"] = to_string(job.whole->mesh);
  llvm::json::Object dims;
  for (const auto& [name, extent] : job.asked) dims[llvm::json::fixUTF8(name)] = extent;
  numbers["dims"] = std::move(dims);
  numbers["machine"] = machine_json();
  if (before_) print_comparison(against_, *before_, numbers);
  if (file_.empty()) return llvm::Error::success();
  std::string text;
  llvm::raw_string_ostream(text) << llvm::formatv("{0:2}\n", llvm::json::Value(std::move(numbers)));
  return write_file_atomically(file_, llvm::StringRef(text));
}
}  // namespace optp
