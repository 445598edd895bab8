// What a checkpoint says of its run.
#include "tools/train/run_record.h"

#include <doctest/doctest.h>

#include "frontend/ir/diagnostic.h"

using namespace optp;

TEST_CASE("a run's record is read as it was written, and a word that means nothing is refused with its place") {
  RunRecord r;
  r.mesh = llvm::cantFail(parse_mesh("data=2,tensor=3"));
  r.schedule = Schedule::cosine;
  r.optimizer.name = "adamw", r.learning_rate = 0.25, r.step = 1, r.losses = {1.5};
  const llvm::json::Value written = to_json(r);
  const RunRecord again = llvm::cantFail(run_record_from(written, "checkpoint.json"));
  CHECK(to_string(again.mesh) == "data=2, tensor=3");
  CHECK(again.schedule == Schedule::cosine);
  CHECK(to_json(again) == *written.getAsObject());

  auto refused = [&](auto change) {
    llvm::json::Object changed = to_json(r);
    change(changed);
    auto read = run_record_from(llvm::json::Value(std::move(changed)), "checkpoint.json");
    REQUIRE(!read);
    const Diagnostic d = take_diagnostic(read.takeError());
    CHECK(d.code() == Code::bad_checkpoint);
    return d.message();
  };
  CHECK(refused([](auto& o) { (*o.getObject("schedule"))["name"] = "step"; }) ==
        "checkpoint.json: schedule.name: expected constant, linear or cosine");
  CHECK(refused([](auto& o) { o["mesh"] = "tensor=x"; }) == "checkpoint.json: mesh: expected a mesh, such as tensor=2");
  CHECK(refused([](auto& o) { o["mesh"] = 2; }).find("checkpoint.json: mesh: expected ") == 0);
}
