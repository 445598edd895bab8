// Elementwise ops: one ONNX operator each. The types are those that opset 17 allows.
#include "frontend/onnx/export_context.h"

namespace optp {
namespace {
constexpr TypeSet no_bf16 = types_of({DType::f16, DType::f32, DType::f64});
constexpr TypeSet boolean = types_of({DType::boolean});

// Integers are never NaN nor infinite.
void write_test(ExportContext& c) {
  if (is_float(c.dtype())) return write_plain(c);
  c.finish("Not", {c.step("Equal", {c.operand(0), c.operand(0)})});
}
void write_neg(ExportContext& c) {
  if (contains(signed_types, c.dtype())) return write_plain(c);
  c.finish("Sub", {c.scalar(c.dtype(), 0), c.operand(0)});
}
void write_mod(ExportContext& c) {
  c.finish("Mod", {c.operand(0), c.operand(1)}, {{"fmod", int64_t(is_float(c.dtype()))}});
}
void write_max(ExportContext& c) {
  if (c.dtype() != DType::boolean) return write_plain(c);
  c.finish("Or", {c.operand(0), c.operand(1)});
}
void write_min(ExportContext& c) {
  if (c.dtype() != DType::boolean) return write_plain(c);
  c.finish("And", {c.operand(0), c.operand(1)});
}
void write_cast(ExportContext& c) { c.finish_cast(c.operand(0), c.dtype()); }
void write_where(ExportContext& c) { c.finish("Where", {c.operand(0), c.operand(1), c.operand(2)}); }

void write_sum(ExportContext& c) {
  std::vector<std::string> addends;
  for (unsigned k = 0; k < c.node().operands.size(); ++k) addends.push_back(c.operand(k));
  std::string sum = addends[0];
  for (size_t k = 1; k + 1 < addends.size(); ++k) sum = c.step("Add", {sum, addends[k]});
  if (addends.size() == 1) return c.finish("Identity", {sum});
  c.finish("Add", {sum, addends.back()});
}

const ExportRow rows[] = {
    {"neg", write_neg, "Neg"},
    {"abs", write_plain, "Abs", number_types},
    {"exp", write_plain, "Exp", float_types},
    {"log", write_plain, "Log", float_types},
    {"sqrt", write_plain, "Sqrt", float_types},
    {"reciprocal", write_plain, "Reciprocal", float_types},
    {"tanh", write_plain, "Tanh", float_types},
    {"sigmoid", write_plain, "Sigmoid", float_types},
    {"erf", write_plain, "Erf", float_types},
    {"sin", write_plain, "Sin", no_bf16},
    {"cos", write_plain, "Cos", no_bf16},
    {"floor", write_plain, "Floor", float_types},
    {"ceil", write_plain, "Ceil", float_types},
    {"round", write_plain, "Round", no_bf16},
    {"relu", write_plain, "Relu", signed_types},
    {"sign", write_plain, "Sign", number_types},
    {"is_nan", write_test, "IsNaN", float_types},
    {"is_inf", write_test, "IsInf", f32_f64},
    {"not", write_plain, "Not", boolean},
    {"add", write_plain, "Add", number_types},
    {"sub", write_plain, "Sub", number_types},
    {"mul", write_plain, "Mul", number_types},
    {"div", write_plain, "Div", number_types},
    {"mod", write_mod, "Mod"},
    {"pow", write_plain, "Pow", float_types | types_of({DType::i32, DType::i64})},
    {"max", write_max, "Max", number_types},
    {"min", write_min, "Min", number_types},
    {"equal", write_plain, "Equal", number_types | boolean},
    {"less", write_plain, "Less", number_types},
    {"less_equal", write_plain, "LessOrEqual", number_types},
    {"greater", write_plain, "Greater", number_types},
    {"greater_equal", write_plain, "GreaterOrEqual", number_types},
    {"and", write_plain, "And", boolean},
    {"or", write_plain, "Or", boolean},
    {"xor", write_plain, "Xor", boolean},
    {"sum", write_sum},
    {"where", write_where},
    {"cast", write_cast},
};
const RegisteredExports registered{rows};
}  // namespace
}  // namespace optp
