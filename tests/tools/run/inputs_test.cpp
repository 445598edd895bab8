// What run, check and bench take as inputs and goldens, and what they say of what they can't take.
#include <onnx/onnx_pb.h>

#include <cmath>
#include <numeric>

#include "frontend/io/npy.h"
#include "frontend/onnx/tensor.h"
#include "tests/tools/program.h"

using namespace optp;

namespace {
const std::string model = export_of("opt-tiny") + "/model.onnx", inputs = export_of("opt-tiny") + "/inputs",
                  golden = export_of("opt-tiny") + "/golden";

HostArray read(const std::string& path) {
  auto array = read_npy(path);
  if (!array) FAIL(llvm::toString(array.takeError()));
  return std::move(*array);
}
void write(const std::string& path, const HostArray& array) {
  fs::create_directories(fs::path(path).parent_path());
  if (auto e = write_npy(path, array)) FAIL(llvm::toString(std::move(e)));
}
void write_pb(const std::string& path, const HostArray& array, const std::string& name) {
  onnx::TensorProto t;
  t.set_name(name);
  t.set_data_type(int(array.dtype));
  for (int64_t d : array.dims) t.add_dims(d);
  t.set_raw_data(array.bytes.data(), array.bytes.size());
  write_text(path, t.SerializeAsString());
}
HostArray integers(llvm::ArrayRef<int64_t> dims) {
  Array a;
  a.resize(false, dims);
  return host_array(a, DType::i64);
}
onnx::ModelProto read_model(const std::string& path) {
  onnx::ModelProto m;
  REQUIRE(m.ParseFromString(contents(path)));
  return m;
}
// y = relu(x · w), x of one named extent
onnx::ModelProto small_model(const std::string& input) {
  onnx::ModelProto m;
  m.set_ir_version(8);
  auto& set = *m.add_opset_import();
  set.set_domain("");
  set.set_version(18);
  auto& g = *m.mutable_graph();
  auto& x = *g.add_input();
  x.set_name(input);
  auto& type = *x.mutable_type()->mutable_tensor_type();
  type.set_elem_type(onnx::TensorProto::FLOAT);
  type.mutable_shape()->add_dim()->set_dim_param("rows");
  type.mutable_shape()->add_dim()->set_dim_value(3);
  auto& w = *g.add_initializer();
  w.set_name("w");
  w.set_data_type(onnx::TensorProto::FLOAT);
  w.add_dims(3), w.add_dims(4);
  for (int k = 0; k < 12; ++k) w.add_float_data(float(k) - 5);
  auto& n = *g.add_node();
  n.set_op_type("MatMul");
  n.set_name("product");
  n.add_input(input), n.add_input("w"), n.add_output("y");
  g.add_output()->set_name("y");
  return m;
}
}  // namespace

TEST_CASE("a batch or sequence of none is told with its input and dim, by every verb that computes") {
  const Sandbox box;
  REQUIRE(box.run({model, "-o", "out"}).code == 0);
  const std::string batch = "input 'input_ids': dim 'batch': expected at least 1, found 0",
                    sequence = "input 'input_ids': dim 'sequence': expected at least 1, found 0";
  for (const char* name : {"input_ids", "attention_mask"}) {
    write(box / ("no_batch/" + std::string(name) + ".npy"), integers({0, 5}));
    write(box / ("no_sequence/" + std::string(name) + ".npy"), integers({2, 0}));
  }
  for (const Words& command : {Words{"run", "out", "-o", "res"}, Words{"check", model}, Words{"bench", model}})
    for (auto [folder, says] : {std::pair{"no_batch", batch}, {"no_sequence", sequence}}) {
      CAPTURE(command[0]);
      const Result r = box.run(command + Words{"--inputs-dir", folder});
      CHECK(r.code == 65);
      CHECK(r.line() == says);
    }
  for (const Words& command : {Words{"check", model}, Words{"bench", model}, Words{model, "-o", "other"}}) {
    const Result r = box.run(command + Words{"--dim", "batch=0", "--dim", "sequence=4"});
    CHECK(r.code == 65);
    CHECK(r.line() == batch);
  }
  CHECK(!fs::exists(box / "other"));
  CHECK(box.run({"run", "out", "-o", "res", "--input", "input_ids=rand(1)", "--input", "attention_mask=ones", "--dim",
                 "batch=2", "--dim", "sequence=0"})
            .line() == sequence);
}

