#include "tools/check/comparison.h"

#include <cmath>

#include "frontend/ir/diagnostic.h"
#include "frontend/ir/op.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/Parallel.h"
#include "llvm/Support/raw_ostream.h"
#include "tools/check/first_nan.h"
#include "tools/check/in_parts.h"
#include "tools/cli/progress.h"

namespace optp {
namespace {
// Masks hold the lowest float; it says nothing of what the others are.
constexpr double mask_like = 1e30;
template <typename Numbers>  // Array or Tensor
double largest(const Numbers& numbers) {
  return in_parts(
      numbers,
      [](const Array& a, int64_t from, int64_t to) {
        double top = 0;
        for (int64_t k = from; k < to; ++k)
          if (const double x = std::fabs(a.number(k)); x > top && x < mask_like) top = x;
        return top;
      },
      [](double& all, double part) { all = std::max(all, part); });
}
void widen(Roundings::Size& size, double largest, double smallest) {
  if (smallest == 0) return;
  size.largest = std::max(size.largest, largest);
  size.smallest = size.smallest == 0 ? smallest : std::min(size.smallest, smallest);
}
template <typename Numbers>
void widen(Roundings::Size& size, const Numbers& numbers) {
  const Roundings::Size own = in_parts(
      numbers,
      [](const Array& a, int64_t from, int64_t to) {
        Roundings::Size part;
        for (int64_t k = from; k < to; ++k)
          if (const double x = std::fabs(a.number(k)); x > 0 && x < mask_like) widen(part, x, x);
        return part;
      },
      [](Roundings::Size& all, const Roundings::Size& part) { widen(all, part.largest, part.smallest); });
  widen(size, own.largest, own.smallest);
}
double distance(double x, double y) {
  if (std::isnan(x) != std::isnan(y)) return INFINITY;
  if (std::isinf(x) || std::isinf(y)) return x == y ? 0 : INFINITY;
  return std::isnan(x) ? 0 : std::fabs(x - y);
}
}  // namespace

double difference(const Array& a, const Array& b, bool skip_nan, int64_t* worst, double floor) {
  double top = floor, most = 0;
  for (int64_t k = 0; k < b.elements(); ++k)
    if (double x = std::fabs(b.number(k)); x > top && std::isfinite(x)) top = x;
  for (int64_t k = 0; k < b.elements(); ++k) {
    const double x = a.number(k), y = b.number(k);
    if (skip_nan && std::isnan(y)) continue;
    if (const double d = distance(x, y); d > most) {
      most = d;
      if (worst) *worst = k;
    }
  }
  return top > 0 ? most / top : most;
}
Array scalar(double x, bool floating) {
  Array a;
  a.resize(floating, {});
  if (floating)
    a.f[0] = x;
  else
    a.i[0] = int64_t(x);
  return a;
}
std::string nine_digits(double x) {
  std::string out;
  llvm::raw_string_ostream(out) << llvm::format("%.9g", x);
  return out;
}
Diagnostic difference_at(const Where& where, const Array& expected, const Array& found, int64_t at) {
  return error(Code::difference)
      .at(where)
      .at(joined(", ", words("index " + index_text(at, expected.dims))))
      .expected(nine_digits(expected.number(at)))
      .found(nine_digits(found.number(at)));
}

llvm::Error LocalComparison::run(const Graph& whole, const NamedArrays& inputs, llvm::ArrayRef<NamedArrays> rank_inputs,
                                 std::optional<Progress>& progress) {
  constexpr int64_t most_kept_elements = int64_t(1) << 26;
  llvm::DenseMap<const Value*, double> scales;
  auto scale_of = [&](const Value& v) {
    auto it = scales.find(&v);
    if (it != scales.end()) return it->second;
    double top = 0;
    if (auto in = inputs.find(v.name); in != inputs.end())
      top = largest(in->second);
    else if (v.is_data() && is_float(v.type.dtype))
      top = largest(*v.data);
    return scales[&v] = top;
  };
  FirstNan nan(inputs);
  auto look_at = [&](const Node& node, llvm::ArrayRef<const Value*> vs,
                     llvm::ArrayRef<const Array*> arrays) -> llvm::Error {
    if (progress) progress->add(1);
    nan.look(node, *vs[0], *arrays[0]);
    double scale = largest(*arrays[0]);
    for (const Value* v : node.operands)
      if (is_float(v->type.dtype)) scale = std::max(scale, 1e-4 * scale_of(*v));
    scales[vs[0]] = scale;
    return llvm::Error::success();
  };
  // An optimizer divides a gradient by its own size and so makes what is left of a sum that cancels (a key bias's
  // gradient is 0) as large as all else.
  auto is_kept = [&](const Value& v, const Array& array) {
    const bool is_vague = v.producer->phase == Phase::optimizer && v.ndim() > 0;
    return scales.contains(&v) && !is_vague && array.elements() <= most_kept_elements;
  };
  auto keep = [&](const Value& v, Array array) {
    if (is_kept(v, array)) kept_[v.name] = {&values_.emplace_back(std::move(array)), scales.lookup(&v)};
  };
  auto truth = run_reference({&whole}, llvm::ArrayRef(inputs), look_at, HalfValues::exact, keep);
  if (!truth) return truth.takeError();
  outputs_ = std::move((*truth)[0]);
  for (const GraphOutput& o : whole.outputs)
    if (const Array& array = outputs_[o.name]; o.value->producer && is_kept(*o.value, array))
      kept_[o.value->name] = {&array, scales.lookup(o.value)};
  first_nan_ = nan.text();
  for (const Value* v : ranks_[0]->inputs) {
    Roundings::Size size;
    for (const NamedArrays& mine : rank_inputs)
      if (auto it = mine.find(v->name); it != mine.end()) widen(size, it->second);
    size.addend = size.largest;
    roundings_.record(*v, size);
  }
  for (const Value* v : ranks_[0]->data()) {
    if (!is_float(v->type.dtype) || v->data->is_missing()) continue;
    Roundings::Size size;
    widen(size, *v->data);
    size.addend = size.largest;
    roundings_.record(*v, size);
  }
  auto ranks = run_reference(
      ranks_, rank_inputs, [&](const Node& node, llvm::ArrayRef<const Value*> vs, llvm::ArrayRef<const Array*> arrays) {
        if (progress) progress->add(mesh_.devices());
        return look(node, vs, arrays);
      });
  if (!ranks) return ranks.takeError();
  return llvm::Error::success();
}

llvm::Error LocalComparison::look(const Node& node, llvm::ArrayRef<const Value*> vs,
                                  llvm::ArrayRef<const Array*> arrays) {
  Roundings::Size size;
  for (const Array* a : arrays) widen(size, *a);
  const Roundings::Bound bound = roundings_.of(node);
  size.addend = Roundings::addend_of(size.largest, bound);
  size.error =
      compare_with_whole(node, vs, arrays, std::min(bound.error / tolerance, bound.addend)).value_or(bound.error);
  roundings_.record(*vs[0], size);
  return llvm::Error::success();
}

double LocalComparison::addend_of(llvm::StringRef output) const {
  for (const GraphOutput& o : ranks_[0]->outputs)
    if (const auto* size = o.name == output ? roundings_.find(*o.value) : nullptr) return size->addend;
  return 0;
}

namespace {
// Is a part that several ranks have copies of a sum over other axes alone?
bool has_copies_of_sums(const Sharding& s) {
  return s.is_partial() && llvm::any_of(s.dims, [&](const DimSharding& d) {
           return llvm::any_of(d.axes(), [&](const AxisUse& use) {
             return use.is_cover() && !llvm::is_contained(s.partial, use.axis);
           });
         });
}
}  // namespace

std::optional<double> LocalComparison::compare_with_whole(const Node& node, llvm::ArrayRef<const Value*> vs,
                                                          llvm::ArrayRef<const Array*> arrays, double floor) {
  if (fault_ || !vs[0]->sharding) return std::nullopt;
  // A resharded form names the value it is a form of.
  std::string logical = vs[0]->name;
  for (const Value* v = vs[0]; v && !kept_.contains(logical) && !v->cause.from.empty(); v = ranks_[0]->find(logical))
    logical = v->cause.from;
  auto it = kept_.find(logical);
  if (it == kept_.end()) return std::nullopt;
  const Array& expected = *it->second.array;
  const double scale = std::max(it->second.scale, floor);
  const Sharding& s = *vs[0]->sharding;
  if (expected.dims.size() != s.dims.size()) return std::nullopt;
  if (s.is_partial() && s.reduce != Reduce::sum) return std::nullopt;
  ++found_[size_t(node.phase)].values;
  if (has_copies_of_sums(s)) {
    double most = 0;
    for (int64_t r = 0; r < mesh_.devices() && !fault_; ++r) {
      Array sum;
      sum.resize(expected.is_float, arrays[size_t(r)]->dims);
      for (int64_t member : mesh_.group(s.partial, r)) add(Shard::whole_of(sum.dims), sum, *arrays[size_t(member)]);
      most = std::max(most, compare(node, *vs[0], sum, take(Shard::of(expected.dims, s, mesh_, r), expected), scale,
                                    "sum over rank " + llvm::Twine(r) + " and those that it adds to"));
    }
    return most;
  }
  if (s.is_partial()) {
    // The ranks' addends together are the value. Replicas of an addend along other axes count once.
    Array sum;
    sum.resize(expected.is_float, expected.dims);
    const AxisUses used = s.axes();
    for (int64_t r = 0; r < mesh_.devices(); ++r) {
      bool first = true;
      for (const MeshAxis& a : mesh_.axes)
        if (!are_over(used, a.name) && mesh_.coordinate(a.name, r) != 0) first = false;
      if (first) add(Shard::of(sum.dims, s, mesh_, r), sum, *arrays[size_t(r)]);
    }
    return compare(node, *vs[0], sum, expected, scale, "sum over the ranks");
  }
  double most = 0;
  std::vector<std::optional<Array>> parts(arrays.size());  // none: the whole
  llvm::parallelFor(0, parts.size(), [&](size_t r) {
    const Shard shard = Shard::of(expected.dims, s, mesh_, int64_t(r));
    if (!shard.is_whole()) parts[r] = take(shard, expected);
  });
  for (size_t r = 0; r < parts.size() && !fault_; ++r)
    most = std::max(
        most, compare(node, *vs[0], *arrays[r], parts[r] ? *parts[r] : expected, scale, "rank " + llvm::Twine(r)));
  return most;
}

double LocalComparison::compare(const Node& node, const Value& value, const Array& found, const Array& expected,
                                double scale, const llvm::Twine& who) {
  Found& f = found_[size_t(node.phase)];
  const Where place{tensor_place("value", value.name), joined(" of ", place_of(node)), joined(", ", words(who))};
  if (found.dims != expected.dims) {
    f.error = INFINITY;
    fault_ = error(Code::difference).at(place).what("wrong shape");
    fault_phase_ = node.phase;
    return INFINITY;
  }
  struct Apart {
    double most = 0, apart = 0;
    int64_t at = 0;
  };
  const auto [most, apart, at] = in_parts(
      expected.elements(),
      [&](int64_t from, int64_t to) {
        Apart part;
        for (int64_t k = from; k < to; ++k) {
          const double x = found.number(k), y = expected.number(k);
          double d = distance(x, y);
          if (d == 0) continue;
          part.apart = std::max(part.apart, d);
          const double by = std::max(scale, std::isfinite(y) ? std::fabs(y) : 0.0);
          d = by > 0 ? d / by : INFINITY;
          if (d > part.most) part.most = d, part.at = k;
        }
        return part;
      },
      [](Apart& all, const Apart& part) {
        all.apart = std::max(all.apart, part.apart);
        if (part.most > all.most) all.most = part.most, all.at = part.at;
      });
  f.elements += expected.elements();
  f.error = std::max(f.error, most);
  if (!(most <= tolerance)) {
    fault_ = difference_at(place, expected, found, at);
    if (std::isnan(expected.number(at))) fault_->hint(first_nan_);
    fault_phase_ = node.phase;
  }
  return apart;
}

LocalComparison::Found LocalComparison::all() const {
  Found out;
  for (const Found& f : found_) {
    out.values += f.values;
    out.elements += f.elements;
    out.error = std::max(out.error, f.error);
  }
  return out;
}
}  // namespace optp
