// Extents at run time. A dim's value comes from the shape of an input that has it as an extent, or is solved for from
// one that has it in an expression; from these, expressions are computed at the start of the graph, each once.
#include <onnx/onnx_pb.h>

#include "frontend/ir/diagnostic.h"
#include "frontend/onnx/export_context.h"
#include "frontend/onnx/own_domain.h"

namespace optp {

void ExportContext::find_sources() {
  Dims dims;
  for (const Value* v : graph_.inputs)
    for (size_t axis = 0; axis < v->ndim(); ++axis) {
      extents_.push_back({v, axis});
      dims.push_back(v->type.dims[axis]);
    }
  sources_.add(dims);
  for (const auto& node : graph_.nodes)
    if (node->op->collective && call_of(*node).extent) write_extent_sum(*node);
}
// The ranks add up their parts of an extent before anything is computed from it.
void ExportContext::write_extent_sum(const Node& node) {
  const CollectiveCall call = call_of(node);
  const Node* part = node.operand(0).producer;
  const std::string sum = name_of(node.out());
  dim_nodes_.push_back(
      make_node("AllReduce", {dim(part->dims("values")[0])}, attributes_of_file(call), unique_node_name(sum), sum));
  dim_nodes_.back().set_domain(own_domain);
  written_.insert(&node);
  if (part->out().uses.size() == 1) written_.insert(part);
  extents_.push_back({nullptr, 0});
  sources_.add({*call.extent});
  dims_[*call.extent] = sum;
}

std::string ExportContext::dim(Dim d) {
  if (auto n = d.constant()) return integers({*n});
  auto it = dims_.find(d);
  if (it != dims_.end()) return it->second;
  const std::string name = compute(d);
  return dims_[d] = name;
}
std::string ExportContext::compute(Dim d) {
  if (has_rank_terms(d)) {
    fail(error(Code::bug, "extent " + quoted(d.text()) + " is not bound to a rank"));
    return "";
  }
  if (const DimSources::Source* s = sources_.find(d)) {
    const Extent& e = extents_[s->extent];
    if (s->rest.is(0) && s->coefficient == 1)
      return dim_node("Shape", {name_of(*e.input)}, {{"start", int64_t(e.axis)}, {"end", int64_t(e.axis) + 1}});
    std::string value = dim(sources_.extent(*s));
    if (!s->rest.is(0)) value = dim_node("Sub", {value, dim(s->rest)});
    return s->coefficient == 1 ? value : dim_node("Div", {value, integers({s->coefficient})});
  }
  const auto products = products_of(d);
  if (products.size() == 1 && products[0].coefficient == 1 && products[0].factors.size() == 1) {
    auto call = call_of(d);
    if (!call) {
      fail(error(Code::shape_mismatch)
               .dim(d.text())
               .what("its value can't be had from the shapes of this rank's inputs, and a shape in the graph needs it")
               .hint("give it a number"));
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
    a.resize(/*floating=*/false, {});
    a.i[0] = *n;
    return constant(DType::i64, {}, a);
  }
  auto it = dim_scalars_.find(d);
  if (it != dim_scalars_.end()) return it->second;
  const std::string name = dim_node("Squeeze", {dim(d), integers({0})});
  return dim_scalars_[d] = name;
}

std::string ExportContext::dims(llvm::ArrayRef<Dim> list) {
  if (list.size() == 1) return dim(list[0]);
  if (llvm::all_of(list, [](Dim d) { return d.constant().has_value(); })) {
    llvm::SmallVector<int64_t, 4> numbers;
    for (Dim d : list) numbers.push_back(*d.constant());
    return integers(numbers);
  }
  std::vector<const DimExpression*> key;
  for (Dim d : list) key.push_back(&d.expression());
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
