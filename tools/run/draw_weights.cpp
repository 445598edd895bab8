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
    return error(Fault::usage, "--random-weights " + quoted(text) + ": expected a number");
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
  std::map<std::string, std::shared_ptr<const Tensor>> drawn;
  for (Graph* g : graphs)
    for (Value* v : g->data()) {
      if (!is_drawn(*v)) continue;
      auto& tensor = drawn[v->name];
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
    const size_t ndim = shard->dims.size();
    bool same = ndim == v->ndim() && shard->indices.size() == ndim;
    for (size_t d = 0; same && d < ndim; ++d) same = int64_t(shard->indices[d].size()) == v->data->dims[d];
    if (!same) return bad_input(rank.source + ": initializer " + quoted(v->name) + ": the plan says another shape");
    // Trailing dims that are whole are one run with the dim before them.
    int64_t inner = 1;
    size_t last = ndim;
    while (last > 0 && int64_t(shard->indices[last - 1].size()) == shard->dims[last - 1]) inner *= shard->dims[--last];
    std::vector<float> values(is_float(v->type.dtype) ? size_t(count_of(v->data->dims)) : 0);
    const float mean = mean_of(*v);
    size_t at = 0;
    auto walk = [&](auto&& self, size_t d, int64_t row) -> void {
      if (values.empty()) return;
      if (d == last) {
        draw(seed, v->name, mean, row * inner, llvm::MutableArrayRef<float>(values).slice(at, size_t(inner)));
        at += size_t(inner);
        return;
      }
      const auto& list = shard->indices[d];
      for (size_t k = 0; k < list.size();) {
        size_t end = k + 1;
        if (d + 1 == last)  // neighbours are one run
          while (end < list.size() && list[end] == list[end - 1] + 1) ++end;
        const int64_t next = row * shard->dims[d] + list[k];
        if (d + 1 == last) {
          const size_t n = (end - k) * size_t(inner);
          draw(seed, v->name, mean, next * inner, llvm::MutableArrayRef<float>(values).slice(at, n));
          at += n;
        } else {
          self(self, d + 1, next);
        }
        k = end;
      }
    };
    walk(walk, 0, 0);
    v->data = tensor_of(v->type.dtype, v->data->dims, std::move(values));
  }
  return llvm::Error::success();
}

llvm::Error need_weights(const Graph& graph) {
  for (const Value* v : graph.data())
    if (v->data->is_missing())
      return error(Fault::not_found, graph.source + ": weights file " + quoted(v->data->missing) + " of " +
                                         quoted(v->name) + " is not there; --random-weights SEED runs without it");
  return llvm::Error::success();
}
}  // namespace optp
