// plan.html: what the page says, and that it says it whatever the model is called.
#include "frontend/io/json.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Base64.h"
#include "llvm/Support/Compression.h"
#include "tests/tools/program.h"

using namespace optp;

namespace {
bool has(const std::string& page, const std::string& text) { return page.find(text) != std::string::npos; }
size_t count(const std::string& page, const std::string& text) {
  size_t n = 0;
  for (size_t at = page.find(text); at != std::string::npos; at = page.find(text, at + 1)) ++n;
  return n;
}
llvm::json::Value json(const std::string& text) {
  auto value = parse_json("plan", text);
  if (!value) FAIL(llvm::toString(value.takeError()));
  return std::move(*value);
}
// The plan that the page holds, packed.
std::string embedded(const std::string& page) {
  const std::string head = "<script type=\"text/plain\" id=\"plan\">";
  const size_t begin = page.find(head) + head.size();
  std::vector<char> packed;
  if (auto e = llvm::decodeBase64(page.substr(begin, page.find("</script>", begin) - begin), packed))
    FAIL(llvm::toString(std::move(e)));
  llvm::SmallVector<uint8_t> text;
  if (auto e = llvm::compression::zlib::decompress(
          llvm::arrayRefFromStringRef(llvm::StringRef(packed.data(), packed.size())), text, size_t(1) << 26))
    FAIL(llvm::toString(std::move(e)));
  return std::string(text.begin(), text.end());
}
// Tags and embedded plan apart: what a reader sees, searches and copies.
std::string seen(const std::string& page) {
  std::string out;
  bool tag = false;
  for (char c : page.substr(0, page.find("<script"))) {
    if (c == '<') tag = true;
    if (!tag) out += c;
    if (c == '>') tag = false;
  }
  return out;
}
}  // namespace

TEST_CASE("the page of every model and strategy holds its plan, names each weight and refers to nothing outside") {
  const Sandbox box;
  for (const auto& entry : fs::directory_iterator(OPTP_TEST_DATA "/exports"))
    for (const char* strategy : {"megatron", "origin"}) {
      CAPTURE(entry.path().filename().string());
      CAPTURE(strategy);
      REQUIRE(box.run({entry.path().string() + "/model.onnx", "--devices", "3", "--strategy", strategy, "--plan-only",
                       "-o", "out"})
                  .code == 0);
      const std::string page = contents(box / "out/plan.html"), text = seen(page);
      CHECK(page.size() < 1'000'000);
      CHECK(!has(page, "http"));
      CHECK(!has(page, "url(\""));
      CHECK(!has(page, " src="));
      const llvm::json::Value plan = json(contents(box / "out/plan.json"));
      CHECK(json(embedded(page)) == plan);
      for (const auto& p : *plan.getAsObject()->getArray("parameters")) {
        const std::string name = p.getAsObject()->getString("name")->str();
        CAPTURE(name);
        CHECK(has(text, name));
        CHECK(has(page, "id=\"tensor=" + name + "\""));
      }
      CHECK(!has(page, "</article>\n<p"));  // all that is said of a weight stands in its card
      CHECK(count(page, "<table") == count(page, "</table>"));
      CHECK(count(page, "<details") == count(page, "</details>"));
      CHECK(count(page, "<div") == count(page, "</div>"));
    }
}

