// Weights whose bytes are not what their head says, and data in other files: where they may lie, and what part is
// theirs.
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cmath>
#include <limits>

#include "tests/frontend/onnx/model_file.h"

using namespace optp;

namespace {
using T = onnx::TensorProto;
using Edit = std::function<void(T&)>;

T& weight(onnx::ModelProto& m) { return *m.mutable_graph()->mutable_initializer(0); }
onnx::ModelProto with_weight(const Edit& edit) {
  auto m = small_model();
  edit(weight(m));
  return m;
}
// A weight of no use to anyone, of any type and dims.
onnx::ModelProto with_extra(int dtype, const Numbers& dims, const Edit& edit) {
  auto m = small_model();
  auto& t = *m.mutable_graph()->add_initializer();
  t.set_name("extra");
  t.set_data_type(dtype);
  for (int64_t d : dims) t.add_dims(d);
  edit(t);
  return m;
}
void entry(T& t, const std::string& key, const std::string& value) {
  auto& e = *t.add_external_data();
  e.set_key(key);
  e.set_value(value);
}
using Entries = std::vector<std::pair<std::string, std::string>>;
onnx::ModelProto external(const Entries& entries) {
  return with_weight([&](T& t) {
    t.clear_raw_data();
    t.set_data_location(T::EXTERNAL);
    for (const auto& [key, value] : entries) entry(t, key, value);
  });
}
onnx::ModelProto at(const std::string& location) { return external({{"location", location}}); }

struct DataFolder : ScratchFolder {
  std::string model(const onnx::ModelProto& m) const { return put("model.onnx", m.SerializeAsString()); }
  void refuse(const std::string& what, const onnx::ModelProto& m, const Names& places = {"initializer 'w'"}) const {
    refuse_file(what, model(m), places);
  }
  std::unique_ptr<Graph> accept(const std::string& what, const onnx::ModelProto& m) const {
    return accept_file(what, model(m));
  }
};
const std::string data_48 = [] {
  std::string s;
  for (int k = 0; k < 48; ++k) s += char(k);
  return s;
}();
const Tensor& tensor_of(const Graph& g) { return *g.find("w")->data; }
}  // namespace

TEST_CASE("payloads that are not what dims and dtype say are refused") {
  for (size_t bytes : {0, 1, 2, 4, 47, 49, 52, 96, 4096})
    refuse("raw bytes " + std::to_string(bytes), with_weight([=](T& t) { t.set_raw_data(std::string(bytes, 'x')); }),
           {"initializer 'w'", "48", std::to_string(bytes)});
  const Names place = {"initializer 'w'"};
  for (const auto& [what, edit] : std::vector<std::pair<const char*, Edit>>{
           {"no data", [](T& t) { t.clear_raw_data(); }},
           {"two fields", [](T& t) { t.add_float_data(1); }},
           {"too few numbers", [](T& t) { t.clear_raw_data(), t.add_float_data(1); }},
           {"too many numbers",
            [](T& t) {
              t.clear_raw_data();
              for (int k = 0; k < 13; ++k) t.add_float_data(1);
            }},
           {"another field",
            [](T& t) {
              t.clear_raw_data();
              for (int k = 0; k < 12; ++k) t.add_double_data(1);
            }},
           {"strings",
            [](T& t) {
              t.clear_raw_data();
              for (int k = 0; k < 12; ++k) t.add_string_data("x");
            }},
           {"a segment", [](T& t) { t.mutable_segment()->set_begin(0); }},
           {"a negative extent", [](T& t) { t.set_dims(0, -3); }},
           {"the least extent", [](T& t) { t.set_dims(0, INT64_MIN); }},
           {"two negative extents", [](T& t) { t.set_dims(0, -3), t.set_dims(1, -4); }},
           {"2^62", [](T& t) { t.set_dims(0, int64_t{1} << 62); }},
           {"2^32 · 2^32", [](T& t) { t.set_dims(0, int64_t{1} << 32), t.set_dims(1, int64_t{1} << 32); }},
           {"2^62 · 4 bytes", [](T& t) { t.clear_dims(), t.add_dims(int64_t{1} << 62); }},
           {"2^40 · 2^40 · 0",
            [](T& t) {
              t.set_dims(0, int64_t{1} << 40), t.set_dims(1, int64_t{1} << 40), t.add_dims(0), t.clear_raw_data();
            }},
           {"0 · 2^40 · 2^40",
            [](T& t) {
              t.clear_dims(), t.add_dims(0), t.add_dims(int64_t{1} << 40), t.add_dims(int64_t{1} << 40),
                  t.clear_raw_data();
            }},
           {"65 dims",
            [](T& t) {
              t.clear_dims();
              for (int k = 0; k < 65; ++k) t.add_dims(1);
              t.set_raw_data("abcd");
            }},
           {"a million dims",
            [](T& t) {
              t.clear_dims();
              for (int k = 0; k < 1000000; ++k) t.add_dims(1);
              t.set_raw_data("abcd");
            }},
           {"raw data and external", [](T& t) { t.set_data_location(T::EXTERNAL), entry(t, "location", "w.bin"); }},
           {"external data that is not", [](T& t) { entry(t, "location", "w.bin"); }},
           {"nothing but a name", [](T& t) { t = T(), t.set_name("w"); }},
       })
    refuse(what, with_weight(edit), place);
  for (int dtype : {-1, 0, 14, 15, 17, 18, 19, 20, 21, 22, 23, 24, 255, 256, 257, 999, INT32_MAX, INT32_MIN})
    refuse("dtype " + std::to_string(dtype), with_weight([=](T& t) { t.set_data_type(dtype); }),
           {"initializer 'w'", "dtype", std::to_string(dtype)});
}

