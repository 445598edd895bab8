// Large raw_data are read where they lie in the model's file; all else of the message stays.
#include "frontend/onnx/data_in_file.h"

#include "frontend/ir/host_array.h"
#include "tests/frontend/onnx/model_file.h"

using namespace optp;

namespace {
// y = x · w, with w of `rows` x 3 floats, counted, and a small initializer before it and behind it.
onnx::ModelProto model_of(int64_t rows) {
  onnx::ModelProto m = small_model();
  m.mutable_graph()->clear_initializer();
  m.mutable_graph()->clear_node();
  m.mutable_graph()->clear_input();
  m.mutable_graph()->clear_output();
  add_floats(m, "small", {3}, 2);
  auto& w = add_floats(m, "w", {rows, 3});
  std::string& bytes = *w.mutable_raw_data();
  for (size_t k = 0; k < bytes.size() / 4; ++k) {
    const auto value = float(k);
    std::memcpy(bytes.data() + 4 * k, &value, 4);
  }
  add_floats(m, "last", {3}, 3);
  add_input(m, "x", onnx::TensorProto::FLOAT, {2, rows});
  describe(*m.mutable_graph()->add_output(), "y", onnx::TensorProto::FLOAT, {2, 3});
  add_node(m, "MatMul", "product", {"x", "w"}, {"p"});
  add_node(m, "Add", "sum", {"p", "small"}, {"q"});
  add_node(m, "Mul", "scaled", {"q", "last"}, {"y"});
  return m;
}
// A message in a message, as it stands on the wire.
void add_field(std::string& to, int number, const std::string& message) {
  to += char(number << 3 | 2);
  size_t n = message.size();
  for (; n >= 128; n >>= 7) to += char(n % 128 + 128);
  to += char(n);
  to += message;
}
ParsedApart cut(const std::string& bytes) { return cut_out_data({bytes.data(), bytes.size()}); }
constexpr int64_t large_rows = 6000;  // 72 KB
bool counts(const Tensor& t) {
  for (size_t k = 0; k < t.bytes.size() / 4; ++k) {
    float value = 0;
    std::memcpy(&value, t.bytes.data() + 4 * k, 4);
    if (value != float(k)) return false;
  }
  return true;
}
}  // namespace

TEST_CASE("large weights are pages of the model's file, small ones are not, and all have their numbers") {
  const ScratchFolder folder;
  for (const int64_t rows : {int64_t(7), large_rows}) {
    CAPTURE(rows);
    const auto graph = accept_file("weights", folder.put("model.onnx", model_of(rows).SerializeAsString()));
    const Tensor& w = *graph->find("w")->data;
    CHECK(w.in_file == (rows == large_rows));
    CHECK(w.bytes.size() == size_t(rows) * 12);
    CHECK(counts(w));
    CHECK(!graph->find("small")->data->in_file);
    CHECK(graph->find("last")->data->bytes.size() == 12);
  }
}

TEST_CASE("what is cut out and the rest are the message") {
  const onnx::ModelProto m = model_of(large_rows);
  const std::string bytes = m.SerializeAsString();
  const ParsedApart apart = cut(bytes);
  REQUIRE(apart.raw_data.size() == 3);
  CHECK(apart.message.size() < 1000);
  onnx::ModelProto rest;
  REQUIRE(rest.ParseFromString(apart.message));
  rest.mutable_graph()->mutable_initializer(1)->set_raw_data(apart.raw_data[1].data(), apart.raw_data[1].size());
  CHECK(rest.SerializeAsString() == bytes);
}

TEST_CASE("nothing is cut out of what is small, written twice, or no message") {
  CHECK(cut(model_of(7).SerializeAsString()).raw_data.empty());
  onnx::ModelProto twice = model_of(large_rows), again;
  std::string tensor = twice.graph().initializer(1).SerializeAsString();
  onnx::TensorProto raw;
  raw.set_raw_data(twice.graph().initializer(1).raw_data());
  tensor += raw.SerializeAsString();
  onnx::GraphProto rest = twice.graph();
  rest.mutable_initializer()->DeleteSubrange(1, 1);
  std::string graph = rest.SerializeAsString();
  add_field(graph, onnx::GraphProto::kInitializerFieldNumber, tensor);
  twice.clear_graph();
  std::string model = twice.SerializeAsString();
  add_field(model, onnx::ModelProto::kGraphFieldNumber, graph);
  REQUIRE(again.ParseFromString(model));
  CHECK(cut(model).raw_data.empty());
  const std::string bytes = model_of(large_rows).SerializeAsString();
  for (size_t n = 0; n < bytes.size(); n += 97)
    if (!onnx::ModelProto().ParseFromArray(bytes.data(), int(n))) CHECK(cut(bytes.substr(0, n)).raw_data.empty());
}

TEST_CASE("data in the file that are not what their head says are refused as others are") {
  const ScratchFolder folder;
  onnx::ModelProto m = model_of(large_rows);
  m.mutable_graph()->mutable_initializer(1)->set_dims(0, large_rows - 1);
  refuse_file("too many bytes", folder.put("model.onnx", m.SerializeAsString()), {"initializer 'w'"});
  m = model_of(large_rows);
  m.mutable_graph()->mutable_initializer(1)->add_float_data(1);
  refuse_file("two fields", folder.put("model.onnx", m.SerializeAsString()), {"initializer 'w'"});
  m = model_of(large_rows);
  m.mutable_graph()->mutable_initializer(1)->set_data_location(onnx::TensorProto::EXTERNAL);
  refuse_file("external, too", folder.put("model.onnx", m.SerializeAsString()), {"initializer 'w'"});
}
