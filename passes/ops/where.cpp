// where(condition, x, y): ONNX Where.
#include "passes/ops/elementwise.h"

namespace optp::ops {
namespace {
const RegisteredOp where{{
    .name = "where",
    .summary = "x where the condition holds, else y",
    .operands = 3,
    .rule = rule_of<Linear::none>,
    .infer = [](const Node& node) -> llvm::Expected<Types> {
      if (node.operand(0).type.dtype != DType::boolean)
        return wrong_dtype(node, 0, "bool", long_name(node.operand(0).type.dtype));
      if (auto e = same_dtype(node, {1, 2})) return e;
      auto dims = broadcast(node, {&node.operand(0), &node.operand(1), &node.operand(2)});
      if (!dims) return dims.takeError();
      return one(node.operand(1).type.dtype, *dims);
    },
    .evaluate = [](const Node& node, llvm::ArrayRef<const Array*> in) -> llvm::Expected<Arrays> {
      const Ints dims = numbers(node.out().type.dims);
      Array out;
      out.resize(in[1]->is_float, dims);
      walk(dims,
           {broadcast_strides(in[0]->dims, dims), broadcast_strides(in[1]->dims, dims),
            broadcast_strides(in[2]->dims, dims)},
           [&](int64_t k, llvm::ArrayRef<int64_t> at) {
             const int which = in[0]->i[size_t(at[0])] != 0 ? 1 : 2;
             if (out.is_float)
               out.f[size_t(k)] = in[size_t(which)]->f[size_t(at[size_t(which)])];
             else
               out.i[size_t(k)] = in[size_t(which)]->i[size_t(at[size_t(which)])];
           });
      return single(std::move(out));
    },
    .content = [](const Node& node) -> std::optional<Content> {
      auto c = content_of(node.operand(0)), x = content_of(node.operand(1)), y = content_of(node.operand(2));
      const Ints dims = numbers(node.out().type.dims);
      if (!c || !x || !y || !is_small(dims)) return std::nullopt;
      Content out;
      out.dims.assign(dims.begin(), dims.end());
      bool known = true;
      walk(dims, {broadcast_strides(c->dims, dims), broadcast_strides(x->dims, dims), broadcast_strides(y->dims, dims)},
           [&](int64_t, llvm::ArrayRef<int64_t> at) {
             auto choice = c->elements[size_t(at[0])].constant();
             if (!choice)
               known = false;
             else
               out.elements.push_back(*choice ? x->elements[size_t(at[1])] : y->elements[size_t(at[2])]);
           });
      if (!known) return std::nullopt;
      return out;
    },
    .gradient =
        [](GradientContext& c) {
          Value* chosen = c.cast(c.x(0), c.dy->type.dtype);
          if (c.needs(1)) c.dx[1] = c.unbroadcast(c.mul(c.dy, chosen), *c.x(1));
          if (c.needs(2)) c.dx[2] = c.unbroadcast(c.mul(c.dy, c.add(c.neg(chosen), 1)), *c.x(2));
        },
}};
}  // namespace
}  // namespace optp::ops
