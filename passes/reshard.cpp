#include "passes/reshard.h"

#include "frontend/ir/collective.h"
#include "frontend/ir/diagnostic.h"

namespace optp {
namespace {
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
    at->cause = {CauseKind::propagated, reason, base};
  }

  llvm::Error collective(CollectiveCall call) {
    call.reason = reason;
    call.dtype = at->type.dtype;
    return step(to_string(call.kind), attributes_of(call), to_string(call.kind));
  }
  // The dims that `at` would have if the group were one rank.
  Dims joined_along(size_t axis, Dim total) const {
    Dims dims = at->type.dims;
    dims[axis] = total;
    return dims;
  }

  llvm::Error all_reduce() { return all_reduce(now.partial); }
  llvm::Error all_reduce(const Axes& axes) {
    if (auto e = collective({.kind = Collective::all_reduce,
                             .reduce = now.reduce,
                             .axes = {axes.begin(), axes.end()},
                             .dims = at->type.dims}))
      return e;
    llvm::erase_if(now.partial, [&](const std::string& axis) { return llvm::is_contained(axes, axis); });
    if (!now.is_partial()) now.reduce = Reduce::none;
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
    for (size_t f = 0; f < dim.factors().size(); ++f) {
      const Dim local = Dim::part(dim.factors()[f].extent, dim.factors()[f].axes);
      if (f < k) above = above * local;
      if (f > k) below = below * local;
    }
    if (above.is(1) && below.is(1)) return a;
    a.apart = true;
    Dims dims(at->type.dims.begin(), at->type.dims.end());
    dims[d] = Dim::part(dim.factors()[k].extent, dim.factors()[k].axes);
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
    const FactorSharding factor = now.dims[d].factors()[k];
    auto around = bring_apart(d, k);
    if (!around) return around.takeError();
    // Chunks are nested, so they are joined axis by axis, the inner one first: docs/collectives.md, section 2.
    for (size_t outer = factor.axes.size(); outer-- > 0;) {
      const Dim total = Dim::part(factor.extent, llvm::ArrayRef(factor.axes).take_front(outer));
      if (auto e = collective({.kind = Collective::all_gather,
                               .axes = {factor.axes[outer].axis},
                               .join_axis = int64_t(around->axis),
                               .dims = joined_along(around->axis, total)}))
        return e;
    }
    now.dims[d].factors()[k].axes.clear();
    if (auto e = bring_back(*around, d)) return e;
    mark();
    return llvm::Error::success();
  }
  // Each member gets of the sum only its chunk: half the bytes of all_reduce, which would be cut then.
  llvm::Error reduce_scatter(size_t d, size_t k, const std::string& axis) {
    auto around = bring_apart(d, k);
    if (!around) return around.takeError();
    if (auto e = collective({.kind = Collective::reduce_scatter,
                             .reduce = now.reduce,
                             .axes = {axis},
                             .cut_axis = int64_t(around->axis),
                             .local = Dim::part(now.dims[d].factors()[k].extent, {axis}),
                             .dims = at->type.dims}))
      return e;
    llvm::erase(now.partial, axis);
    if (!now.is_partial()) now.reduce = Reduce::none;
    now.dims[d].factors()[k].axes = {axis};
    if (auto e = bring_back(*around, d)) return e;
    mark();
    return llvm::Error::success();
  }
  // A split moves from factor k of dim d to factor m of dim e: a member sends and gets an n-th of what all_gather would
  // give it.
  llvm::Error all_to_all(size_t d, size_t k, size_t e, size_t m) {
    const std::string axis = now.dims[d].factors()[k].axes[0].axis;
    // The later dim first: what is brought apart has two dims more.
    auto first = d > e ? bring_apart(d, k) : bring_apart(e, m);
    if (!first) return first.takeError();
    auto second = d > e ? bring_apart(e, m) : bring_apart(d, k);
    if (!second) return second.takeError();
    if (second->apart) first->axis += 2;
    const size_t join = d > e ? first->axis : second->axis, cut = d > e ? second->axis : first->axis;
    if (auto error = collective({.kind = Collective::all_to_all,
                                 .axes = {axis},
                                 .cut_axis = int64_t(cut),
                                 .join_axis = int64_t(join),
                                 .local = Dim::part(now.dims[e].factors()[m].extent, {axis}),
                                 .dims = joined_along(join, now.dims[d].factors()[k].extent)}))
      return error;
    now.dims[d].factors()[k].axes.clear();
    now.dims[e].factors()[m].axes = {axis};
    if (first->apart || second->apart)
      if (auto error = step("reshape", {{"dims", local_dims(global, now)}}, "joined")) return error;
    mark();
    return llvm::Error::success();
  }
  // Of a factor that is whole, or covered: there the part without copies.
  llvm::Error cut(size_t d, size_t k, const AxisUses& axes) {
    auto around = bring_apart(d, k);
    if (!around) return around.takeError();
    const FactorSharding& before = now.dims[d].factors()[k];
    const Dim extent = before.extent;
    if (auto e = step("slice",
                      {{"axis", int64_t(around->axis)},
                       {"start", Dim::start(extent, axes) - Dim::start(extent, before.axes)},
                       {"size", Dim::part(extent, axes)},
                       {"step", int64_t(1)}},
                      "shard"))
      return e;
    now.dims[d].factors()[k].axes = axes;
    if (auto e = bring_back(*around, d)) return e;
    mark();
    return llvm::Error::success();
  }
  // Of a sum that is complete: the first copy of an index has it, the others have zeros. Rare: annotate reduces what no
  // node takes so.
  llvm::Error cover_sum(size_t d, size_t k, const AxisUses& axes) {
    const AxisUses once{{axes[0].axis, axes[0].group, /*once=*/true}};
    if (auto e = cut(d, k, once)) return e;
    auto around = bring_apart(d, k);
    if (!around) return around.takeError();
    const Dim extent = now.dims[d].factors()[k].extent, before = Dim::start(extent, once) - Dim::start(extent, axes),
              after = Dim::part(extent, axes) - Dim::part(extent, once) - before;
    if (auto e = step("pad", {{"axis", int64_t(around->axis)}, {"before", before}, {"after", after}, {"value", 0.0}},
                      "spread"))
      return e;
    now.dims[d].factors()[k].axes = axes;
    now.partial.push_back(axes[0].axis);
    now.reduce = Reduce::sum;
    if (auto e = bring_back(*around, d)) return e;
    mark();
    return llvm::Error::success();
  }
  // A factor that is covered gets the extent of the whole, with zeros where the rank holds nothing: an addend of a sum
  // over the ranks.
  llvm::Error lift(size_t d, size_t k) {
    const AxisUse use = now.dims[d].factors()[k].axes[0];
    const bool has_addends = llvm::is_contained(now.partial, use.axis);
    assert((!has_addends || now.reduce == Reduce::sum) && "what is covered is partial as a sum");
    // Each element of copies counts once.
    if (!has_addends && !use.once)
      if (auto e = cut(d, k, {{use.axis, use.group, /*once=*/true}})) return e;
    auto around = bring_apart(d, k);
    if (!around) return around.takeError();
    FactorSharding& factor = now.dims[d].factors()[k];
    const Dim before = Dim::start(factor.extent, factor.axes),
              after = factor.extent - before - Dim::part(factor.extent, factor.axes);
    if (auto e = step("pad", {{"axis", int64_t(around->axis)}, {"before", before}, {"after", after}, {"value", 0.0}},
                      "spread"))
      return e;
    factor.axes.clear();
    if (!has_addends) now.partial.push_back(use.axis);
    now.reduce = Reduce::sum;
    if (auto e = bring_back(*around, d)) return e;
    mark();
    return llvm::Error::success();
  }
};

