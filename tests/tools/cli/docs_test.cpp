// Pages that the program writes, and its looks into the pipeline.
#include <cstdlib>

#include "tests/tools/program.h"

using namespace optp;

TEST_CASE("docs/ops.md and docs/passes.md are what the registries say") {
  const Sandbox box;
  for (const char* page : {"ops", "passes"}) {
    CAPTURE(page);
    const Result r = box.run({page, "--markdown"});
    REQUIRE(r.code == 0);
    const std::string path = OPTP_TEST_DATA "/../../docs/" + std::string(page) + ".md";
    if (std::getenv("UPDATE_GOLDEN")) write_text(path, r.out);
    CHECK(r.out == contents(path));
  }
}

TEST_CASE("graphs between passes can be seen, on stderr and in a folder") {
  const Sandbox box;
  const std::string model = export_of("opt-tiny") + "/model.onnx";
  const Result shown = box.run({model, "-o", "out", "--quiet", "--print-before", "tie-weights", "--print-after",
                                "tie-weights,split", "--dump-dir", "ir"});
  REQUIRE(shown.code == 0);
  for (const char* head : {"# before tie-weights\ngraph ", "\nmesh tensor=2\ninput %input_ids: i64[batch, sequence]\n",
                           "# after tie-weights\n", "# after split\n"}) {
    CAPTURE(head);
    CHECK(shown.err.find(head) != std::string::npos);
  }
  CHECK(shown.err.find("part(257, tensor)") != std::string::npos);
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(box / "ir")) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  CHECK(names.front() == "01-absorb-transposes.ir");
  CHECK(std::find(names.begin(), names.end(), "19-materialise-1.ir") != names.end());
  CHECK(contents(box / "ir/19-materialise-1.ir").find("f32[128, 48]") != std::string::npos);

  CHECK(std::find(names.begin(), names.end(), "18-combine-all-reduces.ir") != names.end());

  const Result training = box.run({model, "-o", "step", "--train", "--stop-after", "differentiate", "--print-after",
                                   "build-loss", "--time-passes"});
  CHECK(training.code == 0);
  CHECK(training.err.find("# after build-loss\n") == 0);
  CHECK(training.err.find("  differentiate\n") != std::string::npos);

  const Result stopped = box.run({model, "-o", "other", "--stop-after", "annotate", "--print-after", "annotate"});
  CHECK(stopped.code == 0);
  CHECK(stopped.err.find("# after annotate\n") == 0);
  CHECK(!fs::exists(box / "other"));
  // Rank graphs that a later pass has not seen are no result.
  const Result early = box.run({model, "-o", "other", "--stop-after", "materialise"});
  CHECK(early.code == stopped.code);
  CHECK(!fs::exists(box / "other"));
  const Result wrong = box.run({model, "-o", "other", "--stop-after", "anotate"});
  CHECK(wrong.code == 2);
  CHECK(wrong.line().find("no pass is named 'anotate'; there are absorb-transposes, ") == 0);
}

TEST_CASE("a pass can be stopped after so many rewrites, where it counts them") {
  const Sandbox box;
  const std::string model = export_of("opt-tiny") + "/model.onnx";
  auto reshapes = [&](const std::string& limit) {
    std::vector<std::string> words{model, "-o", "out", "--stop-after", "merge-views", "--print-after", "merge-views"};
    if (!limit.empty()) words.insert(words.end(), {"--rewrite-limit", limit});
    const std::string text = box.run(words).err;
    size_t n = 0;
    for (size_t at = text.find("= reshape("); at != std::string::npos; at = text.find("= reshape(", at + 1)) ++n;
    return n;
  };
  const size_t all = reshapes(""), none = reshapes("merge-views:0"), one = reshapes("merge-views:1");
  CHECK(all < one);
  CHECK(one == none - 1);
  CHECK(box.run({model, "-o", "out", "--rewrite-limit", "split:1"})
            .line()
            .find("--rewrite-limit: split can't stop halfway; of these a part can be done: absorb-transposes, ") == 0);
  CHECK(box.run({model, "-o", "out", "--rewrite-limit", "merge-views"}).code == 2);
}
