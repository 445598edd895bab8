// Mistakes of a command line, of files and of data, as other programs read them: the whole object.
#include <sys/resource.h>

#include <regex>

#include "frontend/ir/error_codes.h"
#include "llvm/Support/JSON.h"
#include "tests/tools/json_schema.h"

using namespace optp;

namespace {
std::vector<std::string> split(const std::string& text) {
  std::istringstream words(text);
  return {std::istream_iterator<std::string>(words), {}};
}
std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  if (at == std::string::npos) FAIL("no " << from);
  return text.replace(at, from.size(), to);
}
std::string tokens() {
  std::string out;
  for (int k = 0; k < 600; ++k) out += std::string{char(k * 7 % 61), 0};
  return out;
}
struct Row {
  std::string command, object;
};
// HASH stands for a BLAKE3 sum: it is of bytes that another test is about.
void check_rows(const Sandbox& box, const std::vector<Row>& rows) {
  const Schema schema = schema_of("error");
  for (const Row& row : rows) {
    CAPTURE(row.command);
    std::vector<std::string> words = split(row.command);
    words.insert(words.begin(), {"--diagnostics", "json"});
    const Result r = box.run(words);
    CHECK(std::regex_replace(r.err, std::regex("[0-9a-f]{64}"), "HASH") == row.object + "\n");
    auto object = llvm::json::parse(r.err);
    REQUIRE(bool(object));
    CHECK(schema.fault(*object, "error") == "");
    const auto& o = *object->getAsObject();
    CHECK(o.getInteger("exit") == r.code);
    const ErrorCode* code = find_error_code(o.getString("code").value_or(""));
    REQUIRE(code != nullptr);
    CHECK(int(code->fault) == r.code);
  }
}
}  // namespace

