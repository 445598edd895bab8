// --version: what a bug report needs.
#include <google/protobuf/stubs/common.h>

#include <boost/version.hpp>
#include <dnnl.hpp>

#include "frontend/io/input_folder.h"
#include "frontend/io/onnx_version.h"
#include "llvm/Config/llvm-config.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/JSON.h"
#include "runtime/instruction_set.h"
#include "runtime/kernels/onednn_product.h"
#include "tools/cli/command.h"
#include "tools/cli/machine.h"
#include "tools/cli/process_run.h"

namespace optp {
namespace {
std::string protobuf() {
  const int v = GOOGLE_PROTOBUF_VERSION;
  return llvm::formatv("{0}.{1}.{2}", v / 1000000, v / 1000 % 1000, v % 1000);
}
std::string boost() { return llvm::formatv("{0}.{1}", BOOST_VERSION / 100000, BOOST_VERSION / 100 % 1000); }
}  // namespace

std::string version_text() {
  return "opt-partition " OPTP_VERSION "\noneDNN " + onednn_version() + "\nONNX schema: written as IR " +
         std::to_string(written_ir_version) + ", opset " + std::to_string(written_opset) + "\nprotobuf " + protobuf() +
         "\nLLVM " LLVM_VERSION_STRING "\nBoost " + boost() +
         (find_mpi_module() ? "\nMPI module installed" : "\nMPI module not installed") + "\ninstruction set " +
         onednn_instruction_set() + ", own kernels " + to_string(instruction_set()).str();
}
std::string version_json() {
  kernels::try_usual_product_forms(dnnl::engine(dnnl::engine::kind::cpu, 0));
  llvm::json::Array refused;
  for (const std::string& form : kernels::refused_product_forms()) refused.push_back(form);
  return llvm::formatv("{0:2}",
                       llvm::json::Value(llvm::json::Object{{"opt-partition", OPTP_VERSION},
                                                            {"onednn", onednn_version()},
                                                            {"onnx_ir", written_ir_version},
                                                            {"onnx_opset", written_opset},
                                                            {"protobuf", protobuf()},
                                                            {"llvm", LLVM_VERSION_STRING},
                                                            {"boost", boost()},
                                                            {"mpi", find_mpi_module().has_value()},
                                                            {"instruction_set", onednn_instruction_set()},
                                                            {"own_instruction_set", to_string(instruction_set())},
                                                            {"refused_products", std::move(refused)}}));
}
}  // namespace optp
