// ZeRO as shardings: what training keeps is cut over the mesh axis data beside what cuts the parameter already, and
// split makes the rest of that. A gradient, a partial sum over data, goes to its parts by one reduce-scatter; the next
// parameter, made in parts, is gathered; a parameter held in parts is gathered before its uses, and again before those
// of the backward pass.
//   %w.grad: [_, tensor]    %w.exp_avg: [_, tensor]      =>   %w.grad: [data, tensor]    %w.exp_avg: [data, tensor]
#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/STLExtras.h"
#include "passes/factors.h"
#include "passes/partials.h"
#include "passes/sharding_rules.h"
#include "passes/strategy.h"
#include "passes/training.h"

namespace optp {
namespace {
constexpr llvm::StringLiteral axis = data_axis;

// How a parameter is cut over the axis beside how it is cut already; none: no dim has two elements.
class FurtherCut {
 public:
  explicit FurtherCut(const Factors& factors) : factors_(factors) {}
  std::optional<Sharding> of(const Value& parameter) const {
    if (are_over(parameter.sharding->axes(), axis)) return *parameter.sharding;  // a constraint cuts it so
    if (auto whole = a_whole_dim(parameter)) return whole;
    return below_another_axis(parameter);
  }

 private:
  static bool can_be_cut(Dim extent) { return extent.constant().value_or(0) > 1; }
  // The longest; one that is a product of several factors (heads, say) only where there is no other.
  std::optional<Sharding> a_whole_dim(const Value& v) const {
    std::optional<unsigned> best;
    std::pair<bool, int64_t> most;
    for (unsigned d = 0; d < v.ndim(); ++d) {
      const auto& dim = factors_.of(v, d);
      if (v.sharding->dims[d].is_split() || !can_be_cut(v.type.dims[d]) || !cut(dim)) continue;
      const std::pair rank{dim.classes().size() == 1, *v.type.dims[d].constant()};
      if (!best || rank > most) best = d, most = rank;
    }
    if (!best) return std::nullopt;
    Sharding s = *v.sharding;
    s.dims[*best] = *cut(factors_.of(v, *best));
    return s;
  }
  // Each part at its major factor. What stands in several parts (a head's elements in queries, keys and values) is cut
  // in all of them, so where that would cut a part twice, all are cut at a factor that each has once.
  std::optional<DimSharding> cut(const Factors::DimFactors& dim) const {
    if (dim.parts.size() <= 1) return cut_at_majors(dim, {axis});
    llvm::SmallVector<Factors::Class, 3> chosen;
    auto is_chosen = [&](Factors::Class c) { return llvm::is_contained(chosen, c); };
    auto is_one_in_each = [&] {
      return llvm::all_of(dim.parts, [&](const auto& part) { return llvm::count_if(part.classes, is_chosen) == 1; });
    };
    for (const auto& part : dim.parts)
      if (!part.classes.empty()) chosen.push_back(part.classes[0]);
    if (is_one_in_each()) return cut_at_majors(dim, {axis});
    for (const Factors::Class c : dim.parts[0].classes) {
      chosen = {c};
      if (!can_be_cut(factors_.info(c).extent) || !is_one_in_each()) continue;
      DimSharding out;
      for (const auto& part : dim.parts) {
        ProductSharding& to = out.parts.emplace_back();
        for (size_t k = 0; k < part.extents.size(); ++k)
          to.factors.push_back({part.extents[k], is_chosen(part.classes[k]) ? AxisUses{axis} : AxisUses()});
      }
      return out;
    }
    return std::nullopt;
  }
  // Within the parts that another axis makes.
  static std::optional<Sharding> below_another_axis(const Value& v) {
    Sharding s = *v.sharding;
    for (DimSharding& dim : s.dims) {
      if (!dim.is_product() || !dim.is_split() || has_cover(dim.axes())) continue;
      for (FactorSharding& f : dim.factors())
        if (f.axes.empty() && can_be_cut(f.extent)) return f.axes = {axis}, s;
      for (FactorSharding& f : dim.factors())
        if (can_be_cut(f.extent)) return f.axes.push_back(axis), s;
    }
    return std::nullopt;
  }

  const Factors& factors_;
};

std::string list_of_whole(llvm::ArrayRef<const Value*> whole, int64_t level) {
  static constexpr const char* kept[] = {"optimizer state", "gradient and optimizer state",
                                         "parameter, gradient and optimizer state"};
  std::string names;
  for (const Value* v : whole) names += (names.empty() ? "" : ", ") + quoted(v->name);
  return std::string("--zero ") + std::to_string(level) +
         " leaves whole along data, since no dim can be cut: " + kept[level - 1] + " of " + names;
}
}  // namespace

llvm::Error shard_training_state(Graph& graph, const TrainingOptions& options) {
  if (options.zero == 0) return llvm::Error::success();
  if (graph.mesh.axis_size(axis) == 1)
    return error(Code::bad_value)
        .flag("--zero", std::to_string(options.zero))
        .what("there is nothing to share")
        .expected("a mesh axis called data of several devices")
        .found("mesh " + to_string(graph.mesh))
        .hint("say --mesh data=2,tensor=2, for instance");
  auto factors = Factors::of(graph);
  if (!factors) return factors.takeError();

  llvm::MapVector<const Value*, llvm::SmallVector<OfParameter, 8>> groups;
  for (const OfParameter& m : parameter_groups(graph)) groups[m.parameter].push_back(m);
  llvm::DenseSet<const Value*> stays;
  llvm::SmallVector<const Value*> whole;
  for (const auto& [parameter, members] : groups) {
    // An optimizer that keeps nothing has nothing to cut.
    const bool has_state = llvm::any_of(
        members, [](const OfParameter& m) { return m.kind == OfParameter::Kind::optimizer && !m.value->producer; });
    const auto cut = FurtherCut(*factors).of(*parameter);
    if (!cut) whole.push_back(parameter);
    for (const OfParameter& m : members) {
      stays.insert(m.value);
      const bool is_shared = m.kind == OfParameter::Kind::optimizer  ? has_state || options.zero >= 2
                             : m.kind == OfParameter::Kind::gradient ? options.zero >= 2
                                                                     : options.zero >= 3;
      // A term that is still a part of a sum comes apart with the sum.
      if (!cut || !is_shared || m.value->sharding->is_partial()) continue;
      m.value->sharding->dims = cut->dims;
      m.value->cause = {CauseKind::propagated, "shared over data (ZeRO " + std::to_string(options.zero) + ")",
                        m.value == parameter ? "" : parameter->name};
    }
  }
  if (!whole.empty()) graph.remarks.push_back({"shard-training-state", list_of_whole(whole, options.zero)});
  // The norm of gradients is now one of parts.
  auto is_given = [&](const Value& v) {
    return stays.contains(&v) || !v.producer || v.producer->phase != Phase::optimizer;
  };
  for (Value* v : graph.values())
    if (!is_given(*v)) v->sharding->partial.clear(), v->sharding->reduce = Reduce::none;
  find_partials(graph, *factors, is_given);
  return llvm::Error::success();
}
}  // namespace optp
