// Formulas as nodes: what gradient rules, losses and optimizers are written in. The first error is kept, and what is
// built from a failed step is null, so that a formula reads as one.
#pragma once
#include "frontend/ir/builder.h"

namespace optp {

class Formula {
 public:
  explicit Formula(Builder& builder) : build(builder) {}
  ~Formula() { llvm::consumeError(std::move(failure_)); }
  Formula(const Formula&) = delete;
  Formula& operator=(const Formula&) = delete;

  Value* op(llvm::StringRef name, llvm::ArrayRef<Value*> operands, Attributes attributes = {},
            llvm::StringRef result = "");
  Value* neg(Value* x) { return op("neg", {x}); }
  Value* exp(Value* x) { return op("exp", {x}); }
  Value* sqrt(Value* x) { return op("sqrt", {x}); }
  Value* add(Value* a, Value* b) { return op("add", {a, b}); }
  Value* sub(Value* a, Value* b) { return op("sub", {a, b}); }
  Value* mul(Value* a, Value* b) { return op("mul", {a, b}); }
  Value* div(Value* a, Value* b) { return op("div", {a, b}); }
  // With a number of the operand's dtype.
  Value* add(Value* a, double b) { return a ? add(a, scalar(a->type.dtype, b)) : nullptr; }
  Value* mul(Value* a, double b) { return a ? mul(a, scalar(a->type.dtype, b)) : nullptr; }
  Value* cast(Value* x, DType to);  // x itself where it has the type
  Value* reshape(Value* x, llvm::ArrayRef<Dim> dims);
  Value* expand(Value* x, llvm::ArrayRef<Dim> dims);
  Value* sum(Value* x, llvm::ArrayRef<int64_t> axes, bool keepdims);
  Value* mean(Value* x, llvm::ArrayRef<int64_t> axes, bool keepdims);
  Value* scalar(DType dtype, double value) { return &build.scalar(dtype, value); }
  Value* extent(Dim d, DType dtype);  // a scalar
  // The gradient of a broadcast: summed over the dims that are absent or 1 in `like`.
  Value* unbroadcast(Value* gradient, const Value& like);

  void fail(llvm::Error error);
  llvm::Error take_error();
  bool failed() const { return failed_; }

  Builder& build;

 private:
  llvm::Error failure_ = llvm::Error::success();
  bool failed_ = false;
};

// One node in reverse mode. A rule sets dx[k] for each operand that needs(k); null there means zero.
class GradientContext : public Formula {
 public:
  GradientContext(Builder& builder, const Node& node, Value* dy, llvm::ArrayRef<bool> needed)
      : Formula(builder),
        node(node),
        dy(dy),
        dx(node.operands.size(), nullptr),
        needed_(needed.begin(), needed.end()) {}
  bool needs(unsigned k) const { return needed_[k]; }
  Value* x(unsigned k = 0) const { return node.operands[k]; }
  Value* y() const { return &node.out(); }

  const Node& node;
  Value* dy;  // of result 0; no op with a gradient has a second result
  llvm::SmallVector<Value*, 3> dx;

 private:
  llvm::SmallVector<bool, 4> needed_;
};

}  // namespace optp