TEST_CASE("a mistake in words carries its code and parts") {
  const Sandbox box;
  fs::copy_file(export_of("opt-tiny") + "/model.onnx", box / "m.onnx");
  write_text(box / "t.bin", tokens());
  write_text(box / "s.txt", "a\n");
  write_text(box / "t.txt", "# c\n\nzzz* colwise\n");
  write_text(box / "u.txt", "*fc1.weight [_, disk]\n");
  REQUIRE(box.run({"m.onnx", "-o", "out"}).code == 0);
  REQUIRE(box.run({"m.onnx", "-o", "origin", "--strategy", "origin"}).code == 0);
  const std::vector<Row> rows = {
      {"insepct out",
       R"json({"code":"usage/unknown-verb","exit":2,"message":"unknown verb 'insepct'; did you mean inspect?","severity":"error","suggestion":"inspect"})json"},
      {"inspect out --jsn",
       R"json({"code":"usage/unknown-flag","exit":2,"flag":"--jsn","message":"unknown flag '--jsn'; did you mean --json?","severity":"error","suggestion":"--json"})json"},
      {"inspect out more",
       R"json({"code":"usage/unknown-argument","exit":2,"message":"unknown argument 'more' of inspect","severity":"error"})json"},
      {"inspect", R"json({"code":"usage/missing","exit":2,"message":"plan is required","severity":"error"})json"},
      {"m.onnx -o x --devices",
       R"json({"code":"usage/missing-value","exit":2,"flag":"--devices","message":"--devices: 1 required INT missing","severity":"error"})json"},
      {"m.onnx -o x --devices 2 --tp 3",
       R"json({"code":"usage/bad-value","exit":2,"expected":"once","flag":"--devices","found":"2 times","hint":"--tp is another name of it","message":"--devices: expected once, found 2 times; --tp is another name of it","severity":"error"})json"},
      {"m.onnx -o x --devices 4097",
       R"json({"code":"usage/bad-value","exit":2,"expected":"from 1 to 4096","flag":"--devices","message":"--devices 4097: expected from 1 to 4096","severity":"error"})json"},
      {"m.onnx -o x --strategy best",
       R"json({"code":"usage/bad-value","exit":2,"expected":"megatron or origin","flag":"--strategy","message":"--strategy 'best': expected megatron or origin","severity":"error"})json"},
      {"m.onnx -o x --stop-after zzz",
       R"json({"code":"usage/unknown-pass","exit":2,"hint":"there are absorb-transposes, merge-views, unshare-parameters, recover-names, tie-weights, find-parameters, precision, round-products, find-states, add-caches, last-logits, annotate, repeat-heads, lower-norms, join-partials, sequence-parallel, split, combine-all-reduces, materialise, sum-extents","message":"no pass is named 'zzz'; there are absorb-transposes, merge-views, unshare-parameters, recover-names, tie-weights, find-parameters, precision, round-products, find-states, add-caches, last-logits, annotate, repeat-heads, lower-norms, join-partials, sequence-parallel, split, combine-all-reduces, materialise, sum-extents","severity":"error"})json"},
      {"m.onnx -o x --sharding s.txt",
       R"json({"code":"usage/bad-value","exit":2,"expected":"PATTERN SHARDING","file":"s.txt","found":"'a'","line":1,"message":"s.txt:1: expected PATTERN SHARDING, found 'a'","severity":"error"})json"},
      {"m.onnx -o x --sharding t.txt",
       R"json({"code":"usage/unmatched-pattern","exit":2,"file":"t.txt","line":3,"message":"t.txt:3: pattern 'zzz*' matches no tensor, module or node","severity":"error"})json"},
      {"m.onnx -o x --sharding u.txt",
       R"json({"code":"usage/bad-value","exit":2,"file":"u.txt","line":1,"message":"u.txt:1: '*fc1.weight' = '[_, disk]': mesh tensor=2 has no axis 'disk'","severity":"error","tensor":"m.model.decoder.layers.0.fc1.weight"})json"},
      {"bench m.onnx --devices 2",
       R"json({"code":"usage/dim-without-value","dim":"batch","exit":2,"hint":"give --dim batch=NUMBER","message":"dim 'batch' has no value: give --dim batch=NUMBER","severity":"error"})json"},
      {"run out --input input_ids=rand(1) --dim batch=2 --dim sequence=4 -o res", R"json({"code":"usage/input-not-given","exit":2,"hint":"--input attention_mask=@FILE.npy, rand(SEED) or ones","message":"input 'attention_mask' is not given; --input attention_mask=@FILE.npy, rand(SEED) or ones","severity":"error","tensor":"attention_mask"})json"},
      {"run out --input zzz=ones -o res",
       R"json({"code":"usage/unknown-input","exit":2,"flag":"--input","hint":"it has input_ids, attention_mask","message":"--input 'zzz=ones': the model has no input 'zzz'; it has input_ids, attention_mask","severity":"error","tensor":"zzz"})json"},
      {"run out --input input_ids=ones --input attention_mask=ones --dim batch=2 --dim sequence=0 -o res",
       R"json({"code":"bad-input/shape-mismatch","dim":"sequence","exit":65,"expected":"at least 1","found":"0","message":"input 'input_ids': dim 'sequence': expected at least 1, found 0","severity":"error","tensor":"input_ids"})json"},
      {"run out --input input_ids=ones --input attention_mask=ones --dim bach=2 -o res",
       R"json({"code":"usage/bad-value","exit":2,"flag":"--dim","hint":"it has batch, sequence","message":"--dim 'bach=2': the model has no such dim; it has batch, sequence","severity":"error"})json"},
      {"m.onnx -o x --recompute",
       R"json({"code":"usage/missing-value","exit":2,"flag":"--recompute","message":"--recompute requires --train","severity":"error"})json"},
      {"check m.onnx --lr 0.1",
       R"json({"code":"usage/missing-value","exit":2,"flag":"--lr","message":"--lr requires --train","severity":"error"})json"},
      {"train m.onnx --data t.bin",
       R"json({"code":"usage/missing","exit":2,"expected":"a folder for the checkpoints","flag":"--save","found":"none","message":"--save DIR: expected a folder for the checkpoints, found none","severity":"error"})json"},
      {"train m.onnx --data t.bin --save y --lr -1",
       R"json({"code":"usage/bad-value","exit":2,"expected":"a finite float32 number of at least 0","flag":"--lr","found":"-1","message":"--lr: expected a finite float32 number of at least 0, found -1","severity":"error"})json"},
      {"train m.onnx --data t.bin --save y --freeze zzz*",
       R"json({"code":"usage/unmatched-pattern","exit":2,"flag":"--freeze","message":"--freeze 'zzz*': matches no parameter","severity":"error"})json"},
      {"train m.onnx --data t.bin --sequence 16 --save y --log t.bin",
       R"json({"code":"cannot-write/is-an-input","exit":73,"file":"t.bin","flag":"--log","message":"--log t.bin: it is an input of this run","severity":"error"})json"},
      {"inspect out --tensor m.model.decoder.layers.0.fc1.weigt",
       R"json({"code":"not-found/tensor","exit":66,"hint":"nearest is 'm.model.decoder.layers.0.fc1.weight'","message":"the plan has no tensor 'm.model.decoder.layers.0.fc1.weigt'; nearest is 'm.model.decoder.layers.0.fc1.weight'","severity":"error","suggestion":"m.model.decoder.layers.0.fc1.weight","tensor":"m.model.decoder.layers.0.fc1.weigt"})json"},
      {"inspect out --what-if x",
       R"json({"code":"usage/bad-value","exit":2,"expected":"NAME=SHARDING or op:OPERATOR=SHARDING","flag":"--what-if","message":"--what-if 'x': expected NAME=SHARDING or op:OPERATOR=SHARDING","severity":"error"})json"},
      {"diff out origin",
       R"json({"code":"check-failed/difference","exit":1,"message":"out and origin differ","severity":"error"})json"},
      {"build opt-126m -o x.onnx",
       R"json({"code":"usage/bad-value","exit":2,"hint":"there are opt-125m, opt-350m, opt-1.3b, opt-2.7b, opt-6.7b, opt-13b, opt-30b, opt-66b, opt-175b, origin-125m","message":"unknown preset 'opt-126m'; did you mean opt-125m? there are opt-125m, opt-350m, opt-1.3b, opt-2.7b, opt-6.7b, opt-13b, opt-30b, opt-66b, opt-175b, origin-125m","severity":"error","suggestion":"opt-125m"})json"},
  };
  check_rows(box, rows);
}

