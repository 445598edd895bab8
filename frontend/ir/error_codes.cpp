// Messages have one form, "place: what: expected X, found Y; a way out", so the fields are read from them: no place in
// the code says a thing twice, and what people and programs are told cannot differ.
#include "frontend/ir/error_codes.h"

#include <optional>

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"

namespace optp {
namespace {
using Words = llvm::SmallVector<llvm::StringRef, 8>;
struct Row {
  ErrorCode is;
  Words any_of;  // one of these is in the message, between spaces or punctuation; none: all that is left of the kind
};
// The first row that fits wins: what is more special stands before what is more general.
const std::vector<Row>& rows() {
  using F = Fault;
  static const std::vector<Row> out = {
      {{"check-failed/diverged", F::check_failed, "training gave a loss that is infinite or not a number"},
       {"the loss is"}},
      {{"check-failed/difference", F::check_failed, "the parts do not compute what the whole does"}, {}},
      {{"usage/unknown-verb", F::usage, "no verb has this name"}, {"unknown verb"}},
      {{"usage/unknown-flag", F::usage, "the verb has no such flag"}, {"unknown flag"}},
      {{"usage/unknown-argument", F::usage, "a word too many"}, {"unknown argument"}},
      {{"usage/missing", F::usage, "a verb, flag or argument that must be given is not"},
       {"is required", "A subcommand is required", "--save DIR: expected", "--data FILE or"}},
      {{"usage/missing-value", F::usage, "a flag stands without its value"}, {"missing", "requires"}},
      {{"usage/dim-without-value", F::usage, "a dim of the model is open, and no --dim gives its value"},
       {"has no value"}},
      {{"usage/input-not-given", F::usage, "an input of the model has no value"}, {"is not given", "give labels.npy"}},
      {{"usage/unknown-input", F::usage, "the model has no input of this name"}, {"the model has no input"}},
      {{"usage/unknown-pass", F::usage, "no pass has this name"}, {"no pass is named"}},
      {{"usage/unmatched-pattern", F::usage, "a pattern matches nothing"},
       {"matches no tensor", "matches no parameter", "no parameter is left"}},
      {{"usage/bad-value", F::usage, "a flag, constraint or dim has a value that cannot hold"}, {}},
      {{"bad-input/unknown-operator", F::bad_input, "the model has operators that are not supported"},
       {"unknown operator", "unknown operators"}},
      {{"bad-input/unsupported-version", F::bad_input, "an opset, IR version or file version that is not read"},
       {"opset", "opset_import", "ir_version", "version: expected"}},
      {{"bad-input/hash-mismatch", F::bad_input, "bytes are not those that a manifest or checkpoint recorded"},
       {"BLAKE3", "checksum"}},
      {{"bad-input/changed", F::bad_input, "a file changed while it was read"}, {"changed while in use"}},
      {{"bad-input/unreadable", F::bad_input, "the system does not let the file be read"},
       {"cannot be read", "cannot be opened", "cannot be mapped"}},
      {{"bad-input/not-a-file", F::bad_input, "a folder or device stands where a file is expected"},
       {"expected a regular file"}},
      {{"bad-input/not-this-format", F::bad_input, "the file is of another format, or cut"},
       {"not an ONNX model", "not an ONNX tensor", "expected JSON", "format: expected", "expected a .npy file",
        "the file is empty", "the end of the file"}},
      {{"bad-input/dtype-mismatch", F::bad_input, "a tensor has another element type than it must"}, {"dtype"}},
      {{"bad-input/duplicate", F::bad_input, "a name that must be single is there twice"}, {"twice"}},
      {{"bad-input/size-mismatch", F::bad_input, "there are more or fewer bytes than the shape says"},
       {"size: expected", "length: expected", "data: expected", "range: expected", "external data: length",
        "bytes in all"}},
      {{"bad-input/shape-mismatch", F::bad_input, "a tensor has another shape than it must"},
       {"shape", "dims", "dim", "extent", "extents", "of the plan's shape", "must equal"}},
      {{"bad-input/out-of-range", F::bad_input, "an id or index is outside its table"},
       {"is outside the", "expected an id from"}},
      {{"bad-input/undefined", F::bad_input, "the graph uses what nothing defines"},
       {"is defined nowhere", "has no value"}},
      {{"bad-input/cycle", F::bad_input, "the graph's nodes wait for each other"}, {"has a cycle"}},
      {{"bad-input/nothing-to-split", F::bad_input, "the strategy finds no part of a transformer in the graph"},
       {"finds nothing to split"}},
      {{"bad-input/bad-plan", F::bad_input, "plan.json is not what partition writes"}, {"plan.json"}},
      {{"bad-input/bad-checkpoint", F::bad_input, "a checkpoint does not fit this run, or is damaged"},
       {"checkpoint.json", "checkpoint", "--rewind begins", "this training has"}},
      {{"bad-input/not-supported", F::bad_input, "valid, but not supported"}, {"not supported", "is not supported"}},
      {{"bad-input/too-large", F::bad_input, "more than the limits allow"},
       {"more than", "expected at most", "larger than"}},
      {{"bad-input/malformed", F::bad_input, "any other fault of an input"}, {}},
      {{"not-found/weights", F::not_found, "a file of weights that the model names is missing"},
       {"weights file", "its file"}},
      {{"not-found/tensor", F::not_found, "the plan has no tensor of this name"}, {"the plan has no tensor"}},
      {{"not-found/file", F::not_found, "an input file or folder is missing"}, {}},
      {{"internal/out-of-memory", F::internal, "memory ran out"}, {"out of memory"}},
      {{"internal/onednn", F::internal, "oneDNN refused what it was asked"}, {"oneDNN"}},
      {{"internal/bug", F::internal, "a bug of opt-partition: please report it"}, {}},
      {{"cannot-write/is-an-input", F::cannot_write, "writing would replace an input of this run"},
       {"an input of this run"}},
      {{"cannot-write/occupied", F::cannot_write, "something that is not ours stands there"},
       {"not an output of ours", "is not empty", "or nothing"}},
      {{"cannot-write/stdout", F::cannot_write, "the result cannot be given: stdout is closed or full"},
       {"stdout cannot be written"}},
      {{"cannot-write/failed", F::cannot_write, "the system does not let the output be written"}, {}},
      {{"rank-failed/rank", F::rank_failed, "a rank died or hung"}, {}},
      {{"interrupted/signal", F::interrupted, "a signal ended the run"}, {}},
  };
  return out;
}

// Text between quotes is a name, and may hold anything: it takes no part in finding the form.
std::string without_names(llvm::StringRef message) {
  std::string out;
  bool inside = false;
  for (size_t k = 0; k < message.size(); ++k) {
    const char c = message[k];
    // An apostrophe ends or begins no name: "the axes' sizes", "rmsprop's".
    const bool opens = !inside && c == '\'' && (k == 0 || !llvm::isAlnum(message[k - 1])),
               closes = inside && c == '\'' && (k + 1 == message.size() || !llvm::isAlnum(message[k + 1]));
    if (opens || closes) inside = !inside;
    out += inside && !opens ? '_' : c;
  }
  return inside ? message.str() : out;
}
// `word` in `text`, not as a part of another word.
bool has(llvm::StringRef text, llvm::StringRef word) {
  for (size_t at = text.find(word); at != llvm::StringRef::npos; at = text.find(word, at + 1)) {
    const bool begins = at == 0 || !llvm::isAlnum(text[at - 1]), ends = at + word.size() == text.size() ||
                                                                        !llvm::isAlnum(text[at + word.size()]) ||
                                                                        !llvm::isAlnum(word.back());
    if (begins && ends) return true;
  }
  return false;
}
const Row& row_of(Fault fault, llvm::StringRef message) {
  const std::string text = without_names(message);
  for (const Row& row : rows())
    if (row.is.fault == fault &&
        (row.any_of.empty() || llvm::any_of(row.any_of, [&](llvm::StringRef w) { return has(text, w); })))
      return row;
  return row_of(Fault::internal, "");
}
// The name after `noun '`.
std::optional<llvm::StringRef> named(llvm::StringRef message, const std::string& text, llvm::StringRef noun) {
  const size_t at = llvm::StringRef(text).find(noun.str() + " '");
  if (at == llvm::StringRef::npos || (at > 0 && llvm::isAlnum(text[at - 1]))) return std::nullopt;
  const size_t begin = at + noun.size() + 2, end = text.find('\'', begin);
  if (end == std::string::npos) return std::nullopt;
  return message.slice(begin, end);
}
}  // namespace

llvm::ArrayRef<ErrorCode> error_codes() {
  static const std::vector<ErrorCode> out = [] {
    std::vector<ErrorCode> codes;
    for (const Row& row : rows()) codes.push_back(row.is);
    return codes;
  }();
  return out;
}
std::string code_of(Fault fault, llvm::StringRef message) { return row_of(fault, message).is.code; }

llvm::json::Object error_object(Fault fault, int exit_code, llvm::StringRef message) {
  llvm::json::Object out{
      {"severity", "error"}, {"code", code_of(fault, message)}, {"exit", exit_code}, {"message", message}};
  const std::string text = without_names(message);
  // The place comes first. Nouns and flags begin places that are no files.
  const size_t first_colon = text.find(": ");
  if (first_colon != std::string::npos) {
    llvm::StringRef place = message.take_front(first_colon);
    const bool is_name = place.size() > 1 && place.front() == '\'' && place.back() == '\'';
    if (is_name) place = place.drop_front().drop_back();
    auto [path, line] = place.rsplit(':');
    int64_t number = 0;
    const bool has_line = !line.empty() && !line.getAsInteger(10, number);
    if (!has_line) path = place;
    if (path.starts_with("--"))
      out["flag"] = path.split(' ').first;
    else if (!path.empty() && (is_name || has_line || fault == Fault::cannot_write || path.ends_with(".json") ||
                               path.ends_with(".onnx") || path.ends_with(".npy") || path.ends_with(".data") ||
                               llvm::sys::fs::exists(path) || has(text, "no such file"))) {
      out["file"] = path;
      if (has_line) out["line"] = number;
    }
  }
  if (has(text, "unknown flag"))
    if (auto flag = named(message, text, "flag")) out["flag"] = *flag;
  for (const char* noun : {"node", "node of"})
    if (auto name = named(message, text, noun)) {
      out["node"] = *name;
      llvm::StringRef rest = message.drop_front(size_t(name->end() - message.begin()) + 1);
      if (rest.consume_front(" (")) out["op"] = rest.split(')').first;
    }
  for (const char* noun : {"tensor", "initializer", "input", "output", "operand", "operand 0", "operand 1", "operand 2",
                           "parameter", "data", "state", "value_info"})
    if (auto name = named(message, text, noun)) {
      out["tensor"] = *name;
      break;
    }
  if (auto dim = named(message, text, "dim")) out["dim"] = *dim;
  // A way out comes last, after a semicolon.
  const size_t expected = text.find("expected "), found = text.rfind(", found ");
  auto up_to = [&](size_t begin, size_t end) {
    return message.slice(begin, std::min({end, text.find("; ", begin), message.size()}));
  };
  if (expected != std::string::npos)
    out["expected"] = up_to(expected + 9, found == std::string::npos || found < expected ? message.size() : found);
  if (found != std::string::npos) out["found"] = up_to(found + 8, message.size());
  if (const size_t at = text.find("did you mean "); at != std::string::npos)
    out["suggestion"] = message.drop_front(at + 13).rtrim('?');
  return out;
}

std::string errors_markdown() {
  std::string out =
      "# Errors\nWritten by `opt-partition generate errors`; a test compares.\n\n"
      "With `--diagnostics json`, before the verb or after it, each error is one line of JSON on stderr, which then "
      "holds nothing else: `--quiet` is implied. (A signal that ends the program at once still gives its line of "
      "text.)\n"
      "```json\n"
      R"({"code":"bad-input/dtype-mismatch","exit":65,"expected":"int64","file":"ids.npy","found":"float32","message":"ids.npy: input 'input_ids': dtype: expected int64, found float32","severity":"error","tensor":"input_ids"})"
      "\n```\n"
      "`severity`, `code`, `exit` and `message` are always there. `file`, `line` (of a file of constraints), `flag`, "
      "`node` with `op`, `tensor`, `dim`, `expected`, `found` and `suggestion` are there where the error has them. "
      "The exit code of the program is that of the first error. A code that was released keeps its meaning; new ones "
      "may be added, so treat one you do not know as its kind, the word before the slash.\n\n"
      "| code | exit | meaning |\n| --- | --- | --- |\n";
  for (const ErrorCode& c : error_codes())
    out += "| `" + std::string(c.code) + "` | " +
           (c.fault == Fault::interrupted ? "130, 143" : std::to_string(int(c.fault))) + " | " + c.meaning + " |\n";
  return out;
}
}  // namespace optp
