#include "passes/class_demands.h"

#include "frontend/ir/diagnostic.h"

namespace optp {
namespace {
class Demands {
 public:
  Demands(const Factors& factors, const Recogniser& recogniser) : factors_(factors), recogniser_(recogniser) {
    out_.resize(factors.size());
  }
  llvm::Error add(const ValueConstraint& w) {
    if (w.by->held) return llvm::Error::success();
    const bool is_weight = w.value->is_data() && w.value->ndim() >= 2;
    if (!may_be_cut(w)) return llvm::Error::success();
    llvm::DenseMap<Factors::Class, AxisUses> said;  // of a class that is in several parts, perhaps unlike things
    bool is_one = true;
    each_factor(
        w, [&](Factors::Class c, const AxisUses& axes) { is_one &= said.try_emplace(c, axes).first->second == axes; });
    if (!is_one) return llvm::Error::success();
    llvm::Error failed = llvm::Error::success();
    each_factor(w, [&](Factors::Class c, const AxisUses& axes) {
      // That a bias or an activation is whole does not keep others from being cut.
      const bool asks = !axes.empty() || (is_weight && recogniser_[c].role != Role::none);
      if (asks && !failed) failed = demand(c, axes, w);
    });
    return failed;
  }
  std::vector<ClassDemand> take() { return std::move(out_); }

 private:
  void each_factor(const ValueConstraint& w, llvm::function_ref<void(Factors::Class, const AxisUses&)> visit) const {
    for (unsigned d = 0; d < w.value->ndim(); ++d) {
      const auto& parts = factors_.of(*w.value, d).parts;
      const auto& own = w.sharding.dims[d].parts;
      for (size_t p = 0; p < own.size() && p < parts.size(); ++p)
        for (size_t k = 0; k < own[p].factors.size(); ++k) visit(parts[p].classes[k], own[p].factors[k].axes);
    }
  }
  // What some op needs whole can be held cut, but not be computed so.
  bool may_be_cut(const ValueConstraint& w) const {
    bool free = true;
    each_factor(w, [&](Factors::Class c, const AxisUses& axes) { free &= axes.empty() || recogniser_.is_free(c); });
    return free;
  }
  llvm::Error demand(Factors::Class c, const AxisUses& axes, const ValueConstraint& w) {
    ClassDemand& own = out_[size_t(c)];
    if (!own.by) {
      own = {&w, axes};
      return llvm::Error::success();
    }
    if (own.axes == axes) return llvm::Error::success();
    const ValueConstraint &first = own.by->by <= w.by ? *own.by : w, &second = &first == &w ? *own.by : w;
    return error(Code::bad_value)
        .at(second.by->place)
        .what(quoted(second.by->pattern) + " = " + quoted(second.by->sharding) + " of " + called(*second.value) +
              " cannot hold together with " + text_of(*first.by) + " of " + called(*first.value) +
              ": what is computed with the two has one dim")
        .expected("one layout of it")
        .about({.tensor = second.value->name})
        .hint(second.value->is_data() ? "'held " + second.by->sharding + "' is of how the weight is held alone" : "");
  }

  const Factors& factors_;
  const Recogniser& recogniser_;
  std::vector<ClassDemand> out_;
};
}  // namespace

llvm::Expected<std::vector<ClassDemand>> class_demands(const Factors& factors, const Recogniser& recogniser,
                                                       llvm::ArrayRef<ValueConstraint> asked) {
  Demands demands(factors, recogniser);
  for (const ValueConstraint& w : asked)
    if (auto e = demands.add(w)) return e;
  return demands.take();
}
}  // namespace optp
