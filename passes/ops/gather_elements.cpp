// gather_elements: one element of operand 0 along "axis" for each index of operand 1, which has its dims but that one
// (ONNX GatherElements). All other dims are loops of both: heads that look up in their own scores are cut with them.
//   y[i, j] = x[i, index[i, j]]      along axis 1
// As in gather, the axis of operand 0 is a contracted loop: a rank that holds a part of it gives zeros for the rest.
#include "frontend/ir/formula.h"
#include "passes/ops/support.h"

namespace optp::ops {
namespace {
llvm::Error check_index(const Node& node, const Dims& dims) {
  const Value& index = node.operand(1);
  if (index.type.dtype != DType::i64 && index.type.dtype != DType::i32)
    return wrong_dtype(node, 1, "int64 or int32", long_name(index.type.dtype));
  if (index.ndim() != dims.size())
    return wrong_shape(node, 1, llvm::Twine(dims.size()) + " dims as operand 0", to_string(index.type.dims));
  for (size_t d = 0; d < dims.size(); ++d)
    if (int64_t(d) != node.integer("axis"))
      if (auto e = must_agree(node, "operand and index", dims[d], index.type.dims[d])) return e;
  return llvm::Error::success();
}
// Both dims of a table and of its elements: a loop for each, and for the axis one of each of them.
struct Loops {
  llvm::SmallVector<int, 4> table, elements;
};
Loops loops_of(Rule& rule, const Dims& table, const Dims& elements, size_t axis, Reduce over_table,
               Reduce over_elements) {
  Loops out;
  for (size_t d = 0; d < table.size(); ++d) {
    out.table.push_back(rule.add(table[d], /*whole=*/false, d == axis ? over_table : Reduce::none));
    out.elements.push_back(d == axis ? rule.add(elements[d], /*whole=*/false, over_elements) : out.table[d]);
  }
  rule.loops[size_t(out.table[axis])].counted = true;
  return out;
}
// Calls visit(offset in the table, offset of the element) for each index that is held here.
llvm::Error each_element(const Node& node, const Array& index, int64_t held,
                         llvm::function_ref<void(size_t, size_t)> visit) {
  const size_t axis = size_t(node.integer("axis"));
  const bool masked = node.find<Dim>("row_start") != nullptr;
  const int64_t start = node.dim("row_start").constant().value_or(0);
  const int64_t total = node.dim("rows", held).constant().value_or(held), count = index.dims[axis];
  const int64_t inner = count_of(llvm::ArrayRef<int64_t>(index.dims).drop_front(axis + 1));
  for (int64_t at = 0; at < index.elements(); ++at) {
    const int64_t wanted = index.i[size_t(at)], row = wanted < 0 ? wanted + total : wanted, here = row - start;
    if (row < 0 || row >= total) return index_out_of_range(node, wanted, total);
    if (masked && (here < 0 || here >= held)) continue;
    visit(size_t((at / (count * inner) * held + here) * inner + at % inner), size_t(at));
  }
  return llvm::Error::success();
}

const RegisteredOp gather_elements{{
    .name = "gather_elements",
    .summary =
        "elements of operand 0 along one axis, each chosen by the index of operand 1 at its place; indices below 0 "
        "count from the end",
    .operands = 2,
    .extents = {"row_start", "rows"},
    .rule = [](const Node& node) -> llvm::Expected<Rule> {
      const size_t axis = size_t(node.integer("axis"));
      Rule rule;
      rule.linear = Linear::in_first;
      const Loops loops =
          loops_of(rule, node.operand(0).type.dims, node.operand(1).type.dims, axis, Reduce::sum, Reduce::none);
      rule.operands.assign({loops.table, loops.elements});
      rule.results.assign({loops.elements});
      // bool has no sum
      if (node.operand(0).type.dtype == DType::boolean) rule.loops[size_t(loops.table[axis])].whole = true;
      return rule;
    },
    .infer = [](const Node& node) -> llvm::Expected<Types> {
      auto axis = checked_axis(node, node.operand(0).ndim());
      if (!axis) return axis.takeError();
      if (auto e = check_index(node, node.operand(0).type.dims)) return e;
      if (node.operand(0).type.dtype == DType::string) return wrong_dtype(node, 0, "a number", "string");
      return one(node.operand(0).type.dtype, node.operand(1).type.dims);
    },
    .evaluate = [](const Node& node, llvm::ArrayRef<const Array*> in) -> llvm::Expected<Arrays> {
      Array out;
      out.resize(in[0]->is_float, numbers(node.out().type.dims));
      auto e = each_element(node, *in[1], in[0]->dims[size_t(node.integer("axis"))], [&](size_t from, size_t to) {
        if (out.is_float)
          out.f[to] = in[0]->f[from];
        else
          out.i[to] = in[0]->i[from];
      });
      if (e) return e;
      return single(std::move(out));
    },
    .localize = localize_rows_of_operand,
    .gradient =
        [](GradientContext& c) {
          const int64_t axis = c.node.integer("axis");
          c.dx[0] =
              c.op("scatter_add_elements", {c.dy, c.x(1)}, {{"axis", axis}, {"rows", c.x(0)->type.dims[size_t(axis)]}});
        },
}};

// scatter_add_elements(values, index): its transpose. What has the same place is added up in a tensor of zeros.
const RegisteredOp scatter_add_elements{{
    .name = "scatter_add_elements",
    .summary =
        "zeros of attribute \"rows\" along one axis, to which each element of operand 0 is added at the index of "
        "operand 1 at its place",
    .operands = 2,
    .extents = {"row_start", "rows", "local_rows"},
    .rule = [](const Node& node) -> llvm::Expected<Rule> {
      const size_t axis = size_t(node.integer("axis"));
      Rule rule;
      rule.linear = Linear::in_first;
      const Loops loops =
          loops_of(rule, node.out().type.dims, node.operand(1).type.dims, axis, Reduce::none, Reduce::sum);
      rule.operands.assign({loops.elements, loops.elements});
      rule.results.assign({loops.table});
      return rule;
    },
    .infer = [](const Node& node) -> llvm::Expected<Types> {
      if (auto e = same_dtype(node, {0})) return e;
      auto axis = checked_axis(node, node.operand(0).ndim());
      if (!axis) return axis.takeError();
      Dims dims = node.operand(0).type.dims;
      if (auto e = check_index(node, dims)) return e;
      if (auto e = must_agree(node, "values and index", dims[size_t(*axis)], node.operand(1).type.dims[size_t(*axis)]))
        return e;
      // A rank that has a part of the rows still counts all of them, for indices from the end.
      dims[size_t(*axis)] = node.dim("local_rows", node.dim("rows"));
      return one(node.operand(0).type.dtype, dims);
    },
    .evaluate = [](const Node& node, llvm::ArrayRef<const Array*> in) -> llvm::Expected<Arrays> {
      Array out;
      out.resize(in[0]->is_float, numbers(node.out().type.dims));
      auto e = each_element(node, *in[1], out.dims[size_t(node.integer("axis"))], [&](size_t to, size_t from) {
        if (out.is_float)
          out.f[to] += in[0]->f[from];
        else
          out.i[to] += in[0]->i[from];
      });
      if (e) return e;
      return single(std::move(out));
    },
    .localize = localize_rows_of_result,
    .gradient =
        [](GradientContext& c) {
          c.dx[0] = c.op("gather_elements", {c.dy, c.x(1)}, {{"axis", c.node.integer("axis")}});
        },
}};
}  // namespace
}  // namespace optp::ops