TEST_CASE("the same plan gives the same page, from partition and from inspect") {
  const Sandbox box;
  const std::string model = export_of("opt-tiny") + "/model.onnx";
  REQUIRE(box.run({model, "--devices", "3", "-o", "a"}).code == 0);
  REQUIRE(box.run({model, "--devices", "3", "-o", "b"}).code == 0);
  REQUIRE(box.run({"inspect", "a", "--html", "c.html"}).code == 0);
  const std::string page = contents(box / "a/plan.html");
  CHECK(page.size() > 10'000);
  CHECK(contents(box / "b/plan.html") == page);
  CHECK(contents(box / "c.html") == page);
  CHECK(has(contents(box / "a/manifest.json"), "plan.html"));
  REQUIRE(box.run({model, "--no-html", "-o", "d"}).code == 0);
  CHECK(!fs::exists(box / "d/plan.html"));
}

TEST_CASE("the page answers what a newcomer asks") {
  const Sandbox box;
  REQUIRE(box.run({export_of("opt-tiny") + "/model.onnx", "--devices", "3", "-o", "out"}).code == 0);
  const std::string text = seen(contents(box / "out/plan.html"));
  CHECK(has(text, "rows 0\u00a00–85 | 1\u00a086–171 | 2\u00a0172–256"));  // which device holds row 200 of the table
  CHECK(has(text, "One token moves 1,988 bytes."));                       // 5 sums of 48 floats and 257 logits
  CHECK(has(text, "15 weights of 15.0\u00a0KiB are on more than one device"));
  CHECK(has(text, "more than device 2, which holds least"));
  CHECK(has(text, "onnx::MatMul_393 (transposed)"));  // tied to the table
  CHECK(has(text, "columns: 48 = 6 × 8, cut in the 6 over tensor"));
  CHECK(has(text, "layers 0–1, identical"));
}

TEST_CASE("equal layers are drawn once, however many there are") {
  const Sandbox box;
  REQUIRE(box.run({export_of("opt-125m-structure") + "/model.onnx", "-o", "out"}).code == 0);
  const std::string page = contents(box / "out/plan.html");
  CHECK(page.size() < 1'000'000);
  CHECK(has(page, "layers 0–11, identical"));
  CHECK(count(page, "class=\"box\"") < 30);
  REQUIRE(box.run({"build", "opt-175b", "--no-weights", "-o", "large.onnx"}).code == 0);
  REQUIRE(box.run({"large.onnx", "--devices", "8", "--plan-only", "-o", "large"}).code == 0);
  const std::string large = contents(box / "large/plan.html");
  CHECK(large.size() < 5'000'000);
  CHECK(has(large, "layers 0–95, identical"));
  // What ranks hold stands once for all tensors alike: a plan grows little with devices.
  REQUIRE(box.run({"large.onnx", "--devices", "64", "--plan-only", "-o", "many"}).code == 0);
  CHECK(fs::file_size(box / "many/plan.html") < 6'000'000);
  CHECK(fs::file_size(box / "many/plan.json") < fs::file_size(box / "large/plan.json") + 500'000);
}

TEST_CASE("a page of OPT-125M is below a megabyte on any number of devices, its training step's as well") {
  const Sandbox box;
  for (const std::vector<std::string>& job : {std::vector<std::string>{"--devices", "64"},
                                              {"--devices", "64", "--train"},
                                              {"--mesh", "data=8,tensor=8", "--train"},
                                              {"--mesh", "data=16,tensor=4", "--train", "--zero", "2"},
                                              {"--mesh", "data=32,tensor=2", "--train", "--zero", "3"}}) {
    std::vector<std::string> words{export_of("opt-125m-structure") + "/model.onnx", "--plan-only", "-o", "out"};
    words.insert(words.end(), job.begin(), job.end());
    REQUIRE(box.run(words).code == 0);
    const std::string page = contents(box / "out/plan.html");
    CHECK(page.size() < 1'000'000);
    CHECK(json(embedded(page)) == json(contents(box / "out/plan.json")));
    if (job.size() < 3) continue;
    CHECK(has(page, "m.model.decoder.layers.*.fc1.bias.exp_avg</summary>* is "));
    CHECK(!has(page, "layer 1: "));  // but for the ends all are alike, with what is gathered for them
  }
}

TEST_CASE("layers and kinds of weights are found where names say nothing") {
  const Sandbox box;
  REQUIRE(box.run({export_of("opt-tiny") + "/model.onnx", "-o", "out"}).code == 0);
  std::string plan = contents(box / "out/plan.json");
  std::vector<std::string> names;
  const llvm::json::Value before = json(plan);
  for (const char* list : {"parameters", "values"})
    for (const auto& o : *before.getAsObject()->getArray(list))
      names.push_back(o.getAsObject()->getString("name")->str());
  for (size_t k = 0; k < names.size(); ++k) {
    const std::string old = "\"" + names[k] + "\"", fresh = "\"t" + std::to_string(k * 7919 % 1009) + "x\"";
    for (size_t at = plan.find(old); at != std::string::npos; at = plan.find(old, at + fresh.size()))
      plan.replace(at, old.size(), fresh);
  }
  write_text(box / "out/plan.json", plan);
  REQUIRE(box.run({"inspect", "out", "--html", "page.html"}).code == 0);
  const std::string page = contents(box / "page.html");
  CHECK(has(page, "layers 0–1, identical"));
  CHECK(count(page, "<article>") == 20);  // 16 places in a layer, two tables, the last norm's scale and bias
}

TEST_CASE("names of a hostile model stay text") {
  const Sandbox box;
  REQUIRE(box.run({export_of("opt-tiny") + "/model.onnx", "-o", "out"}).code == 0);
  std::string plan = contents(box / "out/plan.json");
  const std::string name = "m.model.decoder.embed_tokens.weight",
                    hostile = "</script><img src=x onerror=alert(1)>'&\\\"\\u202e<!--<script>";
  for (size_t at = plan.find(name); at != std::string::npos; at = plan.find(name, at + hostile.size()))
    plan.replace(at, name.size(), hostile);
  write_text(box / "out/plan.json", plan);
  REQUIRE(box.run({"inspect", "out", "--html", "page.html"}).code == 0);
  const std::string page = contents(box / "page.html");
  CHECK(!has(page, "<img"));
  CHECK(!has(page, "<!--"));
  CHECK(!has(seen(page), "\xe2\x80\xae"));
  CHECK(count(page, "</script>") == 2);
  CHECK(has(page, "&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;'&amp;&quot;"));
  CHECK(json(embedded(page)) == json(plan));
}

TEST_CASE("a training step's page tells of gradients, state and phases") {
  const Sandbox box;
  REQUIRE(box.run({export_of("opt-tiny") + "/model.onnx", "--train", "-o", "out"}).code == 0);
  const std::string text = seen(contents(box / "out/plan.html"));
  for (const char* word : {"optimizer state", "gradients", "backward", "Values, and what the training step adds"})
    CHECK(has(text, word));
}

TEST_CASE("the page shows a check, a timeline and what changed, each of this plan") {
  const Sandbox box;
  const std::string model = export_of("opt-tiny") + "/model.onnx";
  for (const auto& [folder, flags] :
       std::map<std::string, std::vector<std::string>>{{"out", {"--devices", "3"}},
                                                       {"origin", {"--devices", "3", "--strategy", "origin"}},
                                                       {"two", {"--devices", "2"}},
                                                       {"step", {"--devices", "3", "--train"}}}) {
    std::vector<std::string> words{model, "-o", folder};
    words.insert(words.end(), flags.begin(), flags.end());
    REQUIRE(box.run(words).code == 0);
  }
  REQUIRE(box.run({"check", model, "--devices", "3", "--dim", "batch=2", "--dim", "sequence=8", "--json", "check.json"})
              .code == 0);
  REQUIRE(box.run({"check", model, "--devices", "3", "--dim", "batch=2", "--dim", "sequence=8", "--mutant",
                   "drop-all-reduce", "--json", "broken.json"})
              .code == 1);
  REQUIRE(
      box.run({"run", "out", "--inputs-dir", export_of("opt-tiny") + "/inputs", "-o", "res", "--profile", "trace.json"})
          .code == 0);
  REQUIRE(box.run({"inspect", "out", "--html", "page.html", "--check", "check.json", "--trace", "trace.json",
                   "--against", "origin"})
              .code == 0);
  const std::string page = contents(box / "page.html"), text = seen(page);
  for (const char* id : {"changes", "timeline", "parity"}) CHECK(has(page, "<section id=\"" + std::string(id) + "\">"));
  CHECK(has(text, "Every comparison holds at batch 2, sequence 8."));
  CHECK(has(text, "Time, measured"));
  CHECK(has(text, "all_reduce"));
  CHECK(has(text, "From origin to this plan: 15 parameters are cut differently"));
  CHECK(count(page, ">rank ") == 3);
  CHECK(!has(page, "nan"));
  REQUIRE(box.run({"inspect", "out", "--html", "broken.html", "--check", "broken.json"}).code == 0);
  CHECK(has(seen(contents(box / "broken.html")), "The check failed"));
  CHECK(has(seen(contents(box / "broken.html")), "rank 0"));

  CHECK(box.run({"inspect", "origin", "--html", "x.html", "--check", "check.json"}).line() ==
        "--check: strategy: expected that of this plan, 'origin', found 'megatron'");
  CHECK(box.run({"inspect", "two", "--html", "x.html", "--check", "check.json"}).code == 2);
  CHECK(box.run({"inspect", "two", "--html", "x.html", "--trace", "trace.json"}).line() ==
        "--trace: ranks: expected that of this plan, '2', found '3'");
  CHECK(box.run({"inspect", "step", "--html", "x.html", "--check", "check.json"}).code == 2);
  CHECK(box.run({"inspect", "out", "--check", "check.json"}).code == 2);
  CHECK(!fs::exists(box / "x.html"));
}

TEST_CASE("reports and timelines that are none are bad input, at their first fault") {
  const Sandbox box;
  REQUIRE(box.run({export_of("opt-tiny") + "/model.onnx", "-o", "out"}).code == 0);
  for (
      const auto& [flag, text, line] : std::vector<std::tuple<std::string, std::string, std::string>>{
          {"--check", "[]", "f.json: format: expected 'opt-partition check'"},
          {"--check", R"({"format":"opt-partition check","version":2})", "f.json: version: expected 1"},
          {"--check",
           R"({"format":"opt-partition check","version":1,"model":"m","job":"inference","strategy":"megatron","mesh":{},"dims":{},"holds":true,"comparisons":[{"name":3}]})",
           "f.json: mesh.axes: expected a value, found none"},
          {"--check",
           R"({"format":"opt-partition check","version":1,"model":"m","job":"inference","strategy":"megatron","mesh":{"axes":[]},"dims":{},"holds":true,"comparisons":[{"name":3}]})",
           "f.json: comparisons[0].name: expected string"},
          {"--trace", "{}", "f.json: traceEvents: expected a list, as run --profile writes it"},
          {"--trace", R"({"traceEvents":[]})", "f.json: traceEvents: no run of ours in it"},
          {"--trace", R"({"traceEvents":[{"ph":"X","pid":0,"name":"a","cat":"kernel","ts":0,"dur":1,"args":{}}]})",
           "f.json: traceEvents[0]: a slice of no run"},
          {"--trace", R"({"traceEvents":[{"ph":"X","pid":-1,"name":"a","cat":"run","ts":0,"dur":1,"args":{}}]})",
           "f.json: traceEvents[0]: pid -1: expected a rank"},
          {"--trace", R"({"traceEvents":[{"ph":"X","pid":0,"name":"a","cat":"run","ts":0,"dur":-1,"args":{}}]})",
           "f.json: traceEvents[0]: expected a time"}}) {
    write_text(box / "f.json", text);
    const Result r = box.run({"inspect", "out", "--html", "x.html", flag, "f.json"});
    CAPTURE(text);
    CHECK(r.code == 65);
    CHECK(r.line() == line);
  }
  CHECK(!fs::exists(box / "x.html"));
}

TEST_CASE("heads of keys and values that several devices hold are striped, each with its devices") {
  const Sandbox box;
  const auto page = [&](const char* devices) {
    REQUIRE(box.run({OPTP_TEST_DATA "/exports/olmo2-tiny/model.onnx", "--devices", devices, "--plan-only", "-o", "out"})
                .code == 0);
    return contents(box / "out/plan.html");
  };
  // 3 heads of keys for 6 of queries: over 4 devices 0, 1 and twice 2.
  const std::string four = page("4"), two = page("2");
  CHECK(has(four, "copies of key/value heads"));
  CHECK(has(four, "id=\"stripes3\""));
  CHECK(has(four, "fill=\"url(#stripes3)\""));
  CHECK(!has(four, "fill=\"url(#stripes1)\""));
  CHECK(has(four, ">2 3</text>"));
  CHECK(!has(two, "stripes"));  // there each head is held by one of two
  REQUIRE(box.run({OPTP_TEST_DATA "/exports/opt-tiny/model.onnx", "--devices", "2", "--plan-only", "-o", "out"}).code ==
          0);
  CHECK(!has(contents(box / "out/plan.html"), "stripes"));
}
