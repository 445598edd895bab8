// What there is of optimizers: a row each, by torch.optim's names and defaults. A new one is a row and a function that
// makes its update (optimizer.cpp).
#pragma once
#include <optional>
#include <string>

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"
#include "passes/training.h"

namespace optp {
struct Value;
class OptimizerStep;

// What is kept of each parameter from step to step, by PyTorch's name.
struct StateKind {
  llvm::StringLiteral name;
  bool of_squares = false;  // a mean of the gradient's squares
};
struct OptimizerDef {
  llvm::StringLiteral name;
  double learning_rate = 1e-3, weight_decay = 0;  // where none is given
  bool decays_parameter = false;                  // itself; else weight decay is a part of the gradient
  bool takes_nesterov = false, takes_centered = false;
  llvm::SmallVector<std::optional<double> OptimizerOptions::*, 3> takes = {};  // what not every optimizer has
  llvm::SmallVector<StateKind, 3> states = {};                                 // some only with certain options
  void (OptimizerStep::*prepare)() = nullptr;  // what all parameters' updates need; null: nothing
  Value* (OptimizerStep::*update)(Value* p, Value* gradient) = nullptr;  // the next p

  const StateKind* find_state(llvm::StringRef state) const;
};
llvm::ArrayRef<OptimizerDef> all_optimizers();
const OptimizerDef* find_optimizer(llvm::StringRef name);
std::string optimizer_names();  // "sgd, adam, adamw or rmsprop"
}  // namespace optp
