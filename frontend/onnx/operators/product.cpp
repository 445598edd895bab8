// Products: MatMul and Gemm become contract, whose loop lists say what is summed; a bias is a separate add.
#include "frontend/onnx/lowering.h"
#include "llvm/ADT/StringExtras.h"

namespace optp {

// numpy's matmul: the last two dims multiply, leading ones broadcast. A leading extent 1 is no loop.
llvm::Expected<Value*> LoweringContext::matmul(Value& left, Value& right) {
  Value *a = &left, *b = &right;
  if (a->ndim() == 0 || b->ndim() == 0) return fail(Code::malformed, "a product with a scalar");
  const bool row = a->ndim() == 1, column = b->ndim() == 1;
  if (row) {
    OPTP_TRY(v, reshape(*a, {Dim(1), a->type.dims[0]}));
    a = v;
  }
  if (column) {
    OPTP_TRY(v, reshape(*b, {b->type.dims[0], Dim(1)}));
    b = v;
  }
  const size_t batch = std::max(a->ndim(), b->ndim()) - 2;
  ContractLoops loops;
  for (size_t k = 0; k < batch; ++k) {
    const std::string name = "b" + std::to_string(k);
    bool any = false;
    for (int o = 0; o < 2; ++o) {
      const Value* v = o ? b : a;
      const size_t skip = batch - (v->ndim() - 2);
      if (k < skip) continue;
      const bool one = v->type.dims[k - skip].is(1);
      loops.operands[size_t(o)].push_back(one ? "1" : name);
      any |= !one;
    }
    loops.result.push_back(any ? name : "1");
  }
  for (const char* name : {"m", "k"}) loops.operands[0].push_back(name);
  for (const char* name : {"k", "n"}) loops.operands[1].push_back(name);
  for (const char* name : {"m", "n"}) loops.result.push_back(name);
  OPTP_TRY(y, op("contract", {a, b}, {{"loops", loops}}));
  if (!row && !column) return y;
  Dims dims = y->type.dims;
  if (column) dims.pop_back();
  if (row) dims.erase(dims.end() - (column ? 1 : 2));
  return reshape(*y, dims);
}

namespace {
using Values = llvm::SmallVector<Value*, 2>;

Lowered matmul(LoweringContext& c) {
  OPTP_TRY(a, c.need(0));
  OPTP_TRY(b, c.need(1));
  OPTP_TRY(y, c.matmul(*a, *b));
  return Values{y};
}
llvm::Expected<Value*> scaled(LoweringContext& c, Value& v, double factor) {
  if (factor == 1) return &v;
  if (!is_float(v.type.dtype))
    return c.fail(Code::malformed)
        .what("alpha and beta")
        .expected("1 for a product of " + long_name(v.type.dtype))
        .found(std::to_string(factor));
  return c.op("mul", {&v, &c.scalar_like(v, factor)});
}
llvm::Expected<Value*> gemm_product(LoweringContext& c) {
  OPTP_TRY(a, c.need(0));
  OPTP_TRY(b, c.need(1));
  if (a->ndim() != 2 || b->ndim() != 2)
    return c.fail(Code::malformed)
        .expected("two matrices")
        .found(to_string(a->type.dims) + " and " + to_string(b->type.dims));
  auto loops = contract_loops("m k, k n -> m n");
  if (c.integer("transA", 0)) std::swap(loops.operands[0][0], loops.operands[0][1]);
  if (c.integer("transB", 0)) std::swap(loops.operands[1][0], loops.operands[1][1]);
  OPTP_TRY(y, c.op("contract", {a, b}, {{"loops", loops}}));
  OPTP_TRY(z, scaled(c, *y, c.number("alpha", 1)));
  if (!c.has(2) && b->is_data() && b->data && !a->is_data() && is_float(b->type.dtype) && c.op_type() == "Gemm") {
    constexpr int64_t most = 1 << 24;  // of what is made here, where the weight itself may be missing
    const int64_t columns = *y->type.dims[1].constant();
    if (columns > most)
      return c.fail(Code::too_large)
          .operand(1, b->name)
          .what("a product of " + llvm::Twine(columns) + " columns without a bias")
          .expected("at most " + llvm::Twine(most));
    if (c.drops_zero_bias && c.number("beta", 1) != 0) {
      // PyTorch's newer exporter drops a bias of zeros (a bias-free layer it writes as MatMul): it is a parameter all
      // the same.
      Array zeros;
      zeros.resize(/*floating=*/true, {columns});
      Value& bias = c.build.constant(b->type.dtype, zeros.dims, zeros, c.output_name(0) + ".bias");
      bias.is_literal = false;
      if (c.module.known && !c.module.counts_calls) bias.model_name = c.module.path + ".bias";
      if (c.added_biases) c.added_biases->push_back(bias.model_name.empty() ? bias.name : bias.model_name);
      return c.op("add", {z, &bias});
    }
  }
  if (!c.has(2) || c.number("beta", 1) == 0) return z;
  OPTP_TRY(bias, scaled(c, *c.operands[2], c.number("beta", 1)));
  return c.op("add", {z, bias});
}
Lowered gemm(LoweringContext& c) {
  OPTP_TRY(y, gemm_product(c));
  return Values{y};
}
// com.microsoft FusedGemm: Gemm, then an activation.
Lowered fused_gemm(LoweringContext& c) {
  OPTP_TRY(y, gemm_product(c));
  const std::string activation = llvm::StringRef(c.text("activation", "")).lower();
  if (activation.empty()) return Values{y};
  if (activation != "relu" && activation != "tanh" && activation != "sigmoid")
    return c.fail(Code::not_supported).what("activation").expected("relu, tanh or sigmoid").found(quoted(activation));
  OPTP_TRY(z, c.op(activation, {y}));
  return Values{z};
}
// com.microsoft FusedMatMul: alpha · aᵀ? bᵀ?
Lowered fused_matmul(LoweringContext& c) {
  OPTP_TRY(a, c.need(0));
  OPTP_TRY(b, c.need(1));
  if (c.integer("transBatchA", 0) || c.integer("transBatchB", 0))
    return c.fail(Code::not_supported, "transBatchA and transBatchB are not supported");
  auto swapped = [&](Value& v, bool wanted) -> llvm::Expected<Value*> {
    if (!wanted || v.ndim() < 2) return &v;
    llvm::SmallVector<int64_t, 4> perm;
    for (size_t k = 0; k < v.ndim(); ++k) perm.push_back(int64_t(k));
    std::swap(perm[v.ndim() - 1], perm[v.ndim() - 2]);
    return c.transpose(v, perm);
  };
  OPTP_TRY(left, swapped(*a, c.integer("transA", 0)));
  OPTP_TRY(right, swapped(*b, c.integer("transB", 0)));
  OPTP_TRY(y, c.matmul(*left, *right));
  OPTP_TRY(z, scaled(c, *y, c.number("alpha", 1)));
  return Values{z};
}

const LoweringRow rows[] = {
    {"MatMul", 1, matmul},
    {"Gemm", 7, gemm},
    {"FusedGemm", 1, fused_gemm, "com.microsoft"},
    {"FusedMatMul", 1, fused_matmul, "com.microsoft"},
};
const RegisteredLowerings registered{rows};
}  // namespace
}  // namespace optp
