// The value of an Expected; an error fails the test with its message.
#pragma once
#include <stdexcept>

#include "llvm/Support/Error.h"

namespace optp {
template <typename T>
T must(llvm::Expected<T> value) {
  if (!value) throw std::runtime_error(llvm::toString(value.takeError()));
  return std::move(*value);
}
inline void must(llvm::Error error) {
  if (error) throw std::runtime_error(llvm::toString(std::move(error)));
}
}  // namespace optp
