#include "frontend/ir/formula.h"

namespace optp {
Value* Formula::op(llvm::StringRef name, llvm::ArrayRef<Value*> operands, Attributes attributes,
                   llvm::StringRef result) {
  if (failed_ || llvm::is_contained(operands, nullptr)) return nullptr;
  auto made = build.create(name, operands, std::move(attributes), result);
  if (made) return *made;
  fail(made.takeError());
  return nullptr;
}
Value* Formula::cast(Value* x, DType to) {
  return !x || x->type.dtype == to ? x : op("cast", {x}, {{"to", int64_t(to)}});
}
Value* Formula::reshape(Value* x, llvm::ArrayRef<Dim> dims) {
  return !x || llvm::ArrayRef<Dim>(x->type.dims) == dims
             ? x
             : op("reshape", {x}, {{"dims", Dims(dims.begin(), dims.end())}});
}
Value* Formula::expand(Value* x, llvm::ArrayRef<Dim> dims) {
  return !x || llvm::ArrayRef<Dim>(x->type.dims) == dims
             ? x
             : op("expand", {x}, {{"dims", Dims(dims.begin(), dims.end())}});
}
Value* Formula::sum(Value* x, llvm::ArrayRef<int64_t> axes, bool keepdims) {
  return axes.empty()
             ? x
             : op("reduce_sum", {x},
                  {{"axes", llvm::SmallVector<int64_t, 4>(axes.begin(), axes.end())}, {"keepdims", int64_t(keepdims)}});
}
Value* Formula::mean(Value* x, llvm::ArrayRef<int64_t> axes, bool keepdims) {
  return axes.empty()
             ? x
             : op("reduce_mean", {x},
                  {{"axes", llvm::SmallVector<int64_t, 4>(axes.begin(), axes.end())}, {"keepdims", int64_t(keepdims)}});
}
Value* Formula::extent(Dim d, DType dtype) {
  if (auto n = d.constant()) return scalar(dtype, double(*n));
  return cast(&build.dim_tensor({}, {d}), dtype);
}
Value* Formula::unbroadcast(Value* gradient, const Value& like) {
  if (!gradient || gradient->type.dims == like.type.dims) return gradient;
  llvm::SmallVector<int64_t, 4> axes;
  const size_t shift = gradient->ndim() - like.ndim();
  for (size_t d = 0; d < gradient->ndim(); ++d)
    if (d < shift || (like.type.dims[d - shift].is(1) && !gradient->type.dims[d].is(1))) axes.push_back(int64_t(d));
  return reshape(sum(gradient, axes, /*keepdims=*/false), like.type.dims);
}
void Formula::fail(llvm::Error error) {
  if (failed_) return llvm::consumeError(std::move(error));
  llvm::consumeError(std::move(failure_));
  failure_ = std::move(error);
  failed_ = true;
}
llvm::Error Formula::take_error() {
  failed_ = false;
  return std::exchange(failure_, llvm::Error::success());
}
}  // namespace optp
