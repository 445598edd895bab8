#include "frontend/ir/op.h"

#include <algorithm>
#include <cassert>
#include <cstdlib>

#include "frontend/ir/diagnostic.h"

namespace optp {
namespace {
std::vector<const OpDef*>& registry() {
  static auto* ops = new std::vector<const OpDef*>;
  return *ops;
}
}  // namespace

void detail::register_op(const OpDef* op) {
  auto& ops = registry();
  ops.insert(
      std::upper_bound(ops.begin(), ops.end(), op, [](const OpDef* a, const OpDef* b) { return a->name < b->name; }),
      op);
}
llvm::ArrayRef<const OpDef*> all_ops() { return registry(); }
const OpDef* find_op(llvm::StringRef name) {
  const auto& ops = registry();
  auto it = std::lower_bound(ops.begin(), ops.end(), name,
                             [](const OpDef* a, llvm::StringRef n) { return llvm::StringRef(a->name) < n; });
  return it != ops.end() && (*it)->name == name ? *it : nullptr;
}
const OpDef& get_op(llvm::StringRef name) {
  const OpDef* op = find_op(name);
  if (!op) llvm::report_fatal_error("no op is registered as " + name);
  return *op;
}
Dim flops_of(const Node& node) {
  if (!node.op->flops || !node.op->rule) return 0;
  auto rule = node.op->rule(node);
  if (!rule) {
    llvm::consumeError(rule.takeError());
    return 0;
  }
  return node.op->flops(*rule);
}

Dim LoopSharding::start(int loop) const {
  const DimSharding& d = loops[size_t(loop)];
  Dim first = 0, below = 1;
  for (auto f = d.factors().rbegin(); f != d.factors().rend(); ++f) {
    first = first + Dim::start(f->extent, f->axes) * below;
    below = below * f->extent;
  }
  return first;
}

Dim LoopSharding::local_start(const LoopPiece& piece, Dim piece_extent) const {
  const DimSharding& whole = loops[size_t(piece.whole)];
  if (!whole.is_split() || piece.start.is(0)) return piece.start;
  // Of a product the pieces are equal.
  if (whole.is_product()) {
    const auto index = exact_div(piece.start, piece_extent);
    assert(index && "a product's pieces are aligned");
    return *index * local(piece.piece, piece_extent);
  }
  Dim before = 0, local_before = 0;
  for (const ProductSharding& part : whole.parts) {
    if (before == piece.start) break;
    before = before + part.extent(), local_before = local_before + part.local_extent();
  }
  assert(before == piece.start && "a piece begins where a part does");
  return local_before;
}

Diagnostic& Diagnostic::operand_of(const Node& node, unsigned k) {
  return at(node).at(joined(", ", tensor_place("operand " + llvm::Twine(k), node.operand(k).name)));
}
Diagnostic wrong_dtype(const Node& node, unsigned operand, const llvm::Twine& expected, const llvm::Twine& found) {
  return error(Code::dtype_mismatch).operand_of(node, operand).what("dtype").expected(expected).found(found);
}
Diagnostic wrong_shape(const Node& node, unsigned operand, const llvm::Twine& expected, const llvm::Twine& found) {
  return error(Code::shape_mismatch).operand_of(node, operand).what("shape").expected(expected).found(found);
}

char DimClash::ID = 0;
void DimClash::log(llvm::raw_ostream& out) const {
  out << to_string(at) << ": extents differ: " << left.text() << " and " << right.text();
}
llvm::Error must_agree(const Node& node, llvm::StringRef what, Dim left, Dim right) {
  if (left == right) return llvm::Error::success();
  if (left.constant() && right.constant())
    return error(Code::shape_mismatch)
        .at(node)
        .what(what)
        .what("extents " + left.text() + " and " + right.text() + " differ");
  return llvm::make_error<DimClash>(left, right, Where{place_of(node), words(what)});
}
}  // namespace optp