TEST_CASE("numbers that do not fit their type, and data of empty or string tensors, are refused") {
  const Names place = {"initializer 'extra'"};
  const auto int32s = [](std::vector<int32_t> values) {
    return [=](T& t) {
      for (int32_t v : values) t.add_int32_data(v);
    };
  };
  for (auto [dtype, value] : std::vector<std::pair<int, int32_t>>{{T::FLOAT16, 65536},
                                                                  {T::FLOAT16, -1},
                                                                  {T::BFLOAT16, 1 << 20},
                                                                  {T::UINT8, 256},
                                                                  {T::UINT8, -1},
                                                                  {T::INT8, 128},
                                                                  {T::INT8, -129},
                                                                  {T::UINT16, 65536},
                                                                  {T::INT16, 32768},
                                                                  {T::BOOL, 256},
                                                                  {T::BOOL, -1}})
    refuse("int32_data " + std::to_string(value), with_extra(dtype, {1}, int32s({value})), place);
  refuse("uint64_data of uint32", with_extra(T::UINT32, {1}, [](T& t) { t.add_uint64_data(uint64_t{1} << 32); }),
         place);
  refuse("an odd byte of float16", with_extra(T::FLOAT16, {1}, [](T& t) { t.set_raw_data("x"); }), place);
  refuse("an empty tensor with raw data", with_extra(T::FLOAT, {0}, [](T& t) { t.set_raw_data("abcd"); }), place);
  refuse("an empty tensor with a number", with_extra(T::FLOAT, {0}, [](T& t) { t.add_float_data(1); }), place);
  refuse("an empty tensor with another field", with_extra(T::FLOAT, {0}, [](T& t) { t.add_int64_data(1); }), place);
  refuse("strings in raw data", with_extra(T::STRING, {1}, [](T& t) { t.set_raw_data("abcd"); }), place);
  refuse("too few strings", with_extra(T::STRING, {2}, [](T& t) { t.add_string_data("a"); }), place);
  refuse("external strings",
         with_extra(T::STRING, {1}, [](T& t) { t.set_data_location(T::EXTERNAL), entry(t, "location", "s"); }), place);
  accept("an empty tensor", with_extra(T::FLOAT, {0, 5}, [](T&) {}));
  accept("an empty tensor with no raw data", with_extra(T::FLOAT, {0}, [](T& t) { t.set_raw_data(""); }));
  accept("strings that nobody uses", with_extra(T::STRING, {1}, [](T& t) { t.add_string_data("a"); }));
  for (auto [dtype, value] : std::vector<std::pair<int, int32_t>>{{T::FLOAT16, 65535},
                                                                  {T::BFLOAT16, 0x7fc0},
                                                                  {T::INT8, -128},
                                                                  {T::INT16, -32768},
                                                                  {T::UINT8, 255},
                                                                  {T::BOOL, 1},
                                                                  {T::INT32, INT32_MIN}})
    accept("int32_data", with_extra(dtype, {1}, int32s({value})));
}

