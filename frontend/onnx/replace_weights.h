// A model file with other weights: the user's own graph, node for node, with the tensors of its initializers exchanged.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "frontend/ir/host_array.h"
#include "llvm/Support/Error.h"

namespace optp {

// One parameter as the importer and the passes name it. A name is that of an initializer, of a Constant, of an Identity
// of an initializer, or of the node that used an initializer which stood for several parameters.
struct NewWeight {
  std::string name;
  std::vector<std::string> aliases;                 // further initializers with the same tensor
  std::vector<std::string> transposed_aliases;      // those of the aliases that hold it transposed
  std::function<llvm::Expected<HostArray>()> load;  // float32, in the layout of `name`; called once
  std::string model_name = {};                      // of an initializer that is made for it, if no other has it
};
struct ReplacedWeights {
  std::vector<std::string> replaced, added;  // added: what had no initializer of its own
  bool external = false;                     // weights are in PATH.data
};
// Writes the model at `path` and, if it had external data or is too large for one file, `path`.data. Weights are
// rounded to the dtype of their initializer. All that have no place are named in one error, and nothing is written.
llvm::Expected<ReplacedWeights> replace_weights(llvm::StringRef model, llvm::ArrayRef<NewWeight> weights,
                                                llvm::StringRef path);

}  // namespace optp
