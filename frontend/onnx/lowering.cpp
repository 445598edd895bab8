#include "frontend/onnx/lowering.h"

#include <onnx/onnx_pb.h>

#include "frontend/io/limits.h"

namespace optp {

llvm::StringRef LoweringContext::op_type() const { return node_.op_type(); }
std::string LoweringContext::output_name(size_t k) const { return int(k) < node_.output_size() ? node_.output(int(k)) : std::string(); }
size_t LoweringContext::output_count() const { return size_t(node_.output_size()); }

const onnx::AttributeProto* LoweringContext::find(llvm::StringRef name) const {
  for (const auto& a : node_.attribute())
    if (a.name() == name) return &a;
  return nullptr;
}
int64_t LoweringContext::integer(llvm::StringRef name, int64_t otherwise) const {
  const auto* a = find(name);
  return a ? a->i() : otherwise;
}
double LoweringContext::number(llvm::StringRef name, double otherwise) const {
  const auto* a = find(name);
  return a ? double(a->f()) : otherwise;
}
std::string LoweringContext::text(llvm::StringRef name, llvm::StringRef otherwise) const {
  const auto* a = find(name);
  return a ? a->s() : otherwise.str();
}
std::optional<llvm::SmallVector<int64_t, 4>> LoweringContext::integers(llvm::StringRef name) const {
  const auto* a = find(name);
  if (!a) return std::nullopt;
  return llvm::SmallVector<int64_t, 4>(a->ints().begin(), a->ints().end());
}
llvm::SmallVector<double, 4> LoweringContext::numbers(llvm::StringRef name) const {
  const auto* a = find(name);
  llvm::SmallVector<double, 4> out;
  if (a) out.append(a->floats().begin(), a->floats().end());
  return out;
}
llvm::Expected<std::shared_ptr<const Tensor>> LoweringContext::tensor(llvm::StringRef name) const {
  const auto* a = find(name);
  if (!a || !a->has_t()) return fail("attribute " + quoted(name) + ": expected a tensor");
  return load_tensor(a->t(), output_name(0));
}

llvm::Error LoweringContext::fail(const llvm::Twine& what) const {
  const std::string& name = node_.name();
  return bad_input("node " + quoted(name.empty() ? output_name(0) : name) + " (" + node_.op_type() + "): " + what);
}
llvm::Expected<Value*> LoweringContext::need(size_t k) const {
  if (!has(k)) return fail("operand " + llvm::Twine(k) + " is missing");
  return operands[k];
}
llvm::Expected<Dims> LoweringContext::known_dims(size_t k, llvm::StringRef what) const {
  OPTP_TRY(v, need(k));
  if (v->type.dtype != DType::i64 && v->type.dtype != DType::i32)
    return fail("operand " + llvm::Twine(k) + " " + quoted(v->name) + ": dtype: expected int64 for " + what + ", found " + long_name(v->type.dtype));
  auto content = content_of(*v);
  if (!content || content->dims.size() > 1)
    return fail("operand " + llvm::Twine(k) + " " + quoted(v->name) + ": " + what + " is not known at compile time");
  return Dims(content->elements.begin(), content->elements.end());
}
llvm::Expected<llvm::SmallVector<int64_t, 4>> LoweringContext::known_integers(size_t k, llvm::StringRef what) const {
  OPTP_TRY(dims, known_dims(k, what));
  llvm::SmallVector<int64_t, 4> out;
  for (Dim d : dims) {
    if (!d.constant()) return fail("operand " + llvm::Twine(k) + ": " + what + ": expected a number, found " + d.text());
    out.push_back(*d.constant());
  }
  return out;
}
llvm::Expected<int64_t> LoweringContext::axis(int64_t axis, size_t ndim) const {
  const int64_t n = int64_t(ndim);
  if (axis < -n || axis >= n) return fail("axis " + llvm::Twine(axis) + ": expected from " + llvm::Twine(-n) + " to " + llvm::Twine(n - 1));
  return axis < 0 ? axis + n : axis;
}
llvm::Expected<llvm::SmallVector<int64_t, 4>> LoweringContext::axes(llvm::ArrayRef<int64_t> axes, size_t ndim) const {
  llvm::SmallVector<int64_t, 4> out;
  for (int64_t a : axes) {
    OPTP_TRY(checked, axis(a, ndim));
    if (llvm::is_contained(out, checked)) return fail("axis " + llvm::Twine(a) + " is named twice");
    out.push_back(checked);
  }
  return out;
}

llvm::Expected<Value*> LoweringContext::reshape(Value& v, llvm::ArrayRef<Dim> dims) {
  if (llvm::ArrayRef<Dim>(v.type.dims) == dims) return &v;
  return op("reshape", {&v}, {{"dims", Dims(dims.begin(), dims.end())}});
}
llvm::Expected<Value*> LoweringContext::transpose(Value& v, llvm::ArrayRef<int64_t> perm) {
  bool identity = perm.size() == v.ndim();
  for (size_t k = 0; k < perm.size(); ++k) identity &= perm[k] == int64_t(k);
  if (identity) return &v;
  return op("transpose", {&v}, {{"perm", llvm::SmallVector<int64_t, 4>(perm.begin(), perm.end())}});
}
llvm::Expected<Value*> LoweringContext::expand(Value& v, llvm::ArrayRef<Dim> dims) {
  if (llvm::ArrayRef<Dim>(v.type.dims) == dims) return &v;
  return op("expand", {&v}, {{"dims", Dims(dims.begin(), dims.end())}});
}
llvm::Expected<Value*> LoweringContext::cast(Value& v, DType to) {
  if (v.type.dtype == to) return &v;
  return op("cast", {&v}, {{"to", int64_t(to)}});
}

const LoweringRow* find_lowering(llvm::StringRef op_type, llvm::StringRef domain, int64_t opset) {
  if (domain == "ai.onnx") domain = "";
  const LoweringRow* best = nullptr;
  for (const LoweringRow* row : all_lowerings())
    if (op_type == row->op_type && domain == row->domain && row->since <= opset && (!best || row->since > best->since)) best = row;
  return best;
}
llvm::SmallVector<const LoweringRow*, 0> all_lowerings() {
  llvm::SmallVector<const LoweringRow*, 0> out;
  for (auto rows : {elementwise_rows(), shape_rows(), product_rows(), reduction_rows(), block_rows(), collective_rows()})
    for (const LoweringRow& row : rows) out.push_back(&row);
  return out;
}
}  // namespace optp