TEST_CASE("a mistake in files and data carries its code and parts") {
  const Sandbox box;
  const std::string inputs = export_of("opt-tiny") + "/inputs";
  fs::copy_file(export_of("opt-tiny") + "/model.onnx", box / "m.onnx");
  fs::copy(inputs, box / "in");
  write_text(box / "t.bin", tokens());
  write_text(box / "bad.onnx", "no model");
  write_text(box / "full/theirs", "x");
  fs::create_symlink("loop", box / "loop");
  const std::string ids = contents(inputs + "/input_ids.npy"), rest = ids.substr(0, ids.size() - 8);
  write_text(box / "cut.npy", rest);
  write_text(box / "v9.npy", ids.substr(0, 6) + "\x09" + ids.substr(7));
  write_text(box / "far.npy", rest + std::string("\xa0\x86\x01\0\0\0\0\0", 8));  // 100000
  REQUIRE(box.run({"m.onnx", "-o", "out"}).code == 0);
  REQUIRE(box.run({"m.onnx", "-o", "bare", "--no-weights"}).code == 0);
  REQUIRE(box.run(split("train m.onnx --data t.bin --batch 8 --sequence 16 --max-steps 1 --save ck")).code == 0);
  for (const char* copy : {"dup", "hash", "plan"}) fs::copy(box / "out", box / copy, fs::copy_options::recursive);
  const std::string plan = contents(box / "out/plan.json");
  write_text(box / "dup/plan.json", replaced(plan, "\"strategy\":", "\"strategy\": \"x\", \"strategy\":"));
  write_text(box / "plan/plan.json", replaced(plan, "rank0/model.onnx", "rank7/model.onnx"));
  std::string bytes = contents(box / "hash/rank0/model.onnx");
  bytes.back() = char(bytes.back() ^ 1);
  write_text(box / "hash/rank0/model.onnx", bytes);
  const std::vector<Row> rows = {
      {"inspect plan",
       R"json({"code":"bad-input/bad-plan","exit":65,"expected":"'rank0/model.onnx'","file":"plan/plan.json","found":"'rank7/model.onnx'","message":"plan/plan.json: devices[0]: file: expected 'rank0/model.onnx', found 'rank7/model.onnx'","severity":"error"})json"},
      {"nothing.onnx -o x",
       R"json({"code":"not-found/file","exit":66,"file":"nothing.onnx","message":"nothing.onnx: no such file","severity":"error"})json"},
      {"bad.onnx -o x",
       R"json({"code":"bad-input/not-this-format","exit":65,"file":"bad.onnx","message":"bad.onnx: not an ONNX model: its protocol buffer does not parse","severity":"error"})json"},
      {"m.onnx -o x --sharding loop",
       R"json({"code":"bad-input/unreadable","exit":65,"file":"loop","message":"loop: cannot be opened: too many levels of symbolic links","severity":"error"})json"},
      {"m.onnx -o x --sharding full",
       R"json({"code":"bad-input/not-a-file","exit":65,"expected":"a regular file","file":"full","found":"a folder","message":"full: expected a regular file, found a folder","severity":"error"})json"},
      {"m.onnx -o full",
       R"json({"code":"cannot-write/occupied","exit":73,"file":"full","hint":"choose another folder or overwrite it explicitly","message":"full: the folder is not an output of ours (it has no valid manifest.json); choose another folder or overwrite it explicitly","severity":"error"})json"},
      {"m.onnx -o none/x",
       R"json({"code":"cannot-write/failed","exit":73,"file":"none/x","message":"none/x: its parent folder cannot be opened: no such file or directory","severity":"error"})json"},
      {"inspect dup",
       R"json({"code":"bad-input/duplicate","exit":65,"file":"dup/plan.json","message":"dup/plan.json: duplicate member 'strategy'","severity":"error"})json"},
      {"run hash --inputs-dir in -o res",
       R"json({"code":"bad-input/hash-mismatch","exit":65,"expected":"'HASH' as in the manifest","file":"hash/rank0/model.onnx","found":"'HASH'","message":"hash/rank0/model.onnx: BLAKE3: expected 'HASH' as in the manifest, found 'HASH'","severity":"error"})json"},
      {"run bare --inputs-dir in -o res",
       R"json({"code":"not-found/weights","exit":66,"file":"bare/rank0/model.onnx","hint":"--random-weights SEED runs without it","message":"bare/rank0/model.onnx: weights file 'model.onnx.data' of 'm.model.decoder.embed_tokens.weight' is not there; --random-weights SEED runs without it","severity":"error","tensor":"m.model.decoder.embed_tokens.weight"})json"},
      {"run out --input input_ids=@v9.npy --input attention_mask=ones -o res",
       R"json({"code":"bad-input/unsupported-version","exit":65,"expected":"1.0, 2.0 or 3.0","file":"v9.npy","found":"9.0","message":"v9.npy: version: expected 1.0, 2.0 or 3.0, found 9.0","severity":"error"})json"},
      {"run out --input input_ids=@cut.npy --input attention_mask=ones -o res",
       R"json({"code":"bad-input/size-mismatch","exit":65,"expected":"144 bytes for its shape and dtype","file":"cut.npy","found":"136","message":"cut.npy: data: expected 144 bytes for its shape and dtype, found 136","severity":"error"})json"},
      {"run out --input input_ids=@far.npy --input attention_mask=ones -o res",
       R"json({"code":"bad-input/out-of-range","exit":65,"file":"far.npy","message":"far.npy: input 'input_ids': index 100000 is outside the 257 rows of the table it chooses from","severity":"error","tensor":"input_ids"})json"},
      {"run out --input input_ids=@in/attention_mask.npy --input attention_mask=@far.npy -o res", R"json({"code":"bad-input/out-of-range","exit":65,"expected":"from -66 to 65","found":"7226","message":"rank 0: node '/m/decoder/embed_positions/Gather' (Gather): index 7226 of operand 1 '/m/decoder/embed_positions/Add_output_0' is outside 66 rows of 'm.model.decoder.embed_positions.weight'","node":"/m/decoder/embed_positions/Gather","op":"Gather","severity":"error","tensor":"/m/decoder/embed_positions/Add_output_0"})json"},
      {"train m.onnx --data t.bin --resume ck --batch 8 --sequence 8",
       R"json({"code":"bad-input/bad-checkpoint","exit":65,"file":"ck","found":"--sequence 8","hint":"--rewind begins with the data's first epoch","message":"ck: sequences of 16 tokens: found --sequence 8; --rewind begins with the data's first epoch","severity":"error"})json"},
      {"train m.onnx --data t.bin --resume ck --optimizer sgd",
       R"json({"code":"bad-input/bad-checkpoint","exit":65,"expected":"sgd, as the command line says","file":"ck","found":"adam","message":"ck: optimizer: expected sgd, as the command line says, found adam","severity":"error"})json"},
      {"train m.onnx --data t.bin --save y --lr 1e38 --batch 8 --sequence 16",
       R"json({"code":"check-failed/diverged","exit":1,"hint":"try a lower --lr or --max-grad-norm; nothing was saved","message":"step 2: the loss is not a number; try a lower --lr or --max-grad-norm; nothing was saved","severity":"error"})json"},
  };
  check_rows(box, rows);
}

