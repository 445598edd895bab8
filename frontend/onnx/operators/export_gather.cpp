// gather: ONNX Gather. A rank that holds rows [start, start + n) gives those and zeros for the rest:
//   wanted = Where(index < 0, index + rows, index) - start
//   y = Where(0 <= wanted < n, Gather(table, Where(outside the whole table, index, Clip(wanted, 0, n - 1))), 0)
// Where, not a product: the row that is read in place of one not held may hold a NaN. An index outside the whole table
// is outside every part of it, so that each rank's Gather refuses it, as the whole one does.
#include "frontend/onnx/export_context.h"

namespace optp {
namespace {
// Where an index leads among the rows that are held, and whether it leads to one of them.
struct HeldRow {
  std::string row, is_held;
};
HeldRow held_row(ExportContext& c, Dim held, bool refuses_outside) {
  const DType dtype = c.node().operand(1).type.dtype;
  auto number = [&](Dim d) {
    return d.constant() ? c.scalar(dtype, double(*d.constant())) : c.cast(c.dim_scalar(d), DType::i64, dtype);
  };
  const Dim start = c.node().dim("row_start");
  const std::string zero = number(0), i = c.operand(1), all = number(c.node().dim("rows", held));
  const std::string from_start = c.step("Where", {c.step("Less", {i, zero}), c.step("Add", {i, all}), i});
  std::string outside;
  if (refuses_outside)
    outside = c.step("Or", {c.step("Less", {from_start, zero}), c.step("GreaterOrEqual", {from_start, all})});
  const std::string wanted = start.is(0) ? from_start : c.step("Sub", {from_start, number(start)});
  HeldRow out;
  out.is_held = c.step("And", {c.step("GreaterOrEqual", {wanted, zero}), c.step("Less", {wanted, number(held)})});
  out.row = c.step("Clip", {wanted, zero, number(held - 1)});
  if (refuses_outside) out.row = c.step("Where", {outside, i, out.row});
  return out;
}
void write_gather(ExportContext& c) {
  const Node& node = c.node();
  const int64_t axis = node.integer("axis");
  const Value &table = node.operand(0), &index = node.operand(1);
  if (!node.find<Dim>("row_start")) return c.finish("Gather", {c.operand(0), c.operand(1)}, {{"axis", axis}});
  const Dim held = table.type.dims[size_t(axis)];
  if (held.is(0)) return c.finish_filled(0);
  const HeldRow at = held_row(c, held, /*refuses_outside=*/true);
  const std::string rows = c.step("Gather", {c.operand(0), at.row}, {{"axis", axis}});
  std::string mask = at.is_held;
  llvm::SmallVector<int64_t, 4> inner;  // dims of a row follow those of the index
  for (int64_t d = axis + 1; d < int64_t(table.ndim()); ++d) inner.push_back(int64_t(index.ndim()) + d - axis - 1);
  if (!inner.empty()) mask = c.step("Unsqueeze", {mask, c.integers(inner)});
  c.finish("Where", {mask, rows, c.scalar(table.type.dtype, 0)});
}
// scatter_add: ONNX ScatterND into zeros. Values of rows that other ranks hold are zeroed and go to a row that is here.
void write_scatter_add(ExportContext& c) {
  const Node& node = c.node();
  const size_t axis = size_t(node.integer("axis")), index_dims = node.operand(1).ndim(), ndim = node.operand(0).ndim();
  const Dims& table = node.out().type.dims;
  const Dim held = table[axis];
  if (held.is(0)) return c.finish_filled(0);
  const DType dtype = node.operand(1).type.dtype;
  auto number = [&](Dim d) {
    return d.constant() ? c.scalar(dtype, double(*d.constant())) : c.cast(c.dim_scalar(d), DType::i64, dtype);
  };
  // Rows first.
  std::string values = c.operand(0), i = c.operand(1);
  llvm::SmallVector<int64_t, 4> rows_first, back;
  for (size_t d = axis; d < axis + index_dims; ++d) rows_first.push_back(int64_t(d));
  for (size_t d = 0; d < ndim; ++d)
    if (d < axis || d >= axis + index_dims) rows_first.push_back(int64_t(d));
  Dims shape{held};
  for (size_t d = 0; d < table.size(); ++d)
    if (d != axis) shape.push_back(table[d]);
  if (axis > 0) values = c.step("Transpose", {values}, {{"perm", rows_first}});
  const std::string zero = number(0);
  std::string row = c.step("Where", {c.step("Less", {i, zero}), c.step("Add", {i, number(node.dim("rows", held))}), i});
  if (node.find<Dim>("row_start")) {
    const Dim start = node.dim("row_start");
    if (!start.is(0)) row = c.step("Sub", {row, number(start)});
    std::string mask = c.step("And", {c.step("GreaterOrEqual", {row, zero}), c.step("Less", {row, number(held)})});
    llvm::SmallVector<int64_t, 4> inner;
    for (size_t d = index_dims; d < ndim; ++d) inner.push_back(int64_t(d));
    if (!inner.empty()) mask = c.step("Unsqueeze", {mask, c.integers(inner)});
    values = c.step("Where", {mask, values, c.scalar(c.dtype(), 0)});
    row = c.step("Clip", {row, zero, number(held - 1)});
  }
  const std::string zeros = c.step("Expand", {c.scalar(c.dtype(), 0), c.dims(shape)});
  const std::string tuple = c.step("Unsqueeze", {c.cast(row, dtype, DType::i64), c.integers({int64_t(index_dims)})});
  const ExportAttributes add{{"reduction", std::string("add")}};
  if (axis == 0) return c.finish("ScatterND", {zeros, tuple, values}, add);
  for (size_t d = 0; d < table.size(); ++d) back.push_back(d < axis ? int64_t(d) + 1 : d == axis ? 0 : int64_t(d));
  c.finish("Transpose", {c.step("ScatterND", {zeros, tuple, values}, add)}, {{"perm", back}});
}
// index_copy: ONNX ScatterElements, each index repeated over a slice.
void write_index_copy(ExportContext& c) {
  const Node& node = c.node();
  const int64_t axis = node.integer("axis");
  const Value &index = node.operand(1), &rows = node.operand(2);
  Dims column(rows.ndim(), Dim(1));
  column[size_t(axis)] = index.type.dims[0];
  std::string at = c.operand(1);
  if (rows.ndim() > 1) {
    at = c.step("Reshape", {at, c.dims(column)});
    if (column != rows.type.dims) at = c.step("Expand", {at, c.dims(rows.type.dims)});
  }
  c.finish("ScatterElements", {c.operand(0), at, c.operand(2)}, {{"axis", axis}});
}
// gather_elements: ONNX GatherElements, masked as gather is.
void write_gather_elements(ExportContext& c) {
  const Node& node = c.node();
  const ExportAttributes along{{"axis", node.integer("axis")}};
  if (!node.find<Dim>("row_start")) return c.finish("GatherElements", {c.operand(0), c.operand(1)}, along);
  const Dim held = node.operand(0).type.dims[size_t(node.integer("axis"))];
  if (held.is(0)) return c.finish_filled(0);
  const HeldRow at = held_row(c, held, /*refuses_outside=*/true);
  c.finish("Where",
           {at.is_held, c.step("GatherElements", {c.operand(0), at.row}, along), c.scalar(node.out().type.dtype, 0)});
}
// scatter_add_elements: ONNX ScatterElements into zeros. What belongs to rows that other ranks hold adds zero to one
// that is here.
void write_scatter_add_elements(ExportContext& c) {
  const Node& node = c.node();
  const Dims& table = node.out().type.dims;
  const Dim held = table[size_t(node.integer("axis"))];
  if (held.is(0)) return c.finish_filled(0);
  std::string values = c.operand(0), row = c.operand(1);
  if (node.find<Dim>("row_start")) {
    const HeldRow at = held_row(c, held, /*refuses_outside=*/false);
    values = c.step("Where", {at.is_held, values, c.scalar(c.dtype(), 0)});
    row = at.row;
  }
  c.finish("ScatterElements", {c.step("Expand", {c.scalar(c.dtype(), 0), c.dims(table)}), row, values},
           {{"axis", node.integer("axis")}, {"reduction", std::string("add")}});
}
const ExportRow rows[] = {{"gather", write_gather},
                          {"scatter_add", write_scatter_add},
                          {"index_copy", write_index_copy},
                          {"gather_elements", write_gather_elements},
                          {"scatter_add_elements", write_scatter_add_elements}};
const RegisteredExports registered{rows};
}  // namespace
}  // namespace optp
