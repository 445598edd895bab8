// Index arithmetic of kernels: dims that several tensors step through alike become one.
#pragma once
#include <cstring>

#include "frontend/ir/dtype.h"
#include "frontend/ir/strides.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/SmallVector.h"
#include "runtime/parallel.h"

namespace optp::kernels {

using Ints = Extents;

// Loops over the same extents, a stride a tensor.
struct Loops {
  Ints dims;
  llvm::SmallVector<Ints, 4> strides;  // [tensor][dim]

  // Drops dims of extent 1 and joins neighbours that all tensors step through as one.
  void collapse() {
    Ints out_dims;
    llvm::SmallVector<Ints, 4> out(strides.size());
    for (size_t d = 0; d < dims.size(); ++d) {
      if (dims[d] == 1) continue;
      bool join = !out_dims.empty();
      for (size_t t = 0; t < strides.size() && join; ++t) join = out[t].back() == strides[t][d] * dims[d];
      if (join)
        out_dims.back() *= dims[d];
      else
        out_dims.push_back(dims[d]);
      for (size_t t = 0; t < strides.size(); ++t) {
        if (join)
          out[t].back() = strides[t][d];
        else
          out[t].push_back(strides[t][d]);
      }
    }
    dims = std::move(out_dims);
    strides = std::move(out);
  }
  // Calls row(offsets) for each index of all dims but the last, of rows [begin, end).
  template <class Row>
  void rows(int64_t begin, int64_t end, const Row& row) const {
    const size_t outer = dims.empty() ? 0 : dims.size() - 1;
    Ints index(outer, 0), at(strides.size(), 0);
    int64_t rest = begin;
    for (size_t d = outer; d-- > 0;) {
      index[d] = rest % dims[d];
      rest /= dims[d];
      for (size_t t = 0; t < strides.size(); ++t) at[t] += index[d] * strides[t][d];
    }
    for (int64_t r = begin; r < end; ++r) {
      row(llvm::ArrayRef<int64_t>(at));
      for (size_t d = outer; d-- > 0;) {
        for (size_t t = 0; t < strides.size(); ++t) at[t] += strides[t][d];
        if (++index[d] < dims[d]) break;
        for (size_t t = 0; t < strides.size(); ++t) at[t] -= strides[t][d] * dims[d];
        index[d] = 0;
      }
    }
  }
  int64_t row_count() const {
    int64_t n = 1;
    for (size_t d = 0; d + 1 < dims.size(); ++d) n *= dims[d];
    for (int64_t d : dims)
      if (d == 0) return 0;
    return n;
  }
  int64_t row_length() const { return dims.empty() ? 1 : dims.back(); }
  int64_t row_stride(size_t tensor) const { return dims.empty() ? 1 : strides[tensor].back(); }
};

// Copies elements between two layouts of the same dims. Tensor 0 is written.
struct StridedCopy {
  Loops loops;
  int64_t element = 4;

  StridedCopy() = default;
  StridedCopy(llvm::ArrayRef<int64_t> dims, llvm::ArrayRef<int64_t> to, llvm::ArrayRef<int64_t> from,
              int64_t element_bytes)
      : element(element_bytes) {
    loops.dims.assign(dims.begin(), dims.end());
    loops.strides.emplace_back(to.begin(), to.end());
    loops.strides.emplace_back(from.begin(), from.end());
    loops.collapse();
  }
  void operator()(void* to, const void* from, int threads) const {
    switch (element) {
      case 1:
        return copy(static_cast<uint8_t*>(to), static_cast<const uint8_t*>(from), threads);
      case 2:
        return copy(static_cast<uint16_t*>(to), static_cast<const uint16_t*>(from), threads);
      case 4:
        return copy(static_cast<uint32_t*>(to), static_cast<const uint32_t*>(from), threads);
      default:
        return copy(static_cast<uint64_t*>(to), static_cast<const uint64_t*>(from), threads);
    }
  }

 private:
  template <class T>
  void copy(T* to, const T* from, int threads) const {
    const int64_t rows = loops.row_count(), n = loops.row_length(), st = loops.row_stride(0), sf = loops.row_stride(1);
    if (rows == 1 && st == 1 && sf == 1)
      return parallel_for(threads, n, 1 << 15,
                          [&](int64_t b, int64_t e) { std::memcpy(to + b, from + b, size_t(e - b) * sizeof(T)); });
    parallel_for(threads, rows, std::max<int64_t>(1, (1 << 14) / n), [&](int64_t b, int64_t e) {
      loops.rows(b, e, [&](llvm::ArrayRef<int64_t> at) {
        T* t = to + at[0];
        const T* f = from + at[1];
        if (st == 1 && sf == 1)
          std::memcpy(t, f, size_t(n) * sizeof(T));
        else if (st == 1 && sf == 0)
          std::fill(t, t + n, *f);
        else
          for (int64_t k = 0; k < n; ++k) t[k * st] = f[k * sf];
      });
    });
  }
};

}  // namespace optp::kernels
