#include "tools/plan/fit.h"

#include <algorithm>
#include <tuple>

#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/raw_ostream.h"
#include "passes/plan/plan_parts.h"
#include "tools/cli/progress.h"
#include "tools/plan/plan_text.h"
#include "tools/run/ports.h"

namespace optp {
namespace {
constexpr const char* cache_words[] = {"none", "graph", "decoder"};

bool is_read_or_given(Plan::Role role) {
  using enum Plan::Role;
  return llvm::is_contained({data, labels, result, loss}, role);
}
int64_t largest(llvm::ArrayRef<DeviceMemory> devices) {
  int64_t out = 0;
  for (const DeviceMemory& d : devices) out = std::max(out, d.total_bytes());
  return out;
}
}  // namespace

bool Fit::fits() const { return largest(devices) <= limit_bytes; }

std::vector<DeviceMemory> memory_of(const Plan& plan, const Plan* decoder) {
  const DimValues dims = plan.examples();
  const auto is_cache = [&](const Plan::Port& p) {
    return llvm::any_of(plan.state, [&](const Plan::State& s) { return s.input == p.name || s.output == p.name; });
  };
  // With a capacity the cache of a step is the one before it.
  const auto is_same_cache = [&](const Plan::Port& p) {
    return llvm::any_of(plan.state, [&](const Plan::State& s) { return s.capacity && s.output == p.name; });
  };
  // Sums over micro-batches stand from one to the next; else a gradient is a value like others, gone with its update.
  const bool adds_up = llvm::any_of(plan.inputs, [](const auto& p) { return p.role == Plan::Role::accumulated; });
  std::vector<DeviceMemory> out;
  for (const Plan::Device& d : plan.devices) {
    DeviceMemory& m = out.emplace_back();
    m.rank = d.rank, m.weight_bytes = d.parameter_bytes + d.constant_bytes - d.looked_up_bytes;
    m.file_bytes = d.looked_up_bytes, m.program_bytes = d.program_bytes;
    m.gradient_bytes = d.arena_bytes && !adds_up ? 0 : d.gradient_bytes, m.state_bytes = d.state_bytes,
    m.activation_bytes = d.arena_bytes ? d.arena_bytes : d.activation_peak_bytes;
    for (const auto* ports : {&plan.inputs, &plan.outputs})
      for (const Plan::Port& p : *ports) {
        const int64_t bytes = number_at((*p.layout)[size_t(d.rank)].bytes, dims);
        if (is_cache(p))
          m.cache_bytes += is_same_cache(p) ? 0 : bytes;
        else if (is_read_or_given(p.role) && (ports == &plan.inputs || !is_copy(p, size_t(d.rank))))
          m.port_bytes += bytes;  // a result that several devices have whole is put together on the first
      }
  }
  if (decoder && plan.state.empty())
    for (const DeviceMemory& d : memory_of(*decoder)) out[size_t(d.rank)].cache_bytes = d.cache_bytes;
  return out;
}

llvm::Expected<std::optional<Fit::Smallest>> smallest_that_fits(int64_t limit_bytes, const MemoryOn& memory_on) {
  std::optional<Fit::Smallest> best;
  const auto fits = [&](int64_t devices) -> llvm::Expected<bool> {
    auto memory = memory_on(devices);
    if (!memory) return memory.takeError();
    const int64_t bytes = largest(*memory);
    if (bytes <= limit_bytes) best = Fit::Smallest{int64_t(memory->size()), bytes};
    return bytes <= limit_bytes;
  };
  int64_t too_few = 0, enough = 1;
  for (;; too_few = enough, enough *= 2) {
    if (enough > most_devices_tried) return std::optional<Fit::Smallest>();
    auto fitting = fits(enough);
    if (!fitting) return fitting.takeError();
    if (*fitting) break;
  }
  while (enough - too_few > 1) {
    const int64_t middle = too_few + (enough - too_few) / 2;
    auto fitting = fits(middle);
    if (!fitting) return fitting.takeError();
    (*fitting ? enough : too_few) = middle;
  }
  return best;
}

std::string smallest_text(const Fit& fit) {
  if (!fit.why_not.empty()) return fit.why_not;
  if (!fit.smallest) return "not even " + std::to_string(most_devices_tried) + " devices along the cut axis do";
  return std::to_string(fit.smallest->devices) + (fit.smallest->devices == 1 ? " device" : " devices") +
         ", the largest with " + bytes_text(double(fit.smallest->largest_bytes));
}

std::string cache_text(const Fit& fit) {
  switch (fit.cache) {
    case Fit::Cache::graph:
      return "";
    case Fit::Cache::decoder:
      return "the cache is that of generate and partition --kv-cache: keys and values of " +
             grouped(fit.cached_tokens) + " tokens a sequence; the graph itself has none";
    case Fit::Cache::none:
      return fit.cache_why_none.empty() ? "" : "no cache of keys and values is counted: " + fit.cache_why_none;
  }
  return "";
}

std::string file_text(const Fit& fit) {
  int64_t most = 0;
  for (const DeviceMemory& d : fit.devices) most = std::max(most, d.file_bytes);
  if (!most) return "";
  return bytes_text(double(most)) +
         " of tables that are only looked up stay in their file and are not counted; elsewhere they take memory, too";
}

llvm::Error must_fit(const Fit& fit, const Plan& plan, bool is_asked_for) {
  const bool never = fit.why_not.empty() && !fit.smallest;
  if (fit.fits() || (!is_asked_for && !never)) return llvm::Error::success();
  const DeviceMemory& most =
      *std::max_element(fit.devices.begin(), fit.devices.end(),
                        [](const DeviceMemory& a, const DeviceMemory& b) { return a.total_bytes() < b.total_bytes(); });
  return error(Code::does_not_fit)
      .in_file(plan.model.name)
      .what("on " + grouped(plan.mesh.devices()) + (plan.mesh.devices() == 1 ? " device" : " devices"))
      .what("bytes of device " + llvm::Twine(most.rank))
      .expected("at most " + grouped(fit.limit_bytes))
      .found(grouped(most.total_bytes()))
      .hint(!fit.why_not.empty() ? ""
            : fit.smallest       ? "the fewest that do: " + smallest_text(fit)
                                 : smallest_text(fit));
}

std::string to_text(const Fit& fit, const Plan& plan) {
  std::string text;
  llvm::raw_string_ostream out(text);
  const std::string dims = examples_text(plan);
  out << plan.model.name << ": " << bytes_text(double(fit.limit_bytes)) << " (" << grouped(fit.limit_bytes)
      << " bytes) a device" << (dims.empty() ? "" : ", at " + dims) << "\n";
  out << "device    weights  gradients      state activations    in, out      cache    program      total\n";
  const auto numbers = [](const DeviceMemory& d) {
    return std::tuple(d.weight_bytes, d.gradient_bytes, d.state_bytes, d.activation_bytes, d.port_bytes, d.cache_bytes,
                      d.program_bytes);
  };
  for (size_t k = 0, end = 0; k < fit.devices.size(); k = end) {
    const DeviceMemory& d = fit.devices[k];
    for (end = k + 1; end < fit.devices.size() && numbers(fit.devices[end]) == numbers(d);) ++end;
    const auto shown = [](int64_t bytes) { return bytes_text(double(bytes)); };
    out << llvm::formatv("{0,6} {1,10} {2,10} {3,10} {4,11} {5,10} {6,10} {7,10} {8,10}  {9}\n",
                         std::to_string(k) + (end > k + 1 ? "-" + std::to_string(end - 1) : ""), shown(d.weight_bytes),
                         shown(d.gradient_bytes), shown(d.state_bytes),
                         d.activation_bytes ? shown(*d.activation_bytes) : "unknown", shown(d.port_bytes),
                         shown(d.cache_bytes), shown(d.program_bytes), shown(d.total_bytes()),
                         fit.fits(d) ? "fits" : "DOES NOT FIT");
  }
  out << (fit.fits() ? "it fits; " : "it does not fit; ") << "the fewest that do: " << smallest_text(fit) << "\n";
  out << "activations are estimated: what this runtime plans for values between operations and for the workspace\n"
         "of this machine's kernels (known only with rank graphs or the model); in training they include the\n"
         "gradients, unless micro-batches are added up; program is what the graph and its steps take themselves;\n"
         "the rest follows from shapes\n";
  if (const std::string file = file_text(fit); !file.empty()) out << file << "\n";
  if (const std::string cache = cache_text(fit); !cache.empty()) out << printable(cache) << "\n";
  return text;
}

llvm::json::Value to_json(const Fit& fit, const Plan& plan) {
  using llvm::json::Array;
  using llvm::json::Object;
  Object dims;
  for (const auto& [name, extent] : plan.examples()) dims[name] = extent;
  Array devices;
  for (const DeviceMemory& d : fit.devices) {
    Object row{{"rank", d.rank},
               {"weight_bytes", d.weight_bytes},
               {"gradient_bytes", d.gradient_bytes},
               {"state_bytes", d.state_bytes},
               {"activation_bytes", nullptr},
               {"port_bytes", d.port_bytes},
               {"cache_bytes", d.cache_bytes},
               {"program_bytes", d.program_bytes},
               {"file_bytes", d.file_bytes},
               {"total_bytes", d.total_bytes()},
               {"fits", fit.fits(d)}};
    if (d.activation_bytes) row["activation_bytes"] = *d.activation_bytes;
    devices.push_back(std::move(row));
  }
  Object out{{"format", "opt-partition fit"},
             {"version", 1},
             {"model", plan.model.name},
             {"limit_bytes", fit.limit_bytes},
             {"dims", std::move(dims)},
             {"devices", std::move(devices)},
             {"fits", fit.fits()},
             {"smallest", nullptr},
             {"cache", cache_words[size_t(fit.cache)]},
             {"estimated", Array{"activation_bytes", "program_bytes"}}};
  if (fit.smallest)
    out["smallest"] = Object{{"devices", fit.smallest->devices}, {"largest_bytes", fit.smallest->largest_bytes}};
  if (!fit.why_not.empty()) out["smallest_unknown"] = fit.why_not;
  if (fit.cache == Fit::Cache::decoder) out["cached_tokens"] = fit.cached_tokens;
  if (!fit.cache_why_none.empty()) out["cache_not_counted"] = printable(fit.cache_why_none);
  return out;
}
}  // namespace optp
