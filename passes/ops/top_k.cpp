// top_k: where the k largest (or smallest) elements along one axis are, in that order; equal ones in the order of their
// indices, NaN as larger than every number (ONNX TopK, opset 11, its second output; the first is a gather by it).
#include <algorithm>
#include <cmath>
#include <numeric>

#include "passes/ops/support.h"

namespace optp::ops {
namespace {
// A total order: NaN above all numbers.
bool is_before(double a, double b) { return std::isnan(a) ? !std::isnan(b) : a > b; }
bool is_before(int64_t a, int64_t b) { return a > b; }

const RegisteredOp top_k{{
    .name = "top_k",
    .summary = "indices of the \"k\" largest elements along one axis, or of the smallest where \"largest\" is 0",
    .extents = {"k"},
    .rule = [](const Node& node) -> llvm::Expected<Rule> {
      const size_t axis = size_t(node.integer("axis"));
      Rule rule;
      rule.operands.emplace_back();
      rule.results.emplace_back();
      for (size_t d = 0; d < node.operand(0).ndim(); ++d) {
        rule.operands[0].push_back(rule.add(node.operand(0).type.dims[d], d == axis));
        rule.results[0].push_back(d == axis ? rule.add(node.dim("k"), /*whole=*/true) : rule.operands[0][d]);
      }
      return rule;
    },
    .infer = [](const Node& node) -> llvm::Expected<Types> {
      if (auto e = same_dtype(node, {0})) return e;
      auto axis = checked_axis(node, node.operand(0).ndim());
      if (!axis) return axis.takeError();
      Dims dims = node.operand(0).type.dims;
      const Dim k = node.dim("k");
      if (proved_less(k, 0) || proved_less(dims[size_t(*axis)], k))
        return error(Code::shape_mismatch)
            .at(node)
            .what("k")
            .expected("from 0 to extent " + dims[size_t(*axis)].text() + " of dim " + llvm::Twine(*axis))
            .found(k.text());
      dims[size_t(*axis)] = k;
      return one(DType::i64, dims);
    },
    .evaluate = [](const Node& node, llvm::ArrayRef<const Array*> in) -> llvm::Expected<Arrays> {
      const size_t axis = size_t(node.integer("axis"));
      const bool largest = node.integer("largest", 1) != 0;
      Array out;
      out.resize(/*floating=*/false, numbers(node.out().type.dims));
      const int64_t n = in[0]->dims[axis], k = out.dims[axis];
      if (k > n)
        return error(Code::shape_mismatch)
            .at(node)
            .what("k")
            .expected("at most extent " + llvm::Twine(n) + " of dim " + llvm::Twine(axis))
            .found(k);
      const int64_t inner = strides_of(in[0]->dims)[axis];
      const int64_t outer = count_of(llvm::ArrayRef<int64_t>(in[0]->dims).take_front(axis));
      std::vector<int64_t> order(static_cast<size_t>(n));
      auto choose = [&](const auto& x) {
        for (int64_t o = 0; o < outer; ++o)
          for (int64_t i = 0; i < inner; ++i) {
            std::iota(order.begin(), order.end(), 0);
            std::partial_sort(order.begin(), order.begin() + k, order.end(), [&](int64_t a, int64_t b) {
              const auto va = x[size_t((o * n + a) * inner + i)], vb = x[size_t((o * n + b) * inner + i)];
              if (is_before(va, vb)) return largest;
              if (is_before(vb, va)) return !largest;
              return a < b;
            });
            for (int64_t j = 0; j < k; ++j) out.i[size_t((o * k + j) * inner + i)] = order[size_t(j)];
          }
      };
      if (in[0]->is_float)
        choose(in[0]->f);
      else
        choose(in[0]->i);
      return single(std::move(out));
    },
}};
}  // namespace
}  // namespace optp::ops
