// The textual form read: what a person may leave out, and what is refused, with line and column.
#include "frontend/ir/parse.h"

#include <doctest/doctest.h>

#include <fstream>

#include "frontend/ir/op.h"

using namespace optp;

namespace {
// No op of ours has two results; a graph may.
const RegisteredOp halves{{
    .name = "halves",
    .summary = "an operand's first and second half",
    .extents = {"each"},
    .infer = [](const Node& node) -> llvm::Expected<llvm::SmallVector<Type, 1>> {
      const Type half{node.operand(0).type.dtype, {node.dim("each")}};
      return llvm::SmallVector<Type, 1>{half, half};
    },
}};
std::string printed(llvm::StringRef text) {
  auto graph = parse_graph(text, "g.ir");
  if (!graph) return llvm::toString(graph.takeError());
  return to_string(**graph);
}
}  // namespace

TEST_CASE("all that a graph holds reads as it prints") {
  const char* text = R"(graph "my model" from "a \"b\".onnx"
mesh data=2, tensor=3
rank 5
dim 'batch size' >= 0
dim past >= 0
input %ids: i64['batch size', past + s] [data, _]
  because "batch" from %"two words"
input %x: f16[part(b, data), 4] of [b, 4] [data, _]
parameter %w: f32[4, 6*part(4, tensor)] of [4, 24] [_, (3, 4 over tensor, 2)] = missing "weights.bin"
  frozen, anonymous, alias "a, b", alias c transposed, holds [0:4, 0:2+8:10+16:18] of [4, 24]
data %scale: f32[] = 0.1
  literal
data %fused: f32[8*part(2, tensor) + 8*part(4, tensor) + 8] of [56] [(4 over tensor, 8) + (2 over tensor, 8) + (8)]
data %nan: bf16[2] = [0x7fc1, -0]
data %ones: f64[4096] = all 1
data %narrow: f32[2] = f16[2] [1.5, inf]
data %unknown: u8[3]
data %words: string[2] = strings
guard past + s = total at "node 'x'"
%"a result", %b = halves(%x) {each = past, value = -1e-05, words = [a, "b c"]} : f16[past], f16[past] [tensor] partial(max: data)
  node "" (aten::pad), module "" counts calls, backward
  because "first"
  %b anonymous
  %b because "second" from %x
%g = all_gather(%b) {axes = [tensor], axis = 0, group = [0, 1], id = "\x0a\u2028ü", total = 30} : f16[30]
output "a result" = %"a result"
output g = %g
state %ids -> g axis 1
update %w -> w.next parameter of %w
update %ids -> g step
gradient %w -> w.grad
remark annotate "nothing is \"cut\""
)";
  std::string expected = text;
  // What says nothing is not printed: a node without a name has none.
  expected.replace(expected.find("node \"\" "), 8, "node ");
  CHECK(printed(text) == expected);
}
TEST_CASE("the example of docs/ir.md reads as it prints") {
  std::ifstream page(OPTP_SOURCE "/docs/ir.md");
  const std::string text{std::istreambuf_iterator<char>(page), {}};
  const size_t begin = text.find("```\n") + 4, end = text.find("```\n", begin);
  REQUIRE(end < text.size());
  CHECK(printed(text.substr(begin, end - begin)) == text.substr(begin, end - begin));
}
TEST_CASE("by hand, types and inputs may be left out, and comments put in") {
  CHECK(printed("# relu of a sum\n\n%s = add(%x: f32[b, 8], %y: f32[8] [_])\r\n%r = relu(%s)\noutput r = %r") ==
        "input %x: f32[b, 8]\n"
        "input %y: f32[8] [_]\n"
        "%s = add(%x, %y) : f32[b, 8]\n"
        "%r = relu(%s) : f32[b, 8]\n"
        "output r = %r\n");
  CHECK(printed("") == "");
}
TEST_CASE("what is known of small integers is known again") {
  auto graph = parse_graph("%d = dim_tensor() {dtype = 7, shape = [2], values = [b, 3*s]}\n%n = neg(%d)\n", "g.ir");
  REQUIRE(bool(graph));
  const Value* n = (*graph)->find("n");
  REQUIRE(n->content);
  CHECK(n->content->elements[1].text() == "-3*s");
}
TEST_CASE("what can't be read is named by line and column, with what was expected and found") {
  for (auto [text, message] : std::initializer_list<std::pair<const char*, std::string>>{
           {"\ninput x: f32[2]", "g.ir:2:7: expected '%', found 'x:'"},
           {"input %x: f33[2]", "g.ir:1:11: expected a type such as f32[batch, 768], found 'f33'"},
           {"input %x: f32[2", "g.ir:1:16: expected ']', found the end of the line"},
           {"input %x: f32[2 +]", "g.ir:1:15: expected an extent such as 768 or past + sequence, found '2'"},
           {"input %x: f32[2] [_, _]", "g.ir:1:20: expected ']', found ','"},
           {"input %x: f32[2] [tensor]", "g.ir:1:18: the mesh has no axis 'tensor'"},
           {"%y = all_reduce(%x: f32[2]) {axes = [tensor]}", "g.ir:1:6: the mesh has no axis 'tensor'"},
           {"input %x: f32[2] f32[2]", "g.ir:1:18: expected the end of the line, found 'f32'"},
           {"input %x: f32[2]\ninput %x: f32[2]", "g.ir:2:7: a second value named 'x'"},
           {"%y = relu(%x)", "g.ir:1:11: 'x' is not defined before it is used"},
           {"%y = rleu(%x: f32[2])", "g.ir:1:6: expected the name of an op, found 'rleu'"},
           {"%y = add(%x: f32[2])", "g.ir:1:6: add: expected 2 operands, found 1"},
           {"%y = add(%x: f32[2], %z: f32[3])",
            "g.ir:1:6: node of 'y' (add): broadcast of operands: extents 2 and 3 differ"},
           {"%y = reshape(%x: f32[2]) {dims = [2] dims = [1]}", "g.ir:1:38: expected '}', found 'dims'"},
           {"%y = reshape(%x: f32[2]) {dims = [2], dims = [1]}", "g.ir:1:39: a second attribute 'dims'"},
           {"%y, %z = relu(%x: f32[2]) : f32[2]",
            "g.ir:1:35: expected as many types as results, 2, found the end of "
            "the line"},
           {"%y = relu(%x: f32[2]) : f32[2]\n  node x, becuase \"\"",
            "g.ir:2:11: expected what a node or value is, found 'becuase'"},
           {"mesh tensor=2\n  frozen",
            "g.ir:2:3: expected a line at the margin: only a value or a node has lines below "
            "its own, found 'frozen'"},
           {"data %c: u8[2] = [1, 256]", "g.ir:1:22: expected a number of uint8, found '256'"},
           {"data %c: u8[2] = [1]", "g.ir:1:18: expected 2 elements, found 1"},
           {"data %c: f32[b] = 1", "g.ir:1:10: the extents of data are numbers, found 'b'"},
           {"data %c: f32[99999999, 99999999] = all 1", "g.ir:1:36: expected 'missing' or 'strings', found 'all'"},
           {"%y = contract(%x: f32[2, 3], %w: f32[3, 4]) {loops = \"m k, k n\"}",
            "g.ir:1:54: expected loops such as \"m k, k n -> m n\", found '\"m k, k n\"'"},
           {"%y = contract(%x: f32[2, 3], %w: f32[3, 4]) {loops = 3}",
            "g.ir:1:54: expected loops such as \"m k, k n -> m n\", found '3'"},
           {"%y = contract(%x: f32[2, 3], %w: f32[3, 4])",
            "g.ir:1:6: node of 'y' (contract): loops: expected such as \"m k, k n -> m n\", found none"},
           {"mesh tensor=2\ninput %x: f32[6] [(4 over tensor) + (2 over data)]",
            "g.ir:2:18: the mesh has no axis 'data'"},
           {"mesh tensor=2\ninput %x: f32[6] [(4 over tensor) + 2]", "g.ir:2:37: expected '(', found '2'"},
           {"mesh tensor=2\ninput %x: f32[7] [(4 over tensor) + (2 over tensor)]",
            "g.ir: 'x': sharding [(tensor) + (tensor)]: dim 0: factors of 6 elements, expected 7"},
           {"mesh tensor=2\ninput %x: f32[6, 2] [(4 over tensor) + (2), tensor]",
            "g.ir: 'x': sharding [(tensor) + (_), tensor]: axis 'tensor' is used twice"},
           {"input %x: f32[past]\ndim past >= 0\ninput %y: f32[past]",
            "g.ir: two extents are named 'past': one may be 0"},
           {"output y = %y", "g.ir:1:12: 'y' is not defined before it is used"},
           {"remark \"open", "g.ir:1:13: expected '\"' at the end of a text, found the end of the line"},
           {"rank 1", "g.ir:1:6: expected a rank of the mesh, found '1'"},
           {"parameter %w: f32[4] = all 1\n  holds [0:2]",
            "g.ir:2:9: expected a shard such as '[0:12+20:32, 0:768] of [60, 768]', found '[0:2]'"},
           {"parameter %w: f32[4] = all 1\n  holds [0:2] of [5]", "g.ir:2:9: a shard of something else than this data"},
           {"nonsense",
            "g.ir:1:1: expected %NAME = OP(…) or one of input, data, parameter, output, guard, mesh, rank, "
            "dim, state, update, gradient, remark, graph, found 'nonsense'"},
       }) {
    CAPTURE(text);
    CHECK(printed(text) == message);
  }
}