TEST_CASE("a cache of no keys is an array like any other") {
  const Sandbox box;
  const std::string folder = export_of("opt-tiny-past");
  REQUIRE(box.run({folder + "/model.onnx", "-o", "out"}).code == 0);
  fs::copy(folder + "/inputs", box / "empty", fs::copy_options::recursive);
  int64_t past = 0;
  for (const auto& entry : fs::directory_iterator(box / "empty")) {
    if (entry.path().filename().string().rfind("past", 0) != 0) continue;
    HostArray a = read(entry.path().string());
    past = a.dims[2];
    a.dims[2] = 0;
    a.bytes.clear();
    write(entry.path().string(), a);
  }
  REQUIRE(past > 0);
  // Without the cache's keys, its mask is as long as what is new.
  HostArray mask = read(box / "empty/attention_mask.npy");
  const HostArray ids = read(box / "empty/input_ids.npy");
  REQUIRE(mask.dims[1] == past + ids.dims[1]);
  Array ones;
  ones.resize(false, ids.dims);
  std::fill(ones.i.begin(), ones.i.end(), 1);
  write(box / "empty/attention_mask.npy", host_array(ones, mask.dtype));
  const Result r = box.run({"run", "out", "--inputs-dir", "empty", "-o", "res"});
  CAPTURE(r.err);
  CHECK(r.code == 0);
  CHECK(read(box / "res/logits.npy").dims[1] == ids.dims[1]);
}

TEST_CASE("an input is typed in, and a bad value is told before a dim is missed") {
  const Sandbox box;
  REQUIRE(box.run({model, "-o", "out"}).code == 0);
  const auto run = [&](const std::string& ids) {
    return box.run({"run", "out", "--input", "input_ids=" + ids, "--input", "attention_mask=ones", "-o", "res"});
  };
  Array ids;
  ids.resize(false, {1, 4});
  ids.i = {5, 6, 7, 250};
  write(box / "ids.npy", host_array(ids, DType::i64));
  REQUIRE(run("@ids.npy").code == 0);
  const std::string logits = contents(box / "res/logits.npy");
  for (const char* text : {"5,6,7,250", "[[5, 6, 7, 250]]"}) {
    CAPTURE(text);
    CHECK(run(text).code == 0);
    CHECK(contents(box / "res/logits.npy") == logits);
  }
  write(box / "mask.npy", host_array(ids, DType::boolean));
  struct Row {
    const char *text, *says;
  };
  for (const Row& row :
       {Row{"@mask.npy", "mask.npy: input 'input_ids': dtype: expected int64, found bool"},
        {"ids.npy", "--input 'input_ids=ids.npy': a file is named after @; did you mean input_ids=@ids.npy?"},
        {"random",
         "input 'input_ids': expected @FILE.npy, @FILE.pb, numbers such as 1,2,3 or [[1,2],[3,4]], rand(SEED), ones or "
         "zeros, found 'random'"},
        {"rand(x)", "input 'input_ids': expected rand(SEED), found 'rand(x)'"},
        {"[1,2]", "--input 'input_ids=[1,2]': expected brackets of depth 2, found 1"},
        {"1,2,900",
         "--input 'input_ids=1,2,900': input 'input_ids': index 900 is outside the 257 rows of the table it chooses "
         "from"}}) {
    CAPTURE(row.text);
    CHECK(run(row.text).line() == row.says);
    CHECK(box.run({"bench", model, "--input", "input_ids=" + std::string(row.text)}).line() == row.says);
  }
}

