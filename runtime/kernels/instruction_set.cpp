#include "runtime/instruction_set.h"

#include <cstdlib>
#include <optional>

#include "frontend/ir/diagnostic.h"

namespace optp {
namespace {
constexpr const char* variable = "OPT_PARTITION_MAX_CPU_ISA";

InstructionSet of_processor() {
#if defined(__x86_64__) && defined(__GNUC__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl"))
    return InstructionSet::avx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return InstructionSet::avx2;
#endif
  return InstructionSet::baseline;
}
// None: no limit, or a word that is none.
std::optional<InstructionSet> limit() {
  const char* text = std::getenv(variable);
  if (!text) return std::nullopt;
  for (InstructionSet set : {InstructionSet::baseline, InstructionSet::avx2, InstructionSet::avx512})
    if (llvm::StringRef(text).equals_insensitive(to_string(set))) return set;
  return std::nullopt;
}
}  // namespace

llvm::StringRef to_string(InstructionSet set) {
  switch (set) {
    case InstructionSet::avx512:
      return "AVX512";
    case InstructionSet::avx2:
      return "AVX2";
    case InstructionSet::baseline:
      break;
  }
  return "SSE41";
}

InstructionSet instruction_set() {
  static const InstructionSet best = std::min(of_processor(), limit().value_or(InstructionSet::avx512));
  return best;
}

llvm::Error check_instruction_set_limit() {
  const char* text = std::getenv(variable);
  if (!text || !*text || limit()) return llvm::Error::success();
  return error(Code::bad_value).what(llvm::Twine(variable)).expected("SSE41, AVX2 or AVX512").found(quoted(text));
}
}  // namespace optp
