// Weights drawn from a seed, straight into a file.
#pragma once
#include <cstdint>
#include <functional>
#include <string>

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

namespace optp {

struct RandomParameter {
  std::string name;
  int64_t elements = 0;      // float32
  int64_t offset_bytes = 0;  // in the data file
  float mean = 0;
  int64_t size_bytes() const { return 4 * elements; }
};

// Elements first, first + 1, … of a parameter; `first` is even. An element depends on seed, index of the parameter and
// its own index alone, not on blocks or threads; the arithmetic is IEEE's float32 without libm, so not on the machine.
void draw_normal(uint64_t seed, uint64_t parameter, int64_t first, float mean, llvm::MutableArrayRef<float> out);

// All or nothing, on all cores. If killed, leaves no partial file where the file system has O_TMPFILE.
// Replaces a regular file. `progress` is called from this thread only, the last time with the whole.
llvm::Error write_random_weights(llvm::StringRef path, llvm::ArrayRef<RandomParameter> parameters, uint64_t seed,
                                 const std::function<void(int64_t done_bytes, int64_t total_bytes)>& progress = {});

}  // namespace optp
