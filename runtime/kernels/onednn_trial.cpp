// Tries a form of product once before it is used: see computes_rightly. The instance is small but has what a kernel is
// chosen by: each extent's rest after blocks of 64, the order of the strides, gaps between rows, what is broadcast.
// Numbers are small integers, so that sums are exact in any order and a float32 result has just one right value.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <mutex>
#include <numeric>

#include "frontend/ir/half.h"
#include "llvm/ADT/StringExtras.h"
#include "runtime/kernels/onednn_product.h"

namespace optp::kernels {
namespace {
using Dims = dnnl::memory::dims;

// A dim's extent in the small instance.
int64_t small_batch(int64_t n) { return std::min<int64_t>(n, 2); }
int64_t small_rows(int64_t n) { return n <= 16 ? n : 16 + n % 16; }
int64_t small_columns(int64_t n) { return n <= 64 ? n : 64 + n % 64; }
int64_t small_terms(int64_t n) { return n <= 64 ? n : 64 + n % 64; }

// The same order of strides over smaller extents: dense where they were dense, with a gap where there was one, and
// lying one within the other where they did.
MatrixLayout shrink(const MatrixLayout& layout, int64_t rows, int64_t columns) {
  MatrixLayout out = layout;
  const size_t n = layout.dims.size();
  for (size_t d = 0; d < n; ++d) {
    const int64_t limit = d + 2 == n ? rows : d + 1 == n ? columns : small_batch(layout.dims[d]);
    out.dims[d] = std::min(layout.dims[d], limit);
  }
  std::vector<size_t> order;
  for (size_t d = 0; d < n; ++d)
    if (layout.dims[d] != 1) order.push_back(d);
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t x, size_t y) { return layout.strides[x] < layout.strides[y]; });
  for (size_t k = 0; k < order.size(); ++k) {
    const size_t d = order[k];
    if (k == 0) {
      out.strides[d] = std::min<int64_t>(layout.strides[d], 3);
      continue;
    }
    const size_t inner = order[k - 1];
    const bool dense = layout.strides[d] == layout.strides[inner] * layout.dims[inner];
    out.strides[d] = out.strides[inner] * out.dims[inner] + (dense ? 0 : 5);
  }
  return out;
}
int64_t elements_spanned(const MatrixLayout& layout) {
  int64_t last = 0;
  for (size_t d = 0; d < layout.dims.size(); ++d)
    if (layout.dims[d] != 1) last += (layout.dims[d] - 1) * layout.strides[d];
  return last + 1;
}
int64_t offset_at(const MatrixLayout& layout, llvm::ArrayRef<int64_t> at) {
  int64_t offset = 0;
  for (size_t d = 0; d < layout.dims.size(); ++d)
    if (layout.dims[d] != 1) offset += at[d] * layout.strides[d];
  return offset;
}

// Numbers of one dtype in memory.
class Numbers {
 public:
  Numbers(DType dtype, int64_t count) : half_(size_bytes(dtype) == 2), bf16_(dtype == DType::bf16) {
    floats_.resize(half_ ? 0 : size_t(count));
    halves_.resize(half_ ? size_t(count) : 0);
  }
  int64_t size() const { return int64_t(half_ ? halves_.size() : floats_.size()); }
  void* data() { return half_ ? static_cast<void*>(halves_.data()) : floats_.data(); }
  float get(int64_t k) const {
    if (!half_) return floats_[size_t(k)];
    return bf16_ ? Bf16::load(halves_[size_t(k)]) : F16::load(halves_[size_t(k)]);
  }
  void set(int64_t k, float v) {
    if (!half_)
      floats_[size_t(k)] = v;
    else
      halves_[size_t(k)] = bf16_ ? Bf16::store(v) : F16::store(v);
  }
  void fill(uint32_t seed, int spread) {
    for (int64_t k = 0; k < size(); ++k) {
      seed = seed * 1664525u + 1013904223u;
      set(k, float(int(seed >> 16) % (2 * spread + 1) - spread));
    }
  }

 private:
  bool half_, bf16_;
  std::vector<float> floats_;
  std::vector<uint16_t> halves_;
};

ProductRequest small_instance(const ProductRequest& request) {
  const size_t n = request.dst.dims.size();
  // An extent of one operand may be 1 where another's is not: each is cut to the same length, not in the same ratio.
  const int64_t m = small_rows(request.dst.dims[n - 2]), columns = small_columns(request.dst.dims[n - 1]);
  const int64_t terms = small_terms(std::max(request.src.dims[n - 1], request.weights.dims[n - 2]));
  ProductRequest out = request;
  out.src = shrink(request.src, m, terms);
  out.weights = shrink(request.weights, terms, columns);
  out.dst = shrink(request.dst, m, columns);
  float factor = 2;
  for (ProductRequest::Step& step : out.steps) {
    if (step.add)
      step.addend = shrink(step.addend, m, columns);
    else
      step.factor = std::exchange(factor, -factor / 4);  // 2, -0.5, 0.125: exact, and none is another's
  }
  return out;
}

