// opt-partition as a library: read a model, make a plan, write it with its graphs. Before version 1.0 source and binary
// form may change.
#pragma once
#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace opt_partition {

// What a mistake is about, as `--diagnostics json` has it (docs/errors.md). Empty, and 0, where it has none.
struct ErrorParts {
  std::string file;
  std::int64_t line = 0;
  std::string node, op, tensor, dim, expected, found, suggestion, hint;
  std::string module, model_name;  // of node and tensor, in the model's source
};
// A user's mistake, as the program says it: the message, a code of docs/errors.md and the exit code of its kind.
class Error : public std::runtime_error {
 public:
  Error(std::string code, int exit_code, const std::string& message, ErrorParts parts = {})
      : std::runtime_error(message), code(std::move(code)), exit_code(exit_code), parts(std::move(parts)) {}
  std::string code;
  int exit_code;
  ErrorParts parts;
};

struct Tensor {
  std::string name, dtype;        // dtype: float32, int64 …
  std::vector<std::string> dims;  // numbers, names, or sums and products of them
};
struct Model {
  std::vector<Tensor> inputs, outputs;
};
// Reads an ONNX file and resolves its shapes. Weights are mapped, not copied. Throws Error.
Model read_model(const std::string& path);

struct PlanOptions {
  std::string model;                    // an ONNX file, or a folder that holds one
  std::string mesh = "2";               // a number of devices, or named axes: "tensor=4"
  std::string strategy = "megatron";    // or origin
  std::string sharding_file;            // of constraints, one a line
  bool sharded_outputs = false;         // outputs stay split
  bool train = false;                   // the whole training step, by Adam
  std::map<std::string, int64_t> dims;  // at which the plan gives plain numbers
};
// The plan as the text of plan.json (docs/plan-schema.md); nothing is written. Throws Error.
std::string make_plan(const PlanOptions& options);

struct WriteOptions {
  std::string folder;      // an earlier output of opt-partition is replaced
  bool weights = true;     // as for a model whose weights are missing, none are written without
  bool overwrite = false;  // replace the folder whatever it holds; never one that holds the model
};
// plan.json and, of each device, its graph with its share of the weights, as the program's `partition` writes them but
// for the page. The folder appears whole or not at all. Gives the plan's text. Throws Error.
std::string write_partition(const PlanOptions& options, const WriteOptions& to);

std::string version();

}  // namespace opt_partition
