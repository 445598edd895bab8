// An error that carries its parts: a code, places from the outermost inwards, what was expected and found, a way out.
// Both forms are printed from the parts: the sentence here, the JSON object in diagnostic_json.h.
//   return error(Code::dtype_mismatch).in_file(path).tensor("input", name).what("dtype").expected(a).found(b);
//   prints "ids.npy: input 'input_ids': dtype: expected int64, found float32".
#pragma once
#include <concepts>
#include <string>
#include <system_error>
#include <vector>

#include "frontend/ir/error_codes.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/Twine.h"
#include "llvm/Support/Error.h"

namespace optp {
struct Node;

// A step from the outermost place inwards. Words narrow it down where there is no part to name.
struct Place {
  enum class Kind { words, file, flag, node, tensor, dim };
  Kind kind = Kind::words;
  std::string name;    // as it is: the sentence quotes, cuts and escapes it
  std::string noun;    // node: "node", "node of"; tensor: "input", "operand 1"; dim: "dim", "dim 1"
  std::string detail;  // node: its operator; flag: the value it was given
  int64_t line = 0;    // of a file, from 1
  bool quotes = false;
  std::string joint = ": ";  // to what stands before it
  std::string source = {};   // what the model's source calls the node's module, or the tensor; empty: not known

  std::string text() const;
};
using Where = std::vector<Place>;
Place words(const llvm::Twine& text);
Place file_place(const llvm::Twine& path, int64_t line = 0);
Place quoted_file_place(const llvm::Twine& path);  // of a path that is no name of a file, such as the empty one
Place flag_place(const llvm::Twine& flag, const llvm::Twine& value = "");  // a value as the sentence shows it
Place tensor_place(const llvm::Twine& noun, const llvm::Twine& name);
Place place_of(const Node& node);
Place joined(llvm::StringRef joint, Place place);  // the same place with another joint
std::string to_string(const Where& places);

// What programs look up. Empty, and 0, where the error has none.
struct Parts {
  std::string file = {};
  int64_t line = 0;
  std::string flag = {}, node = {}, op = {}, tensor = {}, dim = {}, expected = {}, found = {}, suggestion = {},
              hint = {};
  std::string module = {}, model_name = {};  // of node and tensor, in the model's source
};

class Diagnostic : public llvm::ErrorInfo<Diagnostic> {
 public:
  static char ID;
  explicit Diagnostic(Code code) : code_(code) {}
  Code code() const { return code_; }
  Fault fault() const { return row_of(code_).fault; }
  // One line; control characters are escaped.
  std::string message() const override;
  void log(llvm::raw_ostream& out) const override { out << message(); }
  std::error_code convertToErrorCode() const override { return llvm::inconvertibleErrorCode(); }
  // Of several files, nodes or tensors the outermost, escaped like the message.
  Parts parts() const;

  // In the order in which the sentence shows them.
  Diagnostic& at(Place place);
  Diagnostic& at(const Where& places);
  Diagnostic& at(const Node& node) { return at(place_of(node)); }
  Diagnostic& in_file(const llvm::Twine& path, int64_t line = 0) { return at(file_place(path, line)); }
  Diagnostic& flag(const llvm::Twine& flag, const llvm::Twine& value = "") { return at(flag_place(flag, value)); }
  template <std::integral N>
  Diagnostic& flag(const llvm::Twine& name, N value) {
    return flag(name, std::to_string(value));
  }
  Diagnostic& tensor(const llvm::Twine& noun, const llvm::Twine& name) { return at(tensor_place(noun, name)); }
  Diagnostic& operand(size_t k, const llvm::Twine& name) { return tensor("operand " + llvm::Twine(k), name); }
  Diagnostic& operand_of(const Node& node, unsigned k);  // node 'n' (Op), operand 1 'x'
  Diagnostic& dim(const llvm::Twine& name);
  Diagnostic& dim_of(size_t k, const llvm::Twine& name = "");  // of the tensor before it: input 'x', dim 1 (sequence)
  Diagnostic& what(const llvm::Twine& what) { return at(words(what)); }
  Diagnostic& says(const llvm::Twine& verb);  // goes on where `what` begins anew: input 'x' is not given
  Diagnostic& expected(const llvm::Twine& expected);
  Diagnostic& found(const llvm::Twine& found);
  template <std::integral N>
  Diagnostic& expected(N number) {
    return expected(std::to_string(number));
  }
  template <std::integral N>
  Diagnostic& found(N number) {
    return found(std::to_string(number));
  }
  Diagnostic& did_you_mean(const llvm::Twine& word);  // nothing if it is empty
  Diagnostic& hint(const llvm::Twine& way_out);       // nothing if it is empty
  // Parts that stand within words of the sentence. A place above that names one counts more.
  Diagnostic& about(Parts parts);

  // Fills in what is not said yet; `source` is asked with places that are nodes and tensors.
  Diagnostic& name_sources(llvm::function_ref<std::string(const Place&)> source);
  Diagnostic& recode(Code code) { return code_ = code, *this; }  // what is our bug elsewhere is the user's mistake here
  Diagnostic& within(const Where& outer);                        // before all places that are there
  Diagnostic& within(const Place& outer) { return within(Where{outer}); }

  operator llvm::Error() { return llvm::make_error<Diagnostic>(std::move(*this)); }
  template <class T>
  operator llvm::Expected<T>() {
    return llvm::make_error<Diagnostic>(std::move(*this));
  }

 private:
  friend struct DiagnosticJson;
  Code code_;
  Where places_;
  Parts about_;
  std::string expected_, found_, suggestion_, hint_;
};

inline Diagnostic error(Code code) { return Diagnostic(code); }
inline Diagnostic error(Code code, const llvm::Twine& what) { return Diagnostic(code).what(what); }
// Puts places around a Diagnostic; other errors become bugs of ours.
llvm::Error within(const Where& places, llvm::Error error);
inline llvm::Error within(const Place& place, llvm::Error error) { return within(Where{place}, std::move(error)); }
// Says what the model's source calls the nodes and tensors of an error.
llvm::Error with_sources(llvm::Error error, llvm::function_ref<std::string(const Place&)> source);
// The first of several; another error becomes a bug of ours.
Diagnostic take_diagnostic(llvm::Error error);

// Names from files may hold anything. Control characters, bidirectional marks and bytes that are not UTF-8
// become \x1b, \u0085 and the like.
std::string printable(llvm::StringRef text);
std::string in_words(llvm::ArrayRef<llvm::StringRef> names, llvm::StringRef before_last);  // "a, b or c"
// Quotes a name, escapes it and cuts it at 200 bytes.
std::string quoted(llvm::StringRef name);
// Without these, argument-dependent lookup finds std::quoted first.
inline std::string quoted(const std::string& name) { return quoted(llvm::StringRef(name)); }
inline std::string quoted(std::string& name) { return quoted(llvm::StringRef(name)); }
inline std::string quoted(const char* name) { return quoted(llvm::StringRef(name)); }

}  // namespace optp
