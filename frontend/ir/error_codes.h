// What errors there are: their stable codes, and the kinds that the exit code tells apart. docs/errors.md is this
// table.
#pragma once
#include <string>

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"

namespace optp {

// The kinds a user can tell apart, with their exit codes (BSD sysexits where one fits).
enum class Fault {
  stopped = 0,       // no fault: --stop-after was reached
  check_failed = 1,  // what was asked was looked at and does not hold
  usage = 2,
  bad_input = 65,  // a file or value is not what it must be
  not_found = 66,
  internal = 70,  // our bug
  cannot_write = 73,
  rank_failed = 75,  // a rank died or hung
  interrupted = 130,
};

// One for each row of the table, in its order; docs/adding-an-error.md tells how to add one.
enum class Code {
  diverged,
  difference,
  does_not_fit,
  unknown_verb,
  unknown_flag,
  unknown_argument,
  missing,
  missing_value,
  dim_without_value,
  input_not_given,
  unknown_input,
  unknown_pass,
  unmatched_pattern,
  bad_value,
  unknown_operator,
  unsupported_version,
  hash_mismatch,
  changed,
  unreadable,
  not_a_file,
  not_this_format,
  dtype_mismatch,
  duplicate,
  size_mismatch,
  shape_mismatch,
  out_of_range,
  undefined,
  cycle,
  nothing_to_split,
  bad_plan,
  bad_checkpoint,
  not_supported,
  too_large,
  malformed,
  weights_not_found,
  tensor_not_found,
  file_not_found,
  out_of_memory,
  onednn,
  bug,
  is_an_input,
  occupied,
  stdout_closed,
  cannot_write,
  rank_failed,
  interrupted,
  stopped,  // no error and in no table: a run that ends where it was told to
};

struct ErrorCode {
  Code code;
  const char* name;  // KIND/CAUSE; once released, it keeps its meaning
  Fault fault;
  const char* meaning;
};
llvm::ArrayRef<ErrorCode> error_codes();  // without `stopped`
const ErrorCode& row_of(Code code);
const ErrorCode* find_error_code(llvm::StringRef name);
std::string errors_markdown();  // docs/errors.md

}  // namespace optp
