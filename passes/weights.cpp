#include "passes/weights.h"

#include <cstring>

#include "frontend/ir/file_pages.h"
#include "frontend/ir/op.h"

namespace optp {

bool is_table(const Use& use) { return use.node->op->is(Trait::looks_up) && use.operand == 0; }
bool is_contract_weight(const Use& use) { return use.node->op->is(Trait::product); }
bool is_scale_or_bias(const Use& use) {
  const OpDef& op = *use.node->op;
  if (op.is(Trait::normalizes)) return use.operand > 0;
  const Value& v = use.node->operand(use.operand);
  if (v.ndim() != 1 || use.node->operands.size() != 2 || !op.is(Trait::adds | Trait::multiplies)) return false;
  const Value& other = use.node->operand(1 - use.operand);
  // An extent-1 dim would be a scalar by another name; a longer operand is what a bias is added to.
  return !other.is_data() && other.ndim() > 1 && v.type.dims[0] == other.type.dims.back();
}

const char* usual_name(const Use& use) {
  const OpDef& op = *use.node->op;
  if (op.is(Trait::product) || is_table(use)) return "weight";
  if (op.is(Trait::normalizes)) return use.operand == 1 ? "weight" : use.operand == 2 ? "bias" : nullptr;
  if (!is_scale_or_bias(use)) return nullptr;
  return op.is(Trait::adds) ? "bias" : "weight";
}

int64_t rows_indexed(const Value& input) {
  if (is_float(input.type.dtype)) return 0;
  int64_t rows = 0;
  // Views and casts are followed to a gather whose index this is.
  llvm::SmallVector<const Value*, 8> open{&input};
  while (!open.empty()) {
    const Value* at = open.pop_back_val();
    for (const Use& use : at->uses) {
      const OpDef& op = *use.node->op;
      if (op.is(Trait::looks_up) && use.operand == 1) {
        if (auto held = use.node->operand(0).type.dims[size_t(use.node->integer("axis"))].constant()) {
          const int64_t all = use.node->dim("rows", *held).constant().value_or(*held);
          rows = rows == 0 ? all : std::min(rows, all);
        }
      } else if (op.is(Trait::reshapes | Trait::converts | Trait::permutes)) {
        open.push_back(&use.node->out());
      }
    }
  }
  return rows;
}

const Value* bias_after(const Node& product) {
  const Value* y = &product.out();
  while (y->uses.size() == 1 && y->uses[0].node->op->is(Trait::reshapes)) y = &y->uses[0].node->out();
  if (y->uses.size() != 1 || !y->uses[0].node->op->is(Trait::adds)) return nullptr;
  const Value& other = y->uses[0].node->operand(1 - y->uses[0].operand);
  return other.is_data() ? &other : nullptr;
}

bool is_constant_valued(const Tensor& tensor) {
  if (tensor.is_missing()) return false;
  if (tensor.wide) return is_constant_valued(*tensor.wide);
  const size_t element = size_t(size_bytes(tensor.dtype));
  return element == 0 || tensor.bytes.size() <= element ||
         std::memcmp(tensor.bytes.data(), tensor.bytes.data() + element, tensor.bytes.size() - element) == 0;
}

namespace {
// Of a tall matrix and a wide one. In strips, let go of one by one, and in these by blocks, so that both sides are read
// in cache lines; most unequal pairs end in the first.
bool are_transposes(const Tensor& tall, const Tensor& wide) {
  const size_t element = size_t(size_bytes(tall.dtype)), rows = size_t(tall.dims[0]), columns = size_t(tall.dims[1]);
  constexpr size_t block = 32;
  const size_t strip = std::max<size_t>(1, (size_t(16) << 20) / (block * columns * element)) * block;
  bool are_equal = true;
  for (size_t first = 0; are_equal && first < rows; first += strip) {
    const size_t end = std::min(rows, first + strip);
    for (size_t r0 = first; are_equal && r0 < end; r0 += block)
      for (size_t c0 = 0; are_equal && c0 < columns; c0 += block)
        for (size_t r = r0; are_equal && r < std::min(end, r0 + block); ++r)
          for (size_t c = c0; are_equal && c < std::min(columns, c0 + block); ++c)
            are_equal = std::memcmp(tall.bytes.data() + (r * columns + c) * element,
                                    wide.bytes.data() + (c * rows + r) * element, element) == 0;
    if (tall.in_file) let_go(tall.bytes.slice(first * columns * element, (end - first) * columns * element));
    if (wide.in_file) let_go(wide.bytes);
  }
  return are_equal;
}
}  // namespace

bool equal_contents(const Tensor& a, const Tensor& b, bool transposed) {
  if (a.dtype != b.dtype || a.is_missing() || b.is_missing() || a.bytes.size() != b.bytes.size()) return false;
  if (transposed)
    return a.dims.size() == 2 && b.dims.size() == 2 && a.dims[0] == b.dims[1] && a.dims[1] == b.dims[0] &&
           (a.dims[0] >= a.dims[1] ? are_transposes(a, b) : are_transposes(b, a));
  if (a.dims != b.dims) return false;
  if (a.bytes.data() == b.bytes.data()) return true;
  bool are_equal = true;
  for_each_piece(a, [&](llvm::ArrayRef<char> piece) {
    const llvm::ArrayRef<char> other = b.bytes.slice(size_t(piece.data() - a.bytes.data()), piece.size());
    are_equal = std::memcmp(piece.data(), other.data(), piece.size()) == 0;
    if (b.in_file) let_go(other);
    return are_equal;
  });
  return are_equal;
}
}  // namespace optp
