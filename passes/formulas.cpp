#include "passes/formulas.h"

#include <cmath>
#include <cstring>

#include "passes/weights.h"

namespace optp {
namespace {
// One element at a time: a table may have a billion, and most are told from a formula by their first line.
double element(const Tensor& t, int64_t at) {
  const char* bytes = t.bytes.data() + at * size_bytes(t.dtype);
  switch (t.dtype) {
    case DType::f32: {
      float x;
      std::memcpy(&x, bytes, sizeof x);
      return double(x);
    }
    case DType::f64: {
      double x;
      std::memcpy(&x, bytes, sizeof x);
      return x;
    }
    case DType::f16:
    case DType::bf16: {
      uint16_t x;
      std::memcpy(&x, bytes, sizeof x);
      return double(t.dtype == DType::f16 ? f16_to_f32(x) : bf16_to_f32(x));
    }
    default:
      return 0;
  }
}
// A table's argument p·w is rounded to the table's precision, so its sine is off by up to p·ε; the recurrence has four
// such terms. What is learned is off by about its own size.
double tolerance(DType dtype, int64_t length) {
  return (dtype == DType::bf16 ? 3e-2 : dtype == DType::f16 ? 5e-3 : 1e-3) + double(length) * 1e-6;
}

// A line that hardly varies, as a norm's scales near 1, obeys without being any evidence.
enum class Obeys { no, flat, yes };
Obeys line_obeys(const Tensor& t, int64_t start, int64_t stride, int64_t length, llvm::ArrayRef<bool> zero_row,
                 double tolerance) {
  double xs = 0, xx = 0, most = 0, least = INFINITY, largest = -INFINITY;
  auto triples = [&](auto&& visit) {
    for (int64_t p = 1; p + 1 < length; ++p)
      if (!zero_row[size_t(p - 1)] && !zero_row[size_t(p)] && !zero_row[size_t(p + 1)])
        visit(element(t, start + (p - 1) * stride), element(t, start + p * stride),
              element(t, start + (p + 1) * stride));
  };
  triples([&](double before, double x, double after) {
    xs += x * (before + after), xx += x * x;
    most = std::max({most, std::abs(before), std::abs(x), std::abs(after)});
    least = std::min({least, before, x, after}), largest = std::max({largest, before, x, after});
  });
  if (!std::isfinite(most)) return Obeys::no;
  const double k = xx > 0 ? xs / xx : 0;
  double off = 0;
  triples([&](double before, double x, double after) {
    off = std::max(off, std::abs(before + after - k * x) / std::max(1.0, std::abs(k)));
  });
  if (!(off <= tolerance * most)) return Obeys::no;
  const double varies = largest - least;
  return varies > 0.05 * most && off <= tolerance * varies ? Obeys::yes : Obeys::flat;
}
}  // namespace

bool follows_recurrence(const Tensor& t) {
  constexpr int64_t least = 4;  // three rows are one equation for one unknown
  if (t.is_missing() || !is_float(t.dtype) || t.elements() < least || is_constant_valued(t)) return false;
  int64_t inner = t.elements();
  for (int64_t length : t.dims) {
    inner /= length;
    if (length < least) continue;
    const int64_t outer = t.elements() / length / inner;
    auto line = [&](int64_t k) { return k / inner * inner * length + k % inner; };
    // Few equations could hold by chance, were they not to hold exactly.
    const double allowed = outer * inner * (length - 3) < 8 && !is_half(t.dtype) ? 1e-5 : tolerance(t.dtype, length);
    auto all = [&](llvm::ArrayRef<bool> zero_row, int64_t lines) {
      bool any = false;
      for (int64_t k = 0; k < lines; ++k) {
        const Obeys obeys = line_obeys(t, line(k), inner, length, zero_row, allowed);
        if (obeys == Obeys::no) return false;
        any |= obeys == Obeys::yes;
      }
      return any;
    };
    llvm::SmallVector<bool, 0> zero_row(size_t(length), false);
    int64_t left = length;
    for (int64_t p = 0; p < length; ++p) {
      bool zero = true;
      for (int64_t k = 0; zero && k < outer * inner; ++k) zero = element(t, line(k) + p * inner) == 0;
      // A progression may begin with 0: among lines of one number a zero is no padding.
      zero_row[size_t(p)] = zero && outer * inner > 1;
      left -= zero_row[size_t(p)];
    }
    if (left >= least && all(zero_row, outer * inner)) return true;
  }
  return false;
}

bool is_mask(const Tensor& t) {
  if (t.is_missing() || !is_float(t.dtype) || t.elements() < 2 || is_constant_valued(t)) return false;
  constexpr double forbids = -1e4;
  bool bias = true, ones = t.dims.size() >= 2;
  for (int64_t k = 0; (bias || ones) && k < t.elements(); ++k) {
    const double x = element(t, k);
    bias &= x == 0 || x <= forbids;
    ones &= x == 0 || x == 1;
  }
  if (bias || !ones) return bias;
  // Of ones and zeros by j - i alone: an identity's rows are a band, too, but that is a weight as it is often begun
  // with.
  const int64_t rows = t.dims[t.dims.size() - 2], columns = t.dims.back();
  int64_t set = 0;
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j) {
      const double x = element(t, i * columns + j);
      if (i > 0 && j > 0 && x != element(t, (i - 1) * columns + j - 1)) return false;
      set += x == 1;
    }
  return set > std::max(rows, columns);
}

bool is_configured_number(const Tensor& t) {
  if (t.is_missing() || t.elements() != 1) return false;
  const double x = std::abs(element(t, 0));
  if (!std::isfinite(x) || x >= 1e4 || (x > 0 && x <= 1e-4)) return true;  // bounds and epsilons
  if (x == 0 || x == 1) return false;                                      // as learned numbers begin
  const double large = x > 1 ? x : 1 / x, square = large * large, precision = is_half(t.dtype) ? 4e-3 : 1e-6;
  if (std::abs(large - std::round(large)) == 0)
    return x > 1 || (large >= 4 && std::exp2(std::round(std::log2(large))) == large);
  // 1/0.1² is 100, but who writes 0.1 means it.
  const bool decimal = std::abs(x * 1000 - std::round(x * 1000)) < 1e-3;
  return !decimal && square >= 2 && std::abs(square - std::round(square)) <= precision * square;
}
}  // namespace optp