TEST_CASE("check without extents takes usual ones, and says all that it made up") {
  const Sandbox box;
  const Result r = box.run({"check", model, "--json", "check.json"});
  CHECK(r.code == 0);
  CHECK(r.out.find("megatron  tensor=2  batch=2, sequence=16\nnot given, so made up: --devices 2; --dim batch=2, "
                   "sequence=16; --input input_ids=rand(1), attention_mask=rand(1)\n") != std::string::npos);
  CHECK(contents(box / "check.json").find("\"made_up\"") != std::string::npos);
  const Result given = box.run({"check", model, "--devices", "2", "--inputs-dir", inputs});
  CHECK(given.code == 0);
  CHECK(given.out.find("made up") == std::string::npos);
  // Those that are given stay, and none of them is said to be made up.
  const Result half = box.run({"check", model, "--dim", "batch=3"});
  CHECK(half.code == 0);
  CHECK(half.out.find("batch=3, sequence=16\nnot given, so made up: --devices 2; --dim sequence=16; --input ") !=
        std::string::npos);
  CHECK(box.run({"check", model, "--dim", "sequence=5"}).out.find("; --dim batch=2; ") != std::string::npos);
  const Result ids = box.run({"check", model, "--devices", "2", "--input", "input_ids=[[1,2,3]]"});
  CHECK(ids.code == 0);
  CHECK(ids.out.find("batch=1, sequence=3\nnot given, so made up: --input attention_mask=rand(1)\n") !=
        std::string::npos);
}

TEST_CASE("an input's name may hold an equals sign") {
  const Sandbox box;
  auto m = small_model("x=y");
  *m.mutable_graph()->add_input() = m.graph().input(0);
  m.mutable_graph()->mutable_input(1)->set_name("x");
  write_text(box / "m.onnx", m.SerializeAsString());
  Array x;
  x.resize(true, {2, 3});
  std::iota(x.f.begin(), x.f.end(), -2);
  write(box / "x.npy", host_array(x, DType::f32));
  for (const Words& command : {Words{"check", "m.onnx"}, Words{"bench", "m.onnx"}}) {
    const Result r = box.run(command + Words{"--devices", "1", "--input", "x=y=@x.npy", "--input", "x=ones"});
    CAPTURE(r.err);
    CHECK(r.code == 0);
  }
  REQUIRE(box.run({"m.onnx", "--devices", "1", "-o", "out"}).code == 0);
  REQUIRE(box.run({"run", "out", "-o", "res", "--input", "x=y=@x.npy", "--input", "x=ones"}).code == 0);
  const Array y = to_array(read(box / "res/y.npy"));
  CHECK(y.f[0] == -2 * -5 + -1 * -1 + 0 * 3);
  const Result other = box.run({"run", "out", "-o", "res", "--input", "z=y=@x.npy"});
  CHECK(other.code == 2);
  CHECK(other.line() == "--input 'z=y=@x.npy': the model has no input 'z'; it has x=y, x");
  const Result bare = box.run({"run", "out", "-o", "res", "--input", "x"});
  CHECK(bare.line() == "--input 'x': expected x=VALUE, such as x=@FILE.npy");
}

TEST_CASE("folders as ONNX's test data lay them out are read, by the tensors' names or else by number") {
  const Sandbox box;
  REQUIRE(box.run({model, "-o", "out"}).code == 0);
  const auto ids = read(inputs + "/input_ids.npy"), mask = read(inputs + "/attention_mask.npy"),
             logits = read(golden + "/logits.npy");
  // By name in any order.
  write_pb(box / "named/input_0.pb", mask, "attention_mask");
  write_pb(box / "named/input_1.pb", ids, "input_ids");
  write_pb(box / "named/output_0.pb", logits, "logits");
  write_pb(box / "numbered/input_0.pb", ids, "");
  write_pb(box / "numbered/input_1.pb", mask, "");
  write_pb(box / "numbered/output_0.pb", logits, "");
  for (const std::string folder : {"named", "numbered"}) {
    CAPTURE(folder);
    REQUIRE(box.run({"run", "out", "--inputs-dir", folder, "-o", "res"}).code == 0);
    const Array found = to_array(read(box / "res/logits.npy")), expected = to_array(logits);
    REQUIRE(found.dims == expected.dims);
    double most = 0;
    for (size_t k = 0; k < found.f.size(); ++k)
      if (expected.f[k] == expected.f[k]) most = std::max(most, std::fabs(found.f[k] - expected.f[k]));
    CHECK(most < 1e-5);
    const Result held = box.run({"check", model, "--inputs-dir", folder, "--golden", folder});
    CHECK(held.code == 0);
    CHECK(held.out.find("\ngolden ") != std::string::npos);
    CHECK(box.run({"bench", model, "--inputs-dir", folder, "--runs", "1", "--warm-up", "0"}).code == 0);
  }
  HostArray wrong = logits;
  wrong.bytes[2] = char(wrong.bytes[2] ^ 0x40);
  write_pb(box / "numbered/output_0.pb", wrong, "");
  CHECK(box.run({"check", model, "--inputs-dir", "numbered", "--golden", "numbered"}).code == 1);
  write_pb(box / "named/input_1.pb", ids, "ids");
  const Result none = box.run({"run", "out", "--inputs-dir", "named", "-o", "res"});
  CHECK(none.code == 66);
  CHECK(none.line() ==
        "named: expected input 'input_ids', in input_ids.npy or in a numbered file, found 'attention_mask', 'ids'");
}

