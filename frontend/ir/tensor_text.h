// A tensor's numbers in the textual form. Few of them, or many of one value, are written; of others a hash is, and a
// graph that is read has them missing.
//   = 0.125    = [1, 2, 3]    = all 0    = missing "xxh3:00f1a2b3c4d5e6f7"
// Where a text gives none they are missing, too.
#pragma once
#include <memory>
#include <string>

#include "frontend/ir/tensor.h"
#include "frontend/ir/text_cursor.h"

namespace optp {
// The shortest text that is read as the same number; a float that is not a number is written as its bits.
std::string exact_text(double number);

// Where the numbers of a tensor are that a text gives none of.
constexpr llvm::StringLiteral nowhere = "nowhere";
std::shared_ptr<const Tensor> without_bytes(DType dtype, llvm::ArrayRef<int64_t> dims, llvm::StringRef missing);

std::string contents_text(const Tensor& tensor);
// What the cursor has next, of a tensor of this type.
std::shared_ptr<const Tensor> read_contents(TextCursor& in, DType dtype, llvm::ArrayRef<int64_t> dims);
}  // namespace optp
