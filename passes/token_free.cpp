#include "passes/token_free.h"

#include <cmath>

#include "frontend/ir/host_array.h"
#include "frontend/ir/op.h"

namespace optp {

llvm::Expected<const Array*> TokenFree::of(const Value& v) {
  if (auto at = known_.find(&v); at != known_.end()) return at->second.get();
  auto array = make(v);
  if (!array) return array.takeError();
  return (known_[&v] = std::make_unique<Array>(std::move(*array))).get();
}

llvm::Expected<Array> TokenFree::make(const Value& v) {
  Array out;
  llvm::SmallVector<int64_t, 4> dims;
  for (Dim d : v.type.dims) dims.push_back(*d.constant());
  out.resize(is_float(v.type.dtype), dims);
  if (v.is_data() && !v.data->is_missing()) return to_array(*v.data);
  if (v.is_data()) {
    // Rows of a table that is not here are each another's.
    if (products_ == Products::computed)
      for (size_t k = 0; k < out.f.size(); ++k) out.f[k] = std::fmod(double(k + 1) * 0.6180339887, 1);
    return out;
  }
  if (!v.producer) {
    std::fill(out.i.begin(), out.i.end(), number_(v));
    std::fill(out.f.begin(), out.f.end(), double(number_(v)));
    return out;
  }
  const OpDef& op = *v.producer->op;
  const bool meet = op.is(Trait::product) || op.is(Trait::normalizes);
  if (!op.evaluate || (meet && products_ == Products::zero)) return out;
  llvm::SmallVector<const Array*, 3> operands;
  for (const Value* x : v.producer->operands) {
    auto a = of(*x);
    if (!a) return a.takeError();
    operands.push_back(*a);
  }
  auto made = op.evaluate(*v.producer, operands);
  if (!made) return made.takeError();
  return std::move((*made)[v.result]);
}
}  // namespace optp
