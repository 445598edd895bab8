// passes --run: one pass on a graph that was dumped.
#include <array>

#include "tests/tools/program.h"

using namespace optp;

TEST_CASE("a pass makes of the dump before it the dump after it") {
  const Sandbox box;
  REQUIRE(box.run({export_of("opt-tiny") + "/model.onnx", "-o", "out", "--quiet", "--dump-dir", "ir"}).code == 0);
  for (auto [pass, before, after] : {std::array{"merge-views", "01-absorb-transposes", "02-merge-views"},
                                     std::array{"split", "15-join-partials", "17-split"},
                                     std::array{"materialise", "18-combine-all-reduces", "19-materialise-1"}}) {
    CAPTURE(pass);
    const Result r = box.run({"passes", "--run", pass, "ir/" + std::string(before) + ".ir", "rank=1"});
    CHECK(r.code == 0);
    CHECK(r.err == "");
    CHECK(r.out == contents(box / ("ir/" + std::string(after) + ".ir")));
  }
}
TEST_CASE("what is no pass, no option, no graph or no file is named") {
  const Sandbox box;
  write_text(box / "x.ir", "output x = %x: f32[2]\n");
  CHECK(box.run({"passes", "--run", "merge-views", "x.ir"}).out == "input %x: f32[2]\noutput x = %x\n");
  const Result pass = box.run({"passes", "--run", "merge-view", "x.ir"});
  CHECK(pass.code == 2);
  CHECK(pass.line().find("no pass is named 'merge-view'; there are absorb-transposes, merge-views, ") == 0);
  const Result option = box.run({"passes", "--run", "annotate", "x.ir", "strateg=origin"});
  CHECK(option.code == 2);
  CHECK(option.line().find("no option of a pass is named 'strateg'; there are keep-shared, ") == 0);
  CHECK(box.run({"passes", "--run", "annotate", "x.ir", "accumulate=0"}).line() ==
        "option 'accumulate=0': no value of accumulate");
  write_text(box / "y.ir", "output x = %y\n");
  const Result graph = box.run({"passes", "--run", "merge-views", "y.ir"});
  CHECK(graph.code == 65);
  CHECK(graph.line() == "y.ir:1:12: 'y' is not defined before it is used");
  CHECK(box.run({"passes", "--run", "merge-views", "z.ir"}).code == 66);
  CHECK(box.run({"passes", "--run", "merge-views"}).code == 2);
  CHECK(box.run({"passes", "x.ir"}).code == 2);
}
