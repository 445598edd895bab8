// The machine that this runs on, for a reader of measured times.
#pragma once
#include <string>

#include "frontend/ir/dtype.h"
#include "llvm/Support/Error.h"
#include "llvm/Support/JSON.h"

namespace optp {
std::string onednn_version();          // "2.6.3"
std::string onednn_instruction_set();  // that it uses, at most what its environment variable says
// Whether oneDNN has instructions for products of bfloat16 here: AMX, or AVX-512's. Without them it is no faster in
// bfloat16 than in float32 but where only the bytes of weights count.
bool multiplies_bfloat16();
// Errors: float16 where oneDNN has no products of it.
llvm::Error can_compute(DType compute);
// Says where float32 would be faster than the bfloat16 that was asked for.
void remark_on_compute(DType compute);
// Processor, cores, memory, instruction sets and versions.
llvm::json::Object machine_json();
}  // namespace optp
