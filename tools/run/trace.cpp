#include "tools/run/trace.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "frontend/io/input_folder.h"
#include "frontend/io/json.h"
#include "frontend/io/output_transaction.h"
#include "frontend/ir/diagnostic.h"
#include "frontend/ir/mesh.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/raw_ostream.h"

namespace optp {
namespace {
double end_of(const StepTime& s) { return s.start_us + s.duration_us; }

// A rank's steps on their way to the root.
llvm::json::Array steps_to_json(llvm::ArrayRef<StepTime> steps) {
  llvm::json::Array out;
  for (const StepTime& s : steps)
    out.push_back(llvm::json::Array{s.name, llvm::json::Array(s.ops), s.collective, to_string(s.phase), s.start_us,
                                    s.duration_us, s.flops, s.bytes});
  return out;
}
// None where they were damaged on the way.
std::optional<std::vector<StepTime>> steps_from_json(const llvm::json::Value& value) {
  std::vector<StepTime> out;
  const llvm::json::Array* list = value.getAsArray();
  if (!list) return std::nullopt;
  for (const llvm::json::Value& entry : *list) {
    const llvm::json::Array* step = entry.getAsArray();
    if (!step || step->size() != 8) return std::nullopt;
    StepTime& s = out.emplace_back();
    llvm::json::Path::Root root;
    const llvm::json::Path path(root);
    const auto phase = phase_from((*step)[3].getAsString().value_or(""));
    if (!phase || !fromJSON((*step)[0], s.name, path) || !fromJSON((*step)[1], s.ops, path) ||
        !fromJSON((*step)[2], s.collective, path) || !fromJSON((*step)[4], s.start_us, path) ||
        !fromJSON((*step)[5], s.duration_us, path) || !fromJSON((*step)[6], s.flops, path) ||
        !fromJSON((*step)[7], s.bytes, path))
      return std::nullopt;
    s.phase = *phase;
  }
  return out;
}

// Runs as trace events, with times from the first start on any rank.
class EventWriter {
 public:
  EventWriter(llvm::raw_ostream& stream, llvm::ArrayRef<Trace::Run> runs) : json_(stream), runs_(runs) {
    for (const Trace::Run& run : runs)
      for (const auto& steps : run.ranks)
        if (!steps.empty()) begin_us_ = std::min(begin_us_, steps.front().start_us);
  }
  void write(llvm::StringRef model);

 private:
  // A rank's part in a collective.
  struct Member {
    size_t rank;
    double at_us;
  };
  using Meetings = std::map<std::string, std::vector<Member>>;

  void event(const char* kind, llvm::StringRef name, size_t rank, llvm::function_ref<void()> more);
  void slice(llvm::StringRef name, llvm::StringRef category, size_t rank, double from_us, double to_us,
             llvm::function_ref<void()> arguments);
  void name_rank(size_t rank);
  void write_phases(size_t rank, llvm::ArrayRef<StepTime> steps);
  void write_step(size_t rank, const StepTime& step);
  void write_arrows(Meetings& meetings);
  void write_run(const Trace::Run& run);