TEST_CASE("weights may be any numbers, NaN and infinity among them") {
  for (float v : {NAN, INFINITY, -INFINITY, 1e-45f, -0.0f, std::numeric_limits<float>::max(),
                  std::numeric_limits<float>::signaling_NaN()}) {
    auto m = small_model();
    m.mutable_graph()->clear_initializer();
    add_floats(m, "w", {3, 4}, v);
    accept("weights of " + std::to_string(v), m);
  }
}

TEST_CASE("sparse and attribute tensors are held to the same rules") {
  auto m = empty_model();
  auto& t =
      *attribute(add_node(m, "Constant", "the_node", {}, {"y"}), "value", onnx::AttributeProto::TENSOR).mutable_t();
  m.mutable_graph()->add_output()->set_name("y");
  t.set_data_type(T::FLOAT);
  t.add_dims(2);
  const Names place = {"'the_node' (Constant)"};
  const auto bad = [&](const char* what, const Edit& edit) {
    auto copy = m;
    edit(*first_node(copy).mutable_attribute(0)->mutable_t());
    refuse(what, copy, place);
  };
  bad("no data", [](T&) {});
  bad("short", [](T& v) { v.set_raw_data("abcd"); });
  bad("long", [](T& v) { v.set_raw_data("abcdabcdabcd"); });
  bad("no type", [](T& v) { v.clear_data_type(); });
  bad("2^62", [](T& v) { v.set_dims(0, int64_t{1} << 62); });
  bad("external and outside", [](T& v) { v.set_data_location(T::EXTERNAL), entry(v, "location", "../x"); });
  bad("external and an absolute path",
      [](T& v) { v.set_data_location(T::EXTERNAL), entry(v, "location", "/etc/passwd"); });
  // ONNX Runtime's mark for "the offset is an address" is the name of a file that is not there.
  auto address = m;
  auto& v = *first_node(address).mutable_attribute(0)->mutable_t();
  v.set_data_location(T::EXTERNAL);
  entry(v, "location", "*/_ORT_MEM_ADDR_/*"), entry(v, "offset", "140737488355328"), entry(v, "length", "8");
  auto graph = accept("external and a memory address", address);
  REQUIRE(graph);
  CHECK(graph->outputs[0].value->data->is_missing());
  auto sparse = m;
  first_node(sparse).clear_attribute();
  auto& s = *attribute(first_node(sparse), "sparse_value", onnx::AttributeProto::SPARSE_TENSOR).mutable_sparse_tensor();
  s.mutable_values()->set_name("v");
  s.add_dims(int64_t{1} << 62);
  refuse("sparse constant", sparse, place);
  const onnx::SparseTensorProto copy = s;
  sparse = small_model();
  *sparse.mutable_graph()->add_sparse_initializer() = copy;
  refuse("sparse initializer", sparse, {"'v'"});
}

TEST_CASE("external data lies beneath the model's folder, however its location is spelled") {
  const DataFolder folder;
  folder.put("w.bin", data_48);
  folder.put("sub/w.bin", data_48);
  for (const std::string& location : {std::string("../x"),
                                      std::string("a/../../x"),
                                      std::string("./../x"),
                                      std::string("sub/../w.bin"),
                                      std::string("/etc/passwd"),
                                      folder / "w.bin",
                                      std::string("C:\\x"),
                                      std::string("\\\\srv\\x"),
                                      std::string("a\\..\\..\\x"),
                                      std::string("."),
                                      std::string(""),
                                      std::string("sub/"),
                                      std::string("sub//w.bin"),
                                      std::string("w.bin\0.txt", 10),
                                      std::string(5000, 'a'),
                                      std::string(".."),
                                      std::string("/"),
                                      std::string("file:///etc/passwd"),
                                      std::string("http://example.com/w.bin"),
                                      std::string("/proc/self/environ"),
                                      std::string("/dev/zero"),
                                      std::string(2000, '/'),
                                      std::string("sub/."),
                                      std::string("*/_ORT_MEM_ADDR_/*") + "/..",
                                      std::string("/\n")})
    folder.refuse("location " + location.substr(0, 30), at(location));
  for (const char* location : {"w.bin", "./w.bin", "sub/w.bin", "./sub/./w.bin"}) {
    auto graph = folder.accept(location, at(location));
    REQUIRE(graph);
    CHECK(tensor_of(*graph).bytes.size() == 48);
    CHECK(tensor_of(*graph).bytes[47] == 47);
  }
  // Spellings that mean something elsewhere are plain names here, of files that are not there.
  for (const char* location :
       {"%2e%2e/x", "~", "*/_ORT_MEM_ADDR_/*", "#w.bin", "none.bin", "w.bin/none", "none/w.bin", "$HOME", "w.bin\n"}) {
    auto graph = folder.accept(location, at(location));
    REQUIRE(graph);
    CHECK(tensor_of(*graph).missing == location);
    CHECK(tensor_of(*graph).bytes.empty());
  }
}

