#include "tools/cli/machine.h"

#include <unistd.h>

#include <thread>

#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/raw_ostream.h"
#include "runtime/instruction_set.h"
#include "runtime/onednn.h"
#include "tools/cli/progress.h"

namespace optp {
namespace {
// As Linux tells it; empty elsewhere.
std::string processor() {
  auto file = llvm::MemoryBuffer::getFileAsStream("/proc/cpuinfo");
  if (!file) return "";
  llvm::SmallVector<llvm::StringRef, 0> lines;
  (*file)->getBuffer().split(lines, '\n');
  for (llvm::StringRef line : lines) {
    const auto [name, value] = line.split(':');
    if (name.trim() == "model name") return value.trim().str();
  }
  return "";
}
}  // namespace

std::string onednn_version() {
  const dnnl_version_t* d = dnnl::version();
  return llvm::formatv("{0}.{1}.{2}", d->major, d->minor, d->patch);
}
std::string onednn_instruction_set() {
  switch (dnnl::get_effective_cpu_isa()) {
    case dnnl::cpu_isa::sse41:
      return "SSE4.1";
    case dnnl::cpu_isa::avx:
      return "AVX";
    case dnnl::cpu_isa::avx2:
      return "AVX2";
    case dnnl::cpu_isa::avx2_vnni:
      return "AVX2 VNNI";
    case dnnl::cpu_isa::avx512_core:
      return "AVX-512";
    case dnnl::cpu_isa::avx512_core_vnni:
      return "AVX-512 VNNI";
    case dnnl::cpu_isa::avx512_core_bf16:
      return "AVX-512 bfloat16";
    default:
      return "newest known";
  }
}
// A set's number has a bit for each extension that it holds.
bool multiplies_bfloat16() {
  const auto has = unsigned(dnnl::get_effective_cpu_isa()), needs = unsigned(dnnl::cpu_isa::avx512_core_bf16);
  return (has & needs) == needs;
}
llvm::Error can_compute(DType compute) {
  if (compute != DType::f16 || onednn::multiplies_float16()) return llvm::Error::success();
  return error(Code::bad_value)
      .flag("--compute", quoted(to_string(compute)))
      .expected("a processor with AVX512-FP16, and oneDNN 3.0 or later")
      .found(onednn_instruction_set() + ", oneDNN " + onednn_version())
      .hint("--compute bf16; partition writes float16 graphs for other evaluators");
}
void remark_on_compute(DType compute) {
  if (compute != DType::bf16 || multiplies_bfloat16() || Progress::silenced()) return;
  const auto held = Progress::hold();
  llvm::errs() << "opt-partition: remark: this processor has no instructions for products of bfloat16 (AMX, or "
                  "AVX-512's): float32 is faster here for prompts and training; a next token still reads half the "
                  "bytes\n";
}
llvm::json::Object machine_json() {
  return llvm::json::Object{{"processor", llvm::json::fixUTF8(processor())},
                            {"cores", int64_t(std::thread::hardware_concurrency())},
                            {"memory_bytes", int64_t(::sysconf(_SC_PHYS_PAGES)) * int64_t(::sysconf(_SC_PAGESIZE))},
                            {"opt-partition", OPTP_VERSION},
                            {"onednn", onednn_version()},
                            {"instruction_set", onednn_instruction_set()},
                            {"own_instruction_set", to_string(instruction_set())}};
}
}  // namespace optp
