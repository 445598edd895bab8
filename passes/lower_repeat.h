// One rank's part of a repeat, or of its adjoint, as the views and the sum that it is.
//   %y = repeat(%x) {axis = 1, times = 4}   %x: 1:3 of 0:8, %y: 6:9 of 0:32
//   =>   %a = reshape(%x) : [_, 2, 1]   %b = expand(%a) : [_, 2, 4]   %c = reshape(%b) : [_, 8]   %y = slice(%c) 2:5
// On the way back what the slice left out is zeros, and the four of each index are added up.
#pragma once
#include "frontend/ir/builder.h"

namespace optp {

// `local` has the rank's types and goes. `first`: where the rank's finer indices begin among those of its coarser ones.
llvm::Expected<Value*> lower_repeat(Builder& build, Node& local, const Rule& rule, Dim first);

}  // namespace optp
