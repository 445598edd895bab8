#include "tools/run/inputs.h"

#include <cmath>
#include <random>

#include "frontend/ir/diagnostic.h"
#include "frontend/ir/op.h"
#include "frontend/onnx/tensor.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/xxhash.h"
#include "passes/training.h"
#include "passes/weights.h"
#include "tools/run/literal.h"
#include "tools/run/machine_memory.h"
#include "tools/run/tensor_folder.h"

namespace optp {

const char* const input_help =
    "NAME=@FILE (.npy, or .pb with an ONNX tensor), NAME=1,2,3 or NAME=[[1,2],[3,4]], NAME=rand(SEED), NAME=ones, "
    "NAME=zeros (repeatable)";

std::vector<InputSpec> input_specs(const Graph& graph) {
  std::vector<InputSpec> out;
  // Of several tables the one with the fewest rows says which ids are valid.
  for (const Value* v : graph.inputs) out.push_back({v->name, v->type.dtype, v->type.dims, rows_indexed(*v)});
  return out;
}

namespace {
// What is made once the dims are known.
struct Recipe {
  enum class Kind { random, ones, zeros } kind = Kind::random;
  uint64_t seed = 1;
};
llvm::Expected<Recipe> parse_recipe(llvm::StringRef name, llvm::StringRef value, llvm::StringRef given) {
  llvm::StringRef text = value;
  if (text == "ones") return Recipe{Recipe::Kind::ones};
  if (text == "zeros") return Recipe{Recipe::Kind::zeros};
  if (text.consume_front("rand(") && text.consume_back(")")) {
    Recipe out;
    if (text.getAsInteger(10, out.seed))
      return error(Code::bad_value).tensor("input", name).expected("rand(SEED)").found(quoted(value));
    return out;
  }
  if (value.ends_with(".npy") || value.ends_with(".pb") || llvm::sys::fs::exists(value))
    return error(Code::bad_value)
        .flag("--input", quoted(given))
        .what("a file is named after @")
        .did_you_mean((name + "=@" + value).str());
  return error(Code::bad_value)
      .tensor("input", name)
      .expected("@FILE.npy, @FILE.pb, numbers such as 1,2,3 or [[1,2],[3,4]], rand(SEED), ones or zeros")
      .found(quoted(value));
}

llvm::Expected<HostArray> made(const InputSpec& spec, const Recipe& how, const DimValues& dims) {
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
  if (how.kind == Recipe::Kind::random) {
    std::mt19937_64 random(how.seed ^ llvm::xxh3_64bits(spec.name));
    for (double& x : a.f) {  // Box-Muller, so that the numbers are the same with every standard library
      const double u = double(random() >> 11) * 0x1p-53 + 0x1p-54, v = double(random() >> 11) * 0x1p-53;
      x = std::sqrt(-2 * std::log(u)) * std::cos(2 * M_PI * v);
    }
    const uint64_t rows = spec.rows > 0 ? uint64_t(spec.rows) : 2;
    for (int64_t& x : a.i) x = spec.rows > 0 || spec.dtype == DType::boolean ? int64_t(random() % rows) : 1;
  } else {
    std::fill(a.f.begin(), a.f.end(), how.kind == Recipe::Kind::ones);
    std::fill(a.i.begin(), a.i.end(), how.kind == Recipe::Kind::ones);
  }
  return host_array(a, spec.dtype);
}

// An array from a file or from the command line, as the input takes it.
llvm::Expected<HostArray> accepted(const InputSpec& spec, const Place& place, HostArray array) {
  if (array.dtype != spec.dtype) {
    // Integers of another width and half floats stored as float32 are the same numbers; float for int is a mistake, and
    // so is a mask where ids are wanted.
    const bool is_mask = array.dtype == DType::boolean && (spec.rows > 0 || spec.name == labels_name);
    if (is_float(array.dtype) != is_float(spec.dtype) || is_mask)
      return error(Code::dtype_mismatch)
          .at(place)
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
            .at(place)
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
  if (llvm::any_of(specs, [&](const InputSpec& s) { return text == s.name; }))
    return error(Code::bad_value)
        .flag("--input", quoted(text))
        .expected(text + "=VALUE, such as " + text + "=@FILE.npy")
        .about({.tensor = name.str()});
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
  std::map<std::string, Recipe> how;  // of those that are made once their dims are known
};

llvm::Error take_given(Inputs& inputs, llvm::ArrayRef<InputSpec> specs, llvm::ArrayRef<std::string> given) {
  for (const std::string& text : given) {
    auto spec = input_named(specs, text);
    if (!spec) return spec.takeError();
    const std::string& name = (*spec)->name;
    llvm::StringRef value = llvm::StringRef(text).drop_front(name.size() + 1);
    const bool is_file = value.consume_front("@");
    if (!is_file && !is_literal(value)) {
      auto recipe = parse_recipe(name, value, text);
      if (!recipe) return recipe.takeError();
      inputs.how[name] = *recipe;
      continue;
    }
    const Place place = is_file ? file_place(value) : flag_place("--input", quoted(text));
    auto array = !is_file                 ? parse_literal(value, (*spec)->dtype, (*spec)->dims.size())
                 : value.ends_with(".pb") ? read_tensor_file(value)
                                          : read_npy(value);
    if (!array) return is_file ? array.takeError() : within(place, array.takeError());
    auto own = accepted(**spec, place, std::move(*array));
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
    auto own = accepted(spec, file_place((*found)->file), std::move((*found)->array));
    if (!own) return own.takeError();
    inputs.arrays[spec.name] = std::move(*own);
  }
  return llvm::Error::success();
}
}  // namespace

llvm::Expected<HostArrays> make_inputs(llvm::ArrayRef<InputSpec> specs, llvm::ArrayRef<std::string> given,
                                       llvm::StringRef folder, DimValues& dims,
                                       const std::function<llvm::Expected<DimValues>(const Shapes&, DimValues)>& bind,
                                       std::vector<std::string>* invented) {
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
    if (it == inputs.how.end() && !invented)
      return error(Code::input_not_given)
          .tensor("input", spec.name)
          .says("is not given")
          .hint("--input " + spec.name + "=@FILE.npy, rand(SEED) or ones");
    if (it == inputs.how.end()) invented->push_back(spec.name);
    auto array = made(spec, it == inputs.how.end() ? Recipe() : it->second, dims);
    if (!array) return array.takeError();
    inputs.arrays[spec.name] = std::move(*array);
  }
  return std::move(inputs.arrays);
}
}  // namespace optp
