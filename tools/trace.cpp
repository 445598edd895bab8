#include "tools/trace.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "frontend/io/output_transaction.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/raw_ostream.h"

namespace optp {
namespace {
double end_of(const StepTime& s) { return s.start_us + s.duration_us; }
}  // namespace

void Trace::add(llvm::StringRef what, const RankThreads& ranks) {
  if (runs_.size() == most_runs) return;
  Run& run = runs_.emplace_back();
  run.what = what.str();
  for (size_t r = 0; r < ranks.size(); ++r) run.ranks.push_back(ranks.executable(r).profile().vec());
}

llvm::Error Trace::write(const std::string& path, llvm::StringRef model) const {
  double begin = INFINITY;
  size_t ranks = 0;
  for (const Run& run : runs_)
    for (const auto& steps : run.ranks) {
      ranks = std::max(ranks, run.ranks.size());
      if (!steps.empty()) begin = std::min(begin, steps.front().start_us);
    }
  std::string text;
  llvm::raw_string_ostream stream(text);
  llvm::json::OStream json(stream);
  auto event = [&](const char* kind, llvm::StringRef name, size_t rank, llvm::function_ref<void()> more) {
    json.object([&] {
      json.attribute("ph", kind);
      json.attribute("name", name);
      json.attribute("pid", int64_t(rank));
      json.attribute("tid", 0);
      more();
    });
  };
  auto slice = [&](llvm::StringRef name, llvm::StringRef category, size_t rank, double from, double to, llvm::function_ref<void()> arguments) {
    event("X", name, rank, [&] {
      json.attribute("cat", category);
      json.attribute("ts", from - begin);
      json.attribute("dur", to - from);
      json.attributeObject("args", arguments);
    });
  };
  struct Member {
    size_t rank;
    double at;
  };
  json.object([&] {
    json.attribute("displayTimeUnit", "ms");
    json.attributeObject("otherData", [&] { json.attribute("model", model); });
    json.attributeArray("traceEvents", [&] {
      for (size_t r = 0; r < ranks; ++r) {
        event("M", "process_name", r, [&] { json.attributeObject("args", [&] { json.attribute("name", "rank " + std::to_string(r)); }); });
        event("M", "process_sort_index", r, [&] { json.attributeObject("args", [&] { json.attribute("sort_index", int64_t(r)); }); });
        event("M", "thread_name", r, [&] { json.attributeObject("args", [&] { json.attribute("name", "device"); }); });
      }
      int64_t arrow = 0;
      for (const Run& run : runs_) {
        std::map<std::string, std::vector<Member>> meetings;
        for (size_t r = 0; r < run.ranks.size(); ++r) {
          const auto& steps = run.ranks[r];
          if (steps.empty()) continue;
          slice(run.what, "run", r, steps.front().start_us, end_of(steps.back()), [] {});
          for (size_t k = 0; k < steps.size();) {
            size_t end = k;
            while (end < steps.size() && steps[end].phase == steps[k].phase) ++end;
            slice(to_string(steps[k].phase), "phase", r, steps[k].start_us, end_of(steps[end - 1]), [] {});
            k = end;
          }
          for (const StepTime& s : steps) {
            slice(s.op, s.collective.empty() ? "kernel" : "collective", r, s.start_us, end_of(s), [&] {
              json.attribute("value", s.name);
              json.attribute("bytes", s.bytes);
              if (!s.collective.empty()) json.attribute("id", s.collective);
              if (s.flops > 0) {
                json.attribute("flops", s.flops);
                json.attribute("gflop_per_s", s.flops / s.duration_us / 1e3);
              }
            });
            if (!s.collective.empty()) meetings[s.collective].push_back({r, s.start_us + s.duration_us / 2});
          }
        }
        for (auto& [id, members] : meetings) {
          if (members.size() < 2) continue;
          std::stable_sort(members.begin(), members.end(), [](const Member& a, const Member& b) { return a.at < b.at; });
          for (size_t k = 0; k < members.size(); ++k)
            event(k == 0 ? "s" : k + 1 == members.size() ? "f" : "t", "meets", members[k].rank, [&] {
              json.attribute("cat", "collective");
              json.attribute("id", arrow);
              json.attribute("ts", members[k].at - begin);
              if (k > 0) json.attribute("bp", "e");
            });
          ++arrow;
        }
      }
    });
  });
  stream << "\n";
  return write_file_atomically(path, llvm::StringRef(text));
}

std::string cause_of(llvm::ArrayRef<StepTime> steps) {
  struct Kind {
    double us = 0, flops = 0, longest = 0;
    std::string example;
    bool collective = false;
  };
  std::map<std::string, Kind> kinds;
  double all = 0;
  for (const StepTime& s : steps) {
    // What is fused into a step goes by its first op.
    Kind& k = kinds[llvm::StringRef(s.op).split('+').first.str()];
    k.us += s.duration_us, k.flops += s.flops, all += s.duration_us;
    k.collective = !s.collective.empty();
    if (s.duration_us > k.longest) k.longest = s.duration_us, k.example = s.name;
  }
  std::vector<std::pair<std::string, Kind>> order(kinds.begin(), kinds.end());
  std::stable_sort(order.begin(), order.end(), [](const auto& a, const auto& b) { return a.second.us > b.second.us; });
  std::vector<std::string> parts;
  for (const auto& [op, k] : order) {
    if (parts.size() == 3 || k.us < 0.02 * all) break;
    std::string part = llvm::formatv("{0:f0} % in {1}", 100 * k.us / all, op).str();
    if (k.collective) part += ", longest of '" + k.example + "'";
    else if (k.flops > 0) part += llvm::formatv(" at {0:f1} GFLOP/s", k.flops / k.us / 1e3).str();
    parts.push_back(std::move(part));
  }
  return llvm::join(parts, "; ");
}
}  // namespace optp
