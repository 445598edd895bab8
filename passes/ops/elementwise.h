// What the families of elementwise ops share: numpy's broadcasting, and one rule, a loop a result dim.
#pragma once
#include "frontend/ir/formula.h"
#include "passes/ops/support.h"

namespace optp::ops {

template <Linear linear>
llvm::Expected<Rule> rule_of(const Node& node) {
  auto rule = elementwise_rule(node);
  if (rule) rule->linear = linear;
  return rule;
}

// One operand.
template <auto F>
llvm::Expected<Arrays> unary_any(const Node& /*node*/, llvm::ArrayRef<const Array*> in) {
  Array out;
  out.resize(in[0]->is_float, in[0]->dims);
  for (size_t k = 0; k < out.f.size(); ++k) out.f[k] = F(in[0]->f[k]);
  for (size_t k = 0; k < out.i.size(); ++k) out.i[k] = F(in[0]->i[k]);
  return single(std::move(out));
}
inline llvm::Expected<Types> infer_unary(const Node& node) {
  if (auto e = same_dtype(node, {0})) return e;
  return one(node.operand(0).type.dtype, node.operand(0).type.dims);
}
inline OpDef unary_op(const char* name, const char* summary, decltype(OpDef::evaluate) evaluate,
                      decltype(OpDef::infer) infer, decltype(OpDef::content) content = nullptr) {
  OpDef op;
  op.name = name;
  op.summary = summary;
  op.rule = rule_of<Linear::none>;
  op.infer = infer;
  op.evaluate = evaluate;
  op.content = content;
  return op;
}

// Two operands.
inline llvm::Expected<Types> infer_binary(const Node& node) {
  if (auto e = same_dtype(node, {0, 1})) return e;
  auto dims = broadcast(node, {&node.operand(0), &node.operand(1)});
  if (!dims) return dims.takeError();
  return one(node.operand(0).type.dtype, *dims);
}
template <auto F, bool test = false>
llvm::Expected<Arrays> binary(const Node& node, llvm::ArrayRef<const Array*> in) {
  const Ints dims = numbers(node.out().type.dims);
  Array out;
  const bool floating = in[0]->is_float;
  out.resize(floating && !test, dims);
  walk_rows(dims, {broadcast_strides(in[0]->dims, dims), broadcast_strides(in[1]->dims, dims)},
            [&](int64_t to, llvm::ArrayRef<int64_t> at, int64_t count, llvm::ArrayRef<int64_t> step) {
              auto row = [&, by_a = step[0], by_b = step[1]]<typename T>(T* y, const auto* a, const auto* b) {
                if (by_a == 1 && by_b == 1)  // vectorises, as does a factor for all
                  for (int64_t k = 0; k < count; ++k) y[k] = T(F(a[k], b[k]));
                else if (by_a == 1 && by_b == 0)
                  for (int64_t k = 0; k < count; ++k) y[k] = T(F(a[k], *b));
                else
                  for (int64_t k = 0; k < count; ++k) y[k] = T(F(a[k * by_a], b[k * by_b]));
              };
              const auto apply = [&](const auto& a, const auto& b) {
                if (out.is_float)
                  row(out.f.data() + to, a.data() + at[0], b.data() + at[1]);
                else
                  row(out.i.data() + to, a.data() + at[0], b.data() + at[1]);
              };
              if (floating)
                apply(in[0]->f, in[1]->f);
              else
                apply(in[0]->i, in[1]->i);
            });
  return single(std::move(out));
}

template <Dim (*F)(Dim, Dim)>
std::optional<Content> binary_content(const Node& node) {
  auto a = content_of(node.operand(0)), b = content_of(node.operand(1));
  const Ints dims = numbers(node.out().type.dims);
  if (!a || !b || !is_small(dims)) return std::nullopt;
  Content out;
  out.dims.assign(dims.begin(), dims.end());
  bool known = true;
  walk(dims, {broadcast_strides(a->dims, dims), broadcast_strides(b->dims, dims)},
       [&](int64_t, llvm::ArrayRef<int64_t> at) {
         out.elements.push_back(F(a->elements[size_t(at[0])], b->elements[size_t(at[1])]));
         if (out.elements.back().is_overflow()) known = false;
       });
  if (!known) return std::nullopt;
  return out;
}
inline OpDef binary_op(const char* name, const char* summary, decltype(OpDef::evaluate) evaluate,
                       decltype(OpDef::rule) rule = rule_of<Linear::none>, decltype(OpDef::content) content = nullptr,
                       decltype(OpDef::infer) infer = infer_binary) {
  OpDef op;
  op.name = name;
  op.summary = summary;
  op.operands = 2;
  op.rule = rule;
  op.infer = infer;
  op.evaluate = evaluate;
  op.content = content;
  return op;
}

inline OpDef differentiable(OpDef op, decltype(OpDef::gradient) gradient) {
  op.gradient = gradient;
  return op;
}
inline OpDef with(Trait trait, OpDef op, OpWords words = {}) {
  op.traits = op.traits | trait;
  op.words = std::move(words);
  return op;
}
// A truth value as 1 or 0, to be multiplied with.
inline Value* indicator(GradientContext& c, llvm::StringRef test, Value* a, Value* b) {
  return c.cast(c.op(test, {a, b}), c.dy->type.dtype);
}

}  // namespace optp::ops
