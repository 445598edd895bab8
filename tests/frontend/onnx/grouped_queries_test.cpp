// com.microsoft's GroupQueryAttention with a cache: a sequence of a batch gets what it gets alone, however long the
// others are and however much room the cache has.
#include "frontend/ir/op.h"
#include "runtime/reference.h"
#include "tests/frontend/onnx/arrays.h"
#include "tests/frontend/onnx/model_file.h"
#include "tests/must.h"

using namespace optp;

namespace {
constexpr int64_t heads = 4, key_heads = 2, head = 4, positions = 16;

// Of a batch its sequence b, of dim 2 (of a cache) the first `length`.
Array sequence_of(const Array& a, int64_t b, std::optional<int64_t> length = {}) {
  auto dims = a.dims;
  dims[0] = 1;
  if (length) dims[2] = *length;
  Array out;
  out.resize(true, dims);
  const int64_t width = a.dims.back(), rows = a.dims[a.dims.size() - 2], kept = length.value_or(rows);
  const int64_t outer = a.dims.size() == 4 ? a.dims[1] : 1;
  for (int64_t o = 0; o < outer; ++o)
    for (int64_t r = 0; r < kept; ++r)
      for (int64_t w = 0; w < width; ++w)
        out.f[size_t((o * kept + r) * width + w)] = a.f[size_t(((b * outer + o) * rows + r) * width + w)];
  return out;
}
struct Form {
  bool rotary;
  int64_t window;
};
// `before`: how long each sequence was.
NamedArrays run(const Form& form, const NamedArrays& given, llvm::ArrayRef<int64_t> before) {
  auto m = empty_model();
  auto& domain = *m.add_opset_import();
  domain.set_domain("com.microsoft");
  domain.set_version(1);
  const int64_t queries = given.at("q").dims[1];
  NamedArrays inputs = given;
  std::vector<int64_t> last;
  for (int64_t b : before) last.push_back(b + queries - 1);
  inputs["last"] = integers({int64_t(before.size())}, last);
  for (const char* name : {"q", "k", "v", "past_k", "past_v", "last"}) {
    const Array& a = inputs.at(name);
    add_input(m, name, a.is_float ? onnx::TensorProto::FLOAT : onnx::TensorProto::INT32,
              Numbers(a.dims.begin(), a.dims.end()));
  }
  add_integers(m, "total", {*std::max_element(last.begin(), last.end()) + 1}, /*scalar=*/true);
  Names names{"q", "k", "v", "past_k", "past_v", "last", "total"};
  if (form.rotary) {
    for (const char* name : {"cos", "sin"}) {
      inputs[name] = some({positions, head / 2}, name[0]);
      add_input(m, name, onnx::TensorProto::FLOAT, {positions, head / 2});
      names.push_back(name);
    }
  }
  auto& node = add_node(m, "GroupQueryAttention", "attention", names, {"y", "next_k", "next_v"});
  node.set_domain("com.microsoft");
  set(node, "num_heads", heads), set(node, "kv_num_heads", key_heads);
  if (form.rotary) set(node, "do_rotary", int64_t(1));
  if (form.window > 0) set(node, "local_window_size", form.window);
  for (const char* name : {"y", "next_k", "next_v"}) m.mutable_graph()->add_output()->set_name(name);
  auto graph = accept("grouped-queries", m);
  REQUIRE(graph);
  return must(run_reference({graph.get()}, {inputs}))[0];
}
}  // namespace

TEST_CASE("each sequence of a batch attends to its own keys at their own places") {
  for (const Form& form : {Form{false, 0}, {true, 0}, {true, 3}})
    for (const auto& [before, room] : std::vector<std::pair<std::vector<int64_t>, int64_t>>{
             {{4, 4}, 4}, {{4, 2}, 4}, {{1, 5}, 5}, {{0, 3}, 3}, {{4, 2}, 12}, {{0, 0}, 6}})
      for (const int64_t queries : {1, 3}) {
        CAPTURE(form.rotary);
        CAPTURE(form.window);
        CAPTURE(before);
        CAPTURE(room);
        CAPTURE(queries);
        const NamedArrays all{{"q", some({2, queries, heads * head}, 1)},
                              {"k", some({2, queries, key_heads * head}, 2)},
                              {"v", some({2, queries, key_heads * head}, 3)},
                              {"past_k", some({2, key_heads, room, head}, 4)},
                              {"past_v", some({2, key_heads, room, head}, 5)}};
        const NamedArrays together = run(form, all, before);
        for (int64_t b = 0; b < 2; ++b) {
          const int64_t length = before[size_t(b)];
          NamedArrays own;
          for (const auto& [name, array] : all)
            own[name] = sequence_of(array, b, array.dims.size() == 4 ? std::optional(length) : std::nullopt);
          const NamedArrays alone = run(form, own, {length});
          CHECK(sequence_of(together.at("y"), b).f == alone.at("y").f);
          for (const char* cache : {"next_k", "next_v"}) {
            CHECK(alone.at(cache).dims[2] == length + queries);
            CHECK(sequence_of(together.at(cache), b, length + queries).f == alone.at(cache).f);
          }
        }
        CHECK(together.at("next_k").dims[2] ==
              std::max(room, *std::max_element(before.begin(), before.end()) + queries));
      }
}
