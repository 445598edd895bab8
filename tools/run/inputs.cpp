#include "tools/run/inputs.h"

#include <cmath>
#include <random>

#include "frontend/ir/diagnostic.h"
#include "frontend/ir/op.h"
#include "frontend/onnx/tensor.h"
#include "llvm/Support/xxhash.h"
#include "passes/weights.h"
#include "tools/run/machine_memory.h"
#include "tools/run/tensor_folder.h"

namespace optp {

std::vector<InputSpec> input_specs(const Graph& graph) {
  std::vector<InputSpec> out;
  // Of several tables the one with the fewest rows says which ids are valid.
  for (const Value* v : graph.inputs) out.push_back({v->name, v->type.dtype, v->type.dims, rows_indexed(*v)});
  return out;
}

namespace {
llvm::Expected<HostArray> made(const InputSpec& spec, llvm::StringRef how, const DimValues& dims) {
  Array a;
  llvm::SmallVector<int64_t, 4> shape;
  for (Dim d : spec.dims) {
    auto n = evaluate(d, dims);
    if (!n) return within(tensor_place("input", spec.name), n.takeError());
    shape.push_back(*n);
  }
  if (auto e = fits_in_memory(tensor_place("input", spec.name), DType::f64, shape))
    return e;  // drawn in 8 bytes a number
  a.resize(is_float(spec.dtype), shape);
  uint64_t seed = 0;
  llvm::StringRef text = how;
  if (text.consume_front("rand(") && text.consume_back(")")) {
    if (text.getAsInteger(10, seed))
      return error(Code::bad_value).tensor("input", spec.name).expected("rand(SEED)").found(quoted(how));
    std::mt19937_64 random(seed ^ llvm::xxh3_64bits(spec.name));
    for (double& x : a.f) {  // Box-Muller, so that the numbers are the same with every standard library
      const double u = double(random() >> 11) * 0x1p-53 + 0x1p-54, v = double(random() >> 11) * 0x1p-53;
      x = std::sqrt(-2 * std::log(u)) * std::cos(2 * M_PI * v);
    }
    const uint64_t rows = spec.rows > 0 ? uint64_t(spec.rows) : 2;
    for (int64_t& x : a.i) x = spec.rows > 0 || spec.dtype == DType::boolean ? int64_t(random() % rows) : 1;
  } else if (how == "ones" || how == "zeros") {
    std::fill(a.f.begin(), a.f.end(), how == "ones");
    std::fill(a.i.begin(), a.i.end(), how == "ones");
  } else {
    return error(Code::bad_value)
        .tensor("input", spec.name)
        .expected("@FILE.npy, @FILE.pb, rand(SEED), ones or zeros")
        .found(quoted(how));
  }
  return host_array(a, spec.dtype);
}

// An array from a file, as the input takes it.
llvm::Expected<HostArray> accepted(const InputSpec& spec, llvm::StringRef path, HostArray array) {
  if (array.dtype != spec.dtype) {
    // Integers of another width and half floats stored as float32 are the same numbers; float for int is a mistake.
    if (is_float(array.dtype) != is_float(spec.dtype))
      return error(Code::dtype_mismatch)
          .in_file(path)
          .tensor("input", spec.name)
          .what("dtype")
          .expected(long_name(spec.dtype))
          .found(long_name(array.dtype));
    array = host_array(to_array(array), spec.dtype);
  }
  if (spec.rows > 0 && !is_float(array.dtype)) {
    const Array ids = to_array(array);
    for (int64_t id : ids.i)
      if (id < -spec.rows || id >= spec.rows)
        return error(Code::out_of_range)
            .in_file(path)
            .tensor("input", spec.name)
            .what("index " + llvm::Twine(id) + " is outside the " + llvm::Twine(spec.rows) +
                  " rows of the table it chooses from");
  }
  return array;
}

// Whose NAME=VALUE a text is. A name may hold '=' itself: of the model's names the longest that fits is meant.
llvm::Expected<const InputSpec*> input_named(llvm::ArrayRef<InputSpec> specs, llvm::StringRef text) {
  const InputSpec* spec = nullptr;
  for (const InputSpec& s : specs)
    if (text.starts_with(s.name + "=") && (!spec || s.name.size() > spec->name.size())) spec = &s;
  if (spec) return spec;
  const llvm::StringRef name = text.split('=').first;
  std::string known;
  for (const InputSpec& s : specs) known += (known.empty() ? "" : ", ") + s.name;
  return error(Code::unknown_input)
      .flag("--input", quoted(text))
      .what("the model has no input " + quoted(name))
      .about({.tensor = name.str()})
      .hint("it has " + known);
}

struct Inputs {
  HostArrays arrays;
  std::map<std::string, std::string> how;  // of those that are made once their dims are known
};

llvm::Error take_given(Inputs& inputs, llvm::ArrayRef<InputSpec> specs, llvm::ArrayRef<std::string> given) {
  for (const std::string& text : given) {
    auto spec = input_named(specs, text);
    if (!spec) return spec.takeError();
    const std::string& name = (*spec)->name;
    llvm::StringRef value = llvm::StringRef(text).drop_front(name.size() + 1);
    if (!value.consume_front("@")) {
      inputs.how[name] = value.str();
      continue;
    }
    auto array = value.ends_with(".pb") ? read_tensor_file(value) : read_npy(value);
    if (!array) return array.takeError();
    auto own = accepted(**spec, value, std::move(*array));
    if (!own) return own.takeError();
    inputs.arrays[name] = std::move(*own);
  }
  return llvm::Error::success();
}

llvm::Error take_from_folder(Inputs& inputs, llvm::ArrayRef<InputSpec> specs, llvm::StringRef folder) {
  auto files = TensorFolder::open(folder, TensorFolder::Kind::inputs);
  if (!files) return files.takeError();
  for (size_t k = 0; k < specs.size(); ++k) {
    const InputSpec& spec = specs[k];
    if (inputs.arrays.contains(spec.name) || inputs.how.contains(spec.name)) continue;
    auto found = files->find(spec.name, k);
    if (!found) return found.takeError();
    if (!*found) return files->none_of(spec.name);
    auto own = accepted(spec, (*found)->file, std::move((*found)->array));
    if (!own) return own.takeError();
    inputs.arrays[spec.name] = std::move(*own);
  }
  return llvm::Error::success();
}
}  // namespace

llvm::Expected<HostArrays> make_inputs(llvm::ArrayRef<InputSpec> specs, llvm::ArrayRef<std::string> given,
                                       llvm::StringRef folder, DimValues& dims,
                                       const std::function<llvm::Expected<DimValues>(const Shapes&, DimValues)>& bind,
                                       bool synthesise) {
  Inputs inputs;
  if (auto e = take_given(inputs, specs, given)) return e;
  if (!folder.empty())
    if (auto e = take_from_folder(inputs, specs, folder)) return e;
  Shapes shapes;
  for (const auto& [name, a] : inputs.arrays) shapes[name].assign(a.dims.begin(), a.dims.end());
  auto bound = bind(shapes, dims);
  if (!bound) return bound.takeError();
  dims = *bound;
  for (const InputSpec& spec : specs) {
    if (inputs.arrays.contains(spec.name)) continue;
    auto it = inputs.how.find(spec.name);
    if (it == inputs.how.end() && !synthesise)
      return error(Code::input_not_given)
          .tensor("input", spec.name)
          .says("is not given")
          .hint("--input " + spec.name + "=@FILE.npy, rand(SEED) or ones");
    auto array = made(spec, it == inputs.how.end() ? "rand(1)" : llvm::StringRef(it->second), dims);
    if (!array) return array.takeError();
    inputs.arrays[spec.name] = std::move(*array);
  }
  return std::move(inputs.arrays);
}
}  // namespace optp
