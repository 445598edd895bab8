// Single passes: a graph before and the whole graph after, as text; and the twins where a pass must not act.
#include <doctest/doctest.h>

#include "frontend/ir/builder.h"
#include "llvm/Support/raw_ostream.h"
#include "passes/pipeline.h"

using namespace optp;

namespace {
template <typename T>
T must(llvm::Expected<T> value) {
  if (!value) FAIL(llvm::toString(value.takeError()));
  return std::move(*value);
}
struct Sketch {
  Graph graph;
  Builder build{graph};
  Value& input(const char* name, Dims dims) { return graph.add_input(name, {DType::f32, std::move(dims)}); }
  // Elements 1, 2, 3 …, so that no two weights of different names are equal by chance of being zero.
  Value& weight(const char* name, llvm::ArrayRef<int64_t> dims, double first = 1, bool transposed = false) {
    Array a;
    a.resize(true, dims);
    for (int64_t k = 0; k < a.elements(); ++k)
      a.f[size_t(k)] = first + double(transposed ? k % dims[1] * dims[0] + k / dims[1] : k);
    return graph.add_data(name, to_tensor(a, DType::f32));
  }
  Value& op(const char* op, llvm::ArrayRef<Value*> in, Attributes attributes, const char* name) {
    return *must(build.create(op, in, std::move(attributes), name));
  }
  void output(Value& v) { graph.outputs.push_back({v.name, &v}); }
  std::string after(const char* pass) {
    if (auto e = run_pass(pass, graph)) return llvm::toString(std::move(e));
    std::string out;
    llvm::raw_string_ostream stream(out);
    print(stream, graph);
    return out;
  }
};
const Dim b = Dim::symbol("b");
Attributes loops(const char* text) { return {{"loops", std::string(text)}}; }
Attributes swapped() { return {{"perm", llvm::SmallVector<int64_t, 4>{1, 0}}}; }
}  // namespace

TEST_CASE("absorb-transposes: a weight's transpose becomes an order of the product's loops") {
  Sketch s;
  Value& t = s.op("transpose", {&s.input("w", {12, 8})}, swapped(), "t");
  s.output(s.op("contract", {&s.input("x", {b, 8}), &t}, loops("b k, k n -> b n"), "y"));
  CHECK(s.after("absorb-transposes") ==
        "input %w: f32[12, 8]\n"
        "input %x: f32[b, 8]\n"
        "%y = contract(%x, %w) {loops = \"b k, n k -> b n\"} : f32[b, 12]\n"
        "output y = %y\n");
}

TEST_CASE("absorb-transposes: a transpose that something else reads stays for that reader") {
  Sketch s;
  Value& t = s.op("transpose", {&s.input("w", {12, 8})}, swapped(), "t");
  s.output(s.op("contract", {&s.input("x", {b, 8}), &t}, loops("b k, k n -> b n"), "y"));
  s.output(s.op("relu", {&t}, {}, "z"));
  CHECK(s.after("absorb-transposes") ==
        "input %w: f32[12, 8]\n"
        "input %x: f32[b, 8]\n"
        "%t = transpose(%w) {perm = [1, 0]} : f32[8, 12]\n"
        "%y = contract(%x, %w) {loops = \"b k, n k -> b n\"} : f32[b, 12]\n"
        "%z = relu(%t) : f32[8, 12]\n"
        "output y = %y\n"
        "output z = %z\n");
}

TEST_CASE("merge-views: a reshape of a reshape is one, and one to the same shape is none") {
  Sketch s;
  Value& x = s.input("x", {b, 6});
  Value& flat = s.op("reshape", {&x}, {{"dims", Dims{b * Dim(6)}}}, "flat");
  Value& cut = s.op("reshape", {&flat}, {{"dims", Dims{b, 2, 3}}}, "cut");
  Value& same = s.op("reshape", {&cut}, {{"dims", Dims{b, 2, 3}}}, "same");
  s.output(s.op("relu", {&same}, {}, "y"));
  CHECK(s.after("merge-views") ==
        "input %x: f32[b, 6]\n"
        "%cut = reshape(%x) {dims = [b, 2, 3]} : f32[b, 2, 3]\n"
        "%y = relu(%cut) : f32[b, 2, 3]\n"
        "output y = %y\n");
}

namespace {
// logits = relu(table[ids]) · head
std::string tied(bool equal, bool bias_is_all_ones = false) {
  Sketch s;
  Value& ids = s.graph.add_input("ids", {DType::i64, {b}});
  Value& table = bias_is_all_ones ? s.graph.add_data("table", to_tensor(
                                                                  [] {
                                                                    Array a;
                                                                    a.resize(true, {5, 2});
                                                                    a.f.assign(10, 1);
                                                                    return a;
                                                                  }(),
                                                                  DType::f32))
                                  : s.weight("table", {5, 2});
  Value& head = bias_is_all_ones ? s.graph.add_data("head", to_tensor(
                                                                [] {
                                                                  Array a;
                                                                  a.resize(true, {2, 5});
                                                                  a.f.assign(10, 1);
                                                                  return a;
                                                                }(),
                                                                DType::f32))
                                 : s.weight("head", {2, 5}, equal ? 1 : 2, true);
  Value& h = s.op("relu", {&s.op("gather", {&table, &ids}, {{"axis", int64_t(0)}}, "embedded")}, {}, "h");
  s.output(s.op("contract", {&h, &head}, loops("b k, k n -> b n"), "logits"));
  return s.after("tie-weights");
}
}  // namespace

TEST_CASE("tie-weights: a head that is the table transposed becomes the table") {
  CHECK(tied(true) ==
        "input %ids: i64[b]\n"
        "%embedded = gather(%table: f32[5, 2], %ids) {axis = 0} : f32[b, 2]\n"
        "%h = relu(%embedded) : f32[b, 2]\n"
        "%logits = contract(%h, %table: f32[5, 2]) {loops = \"b k, n k -> b n\"} : f32[b, 5]\n"
        "output logits = %logits\n");
}

TEST_CASE("tie-weights: neither a head with other numbers nor one of ones is tied") {
  const std::string apart =
      "input %ids: i64[b]\n"
      "%embedded = gather(%table: f32[5, 2], %ids) {axis = 0} : f32[b, 2]\n"
      "%h = relu(%embedded) : f32[b, 2]\n"
      "%logits = contract(%h, %head: f32[2, 5]) {loops = \"b k, k n -> b n\"} : f32[b, 5]\n"
      "output logits = %logits\n";
  CHECK(tied(false) == apart);
  CHECK(tied(false, true) == apart);
}
