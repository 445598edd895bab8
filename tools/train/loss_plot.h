// The losses of a run as a picture.
#pragma once
#include <string>

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"

namespace optp {

// An SVG line chart of losses by step, the first of which is step 1. Of more steps than there are columns each column
// shows its mean, and the range behind it.
std::string loss_plot(llvm::ArrayRef<double> losses, llvm::StringRef title);

}  // namespace optp
