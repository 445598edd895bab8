// Extents of tensors as expressions: polynomials with integer coefficients over named dims ("batch", "sequence") and a
// rank's extents, part(n, axes) and start(n, axes). Kept canonical and interned, so that equal dims are the same
// object.
//   768, batch, past + sequence, 64*part(12, tensor)
// A name may be any text. One that is not a word of letters, digits and _ . : - is written in quotes: 'batch size' + 1.
#pragma once
#include <concepts>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "frontend/ir/axis_use.h"
#include "frontend/ir/mesh.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/Hashing.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/Error.h"

namespace optp {

struct DimExpression;  // interned, never freed

class Dim {
 public:
  Dim() : Dim(0) {}
  template <std::integral Number>
  Dim(Number constant) : Dim(of_constant(int64_t(constant))) {}  // NOLINT: a number is a dim
  explicit Dim(const DimExpression* interned) : expression_(interned) {}
  // A named extent of at least `least`, which is 0 or 1: the length of a cache may be 0. Two of one name and different
  // bounds are different dims that are written alike.
  static Dim symbol(llvm::StringRef name, int64_t least = 1);
  // The extent, and the first index, of this rank's chunk of n elements split over mesh axes, one within the other.
  static Dim part(Dim n, llvm::ArrayRef<AxisUse> axes);
  static Dim start(Dim n, llvm::ArrayRef<AxisUse> axes);
  static Dim overflow();  // what arithmetic beyond int64 gives; infects what it touches, fails to evaluate

  std::optional<int64_t> constant() const;
  bool is(int64_t n) const { return constant() == n; }
  bool is_overflow() const;
  const std::string& text() const;
  const DimExpression& expression() const { return *expression_; }

  friend bool operator==(Dim a, Dim b) { return a.expression_ == b.expression_; }
  friend bool operator!=(Dim a, Dim b) { return a.expression_ != b.expression_; }
  friend Dim operator+(Dim a, Dim b);
  friend Dim operator-(Dim a, Dim b);
  friend Dim operator*(Dim a, Dim b);
  friend llvm::hash_code hash_value(Dim d) { return llvm::hash_value(d.expression_); }

 private:
  static Dim of_constant(int64_t constant);
  const DimExpression* expression_;
};
using Dims = llvm::SmallVector<Dim, 4>;

// a / b where b divides a as a polynomial.
std::optional<Dim> exact_div(Dim a, Dim b);
Dim floor_div(Dim a, Dim b);  // exact where it can be, else an opaque term
Dim modulo(Dim a, Dim b);
Dim minimum(Dim a, Dim b);
Dim maximum(Dim a, Dim b);
Dim product(llvm::ArrayRef<Dim> dims);

std::optional<int64_t> lower_bound(Dim d);
bool proved_less_equal(Dim a, Dim b);
bool proved_less(Dim a, Dim b);
bool known_less_equal(Dim a, Dim b);  // proved, or assumed (AssumedOrders)

llvm::SmallVector<std::string, 4> symbols_of(Dim d);  // their names
llvm::SmallVector<Dim, 4> named_dims_of(Dim d);       // the same as dims
std::optional<llvm::StringRef> name_of(Dim d);        // of a dim that is a symbol and nothing else
// A dim taken apart: the sum of coefficient · factors; a factor is a name, a call of two arguments or a rank's extent.
struct DimProduct {
  int64_t coefficient;
  llvm::SmallVector<Dim, 2> factors;
};
llvm::SmallVector<DimProduct, 4> products_of(Dim d);
struct DimCall {
  bool is_minimum;  // else a floor division
  Dim a, b;
};
std::optional<DimCall> call_of(Dim factor);
// Replaces leaves: `leaf` gets a symbol's name and may give a dim for it.
Dim substitute(Dim d, llvm::function_ref<std::optional<Dim>(llvm::StringRef)> leaf);
// Replaces part and start by this rank's numbers (or by terms of floor division where n is symbolic).
Dim bind_rank(Dim d, const Mesh& mesh, int64_t rank);
bool has_rank_terms(Dim d);

using DimValues = std::map<std::string, int64_t, std::less<>>;
llvm::Expected<int64_t> evaluate(Dim d, const DimValues& values);  // an unbound dim is an error that names it

// Which names of a file or graph may be 0; all others are at least 1.
struct DimBounds {
  llvm::StringSet<> may_be_zero;
  Dim symbol(llvm::StringRef name) const { return Dim::symbol(name, may_be_zero.contains(name) ? 0 : 1); }
};
llvm::Expected<Dim> parse_dim(llvm::StringRef text, const DimBounds& bounds = {});
std::string to_string(llvm::ArrayRef<Dim> dims);  // "[batch, sequence, 768]"

// While it lives, minimum() and known_less_equal() in this thread take each first dim to be at most its second: what a
// model's guards demand.
class AssumedOrders {
 public:
  explicit AssumedOrders(llvm::ArrayRef<std::pair<Dim, Dim>> orders);
  ~AssumedOrders();
  AssumedOrders(const AssumedOrders&) = delete;
  AssumedOrders& operator=(const AssumedOrders&) = delete;

 private:
  llvm::ArrayRef<std::pair<Dim, Dim>> before_;
};

}  // namespace optp
template <>
struct llvm::DenseMapInfo<optp::Dim> {
  static optp::Dim getEmptyKey() { return optp::Dim(DenseMapInfo<const optp::DimExpression*>::getEmptyKey()); }
  static optp::Dim getTombstoneKey() { return optp::Dim(DenseMapInfo<const optp::DimExpression*>::getTombstoneKey()); }
  static unsigned getHashValue(optp::Dim d) { return unsigned(hash_value(d)); }
  static bool isEqual(optp::Dim a, optp::Dim b) { return a == b; }
};