// Over which axes a sum is reduced on the way: those over which addends are not wanted, or all, where what is wanted is
// no part of that sum.
Axes reduced_axes(const Sharding& now, const Sharding& to) {
  const bool leaves = now.reduce == to.reduce && llvm::all_of(to.partial, [&](const std::string& axis) {
                        return llvm::is_contained(now.partial, axis);
                      });
  Axes out;
  for (const std::string& axis : now.partial)
    if (!leaves || !llvm::is_contained(to.partial, axis)) out.push_back(axis);
  return out;
}

// Where one value is to go from `now`, step by step, and what can be done at once.
struct Route {
  Resharder& r;
  const Sharding& to;

  static bool same_factors(const DimSharding& a, const DimSharding& b) {
    return a.is_product() && b.is_product() &&
           llvm::equal(a.factors(), b.factors(),
                       [](const FactorSharding& x, const FactorSharding& y) { return x.extent == y.extent; });
  }
  // A factor that is split alike before and after.
  bool stays(size_t d, size_t k) const {
    return same_factors(r.now.dims[d], to.dims[d]) && r.now.dims[d].factors()[k].axes == to.dims[d].factors()[k].axes;
  }
  // A whole dim has whatever factors are wanted.
  void take_factors(size_t d) {
    if (r.now.dims[d].is_split()) return;
    r.now.dims[d].factors() = to.dims[d].factors();
    for (FactorSharding& f : r.now.dims[d].factors()) f.axes.clear();
  }
  // The factor that is to be split along this one axis, and is whole now.
  std::optional<std::pair<size_t, size_t>> wanted_along(const AxisUse& axis) {
    for (size_t d = 0; d < to.dims.size(); ++d)
      for (size_t k = 0; to.dims[d].is_product() && k < to.dims[d].factors().size(); ++k) {
        if (to.dims[d].factors()[k].axes != AxisUses{axis}) continue;
        take_factors(d);
        if (same_factors(r.now.dims[d], to.dims[d]) && r.now.dims[d].factors()[k].axes.empty()) return {{d, k}};
      }
    return std::nullopt;
  }

