// Pages of mapped files.
#pragma once
#include "frontend/ir/tensor.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/STLFunctionalExtras.h"

namespace optp {
// Gives the memory of these bytes back; whoever reads them again gets them from the file. Only for pages of a file that
// were never written.
void let_go(llvm::ArrayRef<char> bytes);
// Of a tensor that a file holds; does nothing for any other.
void let_go(const Tensor& tensor);
// The tensor's bytes in pieces of whole elements, each let go of before the next, while `look` says true.
void for_each_piece(const Tensor& tensor, llvm::function_ref<bool(llvm::ArrayRef<char>)> look);
}  // namespace optp
