// Ops that only say how elements are seen: reshape, transpose, expand. Any partial passes through them.
#include "frontend/ir/dim_solve.h"
#include "frontend/ir/formula.h"
#include "passes/ops/support.h"

namespace optp::ops {
namespace {

// reshape to attribute "dims". Loops: groups of dims with equal products; a group of one to one is one loop.
llvm::Expected<Rule> reshape_rule(const Node& node) {
  const auto& from = node.operand(0).type.dims;
  const auto& to = node.out().type.dims;
  Rule rule;
  rule.linear = Linear::view;
  rule.operands.resize(1, llvm::SmallVector<int, 4>(from.size(), no_loop));
  rule.results.resize(1, llvm::SmallVector<int, 4>(to.size(), no_loop));
  size_t i = 0, j = 0;
  while (i < from.size() || j < to.size()) {
    // A dim of extent 1 without a partner belongs to nothing.
    if (i < from.size() && from[i].is(1) && !(j < to.size() && to[j].is(1))) {
      rule.operands[0][i] = rule.add(1, /*whole=*/true), ++i;
      continue;
    }
    if (j < to.size() && to[j].is(1) && !(i < from.size() && from[i].is(1))) {
      rule.results[0][j] = rule.add(1, /*whole=*/true), ++j;
      continue;
    }
    // The smallest groups with equal products, by trying lengths; with symbols a product can't be compared by size.
    size_t best_m = from.size() - i, best_n = to.size() - j;
    bool found = false;
    for (size_t total = 2; total <= best_m + best_n && !found; ++total)
      for (size_t m = 1; m < total && !found; ++m) {
        const size_t n = total - m;
        if (m > from.size() - i || n > to.size() - j) continue;
        if (product(llvm::ArrayRef<Dim>(from).slice(i, m)) == product(llvm::ArrayRef<Dim>(to).slice(j, n))) {
          best_m = m, best_n = n;
          found = true;
        }
      }
    if (best_m == 1 && best_n == 1 && found) {
      rule.operands[0][i] = rule.results[0][j] = rule.add(from[i]);
    } else {
      LoopLink link;
      for (size_t k = i; k < i + best_m; ++k) link.left.push_back(rule.operands[0][k] = rule.add(from[k], !found));
      for (size_t k = j; k < j + best_n; ++k) link.right.push_back(rule.results[0][k] = rule.add(to[k], !found));
      if (found) rule.links.push_back(std::move(link));
    }
    i += best_m, j += best_n;
  }
  return rule;
}
const RegisteredOp reshape{{
    .name = "reshape",
    .summary = "the same elements, row-major, in other dims",
    .extents = {"dims"},
    .rule = reshape_rule,
    .infer = [](const Node& node) -> llvm::Expected<Types> {
      const Dim from = product(node.operand(0).type.dims), to = product(node.dims("dims"));
      if (to.is_overflow())
        return error(Code::malformed)
            .at(node)
            .what("reshape to " + to_string(node.dims("dims")))
            .what("more elements than fit in 64 bits");
      if (from != to) {
        if (from.constant() && to.constant())
          return error(Code::shape_mismatch)
              .operand_of(node, 0)
              .what("elements")
              .expected(to.text() + " for " + to_string(node.dims("dims")))
              .found(from.text() + " of " + to_string(node.operand(0).type.dims));
        // Two names for one extent usually stand at the same place.
        const auto& dims = node.operand(0).type.dims;
        const auto to_dims = node.dims("dims");
        for (size_t k = 0; k < std::min(dims.size(), to_dims.size()); ++k)
          if (dims[k] != to_dims[k] && !dims[k].constant() && !to_dims[k].constant() &&
              solve_equal(dims[k], to_dims[k]))
            return must_agree(node, "reshape of " + to_string(dims) + " to " + to_string(to_dims), dims[k], to_dims[k]);
        if (auto e = must_agree(
                node, "reshape of " + to_string(node.operand(0).type.dims) + " to " + to_string(node.dims("dims")),
                from, to))
          return e;
      }
      return one(node.operand(0).type.dtype, node.dims("dims"));
    },
    .evaluate = [](const Node& node, llvm::ArrayRef<const Array*> in) -> llvm::Expected<Arrays> {
      Array out = *in[0];
      out.dims = numbers(node.out().type.dims);
      return single(std::move(out));
    },
    .content = [](const Node& node) -> std::optional<Content> {
      auto c = content_of(node.operand(0));
      const Ints dims = numbers(node.out().type.dims);
      if (!c || llvm::is_contained(dims, -1)) return std::nullopt;
      c->dims.assign(dims.begin(), dims.end());
      return c;
    },
    .localize = [](Node& node, const Rule&, const LoopSharding&) -> llvm::Error {
      node.attributes["dims"] = node.out().type.dims;  // already local
      return llvm::Error::success();
    },
    .gradient = [](GradientContext& c) { c.dx[0] = c.reshape(c.dy, c.x()->type.dims); },
    .traits = Trait::reshapes,
}};

// transpose by attribute "perm": result dim d is operand dim perm[d]
const RegisteredOp transpose{{
    .name = "transpose",
    .summary = "dims in another order",
    .rule = [](const Node& node) -> llvm::Expected<Rule> {
      Rule rule;
      rule.linear = Linear::view;
      rule.operands.emplace_back();
      for (Dim d : node.operand(0).type.dims) rule.operands[0].push_back(rule.add(d));
      rule.results.emplace_back();
      for (int64_t p : node.integers("perm")) rule.results[0].push_back(rule.operands[0][size_t(p)]);
      return rule;
    },
    .infer = [](const Node& node) -> llvm::Expected<Types> {
      const auto& dims = node.operand(0).type.dims;
      const auto perm = node.integers("perm");
      llvm::SmallVector<bool, 8> seen(dims.size(), false);
      Dims out;
      for (int64_t p : perm) {
        if (p < 0 || p >= int64_t(dims.size()) || seen[size_t(p)]) break;
        seen[size_t(p)] = true;
        out.push_back(dims[size_t(p)]);
      }
      if (perm.size() != dims.size() || out.size() != dims.size())
        return error(Code::shape_mismatch)
            .at(node)
            .what("perm")
            .expected("a permutation of " + llvm::Twine(dims.size()) + " dims");
      return one(node.operand(0).type.dtype, out);
    },
    .evaluate = [](const Node& node, llvm::ArrayRef<const Array*> in) -> llvm::Expected<Arrays> {
      const Ints own = strides_of(in[0]->dims);
      Ints strides;
      for (int64_t p : node.integers("perm")) strides.push_back(own[size_t(p)]);
      return single(rearranged(*in[0], numbers(node.out().type.dims), strides));
    },
    .content = [](const Node& node) -> std::optional<Content> {
      auto c = content_of(node.operand(0));
      if (!c) return std::nullopt;
      const Ints own = strides_of(c->dims);
      Ints strides;
      for (int64_t p : node.integers("perm")) strides.push_back(own[size_t(p)]);
      return rearranged_content(*c, numbers(node.out().type.dims), strides);
    },
    .gradient =
        [](GradientContext& c) {
          const auto perm = c.node.integers("perm");
          llvm::SmallVector<int64_t, 4> inverse(perm.size());
          for (size_t d = 0; d < perm.size(); ++d) inverse[size_t(perm[d])] = int64_t(d);
          c.dx[0] = c.op("transpose", {c.dy}, {{"perm", inverse}});
        },
    .traits = Trait::permutes,
}};

// expand (numpy's broadcast_to) to attribute "dims"
const RegisteredOp expand{{
    .name = "expand",
    .summary = "dims of extent 1 repeated",
    .extents = {"dims"},
    .rule = [](const Node& node) -> llvm::Expected<Rule> {
      auto rule = elementwise_rule(node);
      if (rule) rule->linear = Linear::view;
      return rule;
    },
    .infer = [](const Node& node) -> llvm::Expected<Types> {
      const auto& dims = node.operand(0).type.dims;
      const auto to = node.dims("dims");
      if (to.size() < dims.size())
        return wrong_shape(node, 0, "at most " + llvm::Twine(to.size()) + " dims", to_string(dims));
      for (size_t k = 0; k < dims.size(); ++k) {
        const Dim t = to[to.size() - dims.size() + k];
        if (!dims[k].is(1))
          if (auto e = must_agree(node, "expand", dims[k], t)) return e;
      }
      return one(node.operand(0).type.dtype, to);
    },
    .evaluate = [](const Node& node, llvm::ArrayRef<const Array*> in) -> llvm::Expected<Arrays> {
      const Ints dims = numbers(node.out().type.dims);
      return single(rearranged(*in[0], dims, broadcast_strides(in[0]->dims, dims)));
    },
    .content = [](const Node& node) -> std::optional<Content> {
      auto c = content_of(node.operand(0));
      const Ints dims = numbers(node.out().type.dims);
      if (!c) return std::nullopt;
      return rearranged_content(*c, dims, broadcast_strides(c->dims, dims));
    },
    .localize = [](Node& node, const Rule&, const LoopSharding&) -> llvm::Error {
      node.attributes["dims"] = node.out().type.dims;
      return llvm::Error::success();
    },
    .gradient = [](GradientContext& c) { c.dx[0] = c.unbroadcast(c.dy, *c.x()); },
    .traits = Trait::repeats,
}};
}  // namespace
}  // namespace optp::ops