  // Covered factors that do not stay as they are. What is to be a sum over their axis all the same is none of them.
  llvm::Error uncover() {
    for (size_t d = 0; d < r.now.dims.size(); ++d)
      for (size_t k = 0; r.now.dims[d].is_product() && k < r.now.dims[d].factors().size(); ++k) {
        const AxisUses axes = r.now.dims[d].factors()[k].axes;
        const AxisUse use = axes.empty() ? AxisUse() : axes[0];
        const bool sums = llvm::is_contained(r.now.partial, use.axis),
                   keeps_sum = llvm::is_contained(to.partial, use.axis);
        if (!use.is_cover() || (stays(d, k) && sums == keeps_sum)) continue;
        if (!sums && !use.once && same_factors(r.now.dims[d], to.dims[d]) &&
            to.dims[d].factors()[k].axes == AxisUses{{use.axis, use.group, /*once=*/true}}) {
          if (auto e = r.cut(d, k, to.dims[d].factors()[k].axes)) return e;
          continue;
        }
        // A maximum over other axes has nothing to do with it.
        if (!sums && r.now.is_partial() && r.now.reduce != Reduce::sum) {
          const Sharding before = r.now;
          r.now.partial.clear();
          if (auto e = r.lift(d, k)) return e;
          if (auto e = r.all_reduce()) return e;
          r.now.partial = before.partial, r.now.reduce = before.reduce;
          r.mark();
          continue;
        }
        if (auto e = r.lift(d, k)) return e;
        if (keeps_sum) continue;
        if (auto e = to.partial.empty() ? r.all_reduce() : r.all_reduce({use.axis})) return e;
      }
    return llvm::Error::success();
  }
  llvm::Error reduce() {
    for (const std::string& axis : reduced_axes(r.now, to))
      if (auto at = wanted_along(axis))
        if (auto e = r.reduce_scatter(at->first, at->second, axis)) return e;
    const Axes rest = reduced_axes(r.now, to);
    return rest.empty() ? llvm::Error::success() : r.all_reduce(rest);
  }
  llvm::Error join() {
    for (size_t d = 0; d < r.now.dims.size(); ++d) {
      if (same_placement(r.now.dims[d], to.dims[d])) continue;
      for (size_t k = 0; k < r.now.dims[d].factors().size(); ++k) {
        const AxisUses axes = r.now.dims[d].factors()[k].axes;
        if (axes.empty() || stays(d, k)) continue;
        const auto other = axes.size() == 1 ? wanted_along(axes[0]) : std::nullopt;
        const bool moves = other && other->first != d;
        if (auto e = moves ? r.all_to_all(d, k, other->first, other->second) : r.gather(d, k)) return e;
      }
    }
    return llvm::Error::success();
  }
  // Over the axis of a sum: a slice of addends that all ranks have would lose those of ranks that hold no copy.
  bool is_sum_of_covered(const AxisUses& axes) const {
    return !axes.empty() && axes[0].is_cover() && llvm::is_contained(to.partial, axes[0].axis);
  }
  llvm::Error cover_sum(size_t d, size_t k, const AxisUses& axes) {
    if (llvm::is_contained(r.now.partial, axes[0].axis))
      if (auto e = r.all_reduce({axes[0].axis})) return e;
    return r.cover_sum(d, k, axes);
  }
  llvm::Error cut() {
    for (size_t d = 0; d < r.now.dims.size(); ++d) {
      if (same_placement(r.now.dims[d], to.dims[d])) continue;
      take_factors(d);
      for (size_t k = 0; k < to.dims[d].factors().size(); ++k) {
        if (stays(d, k)) continue;
        const AxisUses axes = to.dims[d].factors()[k].axes;
        if (auto e = is_sum_of_covered(axes) ? cover_sum(d, k, axes) : r.cut(d, k, axes)) return e;
      }
    }
    return llvm::Error::success();
  }
};

