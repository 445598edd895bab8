// Files that are no model, and models whose head is wrong.
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "tests/frontend/onnx/model_file.h"

using namespace optp;

TEST_CASE("a small model is imported: what the bad ones are made from") {
  auto graph = accept("small model", small_model());
  REQUIRE(graph);
  CHECK(graph->size() == 2);
  CHECK(graph->outputs[0].name == "y");
}

TEST_CASE("no file of another kind passes for a model") {
  const std::string zeros(64, '\0');
  refuse_bytes("empty", "", {"empty"});
  for (int byte = 0; byte < 256; ++byte) refuse_bytes("one byte " + std::to_string(byte), std::string(1, char(byte)));
  for (const std::string& text :
       {std::string("{\"graph\": {\"node\": []}}"), std::string("<html><body>404</body></html>"),
        std::string("PK\x03\x04\x14\x00\x00\x00\x08\x00", 10) + zeros,
        std::string("\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00", 11) + "}q\x01.",
        std::string("\x40\x00\x00\x00\x00\x00\x00\x00", 8) +
            "{\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
        "\x93NUMPY" + std::string("\x01\x00v\x00", 4) + "{'descr': '<f4'}",
        std::string("ir_version: 8\ngraph { name: \"g\" }\n"),
        std::string("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"), zeros,
        std::string(4096, '\xff'), std::string("\n\n\n\n"), std::string("\x1b[2J\x1b[31m")})
    refuse_bytes("text " + text.substr(0, 6), text);
}

TEST_CASE("a model cut short is refused, wherever it is cut") {
  const std::string whole = small_model().SerializeAsString();
  for (size_t k = 1; k < whole.size(); ++k) refuse_bytes("cut at " + std::to_string(k), whole.substr(0, k));
}

TEST_CASE("wire format that is no protocol buffer is refused") {
  const std::string good = small_model().SerializeAsString();
  refuse_bytes("length 2^63", "\x3a" + std::string(9, '\x80') + "\x01" + good);
  refuse_bytes("length 2^31", std::string("\x3a\x80\x80\x80\x80\x08", 6) + good);
  refuse_bytes("over-long varint", "\x08" + std::string(11, '\xff') + "\x01");
  refuse_bytes("wire type 6", good + "\x66zzzz");
  refuse_bytes("wire type 7", good + "\x67zzzz");
  refuse_bytes("field number 0", good + std::string("\x02\x01z", 3));
  refuse_bytes("end of a group that never began", good + "\x7c");
  refuse_bytes("group bomb", std::string(100000, '\x7b'));
  refuse_bytes("group bomb behind a model", good + std::string(1000000, '\x7b'));
  for (const std::string& rest :
       {std::string("garbage"), std::string(1, '\0'), std::string("\xff"), std::string(1024, '\0')})
    refuse_bytes("trailing garbage", good + rest);
}

TEST_CASE("messages nested too deep are refused without recursion to the end of the stack") {
  for (int depth : {60, 101, 1000, 5000}) {
    auto m = small_model();
    onnx::TypeProto* type = m.mutable_graph()->mutable_input(0)->mutable_type();
    for (int k = 0; k < depth; ++k) type = type->mutable_sequence_type()->mutable_elem_type();
    type->mutable_tensor_type()->set_elem_type(1);
    refuse("types nested " + std::to_string(depth), m);
  }
  for (int depth : {1, 2, 33, 65, 1000}) {
    auto m = small_model();
    onnx::GraphProto* g = m.mutable_graph();
    for (int k = 0; k < depth; ++k) {
      auto& n = *g->add_node();
      n.set_op_type("If");
      n.set_name("if_" + std::to_string(k));
      n.add_input("x");
      n.add_output("z" + std::to_string(k));
      g = attribute(n, "then_branch", onnx::AttributeProto::GRAPH).mutable_g();
    }
    refuse("If nested " + std::to_string(depth), m, depth < 30 ? Names{"'if_0' (If)"} : Names{});
  }
}

