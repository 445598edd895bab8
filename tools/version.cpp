// --version: what a bug report needs.
#include <google/protobuf/stubs/common.h>

#include <boost/version.hpp>
#include <dnnl.hpp>

#include "frontend/io/input_folder.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Config/llvm-config.h"
#include "tools/command.h"

namespace optp {
std::string version_text() {
  const dnnl_version_t* d = dnnl::version();
  std::string isa;
  switch (dnnl::get_effective_cpu_isa()) {
    case dnnl::cpu_isa::sse41: isa = "SSE4.1"; break;
    case dnnl::cpu_isa::avx: isa = "AVX"; break;
    case dnnl::cpu_isa::avx2: isa = "AVX2"; break;
    case dnnl::cpu_isa::avx2_vnni: isa = "AVX2 VNNI"; break;
    case dnnl::cpu_isa::avx512_core: isa = "AVX-512"; break;
    case dnnl::cpu_isa::avx512_core_vnni: isa = "AVX-512 VNNI"; break;
    case dnnl::cpu_isa::avx512_core_bf16: isa = "AVX-512 bfloat16"; break;
    default: isa = "newest known"; break;
  }
  const int protobuf = GOOGLE_PROTOBUF_VERSION;
  return "opt-partition " OPTP_VERSION "\noneDNN " + std::to_string(d->major) + "." + std::to_string(d->minor) + "." + std::to_string(d->patch) +
         "\nONNX schema: written as IR 8, opset 17\nprotobuf " + std::to_string(protobuf / 1000000) + "." + std::to_string(protobuf / 1000 % 1000) + "." + std::to_string(protobuf % 1000) +
         "\nLLVM " LLVM_VERSION_STRING "\nBoost " + std::to_string(BOOST_VERSION / 100000) + "." + std::to_string(BOOST_VERSION / 100 % 1000) +
         "\nMPI not built in\ninstruction set " + isa;
}
}  // namespace optp
