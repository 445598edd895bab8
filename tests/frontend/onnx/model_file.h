// Small ONNX models made by code, and what must hold of every import of a bad one: one line that names the file and the
// place, the right exit code, no time lost.
#pragma once
#include <doctest/doctest.h>
#include <onnx/onnx_pb.h>

#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "frontend/onnx/import.h"
#include "tests/frontend/io/scratch_folder.h"

namespace optp {

using Names = std::vector<std::string>;
inline Names texts(llvm::ArrayRef<Remark> remarks) {
  Names out;
  for (const Remark& r : remarks) out.push_back(r.text);
  return out;
}
using Numbers = std::vector<int64_t>;

inline onnx::NodeProto& add_node(onnx::ModelProto& m, const std::string& op, const std::string& name,
                                 const Names& inputs, const Names& outputs) {
  auto& n = *m.mutable_graph()->add_node();
  n.set_op_type(op);
  n.set_name(name);
  for (const auto& i : inputs) n.add_input(i);
  for (const auto& o : outputs) n.add_output(o);
  return n;
}
inline onnx::AttributeProto& attribute(onnx::NodeProto& n, const std::string& name,
                                       onnx::AttributeProto::AttributeType type) {
  auto& a = *n.add_attribute();
  a.set_name(name);
  a.set_type(type);
  return a;
}
inline void set(onnx::NodeProto& n, const std::string& name, int64_t v) {
  attribute(n, name, onnx::AttributeProto::INT).set_i(v);
}
inline void set(onnx::NodeProto& n, const std::string& name, float v) {
  attribute(n, name, onnx::AttributeProto::FLOAT).set_f(v);
}
inline void set(onnx::NodeProto& n, const std::string& name, const char* v) {
  attribute(n, name, onnx::AttributeProto::STRING).set_s(v);
}
inline void set(onnx::NodeProto& n, const std::string& name, const Numbers& v) {
  auto& a = attribute(n, name, onnx::AttributeProto::INTS);
  for (int64_t i : v) a.add_ints(i);
}
// -1 stands for a named extent, "n<position>".
inline onnx::ValueInfoProto& describe(onnx::ValueInfoProto& v, const std::string& name, int dtype,
                                      const Numbers& dims) {
  v.set_name(name);
  auto& t = *v.mutable_type()->mutable_tensor_type();
  t.set_elem_type(dtype);
  t.mutable_shape();
  for (size_t k = 0; k < dims.size(); ++k) {
    auto& d = *t.mutable_shape()->add_dim();
    if (dims[k] == -1)
      d.set_dim_param("n" + std::to_string(k));
    else
      d.set_dim_value(dims[k]);
  }
  return v;
}
inline onnx::ValueInfoProto& add_input(onnx::ModelProto& m, const std::string& name, int dtype, const Numbers& dims) {
  return describe(*m.mutable_graph()->add_input(), name, dtype, dims);
}
inline onnx::TensorProto& add_floats(onnx::ModelProto& m, const std::string& name, const Numbers& dims,
                                     float value = 0.5f) {
  auto& t = *m.mutable_graph()->add_initializer();
  t.set_name(name);
  t.set_data_type(onnx::TensorProto::FLOAT);
  size_t count = 1;
  for (int64_t d : dims) t.add_dims(d), count *= size_t(d);
  const std::vector<float> values(count, value);
  t.set_raw_data(values.data(), count * sizeof(float));
  return t;
}
inline onnx::TensorProto& add_integers(onnx::ModelProto& m, const std::string& name, const Numbers& values,
                                       bool scalar = false) {
  auto& t = *m.mutable_graph()->add_initializer();
  t.set_name(name);
  t.set_data_type(onnx::TensorProto::INT64);
  if (!scalar) t.add_dims(int64_t(values.size()));
  for (int64_t v : values) t.add_int64_data(v);
  return t;
}
inline onnx::ModelProto empty_model(int64_t opset = 18) {
  onnx::ModelProto m;
  m.set_ir_version(8);
  m.mutable_graph()->set_name("main");
  auto& set = *m.add_opset_import();
  set.set_domain("");
  set.set_version(opset);
  return m;
}
// y = relu(x · w): x [2, 3], w [3, 4]
inline onnx::ModelProto small_model() {
  auto m = empty_model();
  add_input(m, "x", onnx::TensorProto::FLOAT, {2, 3});
  add_floats(m, "w", {3, 4});
  add_node(m, "MatMul", "product", {"x", "w"}, {"h"});
  add_node(m, "Relu", "act", {"h"}, {"y"});
  describe(*m.mutable_graph()->add_output(), "y", onnx::TensorProto::FLOAT, {2, 4});
  return m;
}
// y = OP(x, c0, c1, …), the node named "the_node": x float [2, 3], the c integer vectors
inline onnx::ModelProto op_model(const std::string& op, const std::vector<Numbers>& constants = {},
                                 int64_t opset = 18) {
  auto m = empty_model(opset);
  add_input(m, "x", onnx::TensorProto::FLOAT, {2, 3});
  auto& n = add_node(m, op, "the_node", {"x"}, {"y"});
  for (size_t k = 0; k < constants.size(); ++k) {
    n.add_input("c" + std::to_string(k));
    add_integers(m, "c" + std::to_string(k), constants[k]);
  }
  m.mutable_graph()->add_output()->set_name("y");
  return m;
}
inline onnx::NodeProto& first_node(onnx::ModelProto& m) { return *m.mutable_graph()->mutable_node(0); }

// How many single files were tried; printed at the end on request, so that the number can be published.
struct Tally {
  int refused = 0, accepted = 0;
  ~Tally() {
    if (std::getenv("OPTP_TALLY"))
      std::printf("malformed files: %d refused, %d of them-alikes accepted\n", refused, accepted);
  }
};
inline Tally tally;

// Processor time of this process, not the clock's: other programs may have the machine.
#ifdef __SANITIZE_ADDRESS__
constexpr double slower = 6;
#elif defined(__SANITIZE_THREAD__)
constexpr double slower = 15;
#else
constexpr double slower = 1;
#endif
inline llvm::Expected<std::unique_ptr<Graph>> timed_import(const std::string& path, double most_seconds = 1) {
  const std::clock_t start = std::clock();
  auto graph = import_onnx(path);
  const double seconds = double(std::clock() - start) / CLOCKS_PER_SEC;
  CHECK_MESSAGE(seconds < most_seconds * slower, path);
  return graph;
}
inline void refuse_file(const std::string& what, const std::string& path, const Names& places = {},
                        Fault fault = Fault::bad_input) {
  CAPTURE(what);
  ++tally.refused;
  auto graph = timed_import(path);
  if (graph) {
    FAIL_CHECK("accepted");
    return;
  }
  bool is_diagnostic = false;
  llvm::handleAllErrors(
      graph.takeError(),
      [&](const Diagnostic& d) {
        is_diagnostic = true;
        CAPTURE(d.message());
        CHECK(int(d.fault()) == int(fault));
        CHECK(has(d.message(), path));
        CHECK(d.message().size() < 4096);
        for (unsigned char c : d.message())
          if (c < 0x20 || c == 0x7f) {
            FAIL_CHECK("a control character in the message");
            break;
          }
        for (const auto& place : places) CHECK_MESSAGE(has(d.message(), place), "expected in the message: ", place);
      },
      [](const llvm::ErrorInfoBase&) {});
  CHECK(is_diagnostic);
}
inline void refuse_bytes(const std::string& what, const std::string& bytes, const Names& places = {}) {
  static const ScratchFolder folder;
  refuse_file(what, folder.put("model.onnx", bytes), places);
}
inline void refuse(const std::string& what, const onnx::ModelProto& model, const Names& places = {}) {
  refuse_bytes(what, model.SerializeAsString(), places);
}

// `edit` makes a good model bad.
struct BadCase {
  std::string what;
  std::function<void(onnx::ModelProto&)> edit;
  Names places;
};
inline void refuse_each(const onnx::ModelProto& good, const std::vector<BadCase>& cases) {
  for (const BadCase& c : cases) {
    auto m = good;
    c.edit(m);
    refuse(c.what, m, c.places);
  }
}
inline std::unique_ptr<Graph> accept_file(const std::string& what, const std::string& path, double most_seconds = 1) {
  CAPTURE(what);
  ++tally.accepted;
  auto graph = timed_import(path, most_seconds);
  if (graph) return std::move(*graph);
  FAIL_CHECK(llvm::toString(graph.takeError()));
  return nullptr;
}
inline std::unique_ptr<Graph> accept(const std::string& what, const onnx::ModelProto& model, double most_seconds = 1) {
  static const ScratchFolder folder;
  return accept_file(what, folder.put("model.onnx", model.SerializeAsString()), most_seconds);
}

}  // namespace optp
