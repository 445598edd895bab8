// Sequence parallelism (Korthikanti et al., 2022, arXiv:2205.05198, section 4.2.2): what tensor parallelism leaves
// whole on every device, norms, residual sums and what is computed element by element between products, is cut along
// the sequence over the same axis. Split then makes a reduce-scatter of each all-reduce after a row-parallel product,
// and a gather before each column-parallel one: the same bytes, and an n-th of the activations.
//   %y: f32[b, s, 768] [_, _, _]   made by a row-parallel product, taken by a norm      =>   %y: [_, tensor, _]
#include "frontend/ir/diagnostic.h"
#include "passes/factors.h"
#include "passes/sharding_rules.h"
#include "passes/strategy.h"
#include "passes/training.h"

namespace optp {
namespace {
class Cutter {
 public:
  Cutter(Graph& graph, const Factors& factors, const MeshAxis& axis) : graph_(graph), factors_(factors), axis_(axis) {
    for (const Value* v : graph.inputs) {
      if (v->ndim() != 2 || is_float(v->type.dtype)) continue;
      if (const auto classes = factors.of(*v, 1).classes(); classes.size() == 1)
        sequences_.insert(classes[0]);
      else
        has_parts_ = true;
    }
  }
  // Some sequences are put together of others: a mask's, or tokens' that are shifted.
  bool has_parts() const { return has_parts_; }
  // How many values it cut.
  int64_t run() {
    int64_t cut = 0;
    for (const auto& node : graph_.nodes) {
      const bool is_learnt =
          llvm::any_of(node->operands, [&](const Value* v) { return v->is_parameter || of_parameters_.contains(v); });
      for (const auto& result : node->results) {
        if (!is_learnt) continue;
        of_parameters_.insert(result.get());
        if (node->phase == Phase::forward || node->phase == Phase::backward) cut += try_to_cut(*result);
      }
    }
    return cut;
  }

 private:
  struct At {
    unsigned dim;
    size_t part, factor;
  };
  std::optional<At> only_sequence_of(const Value& v) {
    std::optional<At> found;
    for (unsigned d = 0; d < v.ndim(); ++d)
      for (size_t p = 0; p < factors_.of(v, d).parts.size(); ++p)
        for (size_t k = 0; k < factors_.of(v, d).parts[p].classes.size(); ++k) {
          if (!sequences_.contains(factors_.of(v, d).parts[p].classes[k])) continue;
          has_parts_ |= factors_.of(v, d).parts.size() > 1;
          if (found || factors_.of(v, d).parts.size() > 1) return std::nullopt;
          found = {d, p, k};
        }
    return found;
  }
  // Copies that cover are made over it, too.
  bool uses_axis(const Sharding& s) const { return are_over(s.axes(), axis_.name); }
  bool try_to_cut(Value& v) {
    // Outputs and states are held as those who take them expect.
    if (!is_float(v.type.dtype) || graph_.is_output(v) || uses_axis(*v.sharding) || v.sharding->is_partial())
      return false;
    const auto at = only_sequence_of(v);
    if (!at) return false;
    const auto& own = factors_.of(v, at->dim).parts[0];
    const DimSharding before = v.sharding->dims[at->dim];
    if (!before.is_product()) return false;
    ProductSharding product;
    for (size_t k = 0; k < own.extents.size(); ++k)
      product.factors.push_back({own.extents[k], k == at->factor     ? AxisUses{axis_.name}
                                                 : before.is_split() ? axes_of_factor(before.factors(), own, k)
                                                                     : AxisUses()});
    v.sharding->dims[at->dim] = DimSharding();
    v.sharding->dims[at->dim].parts = {product};
    v.cause = {CauseKind::seed, "sequence parallelism: cut along the sequence between products", ""};
    return true;
  }

  Graph& graph_;
  const Factors& factors_;
  const MeshAxis& axis_;
  llvm::DenseSet<int> sequences_;
  llvm::DenseSet<const Value*> of_parameters_;
  bool has_parts_ = false;
};
}  // namespace

llvm::Error sequence_parallel(Graph& graph, const PassOptions& options) {
  if (!options.sequence_parallel) return llvm::Error::success();
  const MeshAxis* axis = strategy_axis(graph.mesh);
  if (!axis || axis->size == 1)
    return error(Code::bad_value)
        .flag("--sequence-parallel")
        .expected("several devices along the strategy's mesh axis")
        .found("mesh " + to_string(graph.mesh));
  auto factors = Factors::of(graph);
  if (!factors) return factors.takeError();
  Cutter cutter(graph, *factors, *axis);
  if (cutter.run() > 0) return llvm::Error::success();
  return error(Code::nothing_to_split)
      .in_file(graph.source)
      .flag("--sequence-parallel")
      .what(cutter.has_parts() ? "a node takes parts of the sequence, as a shift by a token does"
                               : "nothing along a sequence of token ids is whole on every device");
}
}  // namespace optp
