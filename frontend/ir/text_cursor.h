// Reading a line of the textual form. The first error is kept, and what is read after it is empty, so that a reader
// reads as the grammar does and asks once, at the end of the line.
#pragma once
#include <string>

#include "frontend/ir/diagnostic.h"
#include "frontend/ir/dim.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

namespace optp {

// Names are words: letters, digits, what is beyond ASCII, and _ . / : - @ $. Any other name stands in double quotes, as
// free text does: \" is a quote, \\ a backslash, \xNN a byte and \uNNNN a character.
std::string spelled_name(llvm::StringRef name);
std::string in_double_quotes(llvm::StringRef text);

class TextCursor {
 public:
  // `place` and the line's number, from 1, are for messages: "FILE:3:17: expected …, found …". `bounds`: of the dims
  // that are read.
  TextCursor(llvm::StringRef line, llvm::StringRef place, size_t number, DimBounds bounds = {})
      : line_(line), rest_(line), place_(place), number_(number), bounds_(std::move(bounds)) {}
  ~TextCursor() { llvm::consumeError(std::move(failure_)); }
  TextCursor(const TextCursor&) = delete;
  TextCursor& operator=(const TextCursor&) = delete;

  bool at_end();
  bool is_next(llvm::StringRef mark);
  llvm::StringRef next_word();          // left where it is
  bool eat(llvm::StringRef mark);       // punctuation
  bool eat_word(llvm::StringRef word);  // whole: "at" is no part of "attention"
  void must(llvm::StringRef mark);
  std::string name(llvm::StringRef what);        // a word or text in quotes
  std::string text(llvm::StringRef what);        // in quotes
  llvm::StringRef number(llvm::StringRef what);  // as it is spelled: 3, -1.5e-05, inf, 0x7fc00000
  int64_t integer(llvm::StringRef what);
  Dim dim();
  Dims dims();  // [batch, 768]

  // Of what was read last, or of what comes next.
  void fail(llvm::StringRef expected);
  void fail_last(llvm::StringRef expected);
  llvm::StringRef here() { return begin(); }
  void fail_with(Diagnostic error, llvm::StringRef at);  // of what began there
  bool failed() const { return failed_; }
  llvm::Error take_error();  // also where something is left on the line

 private:
  llvm::StringRef next_token() const;
  llvm::StringRef begin();  // of something to be read: blanks are left out, and its place is noted

  llvm::StringRef line_, rest_, last_;
  llvm::StringRef place_;
  size_t number_;
  DimBounds bounds_;
  llvm::Error failure_ = llvm::Error::success();
  bool failed_ = false;
};

}  // namespace optp
