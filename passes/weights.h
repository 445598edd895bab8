// How data is used: the roles that make an initializer a parameter.
#pragma once
#include "frontend/ir/graph.h"

namespace optp {
bool is_table(const Use& use);            // the rows of a gather
bool is_contract_weight(const Use& use);  // an operand of a product
bool is_scale_or_bias(const Use& use);    // 1-D, of a norm, or multiplied or added to an activation's last dim
// "weight" or "bias", as a module's parameter that is used like this is usually called; null where there is no custom.
const char* usual_name(const Use& use);
int64_t rows_indexed(const Value& input);  // of the smallest table that an integer input chooses rows of; 0 if of none
// The data that is added to a product right after it, or to a view of its result that nothing else reads; null: none.
const Value* bias_after(const Node& product);
bool is_constant_valued(const Tensor& tensor);
bool equal_contents(const Tensor& a, const Tensor& b, bool transposed);
}  // namespace optp
