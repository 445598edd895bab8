// What com.microsoft's attention operators share: heads, masks, the products.
//   q: [batch, heads, queries, head]; k, v: [batch, key heads, keys, head]
// Contracts: https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
#pragma once
#include "frontend/onnx/operators/steps.h"

namespace optp::microsoft {
constexpr double lowest = -3.4028234663852886e38;  // of float32: -∞ would make a row without keys NaN

Value* heads_joined(Formula& f, Value* x);               // heads_apart the other way
Value* joined(Formula& f, Value* before, Value* after);  // keys or values behind those of a cache

// What is added to the scores.
struct Mask {
  Value* sum = nullptr;
  void add(Formula& f, Value* bias) { sum = sum ? f.add(sum, bias) : bias; }
  void keep(Formula& f, Value* condition, DType dtype, double otherwise) {
    add(f, f.op("where", {condition, f.scalar(dtype, 0), f.scalar(dtype, otherwise)}));
  }
};
// Query i stands at position past + i, and sees the keys up to it, with a window only the last `window` of them.
void keep_causal(Formula& f, Mask& mask, Dim past, Dim queries, Dim keys, int64_t window, DType dtype);
// The same of queries at `positions`, [queries, 1] or [batch, 1, queries, 1].
void keep_causal(Formula& f, Mask& mask, Value* positions, Dim keys, int64_t window, DType dtype);
// An operand that masks keys: [batch] counts of keys that are no padding, [batch, keys] or [batch, queries, keys] of
// ones and zeros.
struct KeyMask {
  size_t operand;
  llvm::StringRef name;
  bool may_have_starts = false;  // [2 · batch]: where the keys of each sequence end, then where they start
};
llvm::Error keep_valid(LoweringContext& c, Formula& f, Mask& mask, const KeyMask& which, Dim batch, Dim keys,
                       DType dtype);
llvm::Expected<double> scale_of(LoweringContext& c, Dim head);
// softmax(softcap(q kᵀ · scale) + mask) v; each key head serves a group of consecutive query heads.
Value* attended(Formula& f, Value* q, Value* k, Value* v, const Mask& mask, double scale, double softcap = 0);
llvm::Expected<int64_t> head_count(LoweringContext& c, llvm::StringRef attribute, Dim hidden);
llvm::Error has_dims(LoweringContext& c, size_t operand, size_t ndim);
}  // namespace optp::microsoft
