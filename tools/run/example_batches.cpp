#include "tools/run/example_batches.h"

#include "frontend/ir/diagnostic.h"
#include "tools/run/labels.h"
#include "tools/run/prepare.h"
#include "tools/run/tensor_folder.h"

namespace optp {
namespace {
// labels.npy of the folder, or none.
llvm::Expected<std::optional<HostArray>> stored_labels(const std::string& folder, size_t number, const Value& labels,
                                                       const DimValues& dims) {
  auto files = TensorFolder::open(folder, TensorFolder::Kind::inputs);
  if (!files) return files.takeError();
  auto found = files->find(labels_name, number);
  if (!found) return found.takeError();
  if (!*found) return std::nullopt;
  const std::string& file = (*found)->file;
  HostArray& array = (*found)->array;
  if (is_float(array.dtype))
    return error(Code::dtype_mismatch).in_file(file).what("dtype").expected("integers").found(long_name(array.dtype));
  if (array.dtype != DType::i64) array = host_array(to_array(array), DType::i64);
  llvm::SmallVector<int64_t, 4> shape;
  for (Dim d : labels.type.dims) {
    auto n = evaluate(d, dims);
    if (!n) return n.takeError();
    shape.push_back(*n);
  }
  if (array.dims != shape)
    return error(Code::shape_mismatch)
        .in_file(file)
        .what("shape")
        .expected(to_string(Dims(shape.begin(), shape.end())))
        .found(to_string(Dims(array.dims.begin(), array.dims.end())));
  return std::move(array);
}
// Next-token prediction: the labels are the ids, counted from the front and within the classes. False: no input is ids.
bool make_labels(const Graph& imported, const Value& labels, int64_t classes, HostArrays& whole) {
  const Value* ids = find_ids(imported);
  for (const InputSpec& s : input_specs(imported)) {
    if (s.rows == 0 || llvm::ArrayRef<Dim>(s.dims) != llvm::ArrayRef<Dim>(labels.type.dims) ||
        (whole.contains(labels_name) && (!ids || s.name != ids->name)))
      continue;
    Array own = to_array(whole[s.name]);
    for (int64_t& x : own.i) x = (x < 0 ? x + s.rows : x) % classes;
    whole[labels_name] = host_array(own, DType::i64);
  }
  return whole.contains(labels_name);
}
// Of a batch that is drawn where no input is made of ids: those of the given one, each a class further.
HostArray moved(const HostArray& given, int64_t classes) {
  Array labels = to_array(given);
  for (int64_t& x : labels.i)
    if (x >= 0) x = (x + 1) % classes;  // one below 0 does not count
  return host_array(labels, DType::i64);
}
llvm::Error no_labels(const Value& labels) {
  return error(Code::input_not_given)
      .what("no input has the labels' shape " + to_string(labels.type.dims))
      .what("give labels.npy in --inputs-dir")
      .about({.hint = "give labels.npy in --inputs-dir"});
}
}  // namespace

llvm::Expected<std::vector<ExampleBatch>> make_example_batches(const Job& job, llvm::ArrayRef<std::string> given_inputs,
                                                               const std::string& folder, DimValues& dims,
                                                               llvm::ArrayRef<size_t> ranks) {
  const std::vector<InputSpec> specs = input_specs(*job.imported);
  const Value& labels = *job.whole->find(labels_name);
  auto given = prepare_inputs(*job.imported, given_inputs, folder, dims);
  if (!given) return given.takeError();
  std::vector<std::string> drawn;
  for (const InputSpec& s : specs)
    if (s.rows > 0) drawn.push_back(s.name + "=rand(2)");
  DimValues same = dims;
  auto second = prepare_inputs(*job.imported, drawn, "", same);
  if (!second) return second.takeError();
  auto classes = evaluate(find_logits(*job.inference)->type.dims[2], dims);
  if (!classes) return classes.takeError();
  std::vector<ExampleBatch> out;
  std::optional<HostArray> stored;
  for (HostArrays* whole : {&*given, &*second}) {
    const bool is_stored = whole == &*given && !folder.empty();
    if (is_stored) {
      auto found = stored_labels(folder, specs.size(), labels, dims);
      if (!found) return found.takeError();
      stored = std::move(*found);
    }
    if (is_stored && stored) {
      (*whole)[labels_name] = *stored;
    } else if (!make_labels(*job.imported, labels, *classes, *whole)) {
      if (!stored) return no_labels(labels);
      (*whole)[labels_name] = moved(*stored, *classes);
    }
    const Place place = is_stored ? file_place(folder) : words("the batch");
    if (auto e = check_labels({place, tensor_place("input", labels_name)}, (*whole)[labels_name], *classes)) return e;
    if (counted_labels((*whole)[labels_name]) == 0) return within(place, no_label_counts());
    ExampleBatch& batch = out.emplace_back();
    batch.ranks = PerRank<HostArrays>(ranks);
    for (const size_t r : ranks) {
      // A batch that is split has its part of numbers only.
      auto bound = bind_dims(*job.ranks[r], dims);
      if (!bound) return bound.takeError();
      batch.ranks[r] = take_shards(*whole, **bound, job.whole->mesh, int64_t(r));
    }
    batch.whole = std::move(*whole);
  }
  return out;
}
}  // namespace optp