TEST_CASE("another program's outputs are judged by the precision it computed in, not by the outputs' dtype") {
  const Sandbox box;
  const std::string folder = export_of("opt-tiny-fp16");
  auto m = read_model(folder + "/model.onnx");
  auto& g = *m.mutable_graph();
  auto& widen = *g.add_node();
  widen.set_op_type("Cast");
  widen.set_name("widen");
  widen.add_input("logits"), widen.add_output("wide");
  auto& to = *widen.add_attribute();
  to.set_name("to");
  to.set_type(onnx::AttributeProto::INT);
  to.set_i(onnx::TensorProto::FLOAT);
  g.mutable_output(0)->set_name("wide");
  g.mutable_output(0)->mutable_type()->mutable_tensor_type()->set_elem_type(onnx::TensorProto::FLOAT);
  write_text(box / "half.onnx", m.SerializeAsString());
  Array logits = to_array(read(folder + "/golden/logits.npy"));
  write(box / "theirs/wide.npy", host_array(logits, DType::f32));
  const Words command{"check", "half.onnx", "--inputs-dir", folder + "/inputs", "--golden", "theirs"};
  CHECK(box.run(command).code == 0);
  double most = 0;
  for (double x : logits.f)
    if (std::isfinite(x)) most = std::max(most, std::fabs(x));
  for (double& x : logits.f) x += 6e-3 * most;  // beyond the 4e-3 that float16 is allowed
  write(box / "theirs/wide.npy", host_array(logits, DType::f32));
  CHECK(box.run(command).code == 1);

  // Stored in half precision, computed in float32: 1e-5 as ever.
  auto stored = read_model(model);
  auto& s = *stored.mutable_graph();
  for (auto& t : *s.mutable_initializer()) {
    if (t.data_type() != onnx::TensorProto::FLOAT || t.dims_size() != 1) continue;
    const std::string name = t.name();
    HostArray a;
    a.dtype = DType::f32;
    a.dims = {t.dims(0)};
    const std::string raw = t.raw_data();
    REQUIRE(!raw.empty());
    a.bytes.assign(raw.begin(), raw.end());
    const HostArray half = host_array(to_array(a), DType::f16);
    t.set_name(name + ".half");
    t.set_data_type(onnx::TensorProto::FLOAT16);
    t.set_raw_data(half.bytes.data(), half.bytes.size());
    auto& cast = *s.add_node();
    cast.set_op_type("Cast");
    cast.set_name(name + ".widen");
    cast.add_input(name + ".half"), cast.add_output(name);
    auto& attribute = *cast.add_attribute();
    attribute = to;
    break;
  }
  write_text(box / "stored.onnx", stored.SerializeAsString());
  REQUIRE(box.run({"stored.onnx", "-o", "out"}).code == 0);
  REQUIRE(box.run({"run", "out", "--inputs-dir", inputs, "-o", "res"}).code == 0);
  CHECK(box.run({"check", "stored.onnx", "--inputs-dir", inputs, "--golden", "res"}).code == 0);
  Array other = to_array(read(box / "res/logits.npy"));
  for (double& x : other.f) x += 1e-3;
  write(box / "theirs/logits.npy", host_array(other, DType::f32));
  CHECK(box.run({"check", "stored.onnx", "--inputs-dir", inputs, "--golden", "theirs"}).code == 1);
}

