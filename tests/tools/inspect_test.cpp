// inspect: the plan as people see it.
#include <cstdlib>

#include "tests/tools/program.h"

using namespace optp;

namespace {
size_t columns(const std::string& line) {
  return size_t(std::count_if(line.begin(), line.end(), [](char c) { return uint8_t(c) >> 6 != 2; }));
}
}  // namespace

TEST_CASE("the plan of OPT-125M is what tests/data/golden/inspect-opt-125m.txt says") {
  const Sandbox box;
  REQUIRE(box.run({export_of("opt-125m-structure") + "/model.onnx", "--devices", "2", "-o", "out"}).code == 0);
  const Result shown = box.run({"inspect", "out"});
  CHECK(shown.code == 0);
  CHECK(shown.err == "");
  const std::string golden = OPTP_TEST_DATA "/golden/inspect-opt-125m.txt";
  if (std::getenv("UPDATE_GOLDEN")) write_text(golden, shown.out);
  CHECK(shown.out == contents(golden));
}

TEST_CASE("a plan is at most 40 lines of 80 columns for two devices, whatever the model and strategy") {
  const Sandbox box;
  for (const auto& entry : fs::directory_iterator(OPTP_TEST_DATA "/exports"))
    for (const char* devices : {"1", "2", "64"})
      for (const char* strategy : {"megatron", "origin"}) {
        CAPTURE(entry.path().filename().string());
        CAPTURE(devices);
        CAPTURE(strategy);
        REQUIRE(box.run({entry.path().string() + "/model.onnx", "--devices", devices, "--strategy", strategy, "--plan-only", "-o", "out"}).code == 0);
        const Result shown = box.run({"inspect", "out"});
        REQUIRE(shown.code == 0);
        std::istringstream lines(shown.out);
        size_t count = 0;
        for (std::string line; std::getline(lines, line); ++count) {
          CAPTURE(line);
          CHECK(columns(line) <= 80);
          CHECK((line.empty() || line.back() != ' '));
        }
        CHECK(count <= (std::string(devices) == "64" ? 48 : 40));
      }
}

TEST_CASE("a tensor that the plan does not have is an error with the nearest name") {
  const Sandbox box;
  REQUIRE(box.run({export_of("opt-tiny") + "/model.onnx", "-o", "out"}).code == 0);
  const Result r = box.run({"inspect", "out", "--why", "m.model.decoder.embed_token.weight"});
  CHECK(r.code == 66);
  CHECK(r.line() == "the plan has no tensor 'm.model.decoder.embed_token.weight'; nearest is 'm.model.decoder.embed_tokens.weight'");
}
