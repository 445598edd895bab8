// Timelines: what a viewer needs so that it shows each rank's slices nested, and arrows between a collective's members.
#include <algorithm>
#include <map>

#include "frontend/io/json.h"
#include "tests/tools/program.h"

using namespace optp;

namespace {
struct Slice {
  double from, to;
  std::string name, category;
};
struct Timeline {
  std::map<int64_t, std::vector<Slice>> ranks;
  std::map<int64_t, std::string> arrows;
};
Timeline timeline_of(const std::string& path) {
  auto json = parse_json(path, contents(path));
  if (!json) throw std::runtime_error(llvm::toString(json.takeError()));
  Timeline out;
  for (const auto& entry : *json->getAsObject()->getArray("traceEvents")) {
    const auto& e = *entry.getAsObject();
    const std::string kind = e.getString("ph")->str();
    if (kind == "X")
      out.ranks[*e.getInteger("pid")].push_back({*e.getNumber("ts"), *e.getNumber("ts") + *e.getNumber("dur"),
                                                 e.getString("name")->str(), e.getString("cat")->str()});
    else if (kind != "M")
      out.arrows[*e.getInteger("id")] += kind;
  }
  return out;
}
// Of two slices that overlap one holds the other, but for what a clock's text loses.
bool nested(std::vector<Slice> slices) {
  std::stable_sort(slices.begin(), slices.end(),
                   [](const Slice& a, const Slice& b) { return a.from != b.from ? a.from < b.from : a.to > b.to; });
  std::vector<double> open;
  for (const Slice& s : slices) {
    while (!open.empty() && open.back() <= s.from + 1e-3) open.pop_back();
    if (!open.empty() && s.to > open.back() + 1e-3) return false;
    open.push_back(s.to);
  }
  return true;
}
size_t count(const std::vector<Slice>& slices, const std::string& category) {
  return size_t(std::count_if(slices.begin(), slices.end(), [&](const Slice& s) { return s.category == category; }));
}
}  // namespace

TEST_CASE("run --profile: each rank's slices nest, and an arrow joins the members of each collective") {
  const Sandbox box;
  REQUIRE(box.run({export_of("opt-tiny") + "/model.onnx", "--devices", "3", "-o", "out"}).code == 0);
  REQUIRE(
      box.run({"run", "out", "--inputs-dir", export_of("opt-tiny") + "/inputs", "-o", "res", "--profile", "trace.json"})
          .code == 0);
  const Timeline t = timeline_of(box / "trace.json");
  REQUIRE(t.ranks.size() == 3);
  for (const auto& [rank, slices] : t.ranks) {
    CHECK(nested(slices));
    CHECK(count(slices, "run") == 1);
    CHECK(count(slices, "phase") == 1);
    CHECK(count(slices, "collective") == 6);  // 2 layers: 2 · 2 + 1 sums, one gather of the logits
    CHECK(count(slices, "kernel") > 20);
  }
  CHECK(t.arrows.size() == 6);
  for (const auto& [id, kinds] : t.arrows) CHECK(kinds == "stf");
}

TEST_CASE("a training step's timeline has its phases, and train and bench write one, too") {
  const Sandbox box;
  const std::string model = export_of("opt-tiny") + "/model.onnx";
  write_text(box / "t.bin", std::string(400, '\1'));
  REQUIRE(box.run({"train", model, "--devices", "2", "--data", "t.bin", "--token-type", "uint8", "--sequence", "16",
                   "--batch", "2", "--max-steps", "2", "--save", "run", "--profile", "trace.json"})
              .code == 0);
  const Timeline t = timeline_of(box / "trace.json");
  REQUIRE(t.ranks.size() == 2);
  for (const auto& [rank, slices] : t.ranks) {
    CHECK(nested(slices));
    CHECK(count(slices, "run") == 2);
    for (const char* phase : {"forward", "loss", "backward", "optimizer"})
      CHECK(std::count_if(slices.begin(), slices.end(),
                          [&](const Slice& s) { return s.category == "phase" && s.name == phase; }) >= 2);
  }
  const Result bench = box.run({"bench", model, "--devices", "2", "--dim", "batch=1", "--dim", "sequence=8", "--runs",
                                "2", "--profile", "bench.json"});
  CHECK(bench.code == 0);
  CHECK(bench.out.find("\nrank 0: ") != std::string::npos);
  CHECK(bench.out.find(" % in ") != std::string::npos);  // of what, the machine's load decides in so small a model
  CHECK(timeline_of(box / "bench.json").ranks.size() == 2);
  CHECK(box.run({"bench", model, "--devices", "2", "--dim", "batch=1", "--dim", "sequence=8", "--runs", "2",
                 "--profile", "none/bench.json"})
            .code == 73);
}

