#include "passes/modules.h"

#include <cstring>

#include "frontend/ir/file_pages.h"
#include "frontend/ir/op.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/xxhash.h"
#include "passes/weights.h"

namespace optp {
namespace {
// The vector that is added to a product right after it, if it is no other layer's by chance.
const Value* bias_of(const Node& node) {
  const Value* bias = node.op->is(Trait::product) ? bias_after(node) : nullptr;
  return bias && !bias->data->is_missing() && !is_constant_valued(*bias->data) ? bias : nullptr;
}
std::pair<llvm::StringRef, bool> without_count(llvm::StringRef name) {
  const llvm::StringRef head = name.rtrim("0123456789");
  if (head.size() == name.size() || !head.ends_with("_") || head.size() < 2) return {name, false};
  return {head.drop_back(), true};
}
// Something learned that a node uses, as blocks are compared: the same operator, in the same place, of the same
// contents.
struct Learned {
  const Node* node;
  const Value* value;
  unsigned operand;
  uint64_t contents;
};
bool equal(const Learned& a, const Learned& b) {
  if (a.contents != b.contents || a.node->op != b.node->op || a.operand != b.operand) return false;
  // Two names of the model's are two parameters.
  if (a.value != b.value && !a.value->is_anonymous && !b.value->is_anonymous &&
      llvm::StringRef(a.value->name).contains('.') && llvm::StringRef(b.value->name).contains('.'))
    return false;
  return a.value == b.value || equal_contents(*a.value->data, *b.value->data, /*transposed=*/false);
}
}  // namespace

namespace {
// The same for elements in any order.
template <class Element>
uint64_t sum_of(llvm::ArrayRef<char> bytes) {
  uint64_t sum = 0;
  for (size_t k = 0; k + sizeof(Element) <= bytes.size(); k += sizeof(Element)) {
    Element element;
    std::memcpy(&element, bytes.data() + k, sizeof element);
    const uint64_t bits = element * uint64_t(0x9e3779b97f4a7c15);  // so that a sum tells more than the elements' mean
    sum += bits ^ bits >> 29;
  }
  return sum;
}
uint64_t sum_of(llvm::ArrayRef<char> bytes, size_t element) {
  switch (element) {
    case 1:
      return sum_of<uint8_t>(bytes);
    case 2:
      return sum_of<uint16_t>(bytes);
    case 4:
      return sum_of<uint32_t>(bytes);
    default:
      return sum_of<uint64_t>(bytes);
  }
}
}  // namespace

uint64_t content_hash(const Tensor& tensor, bool any_order) {
  const auto element = size_t(size_bytes(tensor.dtype));
  if (element == 0) return 0;
  llvm::SmallVector<int64_t, 4> dims(tensor.dims);
  if (any_order) llvm::sort(dims);
  uint64_t hash = 0;
  // In pieces, let go of one by one: or all weights that are hashed would be in memory at once.
  for_each_piece(tensor, [&](llvm::ArrayRef<char> piece) {
    hash =
        any_order
            ? hash + sum_of(piece, element)
            : (hash ^ llvm::xxh3_64bits(llvm::ArrayRef(reinterpret_cast<const uint8_t*>(piece.data()), piece.size()))) *
                  0x100000001b3;
    return true;
  });
  for (int64_t d : dims) hash = (hash ^ uint64_t(d)) * 0x100000001b3;
  return hash;
}

Modules::Modules(const Graph& graph) {
  bool any_unknown = false;
  for (const auto& node : graph.nodes) {
    any_unknown |= !node->module.known;
    if (node->module.known && !node->module.counts_calls && node->op->is(Trait::product) &&
        (node->operand(0).is_data() || node->operand(1).is_data()))
      ++products_[node->module.path];
  }
  for (const Value* v : graph.data()) data_names_.push_back(v->name);
  if (any_unknown) find_repeated_blocks(graph);
}

Modules::Same Modules::same(const Node& a, const Node& b) {
  if (&a == &b) return Same::yes;
  if (a.module.known && b.module.known) {
    if (a.module.path == b.module.path) return Same::yes;
    return a.module.counts_calls && b.module.counts_calls && same_path(a.module.path, b.module.path) ? Same::yes
                                                                                                     : Same::no;
  }
  if (const Value* bias = bias_of(a); bias && bias == bias_of(b)) return Same::yes;
  auto first = [&](const Node& n) {
    auto it = in_first_block_.find(&n);
    return it == in_first_block_.end() ? &n : it->second;
  };
  return first(a) == first(b) ? Same::yes : Same::unknown;
}

std::optional<size_t> Modules::calls(const Node& node) const {
  if (!node.module.known || node.module.counts_calls) return std::nullopt;
  llvm::StringRef around = node.module.path;
  if (around.empty()) return 1;  // the model itself
  do {
    std::optional<size_t> fewest;
    for (const auto& [path, count] : products_)
      if (llvm::StringRef(path) == around || llvm::StringRef(path).starts_with((around + ".").str()))
        fewest = std::min(fewest.value_or(count), count);
    if (fewest) return fewest;
    around = around.contains('.') ? around.take_front(around.rfind('.')) : llvm::StringRef();
  } while (!around.empty());
  return std::nullopt;
}

// A second call has _1 behind a module's name: unless that is another module's name, which then data have in theirs.
bool Modules::same_path(llvm::StringRef a, llvm::StringRef b) {
  while (true) {
    const auto [x, rest_a] = a.split('/');
    const auto [y, rest_b] = b.split('/');
    if (x != y) {
      const auto [base_x, counted_x] = without_count(x);
      const auto [base_y, counted_y] = without_count(y);
      const bool one = counted_x && base_x == y, other = counted_y && base_y == x,
                 both = counted_x && counted_y && base_x == base_y;
      if (!one && !other && !both) return false;
      if ((counted_x && !other && is_named(x)) || (counted_y && !one && is_named(y))) return false;
    }
    a = rest_a, b = rest_b;
    if (a.empty() || b.empty()) return a.empty() && b.empty();
  }
}
bool Modules::is_named(llvm::StringRef component) {
  auto [it, is_new] = named_.try_emplace(component, false);
  if (is_new)
    it->second = llvm::any_of(data_names_, [&](llvm::StringRef name) {
      for (size_t at = name.find(component); at != llvm::StringRef::npos; at = name.find(component, at + 1)) {
        const size_t end = at + component.size();
        if ((at == 0 || name[at - 1] == '.' || name[at - 1] == '/') && end < name.size() &&
            (name[end] == '.' || name[end] == '/'))
          return true;
      }
      return false;
    });
  return it->second;
}

// w0 w1 w2 · w0 w1 w2: what is learned, in the order of its use, repeats. At least two different matrices make a block.
void Modules::find_repeated_blocks(const Graph& graph) {
  std::vector<Learned> all;
  llvm::DenseMap<const Tensor*, uint64_t> hashes;
  for (const auto& node : graph.nodes)
    for (unsigned k = 0; k < node->operands.size(); ++k) {
      const Value& v = node->operand(k);
      if (!v.is_data() || v.is_literal || !is_float(v.type.dtype) || v.data->elements() < 2) continue;
      if (v.data->is_missing()) return;
      auto [it, is_new] = hashes.try_emplace(v.data.get(), 0);
      if (is_new) it->second = content_hash(*v.data, /*any_order=*/false);
      all.push_back({node.get(), &v, k, it->second});
    }
  auto matrices = [&](size_t from, size_t count) {
    llvm::SmallVector<uint64_t, 4> different;
    for (size_t k = from; k < from + count; ++k)
      if (is_contract_weight({const_cast<Node*>(all[k].node), all[k].operand}) && all[k].value->ndim() >= 2 &&
          !is_constant_valued(*all[k].value->data) && !llvm::is_contained(different, all[k].contents))
        different.push_back(all[k].contents);
    return different.size();
  };
  for (size_t i = 0; i < all.size(); ++i)
    for (size_t period = 2; i + 2 * period <= all.size(); ++period) {
      size_t same = 0;
      while (i + period + same < all.size() && equal(all[i + same], all[i + period + same])) ++same;
      if (same < period || matrices(i, period) < 2) continue;
      const size_t end = i + period + same / period * period;
      for (size_t k = i + period; k < end; ++k)
        if (!all[k].node->module.known && all[k].node != all[i + (k - i) % period].node)
          in_first_block_[all[k].node] = all[i + (k - i) % period].node;
      i = end - 1;
      break;
    }
}
}  // namespace optp