TEST_CASE("links are followed within the folder and nowhere else") {
  const DataFolder folder;
  const ScratchFolder outside;
  outside.put("secret", data_48);
  folder.put("real/w.bin", data_48);
  folder.link("real/w.bin", "inside");
  folder.link("real", "inside_folder");
  folder.link("../real/w.bin", "sub/up");
  for (const char* location : {"inside", "inside_folder/w.bin", "sub/up"}) {
    auto graph = folder.accept(location, at(location));
    REQUIRE(graph);
    CHECK(tensor_of(*graph).bytes.size() == 48);
  }
  folder.link(outside / "secret", "outside");
  folder.link(outside.path, "outside_folder");
  folder.link("..", "parent");
  folder.link("/proc/self/environ", "environ");
  folder.link("/proc/self/fd/0", "descriptor");
  folder.link("/dev/zero", "zero");
  folder.link("loop", "loop");
  folder.link("loop_b", "loop_a");
  folder.link("loop_a", "loop_b");
  for (const char* location : {"outside", "outside_folder/secret", "environ", "descriptor", "zero", "loop", "loop_a"})
    folder.refuse(location, at(location));
  folder.refuse("parent", at("parent/" + std::filesystem::path(outside.path).filename().string() + "/secret"));
  std::filesystem::create_hard_link(outside / "secret", folder / "hard");
  folder.refuse("hard link", at("hard"), {"initializer 'w'", "hard link"});
  folder.link("gone", "dangling");
  auto graph = folder.accept("dangling", at("dangling"));
  REQUIRE(graph);
  CHECK(tensor_of(*graph).is_missing());
}

