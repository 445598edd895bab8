// diff, and inspect --what-if, which shows what a constraint would change.
#include "frontend/io/json.h"
#include "tests/tools/program.h"

using namespace optp;

namespace {
const std::string table = "m.model.decoder.embed_tokens.weight";
struct Plans {
  Sandbox box;
  Plans() {
    for (const auto& [folder, flags] : std::map<std::string, std::vector<std::string>>{
             {"a", {}}, {"again", {}}, {"b", {"--strategy", "origin"}}, {"three", {"--mesh", "3"}}}) {
      std::vector<std::string> words{export_of("opt-tiny") + "/model.onnx", "-o", folder};
      words.insert(words.end(), flags.begin(), flags.end());
      REQUIRE(box.run(words).code == 0);
    }
  }
};
bool has(const std::string& text, const std::string& what) { return text.find(what) != std::string::npos; }
}  // namespace

TEST_CASE("plans of one job do not differ; those of two strategies do, and all that moved is said") {
  const Plans plans;
  const Result same = plans.box.run({"diff", "a", "again"});
  CHECK(same.code == 0);
  CHECK(same.out == "no difference\n");
  const Result other = plans.box.run({"diff", "a", "b"});
  CHECK(other.code == 1);
  CHECK(other.line() == "a and b differ");
  for (const std::string& what :
       std::vector<std::string>{"strategy  megatron → origin", "[tensor, _] → [_, tensor]  " + table, "device 0\n",
                                "device 1\n", "parameter_bytes", "all_reduce             5 → 3  (−2)",
                                "1× all_reduce → all_gather  /m/decoder/embed_tokens/Gather_output_0"}) {
    CAPTURE(what);
    CAPTURE(other.out);
    CHECK(has(other.out, what));
  }
  CHECK(has(plans.box.run({"diff", "a", "three"}).out, "mesh  tensor=2 → tensor=3"));
}

TEST_CASE("diff --json has the same in numbers") {
  const Plans plans;
  const Result r = plans.box.run({"diff", "a", "b", "--json"});
  CHECK(r.code == 1);
  auto json = parse_json("diff", r.out);
  REQUIRE(bool(json));
  const auto& top = *json->getAsObject();
  CHECK(*top.getBoolean("same") == false);
  CHECK(*(*top.getObject("collectives")->getArray("all_reduce"))[0].getAsInteger() == 5);
  CHECK(*(*top.getObject("collectives")->getArray("all_reduce"))[1].getAsInteger() == 3);
  CHECK(top.getArray("devices")->size() == 2);
  CHECK(*(*top.getArray("shardings"))[0].getAsObject()->getString("name") == table);
}

TEST_CASE("--what-if shows what a constraint would change, or why it cannot hold") {
  const Plans plans;
  auto what_if = [&](const std::string& sharding) {
    return plans.box.run({"inspect", "a", "--model", export_of("opt-tiny") + "/model.onnx", "--what-if", sharding});
  };
  const Result along_hidden = what_if(table + "=[_, tensor]");
  CHECK(along_hidden.code == 0);
  CHECK(has(along_hidden.out, "1× [tensor, _] → [_, tensor]  " + table));
  CHECK(has(along_hidden.out, "all_reduce"));
  CHECK(what_if(table + "=[tensor, _]").out == "already sharded like this; nothing changes\n");
  const Result twice = what_if(table + "=[tensor, tensor]");
  CHECK(twice.code == 2);
  CHECK(has(twice.line(), "axis 'tensor' is used twice"));
  CHECK(plans.box
            .run({"inspect", "a", "--model", export_of("opt-tiny") + "/model.onnx", "--want", table + "=[_, tensor]"})
            .out == along_hidden.out);
  CHECK(what_if("no.such.weight=[_, tensor]").code == 66);
  CHECK(what_if(table).code == 2);
  const Result without = plans.box.run({"inspect", "a", "--what-if", table + "=[_, tensor]"});
  CHECK(without.code == 66);
  CHECK(has(without.line(), "--model FILE"));
}
