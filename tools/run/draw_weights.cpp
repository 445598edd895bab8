#include "tools/run/draw_weights.h"

#include <cstring>
#include <map>

#include "frontend/ir/diagnostic.h"
#include "frontend/ir/op.h"
#include "frontend/models/random_weights.h"
#include "llvm/Support/xxhash.h"

namespace optp {
namespace {
float mean_of(const Value& v) {
  const bool scale = llvm::any_of(v.uses, [&](const Use& use) {
    const OpDef& op = *use.node->op;
    return (op.is(Trait::normalizes) && use.operand == 1) || (op.is(Trait::multiplies) && v.ndim() == 1);
  });
  return scale ? 1 : 0;
}

// Elements [first, first + out.size()) of a tensor.
void draw(uint64_t seed, llvm::StringRef name, float mean, int64_t first, llvm::MutableArrayRef<float> out) {
  const uint64_t parameter = llvm::xxh3_64bits(name);
  if (first % 2 != 0 && !out.empty()) {  // numbers are drawn in pairs
    float pair[2];
    draw_normal(seed, parameter, first - 1, mean, pair);
    out[0] = pair[1];
    out = out.drop_front();
    ++first;
  }
  if (!out.empty()) draw_normal(seed, parameter, first, mean, out);
}

std::shared_ptr<const Tensor> tensor_of(DType dtype, llvm::ArrayRef<int64_t> dims, std::vector<float> values) {
  if (dtype == DType::f32) {
    std::vector<char> bytes(values.size() * sizeof(float));
    if (!values.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
    return make_tensor(dtype, dims, std::move(bytes));
  }
  Array a;
  a.resize(is_float(dtype), dims);
  for (size_t k = 0; k < a.f.size(); ++k) a.f[k] = values[k];
  return to_tensor(a, dtype);
}

bool is_drawn(const Value& v) { return v.data->is_missing() && v.type.dtype != DType::string; }
}  // namespace

llvm::Expected<uint64_t> parse_seed(llvm::StringRef text) {
  uint64_t seed = 0;
  if (text.getAsInteger(10, seed))
    return error(Code::bad_value).flag("--random-weights", quoted(text)).expected("a number");
  return seed;
}

void draw_weights(llvm::ArrayRef<Graph*> graphs, uint64_t seed) {
  struct Source {
    std::string name;
    llvm::SmallVector<int64_t, 4> dims;
  };
  std::map<std::string, Source> copies;  // name of a tied copy to what it is tied to
  for (const Graph* g : graphs)
    for (const Value* v : g->data())
      for (const std::string& alias : v->aliases) copies[alias] = {v->name, v->data->dims};
  // --compute keeps in half precision what the file has in float32: the same numbers, rounded.
  std::map<std::pair<std::string, DType>, std::shared_ptr<const Tensor>> drawn;
  for (Graph* g : graphs)
    for (Value* v : g->data()) {
      if (!is_drawn(*v)) continue;
      auto& tensor = drawn[{v->name, v->type.dtype}];
      if (!tensor) {
        const llvm::ArrayRef<int64_t> dims = v->data->dims;
        std::vector<float> values(is_float(v->type.dtype) ? size_t(count_of(dims)) : 0);
        auto copy = copies.find(v->name);
        draw(seed, copy == copies.end() ? v->name : copy->second.name, mean_of(*v), 0, values);
        if (copy != copies.end() && dims.size() == 2 && copy->second.dims != dims) {
          std::vector<float> transposed(values.size());
          const size_t rows = size_t(dims[0]), columns = size_t(dims[1]);
          for (size_t r = 0; r < rows; ++r)
            for (size_t c = 0; c < columns; ++c) transposed[r * columns + c] = values[c * rows + r];
          values = std::move(transposed);
        }
        tensor = tensor_of(v->type.dtype, dims, std::move(values));
      }
      v->data = tensor;
    }
}

llvm::Error draw_shards(Graph& rank, uint64_t seed, llvm::function_ref<llvm::Expected<Shard>(const Value&)> find) {
  for (Value* v : rank.data()) {
    if (!is_drawn(*v)) continue;
    auto shard = find(*v);
    if (!shard) return shard.takeError();
    if (shard->shape() != v->data->dims)
      return error(Code::shape_mismatch)
          .in_file(rank.source)
          .tensor("initializer", v->name)
          .what("the plan says another shape");
    std::vector<float> values(is_float(v->type.dtype) ? size_t(shard->elements()) : 0);
    const float mean = mean_of(*v);
    llvm::MutableArrayRef<float> left(values);
    if (!values.empty())
      for_each_run(*shard, [&](int64_t start, int64_t length) {
        draw(seed, v->name, mean, start, left.take_front(size_t(length)));
        left = left.drop_front(size_t(length));
      });
    v->data = tensor_of(v->type.dtype, v->data->dims, std::move(values));
  }
  return llvm::Error::success();
}

llvm::Error need_weights(const Graph& graph) {
  for (const Value* v : graph.data())
    if (v->data->is_missing())
      return error(Code::weights_not_found)
          .in_file(graph.source)
          .what("weights file " + quoted(v->data->missing) + " of " + quoted(v->name) + " is not there")
          .about({.tensor = v->name})
          .hint("--random-weights SEED runs without it");
  return llvm::Error::success();
}
}  // namespace optp