TEST_CASE("a mesh that the strategy can't use, or that contradicts the number of devices, is refused") {
  const Sandbox box;
  struct Row {
    Words flags;
    std::string says;
  };
  const Row rows[] = {
      {{"--mesh", "model=2,expert=2", "--strategy", "origin"},
       "mesh model=2, expert=2: strategy origin cuts over one axis, expected one that is called tensor, found several "
       "others; name one of them tensor, or say in a file of constraints what they cut"},
      {{"--devices", "2", "--mesh", "tensor=3"},
       "--devices 2 and --mesh tensor=3: expected one number of devices, found 3 in the mesh"},
      {{"--devices", "2", "--mesh", "data=2,tensor=2"},
       "--devices 2 and --mesh data=2, tensor=2: expected one number of devices, found 4 in the mesh"},
  };
  for (const Row& row : rows) {
    const Result r = box.run(Words{model, "-o", "out"} + row.flags);
    CHECK(r.code == 2);
    CHECK(r.line() == row.says);
    CHECK(!fs::exists(box / "out"));
  }
  CHECK(box.run({model, "-o", "out", "--devices", "3", "--mesh", "tensor=3"}).code == 0);
  CHECK(contents(box / "out/plan.json").find("\"devices\":3") != std::string::npos);
  CHECK(box.run({model, "-o", "out", "--mesh", "tensor=1"}).code == 0);

  // An axis that cuts nothing beside one that does is told.
  const std::string idle = "nothing is cut over the mesh axis expert";
  const Result r = box.run({model, "-o", "out", "--mesh", "expert=2,tensor=2"});
  CHECK(r.code == 0);
  CHECK(r.err.find("; " + idle) != std::string::npos);
  CHECK(box.run({"inspect", "out"}).out.find(idle) != std::string::npos);
  write_text(box / "shardings.txt", "input_ids [expert, _]\nattention_mask [expert, _]\n");
  const Result used = box.run({model, "-o", "out", "--mesh", "expert=2,tensor=2", "--sharding", "shardings.txt"});
  CHECK(used.code == 0);
  CHECK(used.err.find(idle) == std::string::npos);
  CHECK(box.run({model, "-o", "out", "--mesh", "expert=2", "--sharding", "shardings.txt"}).code == 0);
}

TEST_CASE("weights that are missing, and hold what compiling needs, are named with their file") {
  const Sandbox box;
  auto m = small_model("x");
  auto& g = *m.mutable_graph();
  auto& shape = *g.add_initializer();
  shape.set_name("shape");
  shape.set_data_type(onnx::TensorProto::INT64);
  shape.add_dims(2);
  shape.set_data_location(onnx::TensorProto::EXTERNAL);
  auto& location = *shape.add_external_data();
  location.set_key("location");
  location.set_value("w.bin");
  // Of the shape itself, and of one computed from it.
  for (const bool computed : {false, true}) {
    auto changed = m;
    auto& graph = *changed.mutable_graph();
    if (computed) {
      auto& n = *graph.add_node();
      n.set_op_type("Abs");
      n.set_name("abs");
      n.add_input("shape"), n.add_output("positive");
    }
    auto& n = *graph.add_node();
    n.set_op_type("Reshape");
    n.set_name("the_node");
    n.add_input("y"), n.add_input(computed ? "positive" : "shape"), n.add_output("z");
    graph.mutable_output(0)->set_name("z");
    write_text(box / "m.onnx", changed.SerializeAsString());
    const Result r = box.run({"m.onnx", "--devices", "1", "-o", "out"});
    CHECK(r.code == 65);
    CHECK(r.line() == "m.onnx: node 'the_node' (Reshape): operand 1 '" + std::string(computed ? "positive" : "shape") +
                          "': the new shape is needed to compile, and its weights file 'w.bin' is not there");
  }
}

TEST_CASE("what the machine can't hold is refused by name before it is made") {
  const Sandbox box;
  for (const Words& command : {Words{"bench", model}, Words{"check", model}}) {
    const Result r = box.run(command + Words{"--dim", "batch=2000000000000", "--dim", "sequence=8"});
    CHECK(r.code == 65);
    CHECK(r.line().rfind("input 'input_ids': shape: expected at most the ", 0) == 0);
    CHECK(r.line().find("GiB of memory that this machine has, found f64[2000000000000, 8]") != std::string::npos);
  }
}
