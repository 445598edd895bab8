#include "frontend/ir/op.h"

#include <algorithm>
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

Dim LoopSharding::start(int loop) const {
  const DimSharding& d = loops[size_t(loop)];
  Dim first = 0, below = 1;
  for (auto f = d.factors.rbegin(); f != d.factors.rend(); ++f) {
    first = first + Dim::start(f->extent, f->axes) * below;
    below = below * f->extent;
  }
  return first;
}

llvm::Error mismatch(const Node& node, unsigned operand, llvm::StringRef what, const llvm::Twine& expected,
                     const llvm::Twine& found) {
  return bad_input(describe(node) + ", operand " + llvm::Twine(operand) + " " + quoted(node.operand(operand).name) +
                   ": " + what + ": expected " + expected + ", found " + found);
}
llvm::Error node_error(const Node& node, const llvm::Twine& what) { return bad_input(describe(node) + ": " + what); }

char DimClash::ID = 0;
void DimClash::log(llvm::raw_ostream& out) const {
  out << at << ": extents differ: " << left.text() << " and " << right.text();
}
llvm::Error must_agree(const Node& node, llvm::StringRef what, Dim left, Dim right) {
  if (left == right) return llvm::Error::success();
  if (left.constant() && right.constant())
    return node_error(node, what + ": extents " + left.text() + " and " + right.text() + " differ");
  return llvm::make_error<DimClash>(left, right, describe(node) + ": " + what.str());
}
}  // namespace optp
