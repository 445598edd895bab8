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

// One small instance: filled, run, compared.
class Trial {
 public:
  explicit Trial(const ProductRequest& r)
      : r_(r),
        n_(r.dst.dims.size()),
        rows_(r.dst.dims[n_ - 2]),
        columns_(r.dst.dims[n_ - 1]),
        terms_(std::max(r.src.dims[n_ - 1], r.weights.dims[n_ - 2])),
        src_(r.dtype, elements_spanned(r.src)),
        weights_(r.dtype, elements_spanned(r.weights)),
        dst_(r.result, elements_spanned(r.dst) + 64),
        written_(size_t(dst_.size()), 0) {}

  bool run(const dnnl::engine& engine) {
    auto product = OnednnProduct::create(r_, engine);
    if (!product) return false;
    fill();
    multiply(*product, engine);
    int64_t matrices = 1;
    for (size_t d = 0; d + 2 < n_; ++d) matrices *= r_.dst.dims[d];
    for (int64_t matrix = 0; matrix < matrices; ++matrix) {
      Index at = first_of(matrix);
      mark_written(at);
      if (!is_right(at)) return false;
    }
    return gaps_are_untouched();
  }

 private:
  using Index = llvm::SmallVector<int64_t, 8>;
  static constexpr float untouched = -8192;  // no half rounds it

  void fill() {
    src_.fill(1, 4);
    weights_.fill(2, 4);
    for (int64_t k = 0; k < dst_.size(); ++k) dst_.set(k, untouched);
    for (const ProductRequest::Step& step : r_.steps) {
      added_.emplace_back(step.dtype, step.add ? elements_spanned(step.addend) : 0);
      added_.back().fill(uint32_t(3 + added_.size()), 99);
    }
  }
  void multiply(OnednnProduct& product, const dnnl::engine& engine) {
    llvm::SmallVector<const void*, 4> addends;
    for (Numbers& a : added_) addends.push_back(a.size() ? a.data() : nullptr);
    dnnl::stream stream(engine);
    std::vector<char> scratch(size_t(product.scratch_bytes()) + 64);
    void* aligned = scratch.data() + (64 - reinterpret_cast<uintptr_t>(scratch.data()) % 64);
    if (r_.pack) {
      dnnl::memory plain(onednn_layout(r_.weights, r_.dtype), engine, weights_.data());
      dnnl::memory packed(product.weights_layout(), engine);
      dnnl::reorder(plain, packed).execute(stream, plain, packed);
      stream.wait();
      product.run(stream, src_.data(), packed.get_data_handle(), dst_.data(), addends, aligned);
    } else {
      product.run(stream, src_.data(), weights_.data(), dst_.data(), addends, aligned);
    }
  }

  Index first_of(int64_t matrix) const {
    Index at(n_, 0);
    for (int64_t d = int64_t(n_) - 3; d >= 0; --d) {
      at[size_t(d)] = matrix % r_.dst.dims[size_t(d)];
      matrix /= r_.dst.dims[size_t(d)];
    }
    return at;
  }
  void mark_written(Index at) {
    for (int64_t row = 0; row < rows_; ++row)
      for (int64_t column = 0; column < columns_; ++column) {
        at[n_ - 2] = row, at[n_ - 1] = column;
        written_[size_t(offset_at(r_.dst, at))] = 1;
      }
  }
  static llvm::SmallVector<int64_t, 12> some(int64_t extent, llvm::ArrayRef<int64_t> wanted) {
    llvm::SmallVector<int64_t, 12> out;
    for (int64_t at : wanted)
      if (at >= 0 && at < extent && !llvm::is_contained(out, at)) out.push_back(at);
    return out;
  }
  // Every element of a few rows and columns: first and last ones, and about the edges of vectors.
  bool is_right(Index at) const {
    const auto some_columns = some(columns_, {0, 1, 7, 15, 16, 31, 47, 48, 63, 64, columns_ - 2, columns_ - 1});
    for (int64_t row : some(rows_, {0, 1, 5, 6, 15, rows_ - 2, rows_ - 1}))
      for (int64_t column : some_columns) {
        at[n_ - 2] = row, at[n_ - 1] = column;
        if (!is_right_element(at)) return false;
      }
    return true;
  }
  bool is_right_element(llvm::ArrayRef<int64_t> at) const {
    double expected = dot(at);
    double size = std::fabs(expected);
    for (size_t s = 0; s < r_.steps.size(); ++s) {
      const ProductRequest::Step& step = r_.steps[s];
      expected =
          step.add ? expected + double(added_[s].get(offset_at(step.addend, at))) : expected * double(step.factor);
      size = std::max(size, std::fabs(expected));
    }
    // A half result is rounded at the end; where the library adds to a rounded one, once a step.
    const double allowed =
        r_.result == DType::f32 ? 0 : size * double(1 + r_.steps.size()) / (r_.result == DType::bf16 ? 256 : 2048);
    return std::fabs(double(dst_.get(offset_at(r_.dst, at))) - expected) <= allowed;
  }
  double dot(llvm::ArrayRef<int64_t> at) const {
    Index in_row(at), in_column(at);
    in_row[n_ - 1] = 0, in_column[n_ - 2] = 0;
    const int64_t a = offset_at(r_.src, in_row), w = offset_at(r_.weights, in_column);
    const int64_t a_step = r_.src.dims[n_ - 1] != 1 ? r_.src.strides[n_ - 1] : 0;
    const int64_t w_step = r_.weights.dims[n_ - 2] != 1 ? r_.weights.strides[n_ - 2] : 0;
    double sum = 0;
    for (int64_t k = 0; k < terms_; ++k) sum += double(src_.get(a + k * a_step)) * double(weights_.get(w + k * w_step));
    return sum;
  }
  bool gaps_are_untouched() const {
    for (int64_t k = 0; k < dst_.size(); ++k)
      if (!written_[size_t(k)] && dst_.get(k) != untouched) return false;
    return true;
  }

  const ProductRequest& r_;
  const size_t n_;  // dims
  const int64_t rows_, columns_, terms_;
  Numbers src_, weights_, dst_;
  std::vector<Numbers> added_;  // one a step
  std::vector<char> written_;   // elements of dst_ that the result has
};

std::string describe(const MatrixLayout& layout) {
  std::string out = "[";
  for (size_t d = 0; d < layout.dims.size(); ++d) {
    out += (d ? "," : "") + std::to_string(layout.dims[d]);
    if (layout.dims[d] != 1) out += ":" + std::to_string(layout.strides[d]);
  }
  return out + "]";
}
std::string describe(const ProductRequest& r, llvm::StringRef implementation) {
  std::string out =
      (implementation + " " + to_string(r.dtype) + " " + describe(r.src) + " x " + (r.pack ? "packed " : "") +
       describe(r.weights) + " -> " + (r.result == r.dtype ? "" : to_string(r.result).str() + " ") + describe(r.dst))
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
  if (is_new) it->second = Trial(small).run(engine);
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