// Parts of which none is cut say nothing.
Sharding plain(Sharding s) {
  for (DimSharding& d : s.dims)
    if (!d.is_split() && !d.is_product()) d = DimSharding();
  return s;
}
bool has_parts(const DimSharding& dim) { return dim.is_split() && !dim.is_product(); }
bool same_parts(const DimSharding& a, const DimSharding& b) {
  return llvm::equal(a.parts, b.parts,
                     [](const ProductSharding& x, const ProductSharding& y) { return x.extent() == y.extent(); });
}
// Do some of dim d's parts hold addends of their own elements alone?
bool is_spread(const Sharding& s, size_t d) {
  return llvm::any_of(s.dims[d].axes(),
                      [&](const AxisUse& use) { return use.is_cover() && llvm::is_contained(s.partial, use.axis); });
}
// Dim d of several parts is taken apart, each part is moved on its own, and all are put together again. Rare: an op
// that works on a fused dim has it in parts, too.
llvm::Expected<Value*> move_by_parts(Resharder r, size_t d, const Sharding& to) {
  const std::string base = r.base;
  const DimSharding before = r.now.dims[d], after = to.dims[d];
  const auto& shape = has_parts(before) ? before : after;
  auto of_part = [&](const Sharding& s, size_t part) {
    Sharding out = s;
    out.dims[d] = DimSharding();
    if (s.dims[d].is_split()) out.dims[d].parts = {s.dims[d].parts[part]};
    return out;
  };
  llvm::SmallVector<Value*, 3> moved;
  Dim start = 0;
  for (size_t part = 0; part < shape.parts.size(); ++part) {
    Dims global(r.global.begin(), r.global.end());
    global[d] = shape.parts[part].extent();
    const Sharding from = of_part(r.now, part);
    const Dim size = from.dims[d].local_extent(global[d]);
    auto piece =
        r.build.create("slice", {r.at}, {{"axis", int64_t(d)}, {"start", start}, {"size", size}, {"step", int64_t(1)}},
                       base + ".piece");
    if (!piece) return piece.takeError();
    start = start + size;
    auto there = reshard(r.build, **piece, global, from, of_part(to, part), r.reason);
    if (!there) return there.takeError();
    moved.push_back(*there);
  }
  auto joined = r.build.create("concat", moved, {{"axis", int64_t(d)}}, base + ".joined");
  if (!joined) return joined.takeError();
  r.at = *joined;
  r.now = to;
  r.mark();
  return r.at;
}
}  // namespace

llvm::Expected<Value*> reshard(Builder& build, Value& value, llvm::ArrayRef<Dim> global, const Sharding& held,
                               const Sharding& wanted, llvm::StringRef reason) {
  const Sharding from = plain(held), to = plain(wanted);
  Resharder r{build, &value, from, global, value.name, reason.str()};
  for (size_t d = 0; d < from.dims.size(); ++d) {
    const Axes reduced = reduced_axes(r.now, to);
    if (!has_parts(from.dims[d]) && !has_parts(to.dims[d])) continue;
    if (same_placement(from.dims[d], to.dims[d]) && !(!reduced.empty() && is_spread(r.now, d))) continue;
    // A sum is reduced once, before it is taken apart.
    if (!reduced.empty() && !is_spread(r.now, d))
      if (auto e = r.all_reduce(reduced)) return e;
    if (!from.dims[d].is_split() || !to.dims[d].is_split() || same_parts(from.dims[d], to.dims[d]))
      return move_by_parts(std::move(r), d, to);
    // Parts that lie otherwise: by way of the whole dim.
    Sharding whole = r.now;
    whole.dims[d] = DimSharding();
    auto gathered = reshard(build, *r.at, global, r.now, whole, reason);
    if (!gathered) return gathered.takeError();
    return reshard(build, **gathered, global, whole, to, reason);
  }
  Route route{r, to};
  if (auto e = route.uncover()) return e;
  if (auto e = route.reduce()) return e;
  if (auto e = route.join()) return e;
  if (auto e = route.cut()) return e;
  if (r.at != &value) r.mark();
  return r.at;
}
}  // namespace optp