  llvm::json::OStream json_;
  llvm::ArrayRef<Trace::Run> runs_;
  double begin_us_ = INFINITY;
  int64_t arrow_ = 0;
};

void EventWriter::event(const char* kind, llvm::StringRef name, size_t rank, llvm::function_ref<void()> more) {
  json_.object([&] {
    json_.attribute("ph", kind);
    json_.attribute("name", name);
    json_.attribute("pid", int64_t(rank));
    json_.attribute("tid", 0);
    more();
  });
}

void EventWriter::slice(llvm::StringRef name, llvm::StringRef category, size_t rank, double from_us, double to_us,
                        llvm::function_ref<void()> arguments) {
  event("X", name, rank, [&] {
    json_.attribute("cat", category);
    json_.attribute("ts", from_us - begin_us_);
    json_.attribute("dur", to_us - from_us);
    json_.attributeObject("args", arguments);
  });
}

void EventWriter::name_rank(size_t rank) {
  auto metadata = [&](llvm::StringRef what, llvm::StringRef key, llvm::json::Value value) {
    event("M", what, rank, [&] { json_.attributeObject("args", [&] { json_.attribute(key, value); }); });
  };
  metadata("process_name", "name", "rank " + std::to_string(rank));
  metadata("process_sort_index", "sort_index", int64_t(rank));
  metadata("thread_name", "name", "device");
}

void EventWriter::write_phases(size_t rank, llvm::ArrayRef<StepTime> steps) {
  for (size_t k = 0; k < steps.size();) {
    size_t end = k;
    while (end < steps.size() && steps[end].phase == steps[k].phase) ++end;
    slice(to_string(steps[k].phase), "phase", rank, steps[k].start_us, end_of(steps[end - 1]), [] {});
    k = end;
  }
}

void EventWriter::write_step(size_t rank, const StepTime& step) {
  slice(llvm::join(step.ops, "+"), step.collective.empty() ? "kernel" : "collective", rank, step.start_us, end_of(step),
        [&] {
          json_.attribute("value", step.name);
          json_.attribute("phase", to_string(step.phase));
          json_.attribute("bytes", step.bytes);
          if (!step.collective.empty()) json_.attribute("id", step.collective);
          if (step.flops > 0) {
            json_.attribute("flops", step.flops);
            json_.attribute("gflop_per_s", step.flops / step.duration_us / 1e3);
          }
        });
}

// From the member that is there first, through the others, to the last.
void EventWriter::write_arrows(Meetings& meetings) {
  for (auto& [id, members] : meetings) {
    if (members.size() < 2) continue;
    std::stable_sort(members.begin(), members.end(),
                     [](const Member& a, const Member& b) { return a.at_us < b.at_us; });
    for (size_t k = 0; k < members.size(); ++k)
      event(k == 0                    ? "s"
            : k + 1 == members.size() ? "f"
                                      : "t",
            "meets", members[k].rank, [&] {
              json_.attribute("cat", "collective");
              json_.attribute("id", arrow_);
              json_.attribute("ts", members[k].at_us - begin_us_);
              if (k > 0) json_.attribute("bp", "e");
            });
    ++arrow_;
  }
}

void EventWriter::write_run(const Trace::Run& run) {
  Meetings meetings;
  for (size_t r = 0; r < run.ranks.size(); ++r) {
    const auto& steps = run.ranks[r];
    if (steps.empty()) continue;
    slice(run.what, "run", r, steps.front().start_us, end_of(steps.back()), [] {});
    write_phases(r, steps);
    for (const StepTime& s : steps) {
      write_step(r, s);
      if (!s.collective.empty()) meetings[s.collective].push_back({r, s.start_us + s.duration_us / 2});
    }
  }
  write_arrows(meetings);
}

void EventWriter::write(llvm::StringRef model) {
  size_t ranks = 0;
  for (const Trace::Run& run : runs_) ranks = std::max(ranks, run.ranks.size());
  json_.object([&] {
    json_.attribute("displayTimeUnit", "ms");
    json_.attributeObject("otherData", [&] { json_.attribute("model", model); });
    json_.attributeArray("traceEvents", [&] {
      for (size_t r = 0; r < ranks; ++r) name_rank(r);
      for (const Trace::Run& run : runs_) write_run(run);
    });
  });
}
}  // namespace

void Trace::add(llvm::StringRef what, const RankThreads& ranks) {
  if (runs_.size() == most_runs) return;
  Run& run = runs_.emplace_back();
  run.what = what.str();
  for (const size_t r : ranks.ranks()) {
    run.ranks.resize(r + 1);  // what is held elsewhere is empty
    run.ranks[r] = ranks.executable(r).profile().vec();
  }
}

llvm::Error Trace::gather(World& world) {
  PerRank<std::string> own(world.held());
  for (const size_t r : world.held()) {
    llvm::json::Array runs;
    for (const Run& run : runs_) runs.push_back(steps_to_json(run.ranks[r]));
    if (!world.is_root()) own[r] = llvm::formatv("{0}", llvm::json::Value(std::move(runs))).str();
  }
  auto all = world.gather(std::move(own));
  if (!all) return all.takeError();
  for (const size_t r : all->ranks()) {
    if (world.holds(r)) continue;
    auto runs = llvm::json::parse((*all)[r]);
    if (!runs) return runs.takeError();
    const llvm::json::Array* list = runs->getAsArray();
    const auto damaged = [] { return error(Code::bug, "a timeline between processes is damaged"); };
    if (!list || list->size() != runs_.size()) return damaged();
    for (size_t k = 0; k < runs_.size(); ++k) {
      runs_[k].ranks.resize(std::max(runs_[k].ranks.size(), r + 1));
      auto steps = steps_from_json((*list)[k]);
      if (!steps) return damaged();
      runs_[k].ranks[r] = std::move(*steps);
    }
  }
  return llvm::Error::success();
}

llvm::Error Trace::write(const std::string& path, llvm::StringRef model) const {
  std::string text;
  llvm::raw_string_ostream stream(text);
  EventWriter(stream, runs_).write(model);
  stream << "\n";
  return write_file_atomically(path, llvm::StringRef(text));
}

double Trace::Run::duration_us() const {
  double begin = INFINITY, end = -INFINITY;
  for (const auto& steps : ranks)
    for (const StepTime& s : steps) begin = std::min(begin, s.start_us), end = std::max(end, end_of(s));
  return std::max(0.0, end - begin);
}

llvm::Expected<Trace> Trace::read(const std::string& path) {
  constexpr double most_us = 1e15;  // thirty years
  auto file = open_input_file(path);
  if (!file) return file.takeError();
  auto json = parse_json(path, (*file)->text());
  if (!json) return json.takeError();
  const llvm::json::Object* top = json->getAsObject();
  const llvm::json::Array* events = top ? top->getArray("traceEvents") : nullptr;
  if (!events)
    return error(Code::malformed).in_file(path).what("traceEvents").expected("a list, as run --profile writes it");
  Trace trace;
  // A rank's runs come before what they hold, and in the order of time.
  std::map<int64_t, size_t> runs_of;
  for (size_t k = 0; k < events->size(); ++k) {
    const llvm::json::Object* e = (*events)[k].getAsObject();
    auto bad = [&](const llvm::Twine& what) {
      return error(Code::malformed).in_file(path).what("traceEvents[" + llvm::Twine(k) + "]").what(what);
    };
    if (!e || !e->getString("ph")) return bad("expected an event");
    if (e->getString("ph") != llvm::StringRef("X")) continue;
    const auto rank = e->getInteger("pid");
    const auto name = e->getString("name"), category = e->getString("cat");
    const auto start = e->getNumber("ts"), duration = e->getNumber("dur");
    const llvm::json::Object* arguments = e->getObject("args");
    if (!rank || !name || !category || !start || !duration || !arguments)
      return bad("expected pid, name, cat, ts, dur and args");
    if (*rank < 0 || *rank >= most_devices) return bad("pid " + llvm::Twine(*rank) + ": expected a rank");
    if (!(*start >= 0 && *start < most_us && *duration >= 0 && *duration < most_us)) return bad("expected a time");
    if (*category == "run") {
      const size_t run = runs_of[*rank]++;
      if (run >= trace.runs_.size()) trace.runs_.emplace_back().what = name->str();
      if (trace.runs_[run].ranks.size() <= size_t(*rank)) trace.runs_[run].ranks.resize(size_t(*rank) + 1);
    } else if (*category == "kernel" || *category == "collective") {
      const auto it = runs_of.find(*rank);
      if (it == runs_of.end()) return bad("a slice of no run");
      StepTime step;
      step.name = arguments->getString("value").value_or("").str(), step.start_us = *start;
      step.duration_us = *duration;
      llvm::SmallVector<llvm::StringRef, 4> ops;
      name->split(ops, '+');
      for (llvm::StringRef op : ops) step.ops.push_back(op.str());
      step.flops = arguments->getNumber("flops").value_or(0), step.bytes = arguments->getInteger("bytes").value_or(0);
      if (*category == "collective") step.collective = arguments->getString("id").value_or("?").str();
      if (const auto phase = phase_from(arguments->getString("phase").value_or(""))) step.phase = *phase;
      trace.runs_[it->second - 1].ranks[size_t(*rank)].push_back(std::move(step));
    }
  }
  if (trace.runs_.empty()) return error(Code::malformed).in_file(path).what("traceEvents").what("no run of ours in it");
  return trace;
}

std::vector<OpTime> time_by_op(llvm::ArrayRef<StepTime> steps) {
  std::map<std::string, OpTime> ops;
  for (const StepTime& s : steps) {
    const std::string op = s.ops.empty() ? "" : s.ops.front();
    OpTime& t = ops[op];
    t.op = op, t.us += s.duration_us, t.flops += s.flops, ++t.count;
    t.collective = !s.collective.empty();
    if (s.duration_us > t.longest_us) t.longest_us = s.duration_us, t.longest = s.name;
  }
  std::vector<OpTime> out;
  for (auto& [op, t] : ops) out.push_back(std::move(t));
  std::stable_sort(out.begin(), out.end(), [](const OpTime& a, const OpTime& b) { return a.us > b.us; });
  return out;
}

std::string cause_of(llvm::ArrayRef<StepTime> steps) {
  double all = 0;
  for (const StepTime& s : steps) all += s.duration_us;
  std::vector<std::string> parts;
  for (const OpTime& t : time_by_op(steps)) {
    if (parts.size() == 3 || t.us < 0.02 * all) break;
    std::string part = llvm::formatv("{0:f0} % in {1}", 100 * t.us / all, t.op).str();
    if (t.collective)
      part += ", longest of '" + t.longest + "'";
    else if (t.flops > 0)
      part += llvm::formatv(" at {0:f1} GFLOP/s", t.flops / t.us / 1e3).str();
    parts.push_back(std::move(part));
  }
  return llvm::join(parts, "; ");
}
}  // namespace optp
