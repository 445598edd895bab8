// index_copy(data, index, rows): data with the slices along attribute "axis" that a vector of indices names replaced by
// those of rows: PyTorch's index_copy, and how a key/value cache of fixed capacity takes new tokens. Indices below 0
// count from the end; they are distinct, as ONNX's ScatterElements (opset 11) demands, or the last one counts and
// gradients mean nothing.
#include "frontend/ir/formula.h"
#include "passes/ops/support.h"

namespace optp::ops {
namespace {
const RegisteredOp index_copy{{
    .name = "index_copy",
    .summary = "operand 0 with its slices at the indices in operand 1, along one axis, replaced by those of operand 2",
    .operands = 3,
    .rule = [](const Node& node) -> llvm::Expected<Rule> {
      const size_t axis = size_t(node.integer("axis"));
      Rule rule;
      rule.operands.resize(3);
      rule.results.emplace_back();
      for (size_t d = 0; d < node.out().ndim(); ++d)
        rule.results[0].push_back(rule.add(node.out().type.dims[d], /*whole=*/d == axis));
      rule.operands[0] = rule.operands[2] = rule.results[0];
      rule.operands[2][axis] = rule.add(node.operand(2).type.dims[axis], /*whole=*/true);
      rule.operands[1] = {rule.operands[2][axis]};
      return rule;
    },
    .infer = [](const Node& node) -> llvm::Expected<Types> {
      const Type &data = node.operand(0).type, &index = node.operand(1).type, &rows = node.operand(2).type;
      if (auto e = same_dtype(node, {0, 2})) return e;
      if (index.dtype != DType::i64 && index.dtype != DType::i32)
        return wrong_dtype(node, 1, "int64 or int32", long_name(index.dtype));
      if (index.dims.size() != 1) return wrong_shape(node, 1, "one dim", to_string(index.dims));
      auto axis = checked_axis(node, data.dims.size());
      if (!axis) return axis.takeError();
      if (rows.dims.size() != data.dims.size())
        return wrong_shape(node, 2, llvm::Twine(data.dims.size()) + " dims as operand 0", to_string(rows.dims));
      for (size_t d = 0; d < data.dims.size(); ++d)
        if (int64_t(d) == *axis) {
          if (auto e = must_agree(node, "indices and rows", index.dims[0], rows.dims[d])) return e;
        } else if (auto e = must_agree(node, "data and rows", data.dims[d], rows.dims[d])) {
          return e;
        }
      return one(data.dtype, data.dims);
    },
    .evaluate = [](const Node& node, llvm::ArrayRef<const Array*> in) -> llvm::Expected<Arrays> {
      const size_t axis = size_t(node.integer("axis"));
      Array out = *in[0];
      const int64_t rows = out.dims[axis], count = in[1]->elements();
      const int64_t outer = count_of(llvm::ArrayRef<int64_t>(out.dims).take_front(axis));
      const int64_t inner = count_of(llvm::ArrayRef<int64_t>(out.dims).drop_front(axis + 1));
      for (int64_t k = 0; k < count; ++k) {
        const int64_t wanted = in[1]->i[size_t(k)], row = wanted < 0 ? wanted + rows : wanted;
        if (row < 0 || row >= rows) return index_out_of_range(node, wanted, rows);
        for (int64_t o = 0; o < outer; ++o)
          for (int64_t i = 0; i < inner; ++i) {
            const size_t to = size_t((o * rows + row) * inner + i), from = size_t((o * count + k) * inner + i);
            if (out.is_float)
              out.f[to] = in[2]->f[from];
            else
              out.i[to] = in[2]->i[from];
          }
      }
      return single(std::move(out));
    },
    .gradient =
        [](GradientContext& c) {
          const Attributes axis{{"axis", c.node.integer("axis")}};
          const Value& rows = *c.x(2);
          if (c.needs(0))
            c.dx[0] = c.op("index_copy", {c.dy, c.x(1), c.expand(c.scalar(rows.type.dtype, 0), rows.type.dims)}, axis);
          if (c.needs(2)) c.dx[2] = c.op("gather", {c.dy, c.x(1)}, axis);
        },
}};
}  // namespace
}  // namespace optp::ops
