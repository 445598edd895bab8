#include "runtime/comm/reduce.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <type_traits>

#include "frontend/ir/half.h"

namespace optp {
namespace {

// How a dtype is stored and what it is summed in. Branch-free, so that the loops vectorise.
template <class T>
struct Plain {
  using Stored = T;
  using Sum = T;
  static Sum load(Stored value) { return value; }
  static Stored store(Sum value) { return value; }
};
template <class Format>
struct Half {
  using Stored = uint16_t;
  using Sum = float;
  static Sum load(Stored bits) { return Format::load(bits); }
  static Stored store(Sum value) { return Format::store(value); }
};

struct Add {
  template <class T>
  static T combine(T a, T b) {
    if constexpr (std::is_integral_v<T>) {
      using U = std::make_unsigned_t<T>;
      return T(U(a) + U(b));
    } else {
      return a + b;
    }
  }
};
// a != a: a NaN stays; a NaN in b is chosen because it compares false.
struct Max {
  template <class T>
  static T combine(T a, T b) {
    return (a > b) | (a != a) ? a : b;
  }
};
struct Min {
  template <class T>
  static T combine(T a, T b) {
    return (a < b) | (a != a) ? a : b;
  }
};

constexpr int64_t block_bytes = 8192;  // the sums of a block and one contribution stay in the first-level cache

template <class Format, class Op>
void combine_first(typename Format::Sum* __restrict sum, const typename Format::Stored* a,
                   const typename Format::Stored* b, int64_t n) {
  for (int64_t i = 0; i < n; ++i) sum[i] = Op::combine(Format::load(a[i]), Format::load(b[i]));
}
template <class Format, class Op>
void combine_next(typename Format::Sum* __restrict sum, const typename Format::Stored* __restrict next, int64_t n) {
  for (int64_t i = 0; i < n; ++i) sum[i] = Op::combine(sum[i], Format::load(next[i]));
}

template <class Format, class Op>
void reduce_rows(llvm::ArrayRef<const void*> in, llvm::ArrayRef<void*> out, Rows rows) {
  using Stored = typename Format::Stored;
  using Sum = typename Format::Sum;
  constexpr int64_t block = block_bytes / int64_t(sizeof(Sum));
  alignas(64) Sum sum[block];
  for (int64_t row = 0; row < rows.rows; ++row)
    for (int64_t start = 0; start < rows.elements; start += block) {
      const int64_t n = std::min(block, rows.elements - start);
      const int64_t from = row * rows.in_stride + start, to = row * rows.out_stride + start;
      auto contribution = [&](size_t member) { return static_cast<const Stored*>(in[member]) + from; };
      combine_first<Format, Op>(sum, contribution(0), contribution(1), n);
      for (size_t member = 2; member < in.size(); ++member) combine_next<Format, Op>(sum, contribution(member), n);
      if constexpr (!std::is_same_v<Stored, Sum>) {
        alignas(64) Stored rounded[block];
        for (int64_t i = 0; i < n; ++i) rounded[i] = Format::store(sum[i]);
        for (void* target : out) std::memcpy(static_cast<Stored*>(target) + to, rounded, n * sizeof(Stored));
      } else {
        for (void* target : out) std::memcpy(static_cast<Stored*>(target) + to, sum, n * sizeof(Stored));
      }
    }
}

void copy_one(DType dtype, const void* in, llvm::ArrayRef<void*> out, Rows rows) {
  const int64_t bytes = size_bytes(dtype);
  for (void* target : out)
    for (int64_t row = 0; row < rows.rows; ++row)
      std::memmove(static_cast<char*>(target) + row * rows.out_stride * bytes,
                   static_cast<const char*>(in) + row * rows.in_stride * bytes, rows.elements * bytes);
}

template <class Format>
void reduce_as(Reduce reduce, llvm::ArrayRef<const void*> in, llvm::ArrayRef<void*> out, Rows rows) {
  switch (reduce) {
    case Reduce::none:
    case Reduce::sum:
      return reduce_rows<Format, Add>(in, out, rows);
    case Reduce::max:
      return reduce_rows<Format, Max>(in, out, rows);
    case Reduce::min:
      return reduce_rows<Format, Min>(in, out, rows);
  }
}

}  // namespace

bool can_reduce(DType dtype) { return is_float(dtype) || dtype == DType::i32 || dtype == DType::i64; }

void reduce(DType dtype, Reduce reduce, llvm::ArrayRef<const void*> in, llvm::ArrayRef<void*> out, Rows rows) {
  if (rows.rows == 0 || rows.elements == 0) return;  // buffers may be null
  if (in.size() == 1) return copy_one(dtype, in[0], out, rows);
  switch (dtype) {
    case DType::f32:
      return reduce_as<Plain<float>>(reduce, in, out, rows);
    case DType::f64:
      return reduce_as<Plain<double>>(reduce, in, out, rows);
    case DType::f16:
      return reduce_as<Half<F16>>(reduce, in, out, rows);
    case DType::bf16:
      return reduce_as<Half<Bf16>>(reduce, in, out, rows);
    case DType::i32:
      return reduce_as<Plain<int32_t>>(reduce, in, out, rows);
    case DType::i64:
      return reduce_as<Plain<int64_t>>(reduce, in, out, rows);
    default:
      assert(false && "check() lets only dtypes through that can_reduce() knows");
  }
}

}  // namespace optp
