// Families 47 and 51 of malformed input: plans that are not ours any more, and command lines. (48, arrays, is in
// tests/frontend/io/npy_test.cpp; 49, ids outside their table, in run_test.cpp; 50, checkpoints, in train_test.cpp.)
// Each gives one clear line and the right exit code, and leaves nothing behind.
#include <sys/resource.h>

#include "frontend/io/output_transaction.h"
#include "tests/tools/program.h"

using namespace optp;

namespace {
// "a.1.b" of a plan becomes another text.
std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  if (at == std::string::npos) FAIL("the plan has no " << from);
  return text.replace(at, from.size(), to);
}
}  // namespace

TEST_CASE("a damaged plan is refused by what is wrong with it, by run and by inspect") {
  const Sandbox box;
  REQUIRE(box.run({export_of("opt-tiny") + "/model.onnx", "-o", "out", "--devices", "2"}).code == 0);
  const std::string good = contents(box / "out/plan.json");
  const auto before = box.names();
  std::string nested;
  for (int k = 0; k < 10'000; ++k) nested += "[";
  // The table's rows that device 0 holds, 48 numbers each.
  auto rows_held = [](const std::string& start, int64_t stop, int64_t rows) {
    const std::string count = std::to_string(rows);
    return "\"shape\":[" + count + ",48],\"ranges\":[[[" + start + "," + std::to_string(stop) +
           "]],[[0,48]]],\"elements\":" + std::to_string(rows * 48) + ",\"bytes\":" + std::to_string(rows * 192);
  };
  const std::string table = rows_held("0", 129, 129), ranges = "\"ranges\":[[[0,129]";
  struct Row {
    std::string plan, says;
  };
  const Row rows[] = {
      {"", "plan.json: expected JSON"},
      {good.substr(0, good.size() / 2), "plan.json: expected JSON"},
      {nested, "plan.json: nesting: expected at most 32 levels, found more"},
      {replaced(good, "\"strategy\":", "\"job\": \"inference\", \"strategy\":"), "plan.json: duplicate member 'job'"},
      {replaced(good, "\"version\": 2", "\"version\": 1e400"), "plan.json: version: expected 2, found no number"},
      {replaced(good, "\"version\": 2", "\"version\": 1"), "plan.json: version: expected 2, found 1"},
      {replaced(good, "opt-partition plan", "another plan"), "plan.json: format: expected 'opt-partition plan'"},
      {replaced(good, "\"strategy\":", "\"strategies\":"), "plan.json: strategy: expected a value, found none"},
      {replaced(good, "\"weights\": true", "\"weights\": 1"), "plan.json: weights: expected boolean"},
      {replaced(good, "\"outputs_as\":", "\"outputs as\":"), "plan.json: outputs_as: expected a value, found none"},
      {replaced(good, "\"state_bytes\":", "\"states_bytes\":"), "devices[0].state_bytes: expected a value, found none"},
      {replaced(good, "\"gradient_bytes\":0", "\"gradient_bytes\":\"0\""),
       "devices[0].gradient_bytes: expected an integer of at least 0"},
      {replaced(good, "\"devices\":2", "\"devices\":0"), "mesh.devices: expected from 1 to 4096, found 0"},
      {replaced(good, "\"devices\":2", "\"devices\":-1"), "mesh.devices: expected an integer of at least 0"},
      {replaced(good, "\"devices\":2", "\"devices\":2147483648"),
       "mesh.devices: expected from 1 to 4096, found 2147483648"},
      {replaced(good, "\"devices\":2", "\"devices\":1000"),
       "mesh.devices: expected the product of the axes' sizes, found 1000"},
      {replaced(good, "\"size\":2", "\"size\":3"), "mesh.devices: expected the product of the axes' sizes, found 2"},
      {replaced(good, "rank0/model.onnx", "../rank0/model.onnx"),
       "devices[0]: file: expected 'rank0/model.onnx', found '../rank0/model.onnx'"},
      {replaced(good, "rank0/model.onnx", "/etc/passwd"),
       "devices[0]: file: expected 'rank0/model.onnx', found '/etc/passwd'"},
      {replaced(good, "\"rank\":1", "\"rank\":0"), "devices[1]: rank: expected 1, found 0"},
      {replaced(good, ranges, "\"ranges\":[[[0,130]"), "shape: expected as many indices as in the ranges"},
      {replaced(good, table, replaced(table, "6192", "6193")), "shards: expected elements and bytes of the ranges"},
      {replaced(good, table, rows_held("0", 128, 128)),
       "shards: expected each index on a rank, found dim 0 index 128, dim 1 index 0 on none"},
      {replaced(good, table, rows_held("0", 9999, 9999)),
       "shards[0]: ranges: dim 0: expected intervals that ascend within the whole, found 0:9999"},
      {replaced(good, table, rows_held("-1", 129, 130)),
       "shards[0]: ranges: dim 0: expected intervals that ascend within the whole, found -1:129"},
      {replaced(good, "\"after\":[]", "\"after\":[0]"), "flow[0]: after: expected positions before it"},
      {replaced(good, "\"operator\":\"gather\"", "\"operator\":1"), "flow[0].operator: expected string"},
  };
  for (const Row& row : rows) {
    CAPTURE(row.says);
    write_text(box / "out/plan.json", row.plan);
    for (const auto& command : {std::vector<std::string>{"inspect", "out"},
                                {"run", "out", "--inputs-dir", export_of("opt-tiny") + "/inputs", "-o", "res"}}) {
      const Result r = box.run(command);
      CHECK(r.code == 65);
      CHECK(r.line().find(row.says) != std::string::npos);
      CHECK(r.out == "");
    }
    CHECK(box.names() == before);
  }
}

TEST_CASE("run refuses files that are not those of the manifest") {
  const Sandbox box;
  REQUIRE(box.run({export_of("opt-tiny") + "/model.onnx", "-o", "out", "--devices", "2"}).code == 0);
  const std::vector<std::string> command = {"run", "out", "--inputs-dir", export_of("opt-tiny") + "/inputs",
                                            "-o",  "res"};
  const std::string data = contents(box / "out/rank1/model.onnx.data"), manifest = contents(box / "out/manifest.json");
  std::string flipped = data;
  flipped[flipped.size() / 2] ^= 1;
  auto refused = [&](const std::string& says) {
    const Result r = box.run(command);
    CHECK(r.code == 65);
    CHECK(r.line().find(says) != std::string::npos);
    CHECK(!fs::exists(box / "res"));
  };
  write_text(box / "out/rank1/model.onnx.data", flipped);
  refused("out/rank1/model.onnx.data: BLAKE3: expected '");
  write_text(box / "out/rank1/model.onnx.data", data.substr(0, data.size() - 1));
  refused("out/rank1/model.onnx.data: size: expected " + std::to_string(data.size()) +
          " bytes as in the manifest, found " + std::to_string(data.size() - 1));
  fs::remove(box / "out/rank1/model.onnx.data");
  refused("out/rank1/model.onnx.data: expected a file that is in the manifest, found none");
  write_text(box / "out/rank1/model.onnx.data", data);
  const size_t hash = manifest.find("\"blake3\":\"") + 10;
  std::string other = manifest;
  other[hash] = other[hash] == '0' ? '1' : '0';
  write_text(box / "out/manifest.json", other);
  refused(": BLAKE3: expected '");
  write_text(box / "out/manifest.json", manifest);
  CHECK(box.run(command).code == 0);
}

TEST_CASE("a command line that makes no sense is refused before anything is written") {
  const Sandbox box;
  const std::string model = export_of("opt-tiny") + "/model.onnx";
  write_text(box / "file", "x");
  write_text(box / "full/theirs", "x");
  fs::create_directory_symlink(box / "full", box / "link");
  fs::create_directories(box / "copy");
  fs::copy(model, box / "copy/model.onnx");
  const auto before = box.names();
  struct Row {
    std::vector<std::string> command;
    int code;
    std::string says;
  };
  const Row rows[] = {
      {{model, "--devices", "-1", "-o", "out"}, 2, "--devices -1: expected from 1 to 4096"},
      {{model, "--devices", "0", "-o", "out"}, 2, "--devices 0: expected from 1 to 4096"},
      {{model, "--devices", "1000000000", "-o", "out"}, 2, "--devices 1000000000: expected from 1 to 4096"},
      {{model, "--devices", "two", "-o", "out"}, 2, "--devices"},
      {{model, "--devices", "99999999999999999999", "-o", "out"}, 2, "--devices"},
      {{model, "--mesh", "tensor=0", "-o", "out"}, 2, "tensor"},
      {{model, "--strategy", "best", "-o", "out"}, 2, "--strategy 'best': expected megatron or origin"},
      {{model, "--devices", "2"}, 2, "--output is required"},
      {{model, "--devices", "2", "-o", ""}, 73, "'': expected the name of a folder"},
      {{model, "--devise", "2", "-o", "out"}, 2, "unknown flag '--devise'; did you mean --devices?"},
      {{"partitoin", model, "-o", "out"}, 2, "unknown verb 'partitoin'; did you mean partition?"},
      {{"", "-o", "out"}, 2, "unknown verb ''"},
      {{"no\nsuch\x1b[31m", "-o", "out"}, 2, "unknown verb 'no\\x0asuch\\x1b[31m'"},
      {{"-", "-o", "out"}, 2, ""},
      {{"nothing.onnx", "-o", "out"}, 66, "nothing.onnx"},
      {{"full", "-o", "out"}, 66, "full: the folder has no .onnx file"},
      {{model, "-o", "file"}, 73, "file: expected a folder or nothing, found a regular file"},
      {{model, "-o", "full"}, 73, "full: the folder is not an output of ours"},
      {{model, "-o", "link"}, 73, "link: expected a folder or nothing, found a symbolic link"},
      {{model, "-o", "."}, 73, "'.': expected the name of a folder"},
      {{model, "-o", "no/such/out"}, 73, "no/such/out: its parent folder cannot be opened"},
      {{model, "-o", "/proc/out"}, 73, "/proc/out: "},
      {{"copy/model.onnx", "-o", "copy", "--overwrite"},
       73,
       "copy: the folder holds an input of this run, 'model.onnx'; choose another folder"},
      {{"inspect", "nothing"}, 66, "nothing/plan.json"},
      {{"run", "full", "-o", "res"}, 66, "full/plan.json"},
      {{"build", "opt-9b", "-o", "m.onnx"}, 2, "opt-9b"},
      {{"build", "opt-125m", "-o", "full"}, 73, "full: expected a regular file or nothing, found a folder"},
      {{"bench", model, "--devices", "2"}, 2, "dim 'batch' has no value"},
  };
  for (const Row& row : rows) {
    CAPTURE(row.says);
    const Result r = box.run(row.command);
    CHECK(r.code == row.code);
    CHECK(r.line().find(row.says) != std::string::npos);
    CHECK(r.out == "");
    CHECK(box.names() == before);
  }
}

TEST_CASE("a result that cannot be given is a failure") {
  const Sandbox box;
  const std::string model = export_of("opt-tiny") + "/model.onnx";
  REQUIRE(box.run({model, "-o", "out"}).code == 0);
  const std::string inputs = export_of("opt-tiny") + "/inputs";
  for (const auto& command :
       {std::vector<std::string>{"inspect", "out"}, {"ops"}, {"--version"}, {"check", model, "--inputs-dir", inputs}}) {
    CAPTURE(command[0]);
    CHECK(box.run(command, {.in_child = [] { ::dup2(::open("/dev/full", O_WRONLY), 1); }}).code == 73);
    CHECK(box.run(command, {.in_child = [] { ::close(1); }}).code == 73);
    const Result piped = box.run(command, {.in_child = [] {  // a reader that is gone
                                   int ends[2];
                                   (void)!::pipe(ends);
                                   ::dup2(ends[1], 1), ::close(ends[0]), ::close(ends[1]);
                                 }});
    // It has seen enough, as `head` has: no fault, and nothing to say.
    CHECK(piped.code == 128 + SIGPIPE);
    CHECK(piped.err == "");
  }
}

#ifndef __SANITIZE_THREAD__  // it writes a file of its own at the start, larger than the limit
TEST_CASE("a full disk leaves nothing") {
  const Sandbox box;
  const std::string model = export_of("opt-tiny") + "/model.onnx";
  REQUIRE(box.run({model, "-o", "out"}).code == 0);
  const auto before = box.names();
  const auto limit = [] {
    const rlimit few{20'000, 20'000};
    ::setrlimit(RLIMIT_FSIZE, &few);
  };
  const Result partition = box.run({model, "-o", "other"}, {.in_child = limit});
  CHECK(partition.code == 73);
  CHECK(partition.line().find("cannot be written: file too large") != std::string::npos);
  CHECK(box.run({"run", "out", "--input", "input_ids=rand(1)", "--input", "attention_mask=ones", "--dim", "batch=4",
                 "--dim", "sequence=32", "-o", "res"},
                {.in_child = limit})
            .code == 73);
  CHECK(box.run({"build", "opt-125m", "--layers", "1", "-o", "m.onnx"}, {.in_child = limit}).code == 73);
  CHECK(box.names() == before);
}
#endif
