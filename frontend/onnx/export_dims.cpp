// Extents at run time. A dim's value comes from the shape of an input that has it as an extent, or is solved for from
// one that has it in an expression; from these, expressions are computed at the start of the graph, each once.
#include <onnx/onnx_pb.h>

#include "frontend/ir/diagnostic.h"
#include "frontend/onnx/export_context.h"

namespace optp {
namespace {
Dim dim_of(const DimProduct& product) {
  Dim d = product.coefficient;
  for (Dim factor : product.factors) d = d * factor;
  return d;
}
}  // namespace

bool ExportContext::is_known(Dim d) const {
  if (d.constant() || sources_.contains(d.text())) return true;
  for (const DimProduct& product : products_of(d))
    for (Dim factor : product.factors) {
      if (sources_.contains(factor.text())) continue;
      auto call = call_of(factor);
      if (!call || !is_known(call->a) || !is_known(call->b)) return false;
    }
  return true;
}

void ExportContext::solve_sources() {
  for (const Extent& e : extents_) sources_.try_emplace(e.dim.text(), Source{e});
  // past + sequence gives past once sequence is known. Each round finds one more, or is the last.
  for (bool found = true; found;) {
    found = false;
    for (const Extent& e : extents_)
      for (const DimProduct& product : products_of(e.dim)) {
        if (product.factors.size() != 1) continue;
        const Dim unknown = product.factors[0], rest = e.dim - dim_of(product);
        if (is_known(unknown) || !is_known(rest)) continue;
        sources_.try_emplace(unknown.text(), Source{e, rest, product.coefficient});
        found = true;
        break;
      }
  }
}
void ExportContext::find_sources() {
  for (const Value* v : graph_.inputs)
    for (size_t axis = 0; axis < v->ndim(); ++axis)
      if (!v->type.dims[axis].constant()) extents_.push_back({v->type.dims[axis], v, axis, {}});
  solve_sources();

  // A rank that gets a part of the batch may have to know the whole of it. All ranks then add up their parts, whether
  // or not their own nodes use the sum: all must meet.
  auto unknown = [&](const Value& v) { return llvm::any_of(v.type.dims, [&](Dim d) { return !is_known(d); }); };
  if (llvm::none_of(graph_.nodes, [&](const auto& node) { return unknown(node->out()); })) return;
  auto group_of = [&](const DimSharding& sharding) -> llvm::ArrayRef<int64_t> {
    const FactorSharding* split = nullptr;
    for (const FactorSharding& f : sharding.factors)
      if (!f.axes.empty()) {
        if (split) return {};
        split = &f;
      }
    for (const auto& node : graph_.nodes)
      if (const auto* axes = node->find<std::vector<std::string>>("axes");
          split && axes && node->op->is_collective && llvm::equal(*axes, split->axes))
        return node->integers("group");
    return {};
  };
  for (const Value* v : graph_.inputs)
    for (size_t axis = 0; v->sharding && axis < v->logical_dims.size() && axis < v->sharding->dims.size(); ++axis) {
      const Dim whole = v->logical_dims[axis];
      const auto group = group_of(v->sharding->dims[axis]);
      if (group.empty() || is_known(whole)) continue;
      extents_.push_back({whole, v, axis, group});
      solve_sources();
      const std::string sum = dim(whole);
      for (const FactorSharding& f : v->sharding->dims[axis].factors)
        if (!f.axes.empty())
          meetings_.push_back({"dims/" + whole.text(), sum, v->name, {f.axes.begin(), f.axes.end()}});
    }
}

std::string ExportContext::dim(Dim d) {
  if (auto n = d.constant()) return integers({*n});
  auto it = dims_.find(d.text());
  if (it != dims_.end()) return it->second;
  const std::string name = compute(d);
  return dims_[d.text()] = name;
}
std::string ExportContext::compute(Dim d) {
  if (has_rank_terms(d)) {
    fail(error(Fault::internal, "extent " + quoted(d.text()) + " is not bound to a rank"));
    return "";
  }
  if (auto it = sources_.find(d.text()); it != sources_.end()) {
    const Source s = it->second;
    if (s.rest.is(0) && s.coefficient == 1) {
      const Extent& e = s.extent;
      const std::string here =
          dim_node("Shape", {name_of(*e.input)}, {{"start", int64_t(e.axis)}, {"end", int64_t(e.axis) + 1}});
      if (e.group.empty()) return here;
      const std::string sum = dim_node("AllReduce", {here},
                                       {{"id", "dims/" + d.text()},
                                        {"group", llvm::SmallVector<int64_t, 4>(e.group)},
                                        {"reduce", std::string("sum")}});
      dim_nodes_.back().set_domain("opt_partition");
      return sum;
    }
    std::string value = dim(s.extent.dim);
    if (!s.rest.is(0)) value = dim_node("Sub", {value, dim(s.rest)});
    return s.coefficient == 1 ? value : dim_node("Div", {value, integers({s.coefficient})});
  }
  const auto products = products_of(d);
  if (products.size() == 1 && products[0].coefficient == 1 && products[0].factors.size() == 1) {
    auto call = call_of(d);
    if (!call) {
      fail(bad_input(
          "dim " + quoted(d.text()) +
          ": its value can't be had from the shapes of this rank's inputs, and a shape in the graph needs it; "
          "give it a number"));
      return "";
    }
    const std::string a = dim(call->a), b = dim(call->b);
    if (call->is_minimum) return dim_node("Min", {a, b});
    auto low = lower_bound(call->a), divisor = lower_bound(call->b);
    if (low && divisor && *low >= 0 && *divisor > 0) return dim_node("Div", {a, b});
    // Div truncates; what is left without the remainder, which has the divisor's sign, divides exactly.
    return dim_node("Div", {dim_node("Sub", {a, dim_node("Mod", {a, b})}), b});
  }
  // A sum that begins with a minus would cost a multiplication by -1.
  std::string sum;
  llvm::SmallVector<DimProduct, 4> ordered;
  for (const DimProduct& p : products)
    if (p.coefficient > 0) ordered.push_back(p);
  for (const DimProduct& p : products)
    if (p.coefficient < 0) ordered.push_back(p);
  for (const DimProduct& p : ordered) {
    const bool subtract = !sum.empty() && p.coefficient < 0;
    const int64_t c = subtract ? -p.coefficient : p.coefficient;
    std::string value;
    for (Dim each : p.factors) {
      const std::string factor = dim(each);
      value = value.empty() ? factor : dim_node("Mul", {value, factor});
    }
    if (value.empty())
      value = integers({c});
    else if (c != 1)
      value = dim_node("Mul", {value, integers({c})});
    sum = sum.empty() ? value : dim_node(subtract ? "Sub" : "Add", {sum, value});
  }
  return sum;
}

std::string ExportContext::dim_scalar(Dim d) {
  if (auto n = d.constant()) {
    Array a;
    a.resize(false, {});
    a.i[0] = *n;
    return constant(DType::i64, {}, a);
  }
  auto it = dim_scalars_.find(d.text());
  if (it != dim_scalars_.end()) return it->second;
  const std::string name = dim_node("Squeeze", {dim(d), integers({0})});
  return dim_scalars_[d.text()] = name;
}

std::string ExportContext::dims(llvm::ArrayRef<Dim> list) {
  if (list.size() == 1) return dim(list[0]);
  if (llvm::all_of(list, [](Dim d) { return d.constant().has_value(); })) {
    llvm::SmallVector<int64_t, 4> numbers;
    for (Dim d : list) numbers.push_back(*d.constant());
    return integers(numbers);
  }
  const std::string key = to_string(list);
  auto it = dim_lists_.find(key);
  if (it != dim_lists_.end()) return it->second;
  std::vector<std::string> pieces;
  llvm::SmallVector<int64_t, 4> run;  // neighbouring numbers are one constant
  auto flush = [&] {
    if (!run.empty()) pieces.push_back(integers(run));
    run.clear();
  };
  for (Dim d : list) {
    if (auto n = d.constant()) {
      run.push_back(*n);
      continue;
    }
    flush();
    pieces.push_back(dim(d));
  }
  flush();
  const std::string name = dim_node("Concat", pieces, {{"axis", int64_t(0)}});
  return dim_lists_[key] = name;
}
}  // namespace optp
