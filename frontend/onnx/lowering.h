// How ONNX operators become core ops: tables of rows, one file a group of operators.
#pragma once
#include <algorithm>
#include <functional>
#include <optional>
#include <string>

#include "frontend/ir/builder.h"
#include "frontend/ir/diagnostic.h"
#include "frontend/ir/formula.h"

namespace onnx {
class NodeProto;
class AttributeProto;
class TensorProto;
}  // namespace onnx

namespace optp {

using Lowered = llvm::Expected<llvm::SmallVector<Value*, 2>>;

// One ONNX node while it is lowered: its attributes, its operands (null where absent), and a builder for what it
// becomes.
class LoweringContext {
 public:
  LoweringContext(Builder& builder, const onnx::NodeProto& node, llvm::ArrayRef<Value*> operands, int64_t opset)
      : build(builder), operands(operands), opset(opset), node_(node) {}

  Builder& build;
  llvm::ArrayRef<Value*> operands;
  int64_t opset;
  std::optional<int64_t> rank;                       // of a rank graph: the file's metadata say it
  const DimBounds* bounds = nullptr;                 // of the file's dims
  bool drops_zero_bias = false;                      // the file's exporter leaves a bias of zeros out of Gemm
  ModulePath module;                                 // the node's
  std::vector<std::string>* added_biases = nullptr;  // takes the names of those that are added again
  // Set by import: makes data of an attribute's tensor.
  std::function<llvm::Expected<std::shared_ptr<const Tensor>>(const onnx::TensorProto&, llvm::StringRef)> load_tensor;

  llvm::StringRef op_type() const;
  std::string output_name(size_t k) const;
  size_t output_count() const;
  bool has(size_t operand) const {
    asked_ = std::max(asked_, operand + 1);
    return operand < operands.size() && operands[operand];
  }

  // An attribute of another type than asked for gives `otherwise`; check_all_used reports it.
  bool has_attribute(llvm::StringRef name) const;
  int64_t integer(llvm::StringRef name, int64_t otherwise) const;
  double number(llvm::StringRef name, double otherwise) const;
  std::string text(llvm::StringRef name, llvm::StringRef otherwise) const;
  std::optional<llvm::SmallVector<int64_t, 4>> integers(llvm::StringRef name) const;
  llvm::SmallVector<double, 4> numbers(llvm::StringRef name) const;
  llvm::Expected<std::shared_ptr<const Tensor>> tensor(llvm::StringRef name) const;

  Diagnostic fail(Code code) const;  // at this node
  Diagnostic fail(Code code, const llvm::Twine& what) const;
  llvm::Error must_equal(Dim a, Dim b, const llvm::Twine& why) const;  // import solves it, or demands it of a run
  // After lowering: attributes had the type that was asked for, and no operand was left over.
  llvm::Error check_attributes() const;
  llvm::Error check_all_used() const;
  // Elements of an operand are needed and not known. Where they, or what they are computed from, lie in a file of
  // weights that is missing, it is named.
  llvm::Error not_known(size_t operand, llvm::StringRef what = "") const;
  llvm::Error missing(const Where& place, llvm::StringRef file) const;
  llvm::Expected<Value*> need(size_t operand) const;
  // Integers that must be known at compile time: from operand k (or, before it became one, from an attribute).
  llvm::Expected<llvm::SmallVector<int64_t, 4>> known_integers(size_t operand, llvm::StringRef what) const;
  llvm::Expected<Dims> known_dims(size_t operand, llvm::StringRef what) const;
  llvm::Expected<int64_t> axis(int64_t axis, size_t ndim) const;
  llvm::Expected<llvm::SmallVector<int64_t, 4>> axes(llvm::ArrayRef<int64_t> axes, size_t ndim) const;

  // Shorthands: a failed step makes all that follow fail with its error.
  llvm::Expected<Value*> op(llvm::StringRef name, llvm::ArrayRef<Value*> in, Attributes attributes = {}) {
    return build.create(name, in, std::move(attributes));
  }
  llvm::Expected<Value*> reshape(Value& v, llvm::ArrayRef<Dim> dims);
  llvm::Expected<Value*> transpose(Value& v, llvm::ArrayRef<int64_t> perm);
  llvm::Expected<Value*> expand(Value& v, llvm::ArrayRef<Dim> dims);
  llvm::Expected<Value*> cast(Value& v, DType to);
  llvm::Expected<Value*> matmul(Value& a, Value& b);
  Value& scalar_like(const Value& v, double x);
  llvm::Expected<Value*> need_float(
      size_t operand) const;  // where ONNX allows floating types only (LeakyRelu's x · 0.01 would be 0 for integers)

 private:
  const onnx::AttributeProto* find(llvm::StringRef name, int type) const;
  const onnx::NodeProto& node_;
  mutable std::optional<Diagnostic> wrong_attribute_;
  mutable size_t asked_ = 0;
};

struct LoweringRow {
  const char* op_type;
  int64_t since;  // the row holds from this opset on, until another row's
  Lowered (*lower)(LoweringContext& c);
  const char* domain = "";
};

Place place_of(const onnx::NodeProto& node);
// "node 'NAME' (OPERATOR)"; both come from the file and are cut and escaped.
std::string describe(const onnx::NodeProto& node);

// The rows of one file of frontend/onnx/operators, which register themselves.
struct RegisteredLowerings {
  explicit RegisteredLowerings(llvm::ArrayRef<LoweringRow> rows);
};
const LoweringRow* find_lowering(llvm::StringRef op_type, llvm::StringRef domain, int64_t opset);
llvm::SmallVector<const LoweringRow*, 0> all_lowerings();

// What a formula made, or its first error.
inline Lowered made_by(Formula& f, llvm::ArrayRef<Value*> values) {
  if (auto e = f.take_error()) return e;
  return llvm::SmallVector<Value*, 2>(values.begin(), values.end());
}

// `TRY(x, expression)` declares x as what an Expected holds, or returns its error.
#define OPTP_TRY(name, ...)                                 \
  auto name##_or_error = (__VA_ARGS__);                     \
  if (!name##_or_error) return name##_or_error.takeError(); \
  auto& name = *name##_or_error

}  // namespace optp