bool try_instance(const ProductRequest& r, const dnnl::engine& engine) {
  auto product = OnednnProduct::create(r, engine);
  if (!product) return false;
  constexpr float untouched = -8192;  // no half rounds it
  Numbers src(r.dtype, elements_spanned(r.src)), weights(r.dtype, elements_spanned(r.weights)),
      dst(r.dtype, elements_spanned(r.dst) + 64);
  src.fill(1, 4);
  weights.fill(2, 4);
  for (int64_t k = 0; k < dst.size(); ++k) dst.set(k, untouched);
  std::vector<Numbers> added;
  llvm::SmallVector<const void*, 4> addends;
  for (const ProductRequest::Step& step : r.steps) {
    added.emplace_back(step.dtype, step.add ? elements_spanned(step.addend) : 0);
    added.back().fill(uint32_t(3 + added.size()), 99);
  }
  for (Numbers& a : added) addends.push_back(a.size() ? a.data() : nullptr);

  dnnl::stream stream(engine);
  std::vector<char> scratch(size_t(product->scratch_bytes()) + 64);
  void* aligned = scratch.data() + (64 - reinterpret_cast<uintptr_t>(scratch.data()) % 64);
  if (r.pack) {
    dnnl::memory plain(onednn_layout(r.weights, r.dtype), engine, weights.data());
    dnnl::memory packed(product->weights_layout(), engine);
    dnnl::reorder(plain, packed).execute(stream, plain, packed);
    stream.wait();
    product->run(stream, src.data(), packed.get_data_handle(), dst.data(), addends, aligned);
  } else {
    product->run(stream, src.data(), weights.data(), dst.data(), addends, aligned);
  }

  // Every element of a few rows and columns, in every matrix: first and last ones, and about the edges of vectors.
  const size_t n = r.dst.dims.size();
  const int64_t rows = r.dst.dims[n - 2], columns = r.dst.dims[n - 1],
                terms = std::max(r.src.dims[n - 1], r.weights.dims[n - 2]);
  auto some = [](int64_t extent, llvm::ArrayRef<int64_t> wanted) {
    llvm::SmallVector<int64_t, 12> out;
    for (int64_t at : wanted)
      if (at >= 0 && at < extent && !llvm::is_contained(out, at)) out.push_back(at);
    return out;
  };
  const auto some_rows = some(rows, {0, 1, 5, 6, 15, rows - 2, rows - 1});
  const auto some_columns = some(columns, {0, 1, 7, 15, 16, 31, 47, 48, 63, 64, columns - 2, columns - 1});
  int64_t matrices = 1;
  for (size_t d = 0; d + 2 < n; ++d) matrices *= r.dst.dims[d];
  std::vector<char> written(size_t(dst.size()), 0);
  for (int64_t b = 0; b < matrices; ++b) {
    llvm::SmallVector<int64_t, 8> at(n, 0);
    for (int64_t d = int64_t(n) - 3, rest = b; d >= 0; --d) {
      at[size_t(d)] = rest % r.dst.dims[size_t(d)];
      rest /= r.dst.dims[size_t(d)];
    }
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t column = 0; column < columns; ++column) {
        at[n - 2] = row, at[n - 1] = column;
        written[size_t(offset_at(r.dst, at))] = 1;
      }
    for (int64_t row : some_rows)
      for (int64_t column : some_columns) {
        at[n - 2] = row, at[n - 1] = 0;
        const int64_t a = offset_at(r.src, at), a_step = r.src.dims[n - 1] != 1 ? r.src.strides[n - 1] : 0;
        at[n - 2] = 0, at[n - 1] = column;
        const int64_t w = offset_at(r.weights, at), w_step = r.weights.dims[n - 2] != 1 ? r.weights.strides[n - 2] : 0;
        double expected = 0;
        for (int64_t k = 0; k < terms; ++k)
          expected += double(src.get(a + k * a_step)) * double(weights.get(w + k * w_step));
        at[n - 2] = row, at[n - 1] = column;
        double size = std::fabs(expected);
        for (size_t s = 0; s < r.steps.size(); ++s) {
          expected = r.steps[s].add ? expected + double(added[s].get(offset_at(r.steps[s].addend, at)))
                                    : expected * double(r.steps[s].factor);
          size = std::max(size, std::fabs(expected));
        }
        // A half result is rounded at the end; where the library adds to a rounded one, once a step.
        const double allowed =
            r.dtype == DType::f32 ? 0 : size * double(1 + r.steps.size()) / (r.dtype == DType::bf16 ? 256 : 2048);
        if (!(std::fabs(double(dst.get(offset_at(r.dst, at))) - expected) <= allowed)) return false;
      }
  }
  for (int64_t k = 0; k < dst.size(); ++k)
    if (!written[size_t(k)] && dst.get(k) != untouched) return false;
  return true;
}

