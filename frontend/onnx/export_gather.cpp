// gather: ONNX Gather. A rank that holds rows [start, start + n) gives those and zeros for the rest:
//   wanted = Where(index < 0, index + rows, index) - start
//   y = Where(0 <= wanted < n, Gather(table, Where(outside the whole table, index, Clip(wanted, 0, n - 1))), 0)
// Where, not a product: the row that is read in place of one not held may hold a NaN. An index outside the whole table is
// outside every part of it, so that each rank's Gather refuses it, as the whole one does.
#include "frontend/onnx/export_context.h"

namespace optp {
namespace {
void write_gather(ExportContext& c) {
  const Node& node = c.node();
  const int64_t axis = node.integer("axis");
  const Value &table = node.operand(0), &index = node.operand(1);
  if (!node.find<Dim>("row_start")) return c.finish("Gather", {c.operand(0), c.operand(1)}, {{"axis", axis}});
  const Dim held = table.type.dims[size_t(axis)];
  if (held.is(0)) return c.finish_filled(0);
  const DType dtype = index.type.dtype;
  auto number = [&](Dim d) {
    return d.constant() ? c.scalar(dtype, double(*d.constant())) : c.cast(c.dim_scalar(d), DType::i64, dtype);
  };
  const std::string zero = number(0), i = c.operand(1);
  const std::string all = number(node.dim("rows", held));
  const std::string from_start = c.step("Where", {c.step("Less", {i, zero}), c.step("Add", {i, all}), i});
  const std::string outside = c.step("Or", {c.step("Less", {from_start, zero}), c.step("GreaterOrEqual", {from_start, all})});
  const Dim start = node.dim("row_start");
  const std::string wanted = start.is(0) ? from_start : c.step("Sub", {from_start, number(start)});
  std::string mask = c.step("And", {c.step("GreaterOrEqual", {wanted, zero}), c.step("Less", {wanted, number(held)})});
  const std::string row = c.step("Where", {outside, i, c.step("Clip", {wanted, zero, number(held - 1)})});
  const std::string rows = c.step("Gather", {c.operand(0), row}, {{"axis", axis}});
  llvm::SmallVector<int64_t, 4> inner;  // dims of a row follow those of the index
  for (int64_t d = axis + 1; d < int64_t(table.ndim()); ++d) inner.push_back(int64_t(index.ndim()) + d - axis - 1);
  if (!inner.empty()) mask = c.step("Unsqueeze", {mask, c.integers(inner)});
  c.finish("Where", {mask, rows, c.scalar(table.type.dtype, 0)});
}
const ExportRow rows[] = {{"gather", write_gather}};
}  // namespace
llvm::ArrayRef<ExportRow> gather_export() { return rows; }
}  // namespace optp
