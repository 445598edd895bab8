// A user's mistake, as an llvm::Error: place, what, expected, found. `main` prints it and picks the exit code.
#pragma once
#include <string>
#include <system_error>

#include "llvm/Support/Error.h"

namespace optp {

// The kinds a user can tell apart, with their exit codes (BSD sysexits where one fits).
enum class Fault {
  stopped = 0,       // no fault: --stop-after was reached
  check_failed = 1,  // the check ran and does not hold
  usage = 2,
  bad_input = 65,  // a file or value is not what it must be
  not_found = 66,
  internal = 70,  // our bug
  cannot_write = 73,
  rank_failed = 75,  // a rank died or hung
  interrupted = 130,
};

class Diagnostic : public llvm::ErrorInfo<Diagnostic> {
 public:
  static char ID;
  Diagnostic(Fault fault, std::string message) : fault(fault), message(std::move(message)) {}
  void log(llvm::raw_ostream& out) const override { out << message; }
  std::error_code convertToErrorCode() const override { return llvm::inconvertibleErrorCode(); }
  Fault fault;
  std::string message;  // one line, lower case, no full stop; control characters are escaped
};

llvm::Error error(Fault fault, const llvm::Twine& message);
inline llvm::Error bad_input(const llvm::Twine& message) { return error(Fault::bad_input, message); }
// Puts "prefix: " before the message of a Diagnostic, keeping its fault; other errors become internal ones.
llvm::Error with_prefix(const llvm::Twine& prefix, llvm::Error error);
// Names from files may hold anything. What steers a terminal (control characters, bidirectional marks) and what is not
// UTF-8 becomes \x1b, \u0085 and the like.
std::string printable(llvm::StringRef text);
// Quotes a name, escapes it and cuts it at 200 bytes.
std::string quoted(llvm::StringRef name);
// Without these, argument-dependent lookup finds std::quoted first.
inline std::string quoted(const std::string& name) { return quoted(llvm::StringRef(name)); }
inline std::string quoted(std::string& name) { return quoted(llvm::StringRef(name)); }
inline std::string quoted(const char* name) { return quoted(llvm::StringRef(name)); }

}  // namespace optp
