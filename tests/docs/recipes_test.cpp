// The recipes of docs/sharding-your-model.md: each costs what the page says, and computes what the model computes.
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/FormatVariadic.h"
#include "passes/plan/plan_json.h"
#include "tests/must.h"
#include "tests/tools/program.h"
#include "tools/cli/progress.h"
#include "tools/plan/plan_text.h"

using namespace optp;

namespace {
struct Recipe {
  std::string title, flags, lines, cost;
};
std::vector<Recipe> recipes() {
  std::vector<Recipe> out;
  const std::string page = contents(OPTP_SOURCE "/docs/sharding-your-model.md");
  llvm::SmallVector<llvm::StringRef> lines;
  llvm::StringRef(page).split(lines, '\n');
  std::string title;
  for (size_t k = 0; k < lines.size(); ++k) {
    if (lines[k].starts_with("### ")) title = lines[k].drop_front(4).str();
    llvm::StringRef fence = lines[k];
    if (!fence.consume_front("```sharding")) continue;
    Recipe r{title, fence.trim().str(), "", ""};
    for (++k; k < lines.size() && lines[k] != "```"; ++k) r.lines += lines[k].str() + "\n";
    r.cost = k + 1 < lines.size() ? lines[k + 1].str() : "";
    out.push_back(std::move(r));
  }
  return out;
}
std::vector<std::string> with_flags(std::vector<std::string> words, const Recipe& r) {
  llvm::SmallVector<llvm::StringRef> flags;
  llvm::StringRef(r.flags).split(flags, ' ', -1, false);
  for (llvm::StringRef flag : flags) words.push_back(flag.str());
  return words;
}
std::string cost_of(const Plan& before, const Plan& after) {
  const auto held = [](const Plan& p) {
    int64_t most = 0;
    for (const Plan::Device& d : p.devices) most = std::max(most, d.parameter_bytes);
    return most;
  };
  return llvm::formatv("A device holds {0} of weights, where it held {1}; {2}, {3} in a run, where it was {4}, {5}.",
                       bytes_text(double(held(after))), bytes_text(double(held(before))),
                       collectives_text(after.totals), bytes_text(double(after.totals.collective_bytes)),
                       collectives_text(before.totals), bytes_text(double(before.totals.collective_bytes)))
      .str();
}
}  // namespace

TEST_CASE("each recipe for shardings costs what its page says") {
  const std::string model = OPTP_TEST_DATA "/exports/opt-125m-structure/model.onnx";
  const std::vector<Recipe> all = recipes();
  CHECK(all.size() >= 7);
  for (const Recipe& r : all) {
    CAPTURE(r.title);
    const Sandbox box;
    write_text(box / "s.txt", r.lines);
    REQUIRE(box.run(with_flags({model, "--plan-only", "-o", "before"}, r)).code == 0);
    const Result made = box.run(with_flags({model, "--plan-only", "--sharding", "s.txt", "-o", "after"}, r));
    REQUIRE(made.code == 0);
    CHECK(r.cost == cost_of(must(read_plan(box / "before")), must(read_plan(box / "after"))));
  }
}

TEST_CASE("what is computed by a recipe is what the model computes") {
  const std::string model = OPTP_TEST_DATA "/exports/opt-tiny/model.onnx";
  for (const Recipe& r : recipes()) {
    CAPTURE(r.title);
    const Sandbox box;
    write_text(box / "s.txt", r.lines);
    const Result checked =
        box.run(with_flags({"check", model, "--sharding", "s.txt", "--dim", "batch=2", "--dim", "sequence=5"}, r));
    CAPTURE(checked.err);
    CHECK(checked.code == 0);
  }
}

// The weights of an expert are looked up for each token: what is summed must be what is computed with them, not they.
TEST_CASE("experts that are cut by experts cost what the page says, and compute what the model computes") {
  const Sandbox box;
  fs::copy_file(OPTP_TEST_DATA "/models/mixtral-tiny.onnx", box / "m.onnx");
  const std::string page = contents(OPTP_SOURCE "/docs/sharding-your-model.md"), line = "experts  [tensor, _, _]";
  REQUIRE(page.find("```\n" + line + "\n```") != std::string::npos);
  REQUIRE(page.find("two all-reduces a layer instead of one") != std::string::npos);
  write_text(box / "s.txt", line + "\n");
  REQUIRE(box.run({"m.onnx", "--plan-only", "-o", "before"}).code == 0);
  REQUIRE(box.run({"m.onnx", "--plan-only", "--sharding", "s.txt", "-o", "after"}).code == 0);
  const Plan before = must(read_plan(box / "before")), after = must(read_plan(box / "after"));
  constexpr int layers = 2, table = 1;
  const auto all_reduces = [](const Plan& p) { return p.totals.collectives.at(Collective::all_reduce); };
  CHECK(all_reduces(before) == table + layers * (1 + 1));  // attention, and all of the experts
  CHECK(all_reduces(after) == table + layers * (1 + 2));
  // 2 tokens' experts, gate and up of 24: nothing as large as their weights travels.
  for (const Plan::CollectiveUse& m : after.collectives)
    if (m.call.kind == Collective::all_reduce) CHECK(m.bytes <= 128 * 2 * 2 * 24 * 4);
  for (const char* job : {"", "--train"}) {
    std::vector<std::string> words{"check", "m.onnx", "--sharding", "s.txt", "--dim", "batch=2", "--dim", "sequence=5"};
    if (*job) words.push_back(job);
    const Result checked = box.run(words);
    CAPTURE(checked.err);
    CHECK(checked.code == 0);
  }
}
