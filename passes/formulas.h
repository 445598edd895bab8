// Tensors whose contents show that they were computed and not learned.
#pragma once
#include "frontend/ir/tensor.h"

namespace optp {
// Tables of sines and cosines of positions, with any amplitude, and arithmetic or geometric progressions (ALiBi's
// biases, rotary frequencies): along one axis every line obeys x[p-1] + x[p+1] = k·x[p] for a k of its own, as sin(a +
// (p±1)w) = sin(a + pw)·cos w ± cos(a + pw)·sin w. Rows of zeros (a padding's) may stand between.
bool follows_recurrence(const Tensor& tensor);
// Zeros, and numbers that no probability survives: what is added to scores; or a band or triangle of ones.
bool is_mask(const Tensor& tensor);
// One number that a configuration gives: √n or 1/√n, a whole number, a bound, an epsilon.
bool is_configured_number(const Tensor& tensor);
}  // namespace optp
