// A flag's value that its own reader refuses while the command line is parsed, with the parts of the error.
#pragma once
#include <CLI/CLI.hpp>

#include "frontend/ir/diagnostic.h"

namespace optp {
struct Refused : CLI::ParseError {
  Diagnostic why;
  explicit Refused(Diagnostic d)
      : CLI::ParseError("Refused", d.message(), CLI::ExitCodes::InvalidError), why(std::move(d)) {}
};
template <typename T>
T value_or_refuse(llvm::Expected<T> value) {
  if (!value) throw Refused(take_diagnostic(value.takeError()));
  return std::move(*value);
}
inline int64_t at_least_one(const char* flag, int64_t value) {
  if (value < 1) throw Refused(error(Code::bad_value).flag(flag).expected("at least 1").found(value));
  return value;
}
}  // namespace optp
