// Which instructions our own kernels use; oneDNN chooses its own and has a variable of its own, ONEDNN_MAX_CPU_ISA.
#pragma once
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

namespace optp {

enum class InstructionSet { baseline, avx2, avx512 };

// The best that the processor has, at most what the environment's OPT_PARTITION_MAX_CPU_ISA says: SSE41, AVX2 or
// AVX512, in any case. So that each can be tried on one machine.
InstructionSet instruction_set();
llvm::StringRef to_string(InstructionSet set);
// Usage, where the variable holds another word. instruction_set() then knows no limit.
llvm::Error check_instruction_set_limit();

}  // namespace optp