TEST_CASE("an error of a pass says what the model's source calls the module") {
  const Sandbox box;
  const Result r =
      box.run({"--diagnostics", "json", export_of("bert-tiny") + "/model.onnx", "--kv-cache", "8", "-o", "x"});
  CHECK(r.code == 65);
  const auto object = llvm::cantFail(llvm::json::parse(r.err));
  CHECK(schema_of("error").fault(object, "error") == "");
  CHECK(object.getAsObject()->getString("node") == "/m/bert/encoder/layer.1/attention/self/Softmax");
  CHECK(object.getAsObject()->getString("module") == "m.bert.encoder.layer.1.attention.self");
}

TEST_CASE("what the system refuses a run carries its code") {
  const Sandbox box;
  const auto code_of = [](const Result& r) {
    auto object = llvm::json::parse(r.err);
    if (!object) return llvm::consumeError(object.takeError()), std::string();
    return object->getAsObject()->getString("code").value_or("").str();
  };
  CHECK(code_of(box.run({"--diagnostics", "json", "ops"}, {.in_child = [] { ::close(1); }})) == "cannot-write/stdout");
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // they reserve more than any limit
  // Of limits that grow, the first ones do not even let the program start.
  std::string code;
  for (rlim_t megabytes = 32; megabytes <= 256 && code.empty(); megabytes += 4) {
    const rlimit little{megabytes << 20, megabytes << 20};
    code = code_of(box.run(split("--diagnostics json build opt-175b --no-weights -o m.onnx"),
                           {.in_child = [&] { ::setrlimit(RLIMIT_AS, &little); }}));
  }
  CHECK(code == "internal/out-of-memory");
#endif
}
