// Elementwise tests, and what is computed with truth values: ONNX Equal, Less, And, Not …
#include "passes/ops/elementwise.h"

namespace optp::ops {
namespace {
llvm::Expected<Types> infer_compare(const Node& node) {
  auto types = infer_binary(node);
  if (types) (*types)[0].dtype = DType::boolean;
  return types;
}
llvm::Expected<Types> infer_logical(const Node& node) {
  for (unsigned k = 0; k < node.operands.size(); ++k)
    if (node.operand(k).type.dtype != DType::boolean)
      return wrong_dtype(node, k, "bool", long_name(node.operand(k).type.dtype));
  return node.operands.size() == 1 ? infer_unary(node) : infer_binary(node);
}

// Comparisons give 0 or 1 where they can be proved, and unknown (overflow) where not.
Dim content_equal(Dim a, Dim b) {
  if (a == b) return 1;
  return proved_less(a, b) || proved_less(b, a) ? Dim(0) : Dim::overflow();
}
Dim content_less(Dim a, Dim b) {
  return proved_less(a, b) ? Dim(1) : (proved_less_equal(b, a) ? Dim(0) : Dim::overflow());
}
Dim content_less_equal(Dim a, Dim b) {
  return proved_less_equal(a, b) ? Dim(1) : (proved_less(b, a) ? Dim(0) : Dim::overflow());
}
Dim content_greater(Dim a, Dim b) { return content_less(b, a); }
Dim content_greater_equal(Dim a, Dim b) { return content_less_equal(b, a); }
Dim content_and(Dim a, Dim b) { return a * b; }
Dim content_or(Dim a, Dim b) { return a + b - a * b; }

std::optional<Content> content_not(const Node& node) {
  auto a = content_of(node.operand(0));
  if (!a) return std::nullopt;
  for (Dim& d : a->elements) d = Dim(1) - d;
  return a;
}
const RegisteredOp not_{
    unary_op("not", "logical not", unary_any<[](auto x) { return decltype(x)(x == 0); }>, infer_logical, content_not)};
const RegisteredOp equal{binary_op("equal", "a = b", binary<[](auto a, auto b) { return a == b; }, true>,
                                   rule_of<Linear::none>, binary_content<content_equal>, infer_compare)};
const RegisteredOp less{binary_op("less", "a < b", binary<[](auto a, auto b) { return a < b; }, true>,
                                  rule_of<Linear::none>, binary_content<content_less>, infer_compare)};
const RegisteredOp less_equal{binary_op("less_equal", "a ≤ b", binary<[](auto a, auto b) { return a <= b; }, true>,
                                        rule_of<Linear::none>, binary_content<content_less_equal>, infer_compare)};
const RegisteredOp greater{binary_op("greater", "a > b", binary<[](auto a, auto b) { return b < a; }, true>,
                                     rule_of<Linear::none>, binary_content<content_greater>, infer_compare)};
const RegisteredOp greater_equal{binary_op("greater_equal", "a ≥ b",
                                           binary<[](auto a, auto b) { return a >= b; }, true>, rule_of<Linear::none>,
                                           binary_content<content_greater_equal>, infer_compare)};
const RegisteredOp and_{binary_op("and", "logical and", binary<[](auto a, auto b) { return a != 0 && b != 0; }, true>,
                                  rule_of<Linear::none>, binary_content<content_and>, infer_logical)};
const RegisteredOp or_{binary_op("or", "logical or", binary<[](auto a, auto b) { return a != 0 || b != 0; }, true>,
                                 rule_of<Linear::none>, binary_content<content_or>, infer_logical)};
const RegisteredOp xor_{binary_op("xor", "logical exclusive or",
                                  binary<[](auto a, auto b) { return (a != 0) != (b != 0); }, true>,
                                  rule_of<Linear::none>, /*content=*/nullptr, infer_logical)};
}  // namespace
}  // namespace optp::ops
