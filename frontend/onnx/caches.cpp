// Forward from each input through what moves elements: a Concat on the way, or the cache of Attention-23, and a graph
// output at the end. Older exports stack keys and values in one input, so Split, Gather and Slice are on the way, too.
#include "frontend/onnx/caches.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringMap.h"

namespace optp {
namespace {
bool moves(llvm::StringRef op) {
  constexpr llvm::StringLiteral list[] = {"Cast",  "Expand", "Flatten", "Gather",    "Identity", "Reshape",
                                          "Slice", "Split",  "Squeeze", "Transpose", "Unsqueeze"};
  return llvm::is_contained(list, op);
}
}  // namespace

llvm::StringSet<> extended_inputs(const onnx::ModelProto& model) {
  const onnx::GraphProto& graph = model.graph();
  llvm::StringSet<> functions;
  for (const auto& f : model.functions()) functions.insert(f.name());
  llvm::StringMap<llvm::SmallVector<std::pair<const onnx::NodeProto*, int>, 2>> users;
  for (const auto& n : graph.node())
    for (int k = 0; k < n.input_size(); ++k) users[n.input(k)].push_back({&n, k});
  llvm::StringSet<> outputs, out;
  for (const auto& o : graph.output()) outputs.insert(o.name());
  for (const auto& input : graph.input()) {
    llvm::StringSet<> seen[2];  // moved only; extended
    llvm::SmallVector<std::pair<llvm::StringRef, bool>, 8> open{{input.name(), false}};
    while (!open.empty()) {
      const auto [name, extended] = open.pop_back_val();
      if (!seen[extended].insert(name).second) continue;
      if (extended && outputs.contains(name)) {
        out.insert(input.name());
        break;
      }
      const auto found = users.find(name);
      if (found == users.end()) continue;
      for (auto [n, k] : found->second) {
        // What a function of the model does with it is not looked at: it may be the Concat.
        const bool concat = n->op_type() == "Concat" || functions.contains(n->op_type()),
                   cache = n->op_type() == "Attention" && (k == 4 || k == 5) && n->output_size() > k - 3;
        if (cache)
          open.push_back({n->output(k - 3), true});
        else if (concat || (moves(n->op_type()) && k == 0))
          for (const auto& o : n->output()) open.push_back({o, extended || concat});
      }
    }
  }
  return out;
}

llvm::SmallVector<std::string, 0> never_zero_names(llvm::ArrayRef<Value*> inputs) {
  llvm::StringSet<> of_others, seen;
  for (const Value* v : inputs)
    if (!may_be_cache(v->type))
      for (Dim d : v->type.dims)
        if (const auto name = name_of(d)) of_others.insert(*name);
  llvm::SmallVector<std::string, 0> out;
  for (const Value* v : inputs)
    for (Dim d : v->type.dims)
      if (const auto name = name_of(d); name && may_be_cache(v->type) && !of_others.contains(*name) &&
                                        lower_bound(d).value_or(0) > 0 && seen.insert(*name).second)
        out.push_back(name->str());
  return out;
}
}  // namespace optp
