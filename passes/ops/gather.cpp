// gather: rows of a table by an index tensor (ONNX Gather), along attribute "axis".
// The table's rows are a contracted loop: a rank that holds rows [start, start + n) gives those and zeros for the rest,
// a partial sum (vocab-parallel embedding, Megatron-LM, arXiv:1909.08053 section 3).
#include "frontend/ir/formula.h"
#include "passes/ops/support.h"

namespace optp::ops {
namespace {
const RegisteredOp gather{{
    .name = "gather",
    .summary =
        "slices of operand 0 along one axis, chosen by the indices in operand 1; indices below 0 count from the end",
    .operands = 2,
    .extents = {"row_start", "rows"},
    .rule = [](const Node& node) -> llvm::Expected<Rule> {
      const size_t axis = size_t(node.integer("axis"));
      Rule rule;
      rule.linear = Linear::in_first;
      rule.operands.resize(2);
      rule.results.emplace_back();
      const auto& table = node.operand(0).type.dims;
      const auto& index = node.operand(1).type.dims;
      for (size_t d = 0; d < table.size(); ++d)
        rule.operands[0].push_back(rule.add(table[d], /*whole=*/false, d == axis ? Reduce::sum : Reduce::none));
      rule.loops[axis].counted = true;
      for (Dim d : index) rule.operands[1].push_back(rule.add(d));
      for (size_t d = 0; d < table.size(); ++d) {
        if (d == axis)
          rule.results[0].append(rule.operands[1].begin(), rule.operands[1].end());
        else
          rule.results[0].push_back(rule.operands[0][d]);
      }
      if (node.operand(0).type.dtype == DType::boolean) rule.loops[axis].whole = true;  // bool has no sum
      return rule;
    },
    .infer = [](const Node& node) -> llvm::Expected<Types> {
      auto axis = checked_axis(node, node.operand(0).ndim());
      if (!axis) return axis.takeError();
      const DType index = node.operand(1).type.dtype;
      if (index != DType::i64 && index != DType::i32) return wrong_dtype(node, 1, "int64 or int32", long_name(index));
      if (node.operand(0).type.dtype == DType::string) return wrong_dtype(node, 0, "a number", "string");
      Dims dims = node.operand(0).type.dims;
      if (const auto rows = node.dim("rows", dims[size_t(*axis)]).constant())
        if (const auto known = content_of(node.operand(1)))
          for (Dim d : known->elements)
            if (auto at = d.constant(); at && (*at < -*rows || *at >= *rows))
              return index_out_of_range(node, *at, *rows);
      dims.erase(dims.begin() + *axis);
      dims.insert(dims.begin() + *axis, node.operand(1).type.dims.begin(), node.operand(1).type.dims.end());
      return one(node.operand(0).type.dtype, dims);
    },
    .evaluate = [](const Node& node, llvm::ArrayRef<const Array*> in) -> llvm::Expected<Arrays> {
      const size_t axis = size_t(node.integer("axis"));
      const bool masked = node.find<Dim>("row_start") != nullptr;
      const int64_t rows = in[0]->dims[axis], start = node.dim("row_start").constant().value_or(0);
      const int64_t total = node.dim("rows", rows).constant().value_or(rows);
      Array out;
      out.resize(in[0]->is_float, numbers(node.out().type.dims));
      const int64_t outer = count_of(llvm::ArrayRef<int64_t>(in[0]->dims).take_front(axis));
      const int64_t inner = count_of(llvm::ArrayRef<int64_t>(in[0]->dims).drop_front(axis + 1));
      const int64_t count = in[1]->elements();
      for (int64_t k = 0; k < count; ++k) {
        const int64_t wanted = in[1]->i[size_t(k)];
        int64_t row = wanted < 0 ? wanted + total : wanted;
        if (row < 0 || row >= total) return index_out_of_range(node, wanted, total);
        row -= start;
        if (masked && (row < 0 || row >= rows)) continue;
        for (int64_t o = 0; o < outer; ++o)
          for (int64_t i = 0; i < inner; ++i) {
            const size_t to = size_t((o * count + k) * inner + i), from = size_t((o * rows + row) * inner + i);
            if (out.is_float)
              out.f[to] = in[0]->f[from];
            else
              out.i[to] = in[0]->i[from];
          }
      }
      return single(std::move(out));
    },
    .content = [](const Node& node) -> std::optional<Content> {
      auto table = content_of(node.operand(0)), index = content_of(node.operand(1));
      if (!table || !index || table->dims.size() != 1) return std::nullopt;
      Content out;
      out.dims = index->dims;
      for (Dim d : index->elements) {
        if (!d.constant()) return std::nullopt;
        const int64_t at = *d.constant() < 0 ? *d.constant() + table->dims[0] : *d.constant();
        if (at < 0 || at >= table->dims[0]) return std::nullopt;
        out.elements.push_back(table->elements[size_t(at)]);
      }
      return out;
    },
    .localize = localize_rows_of_operand,
    .gradient =
        [](GradientContext& c) {
          const int64_t axis = c.node.integer("axis");
          c.dx[0] = c.op("scatter_add", {c.dy, c.x(1)}, {{"axis", axis}, {"rows", c.x(0)->type.dims[size_t(axis)]}});
        },
    .traits = Trait::looks_up,
    .words = {"lookup", "lookup"},
}};

// scatter_add(values, index): gather's transpose: values of equal index are added up in a tensor of zeros. A rank that
// holds rows [start, start + n) adds those and leaves the rest out, so that a vocab-split table's gradient needs no
// communication.
const RegisteredOp scatter_add{{
    .name = "scatter_add",
    .summary =
        "zeros of attribute \"rows\" along one axis, to which operand 0's slices are added at the indices in operand 1",
    .operands = 2,
    .extents = {"row_start", "rows", "local_rows"},
    .rule = [](const Node& node) -> llvm::Expected<Rule> {
      const size_t axis = size_t(node.integer("axis"));
      Rule rule;
      rule.linear = Linear::in_first;
      rule.operands.resize(2);
      rule.results.emplace_back();
      const auto& table = node.out().type.dims;
      const size_t index_dims = node.operand(1).ndim();
      for (size_t d = 0; d < table.size(); ++d) rule.results[0].push_back(rule.add(table[d]));
      rule.loops[axis].counted = true;
      for (Dim d : node.operand(1).type.dims) rule.operands[1].push_back(rule.add(d, /*whole=*/false, Reduce::sum));
      for (size_t d = 0; d < table.size(); ++d) {
        if (d == axis)
          rule.operands[0].append(rule.operands[1].begin(), rule.operands[1].begin() + long(index_dims));
        else
          rule.operands[0].push_back(rule.results[0][d]);
      }
      return rule;
    },
    .infer = [](const Node& node) -> llvm::Expected<Types> {
      if (auto e = same_dtype(node, {0})) return e;
      const DType index = node.operand(1).type.dtype;
      if (index != DType::i64 && index != DType::i32) return wrong_dtype(node, 1, "int64 or int32", long_name(index));
      const int64_t axis = node.integer("axis");
      Dims dims = node.operand(0).type.dims;
      const size_t n = node.operand(1).ndim();
      if (axis < 0 || size_t(axis) + n > dims.size())
        return error(Code::malformed).at(node).what("axis " + llvm::Twine(axis) + " is out of range");
      for (size_t d = 0; d < n; ++d)
        if (auto e = must_agree(node, "values and index", dims[size_t(axis) + d], node.operand(1).type.dims[d]))
          return e;
      dims.erase(dims.begin() + axis, dims.begin() + axis + long(n));
      // A rank that has a part of the rows still counts all of them, for indices from the end.
      dims.insert(dims.begin() + axis, node.dim("local_rows", node.dim("rows")));
      return one(node.operand(0).type.dtype, dims);
    },
    .evaluate = [](const Node& node, llvm::ArrayRef<const Array*> in) -> llvm::Expected<Arrays> {
      const size_t axis = size_t(node.integer("axis"));
      const bool masked = node.find<Dim>("row_start") != nullptr;
      Array out;
      out.resize(in[0]->is_float, numbers(node.out().type.dims));
      const int64_t rows = out.dims[axis], start = node.dim("row_start").constant().value_or(0);
      const int64_t total = node.dim("rows", rows).constant().value_or(rows);
      const int64_t outer = count_of(llvm::ArrayRef<int64_t>(out.dims).take_front(axis));
      const int64_t inner = count_of(llvm::ArrayRef<int64_t>(out.dims).drop_front(axis + 1));
      const int64_t count = in[1]->elements();
      for (int64_t k = 0; k < count; ++k) {
        const int64_t wanted = in[1]->i[size_t(k)];
        int64_t row = wanted < 0 ? wanted + total : wanted;
        if (row < 0 || row >= total) return index_out_of_range(node, wanted, total);
        row -= start;
        if (masked && (row < 0 || row >= rows)) continue;
        for (int64_t o = 0; o < outer; ++o)
          for (int64_t i = 0; i < inner; ++i) {
            const size_t from = size_t((o * count + k) * inner + i), to = size_t((o * rows + row) * inner + i);
            if (out.is_float)
              out.f[to] += in[0]->f[from];
            else
              out.i[to] += in[0]->i[from];
          }
      }
      return single(std::move(out));
    },
    .localize = localize_rows_of_result,
    .gradient =
        [](GradientContext& c) { c.dx[0] = c.op("gather", {c.dy, c.x(1)}, {{"axis", c.node.integer("axis")}}); },
}};
}  // namespace
}  // namespace optp::ops
