// contract: a sum of products over named loops, as an einsum writes it; what ONNX MatMul, Gemm and Einsum of two
// operands become. The node's "loops" attribute names each dim of both operands and of the result. A linear layer:
//   "b s k, k n -> b s n"   y[b, s, n] = Σ_k x[b, s, k] · w[k, n]
// Which lists have a loop says what it is, and what splitting it over ranks costs:
//   both operands and the result   batch        each rank has its own products
//   operand 0 and the result       row          b and s: tokens; the other operand is whole on every rank
//   operand 1 and the result       column       n: a column-parallel layer
//   both operands only             contracted   k: a row-parallel layer; each rank has a partial sum
// One operand alone may have a loop, too: it is summed before the product. A loop named twice in a list is a diagonal,
// and "1" a dim of extent 1 that no loop runs over.
//
// So one op stands for all transposed, batched and broadcast products, and the gradients are contracts again, with the
// lists in another order: of the layer above dx = "b s n, k n -> b s k" of dy and w, dw = "b s n, b s k -> k n" of dy
// and x. Einstein's sums as in numpy.einsum.
#include "frontend/ir/contract_loops.h"
#include "frontend/ir/formula.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringMap.h"
#include "passes/ops/float64_product.h"
#include "passes/ops/support.h"

namespace optp {
namespace ops {
namespace {

struct Bound {
  const ContractLoops& lists;
  std::vector<std::string> names;  // result loops first, then contracted ones
  size_t result_loops = 0;
};
llvm::Expected<Bound> bound(const Node& node) {
  const auto* lists = node.find<ContractLoops>("loops");
  if (!lists)
    return error(Code::malformed).at(node).what("loops").expected("such as \"m k, k n -> m n\"").found("none");
  Bound b{*lists, {}, 0};
  for (const std::string& n : b.lists.result)
    if (n != "1") b.names.push_back(n);
  b.result_loops = b.names.size();
  for (const auto& list : b.lists.operands)
    for (const std::string& n : list)
      if (n != "1" && !llvm::is_contained(b.names, n)) b.names.push_back(n);
  return b;
}

llvm::Expected<Rule> rule(const Node& node) {
  auto b = bound(node);
  if (!b) return b.takeError();
  Rule rule;
  rule.linear = Linear::in_each_operand;
  llvm::StringMap<int> index;
  auto list = [&](const std::vector<std::string>& names, llvm::ArrayRef<Dim> dims) {
    llvm::SmallVector<int, 4> out;
    for (size_t d = 0; d < names.size(); ++d) {
      if (names[d] == "1") {
        out.push_back(no_loop);
        continue;
      }
      auto [it, fresh] = index.try_emplace(names[d], 0);
      if (fresh)
        it->second = rule.add(dims[d], /*whole=*/false,
                              llvm::is_contained(b->lists.result, names[d]) ? Reduce::none : Reduce::sum);
      out.push_back(it->second);
    }
    return out;
  };
  rule.results.push_back(list(b->lists.result, node.out().type.dims));
  for (unsigned k : {0u, 1u}) rule.operands.push_back(list(b->lists.operands[k], node.operand(k).type.dims));
  return rule;
}

llvm::Expected<Types> infer(const Node& node) {
  if (auto e = same_dtype(node, {0, 1})) return e;
  auto b = bound(node);
  if (!b) return b.takeError();
  llvm::StringMap<Dim> extent;
  for (unsigned k : {0u, 1u}) {
    const auto& dims = node.operand(k).type.dims;
    if (dims.size() != b->lists.operands[k].size())
      return error(Code::shape_mismatch)
          .operand_of(node, k)
          .what("dims")
          .expected(llvm::Twine(b->lists.operands[k].size()))
          .found(to_string(dims));
    for (size_t d = 0; d < dims.size(); ++d) {
      const std::string& name = b->lists.operands[k][d];
      if (name == "1") continue;
      auto [it, fresh] = extent.try_emplace(name, dims[d]);
      if (fresh || it->second == dims[d]) continue;
      if (it->second.constant() && dims[d].constant())
        return wrong_shape(node, k,
                           "extent " + it->second.text() + " of dim " + llvm::Twine(d) + " as in operand 0 " +
                               to_string(node.operand(0).type.dims),
                           to_string(dims));
      if (auto e = must_agree(node, "product of operands", it->second, dims[d])) return e;
    }
  }
  Dims dims;
  for (const std::string& name : b->lists.result) dims.push_back(name == "1" ? Dim(1) : extent.lookup(name));
  return one(node.operand(0).type.dtype, dims);
}

template <typename T>
void accumulate(llvm::ArrayRef<int64_t> extents, llvm::ArrayRef<Ints> strides, const T* a, const T* b, T* y) {
  // The innermost loop is the one that both operands step through in order, as far as there is one.
  const size_t n = extents.size();
  if (n == 0) {
    y[0] += a[0] * b[0];
    return;
  }
  size_t inner = n - 1;
  int64_t best = INT64_MAX;
  for (size_t k = 0; k < n; ++k) {
    const int64_t cost = (strides[0][k] > 1) + 2 * (strides[1][k] > 1) + (strides[2][k] > 1);
    if (extents[k] > 1 && cost <= best) best = cost, inner = k;
  }
  const int64_t count = extents[inner], sa = strides[0][inner], sb = strides[1][inner], sy = strides[2][inner];
  Ints outer_dims(extents.begin(), extents.end());
  outer_dims[inner] = 1;
  walk(outer_dims, strides, [&](int64_t, llvm::ArrayRef<int64_t> at) {
    const T* pa = a + at[0];
    const T* pb = b + at[1];
    T* py = y + at[2];
    if (sy == 0) {
      T sum = 0;
      for (int64_t k = 0; k < count; ++k) sum += pa[k * sa] * pb[k * sb];
      *py += sum;
    } else {
      for (int64_t k = 0; k < count; ++k) py[k * sy] += pa[k * sa] * pb[k * sb];
    }
  });
}

// In float64 nearly all the time of a check goes here: the longest loops of a and y, of b and y, and of a and b are a
// matrix product, the others go round it.
void accumulate_products(llvm::ArrayRef<int64_t> extents, llvm::ArrayRef<Ints> strides, const double* a,
                         const double* b, double* y) {
  constexpr size_t none = SIZE_MAX;
  size_t m = none, n = none, k = none;
  for (size_t l = 0; l < extents.size(); ++l) {
    const bool in_a = strides[0][l] != 0, in_b = strides[1][l] != 0, in_y = strides[2][l] != 0;
    size_t* kind = in_a && !in_b && in_y ? &m : !in_a && in_b && in_y ? &n : in_a && in_b && !in_y ? &k : nullptr;
    if (kind && (*kind == none || extents[l] > extents[*kind])) *kind = l;
  }
  if (m == none || n == none || k == none || extents[m] * extents[n] * extents[k] < 4096)
    return accumulate(extents, strides, a, b, y);
  Ints outer(extents.begin(), extents.end());
  outer[m] = outer[n] = outer[k] = 1;
  walk(outer, strides, [&](int64_t, llvm::ArrayRef<int64_t> at) {
    add_product({.m = extents[m],
                 .k = extents[k],
                 .n = extents[n],
                 .a = a + at[0],
                 .b = b + at[1],
                 .y = y + at[2],
                 .a_steps = {strides[0][m], strides[0][k]},
                 .b_steps = {strides[1][k], strides[1][n]},
                 .y_steps = {strides[2][m], strides[2][n]}});
  });
}

llvm::Expected<Arrays> evaluate(const Node& node, llvm::ArrayRef<const Array*> in) {
  auto b = bound(node);
  if (!b) return b.takeError();
  const Ints result_dims = numbers(node.out().type.dims);
  Ints extents(b->names.size(), 1);
  llvm::SmallVector<Ints, 3> strides(3, Ints(b->names.size(), 0));
  auto fill = [&](const std::vector<std::string>& names, llvm::ArrayRef<int64_t> dims, Ints& stride) {
    const Ints own = strides_of(dims);
    for (size_t d = 0; d < names.size(); ++d) {
      if (names[d] == "1") continue;
      const size_t k = size_t(llvm::find(b->names, names[d]) - b->names.begin());
      extents[k] = dims[d];
      stride[k] += own[d];
    }
  };
  fill(b->lists.operands[0], in[0]->dims, strides[0]);
  fill(b->lists.operands[1], in[1]->dims, strides[1]);
  fill(b->lists.result, result_dims, strides[2]);
  Array out;
  out.resize(in[0]->is_float, result_dims);
  if (count_of(extents) != 0) {
    if (out.is_float)
      accumulate_products(extents, strides, in[0]->f.data(), in[1]->f.data(), out.f.data());
    else
      accumulate(extents, strides, in[0]->i.data(), in[1]->i.data(), out.i.data());
  }
  return single(std::move(out));
}

// Of Σ a·b over what the result lacks: da = Σ dy·b over what a lacks, the same op with its lists in another order.
void gradient(GradientContext& c) {
  const ContractLoops& lists = c.node.loops();
  for (unsigned k : {0u, 1u}) {
    if (!c.needs(k)) continue;
    const auto& own = lists.operands[k];
    const auto& other = lists.operands[1 - k];
    // A loop that only this operand has was summed away: each of its indices gets the same.
    ContractLoops back{{lists.result, other}, own};
    Dims summed_dims;
    std::vector<std::string> summed;
    bool diagonal = false;
    for (size_t d = 0; d < own.size(); ++d) {
      if (own[d] == "1" || llvm::is_contained(lists.result, own[d]) || llvm::is_contained(other, own[d])) continue;
      back.result[d] = "1";
      diagonal |= llvm::is_contained(summed, own[d]);
      summed.push_back(own[d]);
      summed_dims.push_back(c.x(k)->type.dims[d]);
    }
    Value* g = c.op("contract", {c.dy, c.x(1 - k)}, {{"loops", back}});
    if (diagonal) {
      // A trace: what it has off its diagonal was not summed. Ones along the loop put the gradient where its index
      // recurs.
      llvm::SmallVector<std::string, 4> once;
      Dims ones;
      for (size_t d = 0; d < summed.size(); ++d)
        if (!llvm::is_contained(once, summed[d])) once.push_back(summed[d]), ones.push_back(summed_dims[d]);
      const ContractLoops spread{{back.result, {once.begin(), once.end()}}, own};
      c.dx[k] = c.op("contract", {g, c.expand(c.scalar(c.dy->type.dtype, 1), ones)}, {{"loops", spread}});
    } else {
      c.dx[k] = summed.empty() ? g : c.expand(g, c.x(k)->type.dims);
    }
  }
}

const RegisteredOp contract{{
    .name = "contract",
    .summary = "sum of products over named loops: MatMul, Gemm, Einsum of two operands",
    .operands = 2,
    .rule = rule,
    .infer = infer,
    .evaluate = evaluate,
    .flops =
        [](const Rule& rule) {
          Dim n = 2;
          for (const Loop& loop : rule.loops) n = n * loop.extent;
          return n;
        },
    .gradient = gradient,
    .traits = Trait::product | Trait::empty_is_zero,
    .words = {"product of activations", "product"},
}};
}  // namespace
}  // namespace ops
}  // namespace optp
