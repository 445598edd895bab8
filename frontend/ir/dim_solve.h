// Two extents that must be equal: what their names have to be for it.
#pragma once
#include <optional>
#include <utility>

#include "frontend/ir/dim.h"

namespace optp {
// Makes a and b equal by giving one symbol of coefficient ±1 a value: {symbol, value}, or nothing.
// The side without a minus is preferred, so that bounds can still be proved.
std::optional<std::pair<Dim, Dim>> solve_equal(Dim a, Dim b);
// Makes a and b equal by an order between the arguments of a minimum in them: {smaller, larger}, or nothing.
//   sequence = min(sequence, 16)  holds where  sequence <= 16
std::optional<std::pair<Dim, Dim>> solve_order(Dim a, Dim b);
}  // namespace optp
