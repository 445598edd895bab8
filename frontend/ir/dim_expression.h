// What a dim is made of, for the files that are about dims: a polynomial of atoms (dim.h says what that means).
#pragma once
#include <string>

#include "frontend/ir/dim.h"

namespace optp {

enum class Leaf { symbol, part, start, floor_div, minimum };
// A leaf of the expression language: a symbol, or a term that polynomials can't say.
struct DimAtom {
  Leaf kind;
  std::string text;
  std::string key;   // what it is interned by, where that is not its text
  std::string name;  // symbol: as it was given
  Dim a, b;          // part, start: a = n; floor_div, minimum: both
  AxisUses axes;     // part, start
  int64_t lower_bound = 0;
};
struct DimTerm {
  int64_t coefficient;
  llvm::SmallVector<const DimAtom*, 2> atoms;  // sorted by text
};
struct DimExpression {
  llvm::SmallVector<DimTerm, 1> terms;  // sorted: graded lexicographic, so that polynomial division works
  std::string text;
  std::string key;  // as that of an atom
  bool overflow = false;
};

Dim of(const DimAtom* atom);
// The dim with each atom replaced.
Dim rebuild(Dim d, llvm::function_ref<Dim(const DimAtom&)> replace);

}  // namespace optp