TEST_CASE("what is no regular data file is refused and does not block") {
  const DataFolder folder;
  REQUIRE(::mkfifo((folder / "fifo").c_str(), 0600) == 0);
  std::filesystem::create_directory(folder / "folder");
  const int s = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  (folder / "socket").copy(address.sun_path, sizeof address.sun_path - 1);
  REQUIRE(::bind(s, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  for (const char* location : {"fifo", "folder", "socket", "model.onnx"}) folder.refuse(location, at(location));
  ::close(s);
  if (::geteuid() != 0) {
    folder.put("unreadable", data_48);
    REQUIRE(::chmod((folder / "unreadable").c_str(), 0) == 0);
    folder.refuse("unreadable", at("unreadable"));
  }
}

TEST_CASE("offset and length are whole numbers of a range that the file has") {
  const DataFolder folder;
  folder.put("w.bin", data_48);
  folder.put("long.bin", std::string(16, 'x') + data_48 + data_48);
  folder.put("short.bin", data_48.substr(1));
  folder.put("empty.bin", "");
  const Names numbers = {"-1",
                         "text",
                         " 12",
                         "12 ",
                         "1e3",
                         "0x10",
                         "+5",
                         "1.0",
                         "",
                         "9223372036854775808",
                         "18446744073709551615",
                         "18446744073709551616",
                         "18446744073709551621",
                         std::string(100000, '9'),
                         std::string("1\0", 2),
                         "1\n",
                         "١"};
  for (const auto& n : numbers) {
    folder.refuse("offset " + n.substr(0, 20), external({{"location", "w.bin"}, {"offset", n}}));
    folder.refuse("length " + n.substr(0, 20), external({{"location", "w.bin"}, {"length", n}}));
  }
  for (const char* offset : {"1", "47", "48", "49", "4096", "18446744073709551568", "9223372036854775807"})
    folder.refuse(offset, external({{"location", "w.bin"}, {"offset", offset}, {"length", "48"}}),
                  {"initializer 'w'", "range"});
  for (const char* length : {"0", "1", "47", "49", "96"})
    folder.refuse(length, external({{"location", "long.bin"}, {"length", length}}),
                  {"initializer 'w'", "length", "48"});
  for (const char* file : {"short.bin", "empty.bin"}) folder.refuse(file, at(file), {"initializer 'w'", file});
  for (const char* offset : {"0", "00", "16", "1", "64", "007"}) {
    auto graph = folder.accept(offset, external({{"location", "long.bin"}, {"offset", offset}}));
    REQUIRE(graph);
    CHECK(tensor_of(*graph).bytes.size() == 48);
  }
  // A file that is not there does not excuse nonsense.
  folder.refuse("missing", external({{"location", "none"}, {"offset", "-1"}}));
  folder.refuse("missing", external({{"location", "none"}, {"length", "47"}}));
}

TEST_CASE("entries of external data are given once; those that are not known are remarked") {
  const DataFolder folder;
  folder.put("w.bin", data_48);
  folder.refuse("none", external({}));
  folder.refuse("no location", external({{"offset", "0"}}), {"initializer 'w'", "location"});
  // As ONNX's own reader: keys of other writers are passed over, and it is said.
  for (const std::string& key :
       {std::string("ofset"), std::string(), std::string("offset\0", 7), std::string("hash")}) {
    auto graph = folder.accept("an unknown key", external({{"location", "w.bin"}, {key, "0"}}));
    REQUIRE(graph);
    REQUIRE(graph->remarks.size() == 1);
    CHECK(graph->remarks[0].text == "external data: keys that are not known are not read: " + quoted(key));
  }
  for (const char* key : {"location", "offset", "length"})
    folder.refuse("twice",
                  external({{"location", "w.bin"},
                            {"offset", "0"},
                            {"length", "48"},
                            {key, key == std::string("location") ? "w.bin" : "0"}}),
                  {"initializer 'w'", key, "twice"});
  for (const char* sum : {"", "xyz", "da39a3ee", "da39a3ee5e6b4b0d3255bfef95601890afd8070g"})
    folder.refuse("checksum", external({{"location", "w.bin"}, {"checksum", sum}}), {"initializer 'w'", "checksum"});
  folder.accept("a checksum",
                external({{"location", "w.bin"}, {"checksum", "da39a3ee5e6b4b0d3255bfef95601890afd80709"}}));
  auto m = external({{"location", "w.bin"}});
  for (int k = 0; k < 10000; ++k) {
    auto& t = *m.mutable_graph()->add_initializer();
    t = m.graph().initializer(0);
    t.set_name("w" + std::to_string(k));
  }
  folder.accept("10,000 tensors on one range", m);
}

TEST_CASE("weights that are missing still leave a graph, but nothing is made in their size") {
  const DataFolder folder;
  auto graph = folder.accept("missing", at("none.bin"));
  REQUIRE(graph);
  CHECK(tensor_of(*graph).is_missing());
  CHECK(graph->size() == 2);
  // A Gemm without a bias gets one of zeros: not one of 2^47.
  auto m = empty_model();
  add_input(m, "x", T::FLOAT, {2, 1});
  auto& w = *m.mutable_graph()->add_initializer();
  w.set_name("w");
  w.set_data_type(T::FLOAT);
  w.add_dims(1), w.add_dims(int64_t{1} << 46);
  w.set_data_location(T::EXTERNAL);
  entry(w, "location", "none.bin");
  add_node(m, "Gemm", "the_node", {"x", "w"}, {"y"});
  m.mutable_graph()->add_output()->set_name("y");
  folder.refuse("2^46 columns", m, {"'the_node' (Gemm)"});
  // A shape, an index or a padding value that is missing can't be guessed.
  for (const char* op : {"Reshape", "Expand", "Tile", "Squeeze", "Unsqueeze", "Pad", "ReduceSum"}) {
    auto shape = op_model(op, {{2, 3}});
    auto& t = weight(shape);
    t.clear_int64_data();
    t.set_data_location(T::EXTERNAL);
    entry(t, "location", "none.bin");
    folder.refuse(op, shape, {"'the_node'", "'c0'"});
  }
}
