// Inputs of runs: from files, or made from a seed.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "frontend/io/npy.h"
#include "frontend/ir/graph.h"
#include "frontend/ir/host_array.h"
#include "tools/run/tensor_folder.h"

namespace optp {
using Shapes = std::map<std::string, llvm::SmallVector<int64_t, 4>, std::less<>>;

struct InputSpec {
  std::string name;
  DType dtype = DType::undefined;
  Dims dims;
  int64_t rows = 0;  // an index: of how many rows; 0 for others
};
std::vector<InputSpec> input_specs(const Graph& graph);

// `given`: NAME=@FILE.npy, NAME=@FILE.pb, NAME=1,2,3, NAME=rand(SEED), NAME=ones, NAME=zeros. Others come from `folder`
// (a TensorFolder), or, where `invented` takes their names, are made as rand(1): ids at random below the number of rows
// they index, masks of ones, floats normal.
llvm::Expected<HostArrays> make_inputs(llvm::ArrayRef<InputSpec> specs, llvm::ArrayRef<std::string> given,
                                       llvm::StringRef folder, DimValues& dims,
                                       const std::function<llvm::Expected<DimValues>(const Shapes&, DimValues)>& bind,
                                       std::vector<std::string>* invented);
extern const char* const input_help;  // of --input

}  // namespace optp