std::string describe(const MatrixLayout& layout) {
  std::string out = "[";
  for (size_t d = 0; d < layout.dims.size(); ++d) {
    out += (d ? "," : "") + std::to_string(layout.dims[d]);
    if (layout.dims[d] != 1) out += ":" + std::to_string(layout.strides[d]);
  }
  return out + "]";
}
std::string describe(const ProductRequest& r, llvm::StringRef implementation) {
  std::string out = (implementation + " " + to_string(r.dtype) + " " + describe(r.src) + " x " +
                     (r.pack ? "packed " : "") + describe(r.weights) + " -> " + describe(r.dst))
                        .str();
  for (const ProductRequest::Step& step : r.steps)
    out += step.add ? " + " + (step.dtype == r.dtype ? "" : to_string(step.dtype).str() + " ") + describe(step.addend)
                    : " * factor";
  return out;
}

struct Tried {
  std::mutex mutex;
  std::map<std::string, bool> forms;
};
Tried& tried() {
  static Tried all;
  return all;
}
}  // namespace

bool computes_rightly(const ProductRequest& request, llvm::StringRef implementation, const dnnl::engine& engine) {
  const ProductRequest small = small_instance(request);
  const std::string form = describe(small, implementation);
  Tried& all = tried();
  const std::lock_guard<std::mutex> lock(all.mutex);  // ranks try a form once, not once each
  const auto [it, is_new] = all.forms.try_emplace(form, false);
  if (is_new) it->second = try_instance(small, engine);
  return it->second;
}

void try_usual_product_forms(const dnnl::engine& engine) {
  auto dense = [](Dims dims) {
    MatrixLayout out{std::move(dims), {}};
    out.strides.resize(out.dims.size());
    for (int64_t d = int64_t(out.dims.size()) - 1, stride = 1; d >= 0; stride *= out.dims[size_t(d)], --d)
      out.strides[size_t(d)] = stride;
    return out;
  };
  using Step = ProductRequest::Step;
  const int64_t rows = 130, inner = 768, outer = 3072, heads = 12, head = 64;
  std::vector<ProductRequest> all;
  // A layer's products: weights packed, then a bias, a factor, a residual.
  const Step bias{.add = true, .addend = dense({1, outer})}, residual{.add = true, .addend = dense({rows, outer})},
      factor{.factor = 0.125f};
  for (const llvm::SmallVector<Step, 4>& steps :
       {llvm::SmallVector<Step, 4>{}, {bias}, {bias, factor}, {bias, residual}, {factor}})
    all.push_back({.src = dense({rows, inner}),
                   .weights = dense({inner, outer}),
                   .dst = dense({rows, outer}),
                   .pack = true,
                   .steps = steps});
  // Their gradients, with either operand transposed.
  all.push_back({.src = {{inner, rows}, {1, inner}}, .weights = dense({rows, outer}), .dst = dense({inner, outer})});
  all.push_back({.src = dense({rows, outer}), .weights = {{outer, inner}, {1, outer}}, .dst = dense({rows, inner})});
  // Attention over values in [batch, sequence, heads, size] order.
  for (int64_t batch : {1, 2}) {
    const int64_t row = heads * head;
    const MatrixLayout q{{batch, heads, rows, head}, {rows * row, head, row, 1}},
        k{{batch, heads, head, rows}, {rows * row, head, 1, row}};
    const MatrixLayout scores = dense({batch, heads, rows, rows});
    all.push_back({.src = q, .weights = k, .dst = scores});
    all.push_back({.src = scores, .weights = q, .dst = q});
    all.push_back({.src = scores, .weights = q, .dst = dense(q.dims)});
  }
  for (const ProductRequest& request : all)
    if (auto product = OnednnProduct::create(request, engine))
      (void)computes_rightly(request, product->implementation(), engine);
}

std::vector<std::string> refused_product_forms() {
  Tried& all = tried();
  const std::lock_guard<std::mutex> lock(all.mutex);
  std::vector<std::string> out;
  for (const auto& [form, right] : all.forms)
    if (!right) out.push_back(form);
  return out;
}
}  // namespace optp::kernels
