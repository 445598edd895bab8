// A training step gives its loss and the gradient of every trained parameter, under the parameter's name with ".grad".
#include "llvm/ADT/STLExtras.h"
#include "passes/training.h"

namespace optp {
void set_training_outputs(Graph& graph, const Loss& loss, llvm::ArrayRef<ParameterGradient> gradients) {
  graph.states.clear();
  // What a step of several micro-batches carries from one to the next is an output already.
  llvm::erase_if(graph.outputs, [&](const GraphOutput& o) {
    return llvm::none_of(graph.updates, [&](const Update& u) { return u.output == o.name; });
  });
  graph.outputs.push_back({loss_name, loss.loss});
  for (auto [parameter, gradient] : gradients) {
    // One value may be the gradient of two parameters that are added to each other: it is given under both names.
    const std::string usual = parameter->name + ".grad",
                      name = graph.find(usual) == gradient ? usual : graph.unique_name(usual);
    if (!graph.is_output(*gradient) && gradient->name != name) graph.rename(*gradient, name);
    graph.gradients.push_back({parameter->name, name});
    graph.outputs.push_back({name, gradient});
  }
}
}  // namespace optp
