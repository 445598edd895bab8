#include "frontend/onnx/lowering.h"

#include <onnx/onnx_pb.h>

#include "frontend/io/limits.h"
#include "llvm/ADT/SmallPtrSet.h"
#include "llvm/ADT/StringMap.h"

namespace optp {

llvm::StringRef LoweringContext::op_type() const { return node_.op_type(); }
std::string LoweringContext::output_name(size_t k) const {
  return int(k) < node_.output_size() ? node_.output(int(k)) : std::string();
}
size_t LoweringContext::output_count() const { return size_t(node_.output_size()); }

Place place_of(const onnx::NodeProto& node) {
  std::string name = node.name();
  for (int k = 0; k < node.output_size() && name.empty(); ++k) name = node.output(k);
  return {.kind = Place::Kind::node, .name = name, .noun = "node", .detail = node.op_type()};
}
std::string describe(const onnx::NodeProto& node) { return place_of(node).text(); }

const onnx::AttributeProto* LoweringContext::find(llvm::StringRef name, int type) const {
  for (const auto& a : node_.attribute()) {
    if (a.name() != name) continue;
    if (a.type() == type) return &a;
    const auto text = [](int t) {
      return onnx::AttributeProto::AttributeType_Name(onnx::AttributeProto::AttributeType(t));
    };
    wrong_attribute_ =
        fail(Code::malformed).what("attribute " + quoted(name)).what("type").expected(text(type)).found(text(a.type()));
    return nullptr;
  }
  return nullptr;
}
llvm::Error LoweringContext::check_attributes() const {
  return wrong_attribute_ ? llvm::Error(Diagnostic(*wrong_attribute_)) : llvm::Error::success();
}
llvm::Error LoweringContext::check_all_used() const {
  for (size_t k = asked_; k < operands.size(); ++k)
    if (operands[k])
      return fail(Code::too_large)
          .operand(k, operands[k]->name)
          .expected("at most " + llvm::Twine(asked_) + " operands");
  return llvm::Error::success();
}
bool LoweringContext::has_attribute(llvm::StringRef name) const {
  return llvm::any_of(node_.attribute(), [&](const onnx::AttributeProto& a) { return a.name() == name; });
}
int64_t LoweringContext::integer(llvm::StringRef name, int64_t otherwise) const {
  const auto* a = find(name, onnx::AttributeProto::INT);
  return a ? a->i() : otherwise;
}
double LoweringContext::number(llvm::StringRef name, double otherwise) const {
  const auto* a = find(name, onnx::AttributeProto::FLOAT);
  return a ? double(a->f()) : otherwise;
}
std::string LoweringContext::text(llvm::StringRef name, llvm::StringRef otherwise) const {
  const auto* a = find(name, onnx::AttributeProto::STRING);
  return a ? a->s() : otherwise.str();
}
std::optional<llvm::SmallVector<int64_t, 4>> LoweringContext::integers(llvm::StringRef name) const {
  const auto* a = find(name, onnx::AttributeProto::INTS);
  if (!a) return std::nullopt;
  return llvm::SmallVector<int64_t, 4>(a->ints().begin(), a->ints().end());
}
llvm::SmallVector<double, 4> LoweringContext::numbers(llvm::StringRef name) const {
  const auto* a = find(name, onnx::AttributeProto::FLOATS);
  llvm::SmallVector<double, 4> out;
  if (a) out.append(a->floats().begin(), a->floats().end());
  return out;
}
llvm::Expected<std::shared_ptr<const Tensor>> LoweringContext::tensor(llvm::StringRef name) const {
  const auto* a = find(name, onnx::AttributeProto::TENSOR);
  if (!a || !a->has_t()) return fail(Code::malformed).what("attribute " + quoted(name)).expected("a tensor");
  return load_tensor(a->t(), output_name(0));
}
Value& LoweringContext::scalar_like(const Value& v, double x) {
  if (v.type.dtype != DType::string) return build.scalar(v.type.dtype, x);
  // Strings have no arithmetic: of the same type, so that the op this is for says what it expected.
  auto text = std::make_shared<Tensor>();
  text->dtype = DType::string;
  text->missing = "a string tensor";
  return build.graph().add_data(output_name(0) + ".scalar", text);
}
llvm::Expected<Value*> LoweringContext::need_float(size_t k) const {
  auto v = need(k);
  if (v && !is_float((*v)->type.dtype))
    return fail(Code::dtype_mismatch)
        .operand(k, (*v)->name)
        .what("dtype")
        .expected("a floating type")
        .found(long_name((*v)->type.dtype));
  return v;
}

Diagnostic LoweringContext::fail(Code code) const { return error(code).at(place_of(node_)); }
Diagnostic LoweringContext::fail(Code code, const llvm::Twine& what) const { return fail(code).what(what); }
llvm::Error LoweringContext::must_equal(Dim a, Dim b, const llvm::Twine& why) const {
  return llvm::make_error<DimClash>(a, b, Where{place_of(node_), words(why)});
}
namespace {
// Data that is not there, though integers or truth values are computed from it.
const Value* missing_source(const Value& v) {
  llvm::SmallVector<const Value*, 8> open{&v};
  llvm::SmallPtrSet<const Value*, 16> seen;
  while (!open.empty()) {
    const Value* at = open.pop_back_val();
    if (!seen.insert(at).second) continue;
    if (at->is_data() && at->data->is_missing() && at->type.dtype != DType::string) return at;
    if (at->producer)
      for (const Value* operand : at->producer->operands)
        if (!is_float(operand->type.dtype)) open.push_back(operand);
  }
  return nullptr;
}
}  // namespace
llvm::Error LoweringContext::not_known(size_t k, llvm::StringRef what) const {
  const Value& v = *operands[k];
  Where place{tensor_place("operand " + llvm::Twine(k), v.name)};
  if (!what.empty()) place.push_back(words(what));
  if (const Value* source = missing_source(v)) return missing(place, source->data->missing);
  return fail(Code::malformed).at(place).says("is not known at compile time");
}
llvm::Error LoweringContext::missing(const Where& place, llvm::StringRef file) const {
  return fail(Code::malformed)
      .at(place)
      .says("is needed to compile, and its weights file " + quoted(file) + " is not there");
}
llvm::Expected<Value*> LoweringContext::need(size_t k) const {
  if (!has(k)) return fail(Code::malformed).what("operand " + llvm::Twine(k) + " is missing");
  return operands[k];
}
llvm::Expected<Dims> LoweringContext::known_dims(size_t k, llvm::StringRef what) const {
  OPTP_TRY(v, need(k));
  if (v->type.dtype != DType::i64 && v->type.dtype != DType::i32)
    return fail(Code::dtype_mismatch)
        .operand(k, v->name)
        .what("dtype")
        .expected("int64 for " + what)
        .found(long_name(v->type.dtype));
  auto content = content_of(*v);
  if (!content || content->dims.size() > 1) return not_known(k, what);
  return Dims(content->elements.begin(), content->elements.end());
}
llvm::Expected<llvm::SmallVector<int64_t, 4>> LoweringContext::known_integers(size_t k, llvm::StringRef what) const {
  OPTP_TRY(dims, known_dims(k, what));
  llvm::SmallVector<int64_t, 4> out;
  for (Dim d : dims) {
    if (!d.constant())
      return fail(Code::malformed).what("operand " + llvm::Twine(k)).what(what).expected("a number").found(d.text());
    out.push_back(*d.constant());
  }
  return out;
}
llvm::Expected<int64_t> LoweringContext::axis(int64_t axis, size_t ndim) const {
  const int64_t n = int64_t(ndim);
  if (axis < -n || axis >= n)
    return fail(Code::malformed)
        .what("axis " + llvm::Twine(axis))
        .expected("from " + llvm::Twine(-n) + " to " + llvm::Twine(n - 1));
  return axis < 0 ? axis + n : axis;
}
llvm::Expected<llvm::SmallVector<int64_t, 4>> LoweringContext::axes(llvm::ArrayRef<int64_t> axes, size_t ndim) const {
  llvm::SmallVector<int64_t, 4> out;
  if (axes.size() > ndim)
    return fail(Code::too_large).what("axes").expected("at most " + llvm::Twine(ndim)).found(axes.size());
  for (int64_t a : axes) {
    OPTP_TRY(checked, axis(a, ndim));
    if (llvm::is_contained(out, checked))
      return fail(Code::duplicate).what("axis " + llvm::Twine(a) + " is named twice");
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

namespace {
llvm::SmallVector<const LoweringRow*, 0>& registry() {
  static llvm::SmallVector<const LoweringRow*, 0> rows;
  return rows;
}
}  // namespace
RegisteredLowerings::RegisteredLowerings(llvm::ArrayRef<LoweringRow> rows) {
  for (const LoweringRow& row : rows) registry().push_back(&row);
}

const LoweringRow* find_lowering(llvm::StringRef op_type, llvm::StringRef domain, int64_t opset) {
  static const llvm::StringMap<llvm::SmallVector<const LoweringRow*, 2>> by_operator = [] {
    llvm::StringMap<llvm::SmallVector<const LoweringRow*, 2>> map;
    for (const LoweringRow* row : all_lowerings()) map[row->op_type].push_back(row);
    return map;
  }();
  if (domain == "ai.onnx") domain = "";
  const LoweringRow* best = nullptr;
  for (const LoweringRow* row : by_operator.lookup(op_type))
    if (domain == row->domain && row->since <= opset && (!best || row->since > best->since)) best = row;
  return best;
}
llvm::SmallVector<const LoweringRow*, 0> all_lowerings() { return registry(); }
}  // namespace optp