TEST_CASE("bench --train times steps, also of several micro-batches and on a data axis, and writes their timeline") {
  const Sandbox box;
  const Words bench = Words{"bench",      export_of("opt-tiny") + "/model.onnx",
                            "--train",    "--dim",
                            "batch=4",    "--dim",
                            "sequence=8", "--runs",
                            "2",          "--warm-up",
                            "1"};
  Result r =
      box.run(bench + Words{"--optimizer", "adam", "--accumulate", "2", "--devices", "3", "--profile", "t.json"});
  REQUIRE(r.code == 0);
  CHECK(r.out.find("3 devices × 1 thread  2 training steps") != std::string::npos);
  const Timeline timeline = timeline_of(box / "t.json");
  REQUIRE(timeline.ranks.size() == 3);
  for (const auto& [rank, slices] : timeline.ranks) CHECK(count(slices, "phase") >= 4);
  r = box.run(bench + Words{"--mesh", "data=2,tensor=2", "--zero", "3", "--compute", "bf16", "--json", "bench.json"});
  REQUIRE(r.code == 0);
  r = box.run(bench + Words{"--against", "bench.json"});
  CHECK(r.out.find("; mesh \"data=2") != std::string::npos);
  CHECK(box.run(bench + Words{"--decode", "2"}).code == 2);
}

TEST_CASE("bench --decode has a timeline of the prompt and each token") {
  const Sandbox box;
  const Result r = box.run({"bench", export_of("opt-tiny") + "/model.onnx", "--devices", "2", "--dim", "batch=1",
                            "--dim", "sequence=8", "--decode", "3", "--profile", "tokens.json"});
  REQUIRE(r.code == 0);
  CHECK(r.out.find("\nrank 0: ") != std::string::npos);
  const auto timeline = timeline_of(box / "tokens.json");
  REQUIRE(timeline.ranks.size() == 2);
  for (const auto& [rank, slices] : timeline.ranks) {
    CHECK(nested(slices));
    CHECK(count(slices, "run") == 4);
    for (const char* name : {"prompt", "token 1", "token 2", "token 3"})
      CHECK(std::count_if(slices.begin(), slices.end(), [&](const Slice& s) { return s.name == name; }) == 1);
  }
}

TEST_CASE("bench says how it stands beside an earlier one, and what was not the same") {
  const Sandbox box;
  const Words bench =
      Words{"bench", export_of("opt-tiny") + "/model.onnx", "--dim", "batch=1", "--runs", "1", "--warm-up", "0"};
  REQUIRE(box.run(bench + Words{"--dim", "sequence=8", "--json", "before.json"}).code == 0);
  const Result same = box.run(bench + Words{"--dim", "sequence=8", "--against", "before.json"});
  CHECK(same.code == 0);
  CHECK(same.out.find("now / before.json:   median ") != std::string::npos);
  CHECK(same.out.find("not of the same") == std::string::npos);
  const Result other = box.run(bench + Words{"--dim", "sequence=9", "--devices", "3", "--threads-per-device", "1",
                                             "--compute", "bf16", "--against", "before.json", "--json", "now.json"});
  CHECK(other.code == 0);
  for (const char* difference : {"compute \"f32\", now \"bf16\"", "dims.sequence 8, now 9", "devices 2, now 3"})
    CHECK(other.out.find(difference) != std::string::npos);
  CHECK(box.run(bench + Words{"--dim", "sequence=8", "--against", "none.json"}).line() == "none.json: no such file");
  write_text(box / "other.json", "{\"median\": 1}");
  CHECK(box.run(bench + Words{"--dim", "sequence=8", "--against", "other.json"}).line() ==
        "other.json: median_ms: expected a number, as bench --json writes it");
}