TEST_CASE("what is no regular file is refused and does not block") {
  const ScratchFolder folder;
  refuse_file("folder", folder.path);
  REQUIRE(::mkfifo((folder / "fifo").c_str(), 0600) == 0);
  refuse_file("FIFO", folder / "fifo");
  refuse_file("/dev/zero", "/dev/zero");
  refuse_file("/dev/null", "/dev/null");
  const int s = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  (folder / "socket").copy(address.sun_path, sizeof address.sun_path - 1);
  REQUIRE(::bind(s, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  refuse_file("socket", folder / "socket");
  ::close(s);
  folder.link("loop", "loop");
  refuse_file("link to itself", folder / "loop");
  refuse_file("missing", folder / "none.onnx", {}, Fault::not_found);
  refuse_file("missing folder", folder / "none/none.onnx", {}, Fault::not_found);
  folder.link("none", "dangling");
  refuse_file("dangling link", folder / "dangling", {}, Fault::not_found);
  refuse_file("no name", "", {"''"}, Fault::not_found);
}

TEST_CASE("files around 2 GiB are refused by their size, or as no model") {
  const ScratchFolder folder;
  for (int64_t size : {(int64_t{1} << 31) - 1, int64_t{1} << 31, (int64_t{1} << 31) + 1, int64_t{1} << 40})
    for (const std::string& head : {std::string(), small_model().SerializeAsString()}) {
      const std::string path = folder.put("large.onnx", head);
      REQUIRE(::truncate(path.c_str(), size) == 0);
      refuse_file(std::to_string(size) + " bytes", path);
    }
}

TEST_CASE("names may hold anything: messages stay one printable line") {
  const Names names = {std::string("a\nb"),
                       std::string("a\0b", 3),
                       std::string("\x1b[2J\x1b]0;owned\x07"),
                       std::string("\xff\xfe\x80"),
                       std::string(1 << 20, 'n'),
                       std::string(1 << 20, '\n'),
                       "'",
                       "%s%n",
                       std::string("\r\t\v\x7f")};
  for (const std::string& name : names) {
    auto m = small_model();
    add_node(m, "Strange", name, {"x"}, {"z"});
    refuse("node name", m, {"Strange"});
    m = small_model();
    add_node(m, name, "odd", {"x"}, {"z"});
    refuse("operator", m, {"'odd'"});
    m = small_model();
    add_node(m, "Relu", "odd", {"x"}, {"z"}).set_domain(name);
    refuse("domain", m, {"'odd' (Relu)"});
    m = small_model();
    add_node(m, "Relu", "odd", {name}, {"z"});
    refuse("operand", m, {"'odd' (Relu)", "operand"});
    m = small_model();
    add_floats(m, name, {2}).set_raw_data("x");
    refuse("initializer", m, {"initializer"});
    m = small_model();
    set(first_node(m), name, int64_t{1});
    set(first_node(m), name, int64_t{1});
    refuse("attribute", m, {"'product'", "attribute"});
    m = small_model();
    add_node(m, "Add", name, {"x", "w"}, {"z"});
    refuse("a node of the wrong shape", m, {"(Add)"});
    m = small_model();
    m.set_producer_name(name);
    m.set_doc_string(name);
    m.mutable_graph()->set_doc_string(name);
    accept("documentation", m);
  }
  const ScratchFolder folder;
  const std::string path = folder.put("a\nb.onnx", "");
  auto graph = import_onnx(path);
  REQUIRE(!graph);
  CHECK(has(llvm::toString(graph.takeError()), "a\\x0ab.onnx"));
}

TEST_CASE("two graphs in one file are not merged into one") {
  const std::string good = small_model().SerializeAsString();
  refuse_bytes("a model twice", good + good, {"more than one graph"});
  auto other = onnx::ModelProto();
  add_node(other, "Relu", "extra", {"y"}, {"z"});
  refuse_bytes("a second graph", good + other.SerializeAsString(), {"more than one graph"});
}

TEST_CASE("heads that say nothing or nonsense are refused") {
  auto opset = [](onnx::ModelProto& m, const std::string& domain, int64_t version) {
    auto& set = *m.add_opset_import();
    set.set_domain(domain);
    set.set_version(version);
  };
  std::vector<BadCase> cases = {
      {"no ir_version", [](auto& m) { m.clear_ir_version(); }, {"ir_version"}},
      {"no opset", [](auto& m) { m.clear_opset_import(); }, {"opset_import"}},
      {"no version in the opset", [](auto& m) { m.mutable_opset_import(0)->clear_version(); }, {"opset_import"}},
      {"a domain twice", [=](auto& m) { opset(m, "", 18); }, {"opset_import"}},
      {"a domain twice under both names", [=](auto& m) { opset(m, "ai.onnx", 18); }, {"opset_import"}},
      {"another domain's version", [=](auto& m) { opset(m, "com.microsoft", -1); }, {"'com.microsoft'"}},
      {"no graph", [](auto& m) { m.clear_graph(); }, {"graph"}},
      {"an empty graph", [](auto& m) { *m.mutable_graph() = onnx::GraphProto(); }, {"graph"}},
      {"a domain that is not imported",
       [](auto& m) { add_node(m, "Gelu", "act2", {"y"}, {"z"}).set_domain("com.microsoft"); },
       {"'act2' (Gelu)", "com.microsoft"}},
      {"another version of a domain we know",
       [=](auto& m) {
         opset(m, "com.microsoft", 2), add_node(m, "Gelu", "act2", {"y"}, {"z"}).set_domain("com.microsoft");
       },
       {"'act2' (Gelu)", "'com.microsoft'", "version: expected 1, found 2"}},
      {"an earlier version of our own domain",
       [=](auto& m) {
         opset(m, "opt_partition", 1), add_node(m, "AllReduce", "sum", {"y"}, {"z"}).set_domain("opt_partition");
       },
       {"'sum' (AllReduce)", "'opt_partition'", "version: expected 2, found 1"}},
      {"an unknown domain",
       [=](auto& m) { opset(m, "my.own", 1), add_node(m, "Relu", "act2", {"y"}, {"z"}).set_domain("my.own"); },
       {"'act2' (Relu)", "my.own"}},
  };
  for (int64_t version : {int64_t{-1}, int64_t{0}, int64_t{2}, int64_t{1} << 31, INT64_MIN, INT64_MAX})
    cases.push_back({"ir_version", [=](auto& m) { m.set_ir_version(version); }, {"ir_version"}});
  for (int64_t version : {int64_t{-1}, int64_t{0}, int64_t{1}, int64_t{10}, int64_t{29}, int64_t{999}, int64_t{1} << 31,
                          int64_t{1} << 40, INT64_MIN})
    cases.push_back({"opset", [=](auto& m) { m.mutable_opset_import(0)->set_version(version); }, {"opset"}});
  refuse_each(small_model(), cases);
}

TEST_CASE("heads that only say more than is needed are accepted") {
  auto m = small_model();
  m.mutable_graph()->clear_name();
  for (const char* value : {"a", "b"}) {
    auto& p = *m.add_metadata_props();
    p.set_key("key");
    p.set_value(value);
  }
  accept("no graph name, a key twice", m);
  m = small_model();
  m.add_training_info()->mutable_algorithm()->set_name("sgd");
  auto graph = accept("training_info", m);
  REQUIRE(graph);
  CHECK(std::any_of(graph->remarks.begin(), graph->remarks.end(),
                    [](const Remark& r) { return has(r.text, "training_info"); }));
}

TEST_CASE("model-local functions that are malformed, call themselves or grow without bound are refused") {
  auto function = [](onnx::ModelProto& m, const std::string& domain, const std::string& name, const Names& calls) {
    auto& f = *m.add_functions();
    f.set_domain(domain);
    f.set_name(name);
    f.add_input("a");
    f.add_output("b");
    for (const auto& callee : calls) {
      auto& n = *f.add_node();
      n.set_op_type(callee);
      n.set_domain(domain);
      n.add_input("a");
      n.add_output("b");
    }
  };
  auto caller = [](onnx::ModelProto& m, const std::string& callee) {
    auto& set = *m.add_opset_import();
    set.set_domain("f");
    set.set_version(1);
    add_node(m, callee, "caller", {"y"}, {"z"}).set_domain("f");
  };
  const Names place = {"'caller'", "function"};
  refuse_each(
      small_model(),
      {
          {"a function without nodes", [=](auto& m) { function(m, "f", "g", {}), caller(m, "g"); }, place},
          {"a call of itself", [=](auto& m) { function(m, "f", "g", {"g"}), caller(m, "g"); }, place},
          {"A -> B -> A", [=](auto& m) { function(m, "f", "a", {"b"}), function(m, "f", "b", {"a"}), caller(m, "a"); },
           place},
          {"defined twice", [=](auto& m) { function(m, "f", "g", {}), function(m, "f", "g", {}); }, {"'g'"}},
          {"in place of MatMul", [=](auto& m) { function(m, "", "MatMul", {}); }, {"'product' (MatMul)", "function"}},
          {"in place of MatMul, long domain",
           [=](auto& m) { function(m, "ai.onnx", "MatMul", {}); },
           {"'product' (MatMul)", "function"}},
          {"10,001 functions",
           [=](auto& m) {
             for (int k = 0; k < 10001; ++k) function(m, "f", "g" + std::to_string(k), {});
           },
           {"functions"}},
          {"two calls a level, 40 levels",
           [=](auto& m) {
             for (int k = 0; k < 40; ++k)
               function(m, "f", "g" + std::to_string(k), {"g" + std::to_string(k + 1), "g" + std::to_string(k + 1)});
             caller(m, "g0");
           },
           place},
          {"a chain of 101",
           [=](auto& m) {
             for (int k = 0; k < 101; ++k) function(m, "f", "g" + std::to_string(k), {"g" + std::to_string(k + 1)});
             caller(m, "g0");
           },
           {"'caller'", "function", "deep"}},
          {"two calls a level, 40 levels, each well formed",
           [=](auto& m) {
             for (int k = 0; k < 40; ++k) {
               function(m, "f", "g" + std::to_string(k), {k < 39 ? "g" + std::to_string(k + 1) : "Relu"});
               auto& f = *m.mutable_functions(k);
               auto& again = *f.add_node();
               again = f.node(0);
               again.set_output(0, "unused");
             }
             caller(m, "g0");
           },
           {"'caller'", "nodes"}},
      });
  auto m = small_model();
  function(m, "f", "unused", {});
  accept("a function that nobody calls", m);
}
