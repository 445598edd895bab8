#include "frontend/ir/builder.h"

#include "frontend/ir/diagnostic.h"

namespace optp {

std::optional<Content> content_of(const Value& value) {
  if (value.content) return value.content;
  if (!value.data || value.data->is_missing() || is_float(value.type.dtype) || value.type.dtype == DType::string ||
      value.data->elements() > most_content_elements)
    return std::nullopt;
  const Array array = to_array(*value.data);
  Content content;
  content.dims.assign(array.dims.begin(), array.dims.end());
  for (int64_t v : array.i) content.elements.push_back(v);
  return content;
}

llvm::Expected<Value*> Builder::create(llvm::StringRef op_name, llvm::ArrayRef<Value*> operands, Attributes attributes,
                                       llvm::StringRef name) {
  const OpDef& op = get_op(op_name);
  std::string wish = name.str();
  if (wish.empty()) wish = node_name_.empty() ? op.name : node_name_ + "/" + op.name;
  Node& node = graph_.add_node(op, operands, {Type{}}, {wish}, place_);
  node.name = node_name_;
  node.origin = origin_;
  node.module = module_;
  node.phase = phase_;
  node.attributes = std::move(attributes);
  auto types = op.infer(node);
  if (!types) {
    graph_.erase(node);
    return types.takeError();
  }
  node.out().type = (*types)[0];
  for (Dim d : node.out().type.dims) {
    if (d.is_overflow()) {
      auto e = error(Code::shape_mismatch).at(node).what("result").what("an extent does not fit in 64 bits");
      graph_.erase(node);
      return e;
    }
    if (auto n = d.constant(); n && *n < 0) {
      auto e = error(Code::shape_mismatch).at(node).what("result").what("negative extent " + llvm::Twine(*n));
      graph_.erase(node);
      return e;
    }
  }
  if (op.content && !is_float(node.out().type.dtype)) node.out().content = op.content(node);
  return fold_ ? fold(node) : &node.out();
}

// Replaces a node whose result is known at compile time by data; larger tensors stay nodes, to be made on the device.
llvm::Expected<Value*> Builder::fold(Node& node) {
  constexpr int64_t most_elements = 1 << 16;
  Value& out = node.out();
  std::optional<Array> known;
  int64_t elements = 1;
  for (Dim d : out.type.dims) {
    if (!d.constant() || __builtin_mul_overflow(elements, *d.constant(), &elements)) return &out;
  }
  if (elements > most_elements) return &out;
  if (out.content) {
    if (!llvm::all_of(out.content->elements, [](Dim d) { return d.constant().has_value(); })) return &out;
    known.emplace();
    known->resize(/*floating=*/false, out.content->dims);
    for (size_t k = 0; k < out.content->elements.size(); ++k) known->i[k] = *out.content->elements[k].constant();
  } else {
    if (node.op->collective || !node.op->evaluate) return &out;
    Arrays arrays;
    arrays.reserve(node.operands.size());
    for (Value* v : node.operands) {
      // Weights are not folded: they are the user's, to be sharded and trained.
      if (!v->data || v->data->is_missing() || v->type.dtype == DType::string) return &out;
      if (v->data->elements() > most_elements || (is_float(v->type.dtype) && v->data->elements() > 1)) return &out;
      if (is_float(v->type.dtype) && !v->is_literal && is_float(out.type.dtype)) return &out;
      arrays.push_back(to_array(*v->data));
    }
    for (auto& [key, attribute] : node.attributes) {
      if (auto* d = std::get_if<Dim>(&attribute); d && !d->constant()) return &out;
      if (auto* ds = std::get_if<Dims>(&attribute);
          ds && !llvm::all_of(*ds, [](Dim d) { return d.constant().has_value(); }))
        return &out;
    }
    llvm::SmallVector<const Array*, 3> operands;
    for (const Array& a : arrays) operands.push_back(&a);
    auto results = node.op->evaluate(node, operands);
    if (!results) return results.takeError();
    known = std::move((*results)[0]);
  }
  const std::string name = out.name;
  auto tensor = to_tensor(*known, out.type.dtype);
  graph_.erase(node);
  Value& made = graph_.add_data(name, std::move(tensor));
  made.is_literal = true;
  return &made;
}

Value& Builder::constant(DType dtype, llvm::ArrayRef<int64_t> dims, const Array& array, llvm::StringRef name) {
  const std::string wish =
      name.empty() ? (node_name_.empty() ? std::string("constant") : node_name_ + "/constant") : name.str();
  Value& made = graph_.add_data(wish, make_tensor(dtype, dims, to_bytes(array, dtype)));
  made.is_literal = true;
  return made;
}
Value& Builder::scalar(DType dtype, double value) {
  Array a;
  a.resize(is_float(dtype), {});
  if (a.is_float)
    a.f[0] = value;
  else
    a.i[0] = int64_t(value);
  return constant(dtype, {}, a);
}
Value& Builder::integers(llvm::ArrayRef<int64_t> values) {
  Array a;
  a.resize(/*floating=*/false, {int64_t(values.size())});
  for (size_t k = 0; k < values.size(); ++k) a.i[k] = values[k];
  return constant(DType::i64, a.dims, a);
}
Value& Builder::dim_tensor(llvm::ArrayRef<int64_t> dims, llvm::ArrayRef<Dim> elements, DType dtype,
                           llvm::StringRef name) {
  if (llvm::all_of(elements, [](Dim d) { return d.constant().has_value(); })) {
    Array a;
    a.resize(/*floating=*/false, dims);
    for (size_t k = 0; k < elements.size(); ++k) a.i[k] = *elements[k].constant();
    return constant(dtype, dims, a, name);
  }
  Attributes attributes;
  attributes["values"] = Dims(elements.begin(), elements.end());
  attributes["shape"] = llvm::SmallVector<int64_t, 4>(dims.begin(), dims.end());
  attributes["dtype"] = int64_t(dtype);
  auto made = create("dim_tensor", {}, std::move(attributes), name);
  return **made;
}
}  // namespace optp
