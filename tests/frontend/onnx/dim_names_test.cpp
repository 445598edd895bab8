// Names of extents: expressions as exporters write them, everything else a name that stays as it is, also through a
// rank's file.
#include <set>

#include "frontend/onnx/export.h"
#include "tests/frontend/onnx/model_file.h"

using namespace optp;

namespace {
onnx::ModelProto model_of(const Names& names, const std::string& producer = "") {
  auto m = empty_model();
  m.set_producer_name(producer);
  for (size_t k = 0; k < names.size(); ++k) {
    const std::string x = "x" + std::to_string(k), y = "y" + std::to_string(k);
    add_input(m, x, onnx::TensorProto::FLOAT, {-1, 3})
        .mutable_type()
        ->mutable_tensor_type()
        ->mutable_shape()
        ->mutable_dim(0)
        ->set_dim_param(names[k]);
    add_node(m, "Relu", "", {x}, {y});
    m.mutable_graph()->add_output()->set_name(y);
  }
  return m;
}
Dim read(const std::string& text) {
  auto graph = accept("dim_param " + text.substr(0, 40), model_of({text}));
  return graph ? graph->inputs[0]->type.dims[0] : Dim(0);
}
Dim parsed(const char* text) { return llvm::cantFail(parse_dim(text)); }
}  // namespace

TEST_CASE("expressions have blanks around + and -, as both PyTorch exporters and sympy print them") {
  for (auto [text, dim] : std::initializer_list<std::pair<const char*, const char*>>{
           {"past_sequence_length + 1", "past_sequence_length + 1"},
           {"past + sequence", "past + sequence"},
           {"s0 + s1", "s0 + s1"},
           {"2*s0", "2*s0"},
           {"2 * s0", "2*s0"},
           {"s0//2", "floor(s0, 2)"},
           {"s0 // 2", "floor(s0, 2)"},
           {"s0 / 2", "floor(s0, 2)"},
           {"(s0 + 1)//2", "floor(s0 + 1, 2)"},
           {"-s0 + 5", "5 - s0"},
           {"s0 - 1", "s0 - 1"},
           {"Max(1, s0)", "max(1, s0)"},
           {"batch*heads", "batch*heads"},
           {"batch-size + 1", "batch-size + 1"},
           {"max(s0 - 1, -s1)", "max(s0 - 1, -s1)"}})
    CHECK_MESSAGE(read(text) == parsed(dim), text);
}

TEST_CASE("all else is a name, whatever it looks like") {
  for (const char* text : {"batch-size", "seq-len", "batch size",
                           "N/A",        "batch/2", "a+b",
                           "s0-1",       "s0+1",    "a- b",
                           "a -b",       "-1",      "12",
                           "?",          "None",    "unk__7",
                           "<batch>",    "[batch]", "batch, sequence",
                           "batch=2",    "'batch'", "part(768, tensor)",
                           "floor(n)",   "naïve",   "バッチ",
                           "a + ",       "1st",     "max",
                           "\"q\"",      "a\\b",    "a:b",
                           "%s"}) {
    CAPTURE(text);
    const Dim d = read(text);
    CHECK(symbols_of(d).size() == 1);
    CHECK(d == Dim::symbol(text));
    CHECK(parsed(d.text().c_str()) == d);
  }
  CHECK(read("batch-size").text() == "batch-size");
  CHECK(read("batch size").text() == "'batch size'");
}

TEST_CASE("two names are never one, and an extent without a name has one that no other has") {
  const std::string longest(300, 'n');
  const Names names = {"batch-size", "batch_size", "batch size", "batch.size", "batch/size", "size",  "batch",
                       "12",         "dim_12",     "'batch'",    "x11.0",      "",           longest, longest + "a",
                       "\xff",       "\xfe",       "\\xff",      "-1",         "_1"};
  auto graph = accept("many names", model_of(names));
  REQUIRE(graph);
  std::set<std::string> texts;
  for (const Value* v : graph->inputs) {
    CHECK(symbols_of(v->type.dims[0]).size() == 1);
    texts.insert(v->type.dims[0].text());
  }
  CHECK(texts.size() == names.size());
}

TEST_CASE("a rank's file gives every extent back as it was") {
  const ScratchFolder folder;
  for (const char* text :
       {"batch-size", "batch size", "N/A", "a+b", "12", "-1", "'batch'", "part(768, tensor)", "past + sequence", "2*s0",
        "s0//2", "-s0 + 5", "max(s0, s1-2)", "a\\b", "it's", "\x01", "naïve"}) {
    CAPTURE(text);
    const Dim d = read(text);
    auto graph = accept("a name", model_of({text}));
    REQUIRE(graph);
    auto bytes = model_bytes(*graph, {.metadata = {{"rank", "0"}}});
    REQUIRE(bool(bytes));
    auto again = accept_file("its rank file", folder.put("rank.onnx", *bytes));
    REQUIRE(again);
    CHECK(again->inputs[0]->type.dims[0] == d);
  }
  // What stands alone and can't be misread is written as the user's file has it.
  for (const char* text : {"batch-size", "batch size", "?", "<batch>"}) {
    CAPTURE(text);
    auto graph = accept("a name", model_of({text}));
    REQUIRE(graph);
    onnx::ModelProto written;
    REQUIRE(written.ParseFromString(*model_bytes(*graph)));
    const std::string& param = written.graph().input(0).type().tensor_type().shape().dim(0).dim_param();
    CHECK(param == text);
  }
}
