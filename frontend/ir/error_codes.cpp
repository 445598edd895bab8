#include "frontend/ir/error_codes.h"

namespace optp {
namespace {
using F = Fault;
constexpr ErrorCode table[] = {
    {Code::diverged, "check-failed/diverged", F::check_failed, "training gave a loss that is infinite or not a number"},
    {Code::difference, "check-failed/difference", F::check_failed,
     "the parts do not compute what the whole does, or two plans differ"},
    {Code::does_not_fit, "check-failed/does-not-fit", F::check_failed,
     "devices have less memory than their parts need (inspect --fit)"},
    {Code::unknown_verb, "usage/unknown-verb", F::usage, "no verb has this name"},
    {Code::unknown_flag, "usage/unknown-flag", F::usage, "the verb has no such flag"},
    {Code::unknown_argument, "usage/unknown-argument", F::usage, "unexpected argument"},
    {Code::missing, "usage/missing", F::usage, "a required verb, flag or argument is missing"},
    {Code::missing_value, "usage/missing-value", F::usage, "a flag without its value"},
    {Code::dim_without_value, "usage/dim-without-value", F::usage,
     "a dim of the model is open, and no --dim gives its value"},
    {Code::input_not_given, "usage/input-not-given", F::usage, "an input of the model has no value"},
    {Code::unknown_input, "usage/unknown-input", F::usage, "the model has no input of this name"},
    {Code::unknown_pass, "usage/unknown-pass", F::usage, "no pass has this name"},
    {Code::unmatched_pattern, "usage/unmatched-pattern", F::usage, "a pattern matches nothing"},
    {Code::bad_value, "usage/bad-value", F::usage, "a flag, constraint or dim has a value that cannot hold"},
    {Code::unknown_operator, "bad-input/unknown-operator", F::bad_input,
     "the model has operators that are not supported"},
    {Code::unsupported_version, "bad-input/unsupported-version", F::bad_input,
     "an opset, IR version or file version that is not read"},
    {Code::hash_mismatch, "bad-input/hash-mismatch", F::bad_input,
     "bytes are not those that a manifest or checkpoint recorded"},
    {Code::changed, "bad-input/changed", F::bad_input, "a file changed while it was read"},
    {Code::unreadable, "bad-input/unreadable", F::bad_input, "the system does not let the file be read"},
    {Code::not_a_file, "bad-input/not-a-file", F::bad_input, "a folder or device stands where a file is expected"},
    {Code::not_this_format, "bad-input/not-this-format", F::bad_input, "the file is of another format, or truncated"},
    {Code::dtype_mismatch, "bad-input/dtype-mismatch", F::bad_input, "a tensor has the wrong element type"},
    {Code::duplicate, "bad-input/duplicate", F::bad_input, "a name that must be unique occurs twice"},
    {Code::size_mismatch, "bad-input/size-mismatch", F::bad_input, "the number of bytes does not fit the shape"},
    {Code::shape_mismatch, "bad-input/shape-mismatch", F::bad_input, "a tensor has the wrong shape"},
    {Code::out_of_range, "bad-input/out-of-range", F::bad_input, "an id or index is outside its table"},
    {Code::undefined, "bad-input/undefined", F::bad_input, "the graph uses a value that nothing defines"},
    {Code::cycle, "bad-input/cycle", F::bad_input, "the graph has a cycle"},
    {Code::nothing_to_split, "bad-input/nothing-to-split", F::bad_input,
     "the strategy finds no part of a transformer in the graph"},
    {Code::bad_plan, "bad-input/bad-plan", F::bad_input, "plan.json is not what partition writes"},
    {Code::bad_checkpoint, "bad-input/bad-checkpoint", F::bad_input,
     "a checkpoint does not fit this run, or is damaged"},
    {Code::not_supported, "bad-input/not-supported", F::bad_input, "valid, but not supported"},
    {Code::too_large, "bad-input/too-large", F::bad_input, "more than the limits allow"},
    {Code::malformed, "bad-input/malformed", F::bad_input, "any other fault of an input"},
    {Code::weights_not_found, "not-found/weights", F::not_found, "a file of weights that the model names is missing"},
    {Code::tensor_not_found, "not-found/tensor", F::not_found, "the plan has no tensor of this name"},
    {Code::file_not_found, "not-found/file", F::not_found, "an input file or folder is missing"},
    {Code::out_of_memory, "internal/out-of-memory", F::internal, "memory ran out"},
    {Code::onednn, "internal/onednn", F::internal, "oneDNN rejected a request"},
    {Code::bug, "internal/bug", F::internal, "a bug of opt-partition: please report it"},
    {Code::is_an_input, "cannot-write/is-an-input", F::cannot_write, "writing would replace an input of this run"},
    {Code::occupied, "cannot-write/occupied", F::cannot_write, "the output path is occupied by something else"},
    {Code::stdout_closed, "cannot-write/stdout", F::cannot_write,
     "the result cannot be given: stdout is closed or full"},
    {Code::cannot_write, "cannot-write/failed", F::cannot_write, "the system does not let the output be written"},
    {Code::rank_failed, "rank-failed/rank", F::rank_failed, "a rank died or hung"},
    {Code::interrupted, "interrupted/signal", F::interrupted, "a signal ended the run"},
    {Code::stopped, "stopped", F::stopped, "the run ended after the pass it was told to stop after"},
};
constexpr bool in_order() {
  for (size_t k = 0; k < std::size(table); ++k)
    if (size_t(table[k].code) != k) return false;
  return std::size(table) == size_t(Code::stopped) + 1;
}
static_assert(in_order(), "the table has one row for each code, in their order");
}  // namespace

llvm::ArrayRef<ErrorCode> error_codes() { return llvm::ArrayRef(table).drop_back(); }
const ErrorCode& row_of(Code code) { return table[size_t(code)]; }
const ErrorCode* find_error_code(llvm::StringRef name) {
  for (const ErrorCode& row : table)
    if (name == row.name) return &row;
  return nullptr;
}

std::string errors_markdown() {
  std::string out =
      "# Errors\nWritten by `opt-partition docs errors`; a test compares.\n\n"
      "With `--diagnostics json`, before the verb or after it, each error is one line of JSON on stderr, which then "
      "holds nothing else: `--quiet` is implied. (A signal that ends the program at once still gives its line of "
      "text.) With `--diagnostics json:FILE` these lines are appended to a file instead, and stderr has progress and "
      "remarks as ever.\n"
      "```json\n"
      R"({"code":"bad-input/dtype-mismatch","exit":65,"expected":"int64","file":"ids.npy","found":"float32","message":"ids.npy: input 'input_ids': dtype: expected int64, found float32","severity":"error","tensor":"input_ids"})"
      "\n```\n"
      "`severity`, `code`, `exit` and `message` are always there. `file`, `line` (of constraints, a tp_plan or a graph "
      "as text), `flag`, "
      "`node` with `op` and `module`, `tensor` with `model_name`, `dim`, `expected`, `found`, `suggestion` (the word "
      "that was perhaps meant) and `hint` (a way out, in words) are there where the error has them; of several files, "
      "nodes or tensors the outermost is named. `module` and `model_name` are what the model's source calls a node's "
      "module and a tensor that the file calls otherwise, such as `onnx::MatMul_1773`; the message has them in "
      "parentheses after the name. The exit code of the program is that of the first error. A code that was released "
      "keeps its "
      "meaning; new ones may be added, so treat one you do not know as its kind, the word before the slash.\n\n"
      "| code | exit | meaning |\n| --- | --- | --- |\n";
  for (const ErrorCode& c : error_codes())
    out += "| `" + std::string(c.name) + "` | " +
           (c.fault == Fault::interrupted ? "130, 143" : std::to_string(int(c.fault))) + " | " + c.meaning + " |\n";
  return out;
}
}  // namespace optp
