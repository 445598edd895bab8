#include "frontend/ir/diagnostic.h"

#include <doctest/doctest.h>

#include <optional>

#include "frontend/ir/builder.h"
#include "frontend/ir/diagnostic_json.h"
#include "frontend/ir/op.h"
#include "llvm/Support/FormatVariadic.h"

namespace optp {
namespace {
std::string text(llvm::json::Value value) { return llvm::formatv("{0}", value); }
std::string object_of(const Diagnostic& d) { return text(error_object(d, int(d.fault()))); }
Diagnostic diagnostic(llvm::Error e) { return take_diagnostic(std::move(e)); }

struct Row {
  Diagnostic error;
  std::string message, parts;  // parts: the members beside severity, code, exit and message
};
std::vector<Row> rows() {
  return {
      {error(Code::dtype_mismatch)
           .in_file("opt-125m.onnx")
           .at({.kind = Place::Kind::node, .name = "/fc1/MatMul", .noun = "node", .detail = "MatMul"})
           .at(joined(", ", tensor_place("operand 1", "onnx::MatMul_363")))
           .what("dtype")
           .expected("float32 as operand 0")
           .found("string"),
       "opt-125m.onnx: node '/fc1/MatMul' (MatMul), operand 1 'onnx::MatMul_363': dtype: expected float32 as operand "
       "0, found string",
       R"("expected":"float32 as operand 0","file":"opt-125m.onnx","found":"string","node":"/fc1/MatMul","op":"MatMul","tensor":"onnx::MatMul_363")"},
      {error(Code::shape_mismatch).tensor("input", "mask").dim_of(1, "sequence").expected(4).found(5),
       "input 'mask', dim 1 (sequence): expected 4, found 5",
       R"("dim":"sequence","expected":"4","found":"5","tensor":"mask")"},
      // names hold what looks like a message
      {error(Code::undefined)
           .at({.kind = Place::Kind::node, .name = "a: dtype: expected x, found y", .noun = "node", .detail = "Add"})
           .tensor("operand", "twice")
           .says("is defined nowhere"),
       "node 'a: dtype: expected x, found y' (Add): operand 'twice' is defined nowhere",
       R"("node":"a: dtype: expected x, found y","op":"Add","tensor":"twice")"},
      // parts within words
      {error(Code::unknown_operator, "2 unknown operators: node 'f' (Foo)").about({.node = "f", .op = "Foo"}),
       "2 unknown operators: node 'f' (Foo)", R"("node":"f","op":"Foo")"},
      {error(Code::bad_value).in_file("shardings.txt", 3).expected("PATTERN SHARDING").found(quoted("x")),
       "shardings.txt:3: expected PATTERN SHARDING, found 'x'",
       R"("expected":"PATTERN SHARDING","file":"shardings.txt","found":"'x'","line":3)"},
      {error(Code::bad_value).flag("--strategy", quoted("best")).expected("megatron or origin"),
       "--strategy 'best': expected megatron or origin", R"("expected":"megatron or origin","flag":"--strategy")"},
      {error(Code::unknown_flag, "unknown flag '--devise'").about({.flag = "--devise"}).did_you_mean("--devices"),
       "unknown flag '--devise'; did you mean --devices?", R"("flag":"--devise","suggestion":"--devices")"},
      {error(Code::file_not_found).at(quoted_file_place("")).what("no such file"), "'': no such file", ""},
      {error(Code::is_an_input).in_file("out").what("the folder holds an input").hint("choose another folder"),
       "out: the folder holds an input; choose another folder", R"("file":"out","hint":"choose another folder")"},
      {error(Code::dim_without_value).dim("batch").says("has no value"), "dim 'batch' has no value",
       R"("dim":"batch")"},
      {error(Code::bug, "anything"), "anything", ""},
      // of two, the outermost; a place before what stands in words
      {error(Code::hash_mismatch)
           .in_file("model.onnx")
           .tensor("initializer", "w")
           .in_file("model.onnx.data", 7)
           .about({.file = "x", .tensor = "y", .dim = "z"}),
       "model.onnx: initializer 'w': model.onnx.data:7", R"("dim":"z","file":"model.onnx","tensor":"w")"},
      // what the model's source calls a place: said where the name does not tell it
      {error(Code::shape_mismatch)
           .at({.kind = Place::Kind::node, .name = "node_MatMul_12", .noun = "node", .detail = "MatMul"})
           .at(joined(", ", tensor_place("operand 1", "val_36")))
           .name_sources([](const Place& p) { return p.name == "val_36" ? "l.0.fc1.weight" : "l.0.fc1"; }),
       "node 'node_MatMul_12' (MatMul of l.0.fc1), operand 1 'val_36' (l.0.fc1.weight)",
       R"("model_name":"l.0.fc1.weight","module":"l.0.fc1","node":"node_MatMul_12","op":"MatMul","tensor":"val_36")"},
      {error(Code::shape_mismatch)
           .at({.kind = Place::Kind::node, .name = "/l.0/fc1/MatMul", .noun = "node", .detail = "MatMul"})
           .about({.tensor = "w"})
           .name_sources([](const Place& p) { return p.name == "w" ? "\x1b" : "l.0.fc1"; }),
       "node '/l.0/fc1/MatMul' (MatMul)",
       R"("model_name":"\\x1b","module":"l.0.fc1","node":"/l.0/fc1/MatMul","op":"MatMul","tensor":"w")"},
      // what steers a terminal, in every part
      {error(Code::bad_value).in_file("a\nb").tensor("input", "\x1b[31m").expected("\xff").found("\t").hint("\r"),
       R"(a\x0ab: input '\x1b[31m': expected \xff, found \x09; \x0d)",
       R"("expected":"\\xff","file":"a\\x0ab","found":"\\x09","hint":"\\x0d","tensor":"\\x1b[31m")"},
  };
}
}  // namespace

TEST_CASE("the sentence and the JSON object are printed from the parts") {
  for (const Row& row : rows()) {
    CAPTURE(row.message);
    CHECK(row.error.message() == row.message);
    llvm::json::Object found = error_object(row.error, 3);
    CHECK(found.getString("message") == llvm::StringRef(row.message));
    CHECK(found.getString("code") == llvm::StringRef(row_of(row.error.code()).name));
    CHECK(found.getString("severity") == llvm::StringRef("error"));
    CHECK(found.getInteger("exit") == 3);
    for (const char* always : {"message", "code", "severity", "exit"}) found.erase(always);
    CHECK(text(std::move(found)) == "{" + row.parts + "}");
  }
}

TEST_CASE("written as JSON and read back, an error is the same") {
  for (const Row& row : rows()) {
    CAPTURE(row.message);
    const std::string written = text(write_diagnostic(row.error));
    const auto back = read_diagnostic(llvm::cantFail(llvm::json::parse(written)));
    REQUIRE(back.has_value());
    CHECK(back->message() == row.message);
    CHECK(object_of(*back) == object_of(row.error));
    CHECK(text(write_diagnostic(*back)) == written);
  }
  for (const char* other :
       {"3", "{}", R"({"code":"bad-input/cycle"})", R"({"code":"none","places":[],"about":{},"sentence":{}})",
        R"({"code":"bad-input/cycle","places":[{"kind":"moon"}],"about":{},"sentence":{}})"})
    CHECK(!read_diagnostic(llvm::cantFail(llvm::json::parse(other))));
}

TEST_CASE("an outer place is put before those that are there, around each of several errors") {
  llvm::Error two = llvm::joinErrors(error(Code::cycle).tensor("input", "a"), error(Code::undefined).in_file("b.npy"));
  std::vector<std::string> messages, files;
  llvm::handleAllErrors(within(file_place("m.onnx"), std::move(two)),
                        [&](const Diagnostic& d) { messages.push_back(d.message()), files.push_back(d.parts().file); });
  CHECK(messages == std::vector<std::string>{"m.onnx: input 'a'", "m.onnx: b.npy"});
  CHECK(files == std::vector<std::string>{"m.onnx", "m.onnx"});
  const Diagnostic foreign =
      diagnostic(within(words("rank 1"), llvm::createStringError(llvm::inconvertibleErrorCode(), "odd")));
  CHECK(foreign.code() == Code::bug);
  CHECK(foreign.message() == "rank 1: odd");
}

TEST_CASE("an error is what a function of any Expected returns") {
  const auto fails = [](bool fail) -> llvm::Expected<llvm::json::Value> {
    if (fail) return error(Code::bug, "x");
    return llvm::json::Value(3);
  };
  CHECK(diagnostic(fails(true).takeError()).code() == Code::bug);
  CHECK(bool(fails(false)));
}

TEST_CASE("an op's error names node, operator, operand, expected and found") {
  Graph graph;
  Builder build(graph);
  Value& x = graph.add_input("x", {DType::f32, {Dim(2), Dim(3)}});
  Value& y = graph.add_input("y", {DType::i64, {Dim(2), Dim(3)}});
  build.at("sum", "Add");
  const Diagnostic d = diagnostic(build.create("add", {&x, &y}, {}, "z").takeError());
  CHECK(
      object_of(d) ==
      R"({"code":"bad-input/dtype-mismatch","exit":65,"expected":"float32 as operand 0 'x'","found":"int64","message":"node 'sum' (Add), operand 1 'y': dtype: expected float32 as operand 0 'x', found int64","node":"sum","op":"Add","severity":"error","tensor":"y"})");
}

TEST_CASE("each code has a name of its own, beginning with its kind") {
  const std::pair<Fault, const char*> kinds[] = {
      {Fault::check_failed, "check-failed"}, {Fault::usage, "usage"},
      {Fault::bad_input, "bad-input"},       {Fault::not_found, "not-found"},
      {Fault::internal, "internal"},         {Fault::cannot_write, "cannot-write"},
      {Fault::rank_failed, "rank-failed"},   {Fault::interrupted, "interrupted"}};
  for (const ErrorCode& row : error_codes()) {
    CAPTURE(row.name);
    CHECK(find_error_code(row.name) == &row);
    CHECK(&row_of(row.code) == &row);
    const auto* kind = llvm::find_if(kinds, [&](const auto& k) { return k.first == row.fault; });
    REQUIRE(kind != std::end(kinds));
    CHECK(llvm::StringRef(row.name).starts_with(kind->second + std::string("/")));
  }
  CHECK(!find_error_code("bad-input"));
}

TEST_CASE("a quoted name cannot steer a terminal, and is UTF-8 whatever it was") {
  const std::pair<const char*, const char*> rows[] = {
      {"layers.0/fc1", "'layers.0/fc1'"},
      {"größe 模型 🙂", "'größe 模型 🙂'"},
      {"\x1b[31m", R"('\x1b[31m')"},
      {"a\nb\r\t\x7f", R"('a\x0ab\x0d\x09\x7f')"},
      {"\xc2\x9b"
       "31m",
       R"('\u009b31m')"},           // C1: CSI in one character
      {"\xc2\x85", R"('\u0085')"},  // next line
      {"\x9b"
       "31m",
       R"('\x9b31m')"},  // CSI in Latin-1: not UTF-8
      {"\xe2\x80\xae"
       "cba",
       R"('\u202ecba')"},                             // written from right to left
      {"\xe2\x80\xa8", R"('\u2028')"},                // line separator
      {"\xc0\xaf", R"('\xc0\xaf')"},                  // overlong
      {"\xed\xa0\x80", R"('\xed\xa0\x80')"},          // a surrogate
      {"\xf4\x90\x80\x80", R"('\xf4\x90\x80\x80')"},  // beyond U+10FFFF
      {"\xe6\xa8", R"('\xe6\xa8')"},                  // cut off
  };
  for (const auto& [name, expected] : rows) CHECK(quoted(name) == expected);
  CHECK(quoted(llvm::StringRef("a\0b", 3)) == R"('a\x00b')");
}

TEST_CASE("a name is cut at 200 bytes, not within a character") {
  CHECK(quoted(std::string(200, 'x')) == "'" + std::string(200, 'x') + "'");
  CHECK(quoted(std::string(201, 'x')) == "'" + std::string(200, 'x') + "…'");
  CHECK(quoted(std::string(199, 'x') + "模") == "'" + std::string(199, 'x') + "…'");
}
}  // namespace optp
