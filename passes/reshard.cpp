#include "passes/reshard.h"

#include "frontend/ir/diagnostic.h"

namespace optp {
namespace {
using AxisList = std::vector<std::string>;

struct Resharder {
  Builder& build;
  Value* at;
  Sharding now;
  llvm::ArrayRef<Dim> global;
  std::string base, reason;

  llvm::Error step(llvm::StringRef op, Attributes attributes, llvm::StringRef suffix) {
    auto made = build.create(op, {at}, std::move(attributes), base + "." + suffix.str());
    if (!made) return made.takeError();
    at = *made;
    // Members meet by id: a value that is gathered twice meets at two.
    if (at->producer->op->collective) at->producer->attributes["id"] = at->name;
    return llvm::Error::success();
  }
  void mark() {
    at->sharding = now;
    at->logical_dims.assign(global.begin(), global.end());
    at->cause = {reason, base};
  }

  llvm::Error all_reduce() {
    if (auto e = step("all_reduce",
                      {{"axes", AxisList(now.partial.begin(), now.partial.end())},
                       {"reduce", to_string(now.reduce).str()},
                       {"reason", reason}},
                      "all_reduce"))
      return e;
    now.partial.clear();
    now.reduce = Reduce::none;
    mark();
    return llvm::Error::success();
  }

  // Where factor k of dim d is not the major one of its dim, it is brought to a dim of its own around the work on it.
  struct Around {
    Dims before;  // local dims of the value as it is
    size_t axis;  // the factor's own dim while apart
    bool apart;
  };
  llvm::Expected<Around> bring_apart(size_t d, size_t k) {
    const DimSharding& dim = now.dims[d];
    Around a{at->type.dims, d, false};
    Dim above = 1, below = 1;
    for (size_t f = 0; f < dim.factors.size(); ++f) {
      const Dim local = Dim::part(dim.factors[f].extent, dim.factors[f].axes);
      if (f < k) above = above * local;
      if (f > k) below = below * local;
    }
    if (above.is(1) && below.is(1)) return a;
    a.apart = true;
    Dims dims(at->type.dims.begin(), at->type.dims.end());
    dims[d] = Dim::part(dim.factors[k].extent, dim.factors[k].axes);
    dims.insert(dims.begin() + long(d) + 1, below);
    dims.insert(dims.begin() + long(d), above);
    a.axis = d + 1;
    if (auto e = step("reshape", {{"dims", dims}}, "apart")) return e;
    return a;
  }
  llvm::Error bring_back(const Around& a, size_t d) {
    if (!a.apart) return llvm::Error::success();
    Dims dims = a.before;
    dims[d] = now.dims[d].local_extent(global[d]);
    return step("reshape", {{"dims", dims}}, "joined");
  }

  llvm::Error gather(size_t d, size_t k) {
    const FactorSharding factor = now.dims[d].factors[k];
    auto around = bring_apart(d, k);
    if (!around) return around.takeError();
    // Chunks are nested, so they are joined axis by axis, the inner one first: docs/collectives.md, section 2.
    for (size_t outer = factor.axes.size(); outer-- > 0;) {
      const Dim total = Dim::part(factor.extent, llvm::ArrayRef<std::string>(factor.axes).take_front(outer));
      if (auto e = step("all_gather",
                        {{"axes", AxisList{factor.axes[outer]}},
                         {"axis", int64_t(around->axis)},
                         {"total", total},
                         {"reason", reason}},
                        "all_gather"))
        return e;
    }
    now.dims[d].factors[k].axes.clear();
    if (auto e = bring_back(*around, d)) return e;
    mark();
    return llvm::Error::success();
  }
  llvm::Error cut(size_t d, size_t k, const Axes& axes) {
    auto around = bring_apart(d, k);
    if (!around) return around.takeError();
    const Dim extent = now.dims[d].factors[k].extent;
    if (auto e = step("slice",
                      {{"axis", int64_t(around->axis)},
                       {"start", Dim::start(extent, axes)},
                       {"size", Dim::part(extent, axes)},
                       {"step", int64_t(1)}},
                      "shard"))
      return e;
    now.dims[d].factors[k].axes = axes;
    if (auto e = bring_back(*around, d)) return e;
    mark();
    return llvm::Error::success();
  }
};
}  // namespace

llvm::Expected<Value*> reshard(Builder& build, Value& value, llvm::ArrayRef<Dim> global, const Sharding& from,
                               const Sharding& to, llvm::StringRef reason) {
  Resharder r{build, &value, from, global, value.name, reason.str()};
  if (r.now.is_partial() && !(to.partial == r.now.partial && to.reduce == r.now.reduce)) {
    if (auto e = r.all_reduce()) return e;
  }
  // A factor that is split alike before and after stays; the others are joined and cut anew.
  auto stays = [&](size_t d, size_t k) {
    const auto &now = r.now.dims[d].factors, &then = to.dims[d].factors;
    return llvm::equal(now, then,
                       [](const FactorSharding& a, const FactorSharding& b) { return a.extent == b.extent; }) &&
           now[k].axes == then[k].axes;
  };
  for (size_t d = 0; d < r.now.dims.size(); ++d) {
    if (same_placement(r.now.dims[d], to.dims[d])) continue;
    for (size_t k = 0; k < r.now.dims[d].factors.size(); ++k)
      if (!r.now.dims[d].factors[k].axes.empty() && !stays(d, k))
        if (auto e = r.gather(d, k)) return e;
  }
  for (size_t d = 0; d < r.now.dims.size(); ++d) {
    if (same_placement(r.now.dims[d], to.dims[d])) continue;
    if (!r.now.dims[d].is_split()) {
      r.now.dims[d].factors.assign(to.dims[d].factors.begin(), to.dims[d].factors.end());
      for (auto& f : r.now.dims[d].factors) f.axes.clear();
    }
    for (size_t k = 0; k < to.dims[d].factors.size(); ++k)
      if (!stays(d, k))
        if (auto e = r.cut(d, k, to.dims[d].factors[k].axes)) return e;
  }
  if (r.at != &value) r.mark();
  return r.at;
}
}  // namespace optp
