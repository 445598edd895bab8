// contract as MatMul, with the operands' dims brought into its order, else as Einsum.
//   "b s k, n k -> b s n"            MatMul(x, Transpose(w))
//   "b h s t, b h t d -> b s h d"    Transpose(MatMul(p, v))
#include "frontend/ir/diagnostic.h"
#include "frontend/onnx/export_context.h"

namespace optp {
namespace {
using Names = std::vector<std::string>;
using Ints = llvm::SmallVector<int64_t, 4>;
// Einsum takes no bf16 before opset 26; of f16 it would add up in f16.
constexpr TypeSet einsum_types = f32_f64 | wide_integers;

bool has(const Names& names, const std::string& name) { return llvm::is_contained(names, name); }
bool repeats(const Names& names) {
  for (size_t k = 0; k < names.size(); ++k)
    if (names[k] != "1" && std::find(names.begin() + std::ptrdiff_t(k) + 1, names.end(), names[k]) != names.end())
      return true;
  return false;
}
Names without_ones(const Names& names) {
  Names out;
  llvm::copy_if(names, std::back_inserter(out), [](const std::string& n) { return n != "1"; });
  return out;
}
Ints places_of_ones(const Names& names) {
  Ints out;
  for (size_t k = 0; k < names.size(); ++k)
    if (names[k] == "1") out.push_back(int64_t(k));
  return out;
}
Ints order(const Names& from, const Names& to) {
  Ints perm;
  for (const std::string& name : to) {
    auto same = [&](size_t k) { return from[k] == name && !llvm::is_contained(perm, int64_t(k)); };
    size_t k = 0;
    while (!same(k)) ++k;
    perm.push_back(int64_t(k));
  }
  return perm;
}

// The steps that bring a value with dims `from` to dims `to`: the same names, with other places of dims of extent 1.
struct View {
  const char* op;  // Transpose by `ints`, Squeeze or Unsqueeze of `ints`
  Ints ints;
};
std::vector<View> views(const Names& from, const Names& to) {
  std::vector<View> out;
  auto transpose = [&](const Names& f, const Names& t) {
    if (Ints perm = order(f, t); !llvm::is_sorted(perm)) out.push_back({"Transpose", perm});
  };
  if (from.size() == to.size()) {
    transpose(from, to);
    return out;
  }
  if (Ints ones = places_of_ones(from); !ones.empty()) out.push_back({"Squeeze", ones});
  transpose(without_ones(from), without_ones(to));
  if (Ints ones = places_of_ones(to); !ones.empty()) out.push_back({"Unsqueeze", ones});
  return out;
}
std::string seen(ExportContext& c, std::string value, llvm::ArrayRef<View> steps, bool finish = false) {
  for (const View& v : steps) {
    std::vector<std::string> inputs = {value};
    ExportAttributes attributes;
    if (llvm::StringRef(v.op) == "Transpose")
      attributes.push_back({"perm", v.ints});
    else
      inputs.push_back(c.integers(v.ints));
    if (finish && &v == &steps.back())
      c.finish(v.op, inputs, attributes);
    else
      value = c.step(v.op, inputs, attributes);
  }
  return value;
}

// An operator of two operands, each seen with other dims: which operand, its dims, and the dims of what it gives.
struct Product {
  const char* op;
  TypeSet types;
  unsigned left = 0, right = 1;
  Names lists[2], result;
};
Names present(llvm::ArrayRef<std::string> wanted, const Names& own) {
  Names out;
  for (const std::string& name : wanted) out.push_back(has(own, name) ? name : "1");
  return out;
}
// Leading ones are broadcast without being there; a matrix has two dims.
Names shortened(const Names& list, const Names& own, size_t least) {
  Names same(list.size() > own.size() ? list.size() - own.size() : 0, "1");
  same.insert(same.end(), own.begin(), own.end());
  if (same == list && own.size() >= least) return own;
  size_t drop = 0;
  while (list.size() - drop > least && list[drop] == "1") ++drop;
  return Names(list.begin() + std::ptrdiff_t(drop), list.end());
}
// left [batch…, m, k] · right [batch…, k, n] = [batch…, m, n]; without a sum, a product of elements.
std::optional<Product> as_matmul(const ContractLoops& loops) {
  const Names &a = loops.operands[0], &b = loops.operands[1], &y = loops.result;
  if (repeats(a) || repeats(b) || repeats(y)) return std::nullopt;
  std::string k = "1";
  for (const Names* list : {&a, &b})
    for (const std::string& name : *list) {
      if (name == "1" || has(y, name)) continue;
      if (!has(a, name) || !has(b, name)) return std::nullopt;  // summed over in one operand alone
      if (k != "1" && k != name) return std::nullopt;           // more than one sum
      k = name;
    }
  if (k == "1")
    return Product{"Mul", number_types, 0, 1, {shortened(present(y, a), a, 0), shortened(present(y, b), b, 0)}, y};
  auto last_only_in = [&](const Names& in, const Names& other) {
    std::string last = "1";
    for (const std::string& name : y)
      if (name != "1" && has(in, name) && !has(other, name)) last = name;
    return last;
  };
  Product out{"MatMul", float_types | wide_integers, 0, 1, {}, {}};
  std::string m = last_only_in(a, b), n = last_only_in(b, a);
  // The operand with the result's last loop is the right one: it saves a transpose of the result.
  if (m != "1" && y.back() == m) {
    std::swap(out.left, out.right);
    std::swap(m, n);
  }
  Names batch;
  for (const std::string& name : y)
    if (name == "1" || (name != m && name != n)) batch.push_back(name);
  for (unsigned side : {0u, 1u}) {
    const Names& own = loops.operands[side == 0 ? out.left : out.right];
    Names list = present(batch, own);
    list.push_back(side == 0 ? m : k);
    list.push_back(side == 0 ? k : n);
    out.lists[side] = shortened(list, own, 2);
  }
  out.result = batch;
  out.result.push_back(m);
  out.result.push_back(n);
  // Ones that neither operand has are not in the result.
  const size_t ndim = std::max(out.lists[0].size(), out.lists[1].size());
  out.result.erase(out.result.begin(), out.result.end() - std::ptrdiff_t(ndim));
  return out;
}

std::string einsum_equation(const ContractLoops& loops) {
  Names met;
  auto letters = [&](const Names& names) {
    std::string out;
    for (const std::string& name : without_ones(names)) {
      size_t k = size_t(llvm::find(met, name) - met.begin());
      if (k == met.size()) met.push_back(name);
      out += char(k < 26 ? 'a' + k : 'A' + (k - 26));
    }
    return out;
  };
  const std::string a = letters(loops.operands[0]), b = letters(loops.operands[1]);
  return a + "," + b + "->" + letters(loops.result);
}

void write_contract(ExportContext& c) {
  const ContractLoops& loops = c.node().loops();
  ExportAttributes attributes;
  auto product = as_matmul(loops);
  if (!product) {
    product = Product{"Einsum",
                      einsum_types,
                      0,
                      1,
                      {without_ones(loops.operands[0]), without_ones(loops.operands[1])},
                      without_ones(loops.result)};
    attributes.push_back({"equation", einsum_equation(loops)});
  }
  const DType dtype = c.dtype(), via = wider(dtype, product->types);
  std::vector<std::string> inputs;
  for (unsigned side : {0u, 1u}) {
    const unsigned k = side == 0 ? product->left : product->right;
    inputs.push_back(seen(c, c.cast(c.operand(k), dtype, via), views(loops.operands[k], product->lists[side])));
  }
  const auto after = views(product->result, loops.result);
  if (via != dtype)
    c.finish_cast(seen(c, c.step(product->op, inputs, attributes), after), via);
  else if (after.empty())
    c.finish(product->op, inputs, attributes);
  else
    seen(c, c.step(product->op, inputs, attributes), after, /*finish=*/true);
}
const ExportRow rows[] = {{"contract", write_contract}};
const RegisteredExports registered{rows};
}  // namespace
}  // namespace optp
