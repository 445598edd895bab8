#include "frontend/ir/dim.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <numeric>
#include <set>
#include <unordered_map>

#include "frontend/ir/diagnostic.h"
#include "frontend/ir/dim_expression.h"
#include "frontend/ir/dim_text.h"
#include "llvm/ADT/StringExtras.h"

namespace optp {
namespace {
// A symbol that may be 0 is another than one of the same name that may not: they are written alike, and come from
// different graphs. Keys tell them apart, so what is interned never changes and graphs don't see each other.
constexpr char may_be_zero = '\x01';
template <typename T>
const std::string& key_of(const T& interned) {
  return interned.key.empty() ? interned.text : interned.key;
}

struct Tables {
  std::recursive_mutex mutex;
  std::unordered_map<std::string, std::unique_ptr<DimAtom>> atoms;
  std::unordered_map<std::string, std::unique_ptr<DimExpression>> expressions;
};
Tables& tables() {
  static Tables* t = new Tables;  // never destroyed: dims live in static objects too
  return *t;
}

using Terms = llvm::SmallVector<DimTerm, 1>;

// Higher degree first; of the same degree the one with more of the alphabetically first atom.
bool before(const DimTerm& x, const DimTerm& y) {
  if (x.atoms.size() != y.atoms.size()) return x.atoms.size() > y.atoms.size();
  for (size_t i = 0; i < x.atoms.size(); ++i)
    if (x.atoms[i] != y.atoms[i]) return key_of(*x.atoms[i]) < key_of(*y.atoms[i]);
  return false;
}
bool same_atoms(const DimTerm& x, const DimTerm& y) { return x.atoms == y.atoms; }

std::string print(const Terms& terms, bool keys = false) {
  if (terms.empty()) return "0";
  std::string out;
  for (const DimTerm& t : terms) {
    // As unsigned, so that the lowest coefficient has a magnitude too.
    const uint64_t c = t.coefficient < 0 ? -uint64_t(t.coefficient) : uint64_t(t.coefficient);
    if (!out.empty())
      out += t.coefficient < 0 ? " - " : " + ";
    else if (t.coefficient < 0)
      out += "-";
    if (c != 1 || t.atoms.empty()) out += std::to_string(c);
    for (size_t i = 0; i < t.atoms.size(); ++i) {
      if (i > 0 || c != 1) out += "*";
      out += keys ? key_of(*t.atoms[i]) : t.atoms[i]->text;
    }
  }
  return out;
}

const DimExpression* intern(Terms terms) {
  std::string text = print(terms), key;
  const auto is_marked = [](const DimAtom* a) { return !a->key.empty(); };
  if (llvm::any_of(terms, [&](const DimTerm& t) { return llvm::any_of(t.atoms, is_marked); }))
    key = print(terms, /*keys=*/true);
  Tables& t = tables();
  std::lock_guard lock(t.mutex);
  auto& slot = t.expressions[key.empty() ? text : key];
  if (!slot) {
    slot = std::make_unique<DimExpression>();
    slot->terms = std::move(terms);
    slot->text = std::move(text);
    slot->key = std::move(key);
  }
  return slot.get();
}

// Sorts, merges and drops zeros; nullopt on overflow.
std::optional<Terms> normal(Terms terms) {
  llvm::stable_sort(terms, before);
  Terms out;
  for (DimTerm& t : terms) {
    if (!out.empty() && same_atoms(out.back(), t)) {
      if (__builtin_add_overflow(out.back().coefficient, t.coefficient, &out.back().coefficient)) return std::nullopt;
      if (out.back().coefficient == 0) out.pop_back();
    } else if (t.coefficient != 0) {
      out.push_back(std::move(t));
    }
  }
  return out;
}
Dim make(Terms terms) {
  auto n = normal(std::move(terms));
  return n ? Dim(intern(std::move(*n))) : Dim::overflow();
}

// `write`: the atom's text, from how its dims are written.
const DimAtom* atom(Leaf kind, llvm::function_ref<std::string(llvm::function_ref<std::string(Dim)>)> write, Dim a,
                    Dim b, llvm::ArrayRef<AxisUse> axes = {}) {
  std::string text = write([](Dim d) { return d.text(); });
  std::string key = write([](Dim d) { return key_of(d.expression()); });
  Tables& t = tables();
  std::lock_guard lock(t.mutex);
  auto& slot = t.atoms[key];
  if (!slot) {
    slot = std::make_unique<DimAtom>();
    slot->kind = kind;
    if (key != text) slot->key = std::move(key);
    slot->text = std::move(text);
    slot->a = a;
    slot->b = b;
    slot->axes.assign(axes.begin(), axes.end());
    if (kind == Leaf::minimum)
      slot->lower_bound = std::min(lower_bound(a).value_or(INT64_MIN / 4), lower_bound(b).value_or(INT64_MIN / 4));
    if (kind == Leaf::floor_div) {
      const auto n = lower_bound(a), k = lower_bound(b);  // a divisor that is 0 has no result
      const bool is_positive = n && *n >= 0 && k && *k >= 0;
      slot->lower_bound = !is_positive ? INT64_MIN / 4 : b.constant() ? *n / *b.constant() : 0;
    }
  }
  return slot.get();
}
const DimAtom* symbol_atom(llvm::StringRef name, int64_t least) {
  std::string text = spelled(name), key = least == 0 ? text + may_be_zero : text;
  Tables& t = tables();
  std::lock_guard lock(t.mutex);
  auto& slot = t.atoms[key];
  if (!slot) {
    slot = std::make_unique<DimAtom>();
    slot->kind = Leaf::symbol;
    if (key != text) slot->key = std::move(key);
    slot->text = std::move(text);
    slot->name = name.str();
    slot->lower_bound = least;
  }
  return slot.get();
}

Dim chunk_term(bool size, Dim n, llvm::ArrayRef<AxisUse> axes) {
  const auto write = [&](llvm::function_ref<std::string(Dim)> written) {
    return (size ? "part(" : "start(") + written(n) + ", " + joined(axes, ", ") + ")";
  };
  return of(atom(size ? Leaf::part : Leaf::start, write, n, 0, axes));
}

}  // namespace

Dim of(const DimAtom* a) { return make({{1, {a}}}); }

// Small numbers are most of all dims: they are looked up without the table of texts.
Dim Dim::of_constant(int64_t constant) {
  constexpr int64_t most = 4096;
  static std::array<std::atomic<const DimExpression*>, most + 1> small{};
  const bool is_small = constant >= 0 && constant <= most;
  if (is_small)
    if (const DimExpression* known = small[size_t(constant)].load(std::memory_order_acquire)) return Dim(known);
  Terms terms;
  if (constant != 0) terms.push_back({constant, {}});
  const DimExpression* made = intern(std::move(terms));
  if (is_small) small[size_t(constant)].store(made, std::memory_order_release);
  return Dim(made);
}
Dim Dim::symbol(llvm::StringRef name, int64_t least) { return of(symbol_atom(name, least)); }
Dim Dim::part(Dim n, llvm::ArrayRef<AxisUse> axes) { return axes.empty() ? n : chunk_term(/*size=*/true, n, axes); }
Dim Dim::start(Dim n, llvm::ArrayRef<AxisUse> axes) {
  return axes.empty() ? Dim(0) : chunk_term(/*size=*/false, n, axes);
}
Dim Dim::overflow() {
  static const DimExpression* e = [] {
    auto* x = new DimExpression;
    x->text = "overflow";
    x->overflow = true;
    return x;
  }();
  return Dim(e);
}
bool Dim::is_overflow() const { return expression_->overflow; }
const std::string& Dim::text() const { return expression_->text; }
std::optional<int64_t> Dim::constant() const {
  const auto& terms = expression_->terms;
  if (expression_->overflow) return std::nullopt;
  if (terms.empty()) return 0;
  if (terms.size() == 1 && terms[0].atoms.empty()) return terms[0].coefficient;
  return std::nullopt;
}

Dim operator+(Dim a, Dim b) {
  if (a.is_overflow() || b.is_overflow()) return Dim::overflow();
  const auto x = a.constant(), y = b.constant();
  if (x == 0) return b;
  if (y == 0) return a;
  if (int64_t sum; x && y) return __builtin_add_overflow(*x, *y, &sum) ? Dim::overflow() : Dim(sum);
  Terms terms = a.expression().terms;
  terms.append(b.expression().terms.begin(), b.expression().terms.end());
  return make(std::move(terms));
}
Dim operator*(Dim a, Dim b) {
  if (a.is_overflow() || b.is_overflow()) return Dim::overflow();
  const auto m = a.constant(), n = b.constant();
  if (m == 1) return b;
  if (n == 1) return a;
  if (int64_t product; m && n) return __builtin_mul_overflow(*m, *n, &product) ? Dim::overflow() : Dim(product);
  Terms terms;
  for (const DimTerm& x : a.expression().terms)
    for (const DimTerm& y : b.expression().terms) {
      DimTerm t{0, x.atoms};
      if (__builtin_mul_overflow(x.coefficient, y.coefficient, &t.coefficient)) return Dim::overflow();
      t.atoms.append(y.atoms.begin(), y.atoms.end());
      llvm::sort(t.atoms, [](const DimAtom* p, const DimAtom* q) { return key_of(*p) < key_of(*q); });
      if (t.atoms.size() > 16 || terms.size() > 256) return Dim::overflow();  // no real shape comes near
      terms.push_back(std::move(t));
    }
  return make(std::move(terms));
}
Dim operator-(Dim a, Dim b) { return a + Dim(-1) * b; }

std::optional<Dim> exact_div(Dim a, Dim b) {
  if (a.is_overflow() || b.is_overflow() || b.is(0)) return std::nullopt;
  const DimTerm& lead = b.expression().terms.front();
  Dim quotient = 0, rest = a;
  for (int step = 0; !rest.is(0); ++step) {
    if (step > 64 || rest.is_overflow()) return std::nullopt;
    const DimTerm& top = rest.expression().terms.front();
    if (lead.coefficient == 0 || (lead.coefficient == -1 && top.coefficient == INT64_MIN) ||
        top.coefficient % lead.coefficient != 0)
      return std::nullopt;
    DimTerm q{top.coefficient / lead.coefficient, top.atoms};
    for (const DimAtom* x : lead.atoms) {
      auto* it = llvm::find(q.atoms, x);
      if (it == q.atoms.end()) return std::nullopt;
      q.atoms.erase(it);
    }
    Dim term = make({q});
    quotient = quotient + term;
    rest = rest - term * b;
  }
  return quotient;
}
namespace {
// Chains of windows are one: what the divisor divides comes out of the floor, and a floor of a floor is one.
//   floor(floor(n, 3) - 2, 2) + 1 = floor(n, 6)
std::optional<Dim> simplified_floor(Dim a, int64_t b) {
  Dim whole = 0, rest = 0;
  for (const DimTerm& t : a.expression().terms) {
    if (t.coefficient % b == 0)
      whole = whole + make({{t.coefficient / b, t.atoms}});
    else
      rest = rest + make({t});
  }
  if (!whole.is(0)) return whole + floor_div(rest, b);
  const DimAtom* inner = nullptr;
  int64_t constant = 0;
  for (const DimTerm& t : rest.expression().terms) {
    if (t.atoms.empty())
      constant = t.coefficient;
    else if (!inner && t.coefficient == 1 && t.atoms.size() == 1 && t.atoms[0]->kind == Leaf::floor_div)
      inner = t.atoms[0];
    else
      return std::nullopt;
  }
  const auto divisor = inner ? inner->b.constant() : std::nullopt;
  if (!divisor || *divisor <= 0) return std::nullopt;
  const Dim number = inner->a + Dim(constant) * inner->b, both = Dim(*divisor) * Dim(b);
  if (number.is_overflow() || both.is_overflow()) return std::nullopt;
  return floor_div(number, both);
}
}  // namespace
Dim floor_div(Dim a, Dim b) {
  if (a.is_overflow() || b.is_overflow() || b.is(0)) return Dim::overflow();
  if (auto q = exact_div(a, b)) return *q;
  if (a.constant() && b.constant()) {
    const int64_t x = *a.constant(), y = *b.constant();
    if (y == -1) return Dim(-1) * a;  // the lowest number has no negative: an overflow, not a trap
    const int64_t q = x / y;
    return Dim(q - ((x % y != 0 && (x < 0) != (y < 0)) ? 1 : 0));
  }
  if (b.constant().value_or(0) < 0) return floor_div(Dim(-1) * a, Dim(-1) * b);
  if (b.constant()) {
    if (auto simpler = simplified_floor(a, *b.constant())) return *simpler;
  }
  const auto write = [&](auto written) { return "floor(" + written(a) + ", " + written(b) + ")"; };
  return of(atom(Leaf::floor_div, write, a, b));
}
Dim modulo(Dim a, Dim b) { return a - b * floor_div(a, b); }
thread_local llvm::ArrayRef<std::pair<Dim, Dim>> assumed_orders;
bool known_less_equal(Dim a, Dim b) {
  return proved_less_equal(a, b) ||
         llvm::any_of(assumed_orders, [&](const auto& order) { return order.second - order.first == b - a; });
}
Dim minimum(Dim a, Dim b) {
  if (a.is_overflow() || b.is_overflow()) return Dim::overflow();
  if (known_less_equal(a, b)) return a;
  if (known_less_equal(b, a)) return b;
  if (b.text() < a.text()) std::swap(a, b);
  const auto write = [&](auto written) { return "min(" + written(a) + ", " + written(b) + ")"; };
  return of(atom(Leaf::minimum, write, a, b));
}
Dim maximum(Dim a, Dim b) { return Dim(-1) * minimum(Dim(-1) * a, Dim(-1) * b); }
Dim product(llvm::ArrayRef<Dim> dims) {
  Dim p = 1;
  for (Dim d : dims) p = p * d;
  return p;
}

std::optional<int64_t> lower_bound(Dim d) {
  if (d.is_overflow()) return std::nullopt;
  // With each atom written as its bound + t, t ≥ 0: if no t has a negative coefficient the constant is the bound.
  Dim shifted = rebuild(d, [](const DimAtom& a) { return Dim(a.lower_bound) + Dim::symbol("t:" + key_of(a)); });
  if (shifted.is_overflow()) return std::nullopt;
  int64_t bound = 0;
  for (const DimTerm& t : shifted.expression().terms) {
    if (t.atoms.empty())
      bound = t.coefficient;
    else if (t.coefficient < 0)
      return std::nullopt;
  }
  return bound;
}
namespace {
// A floor is its quotient or less than one below it: scale · d is at least what this is, without floors by numbers, and
// d, a whole number, is not negative where that is above -scale. So chunks of a dim have no negative extents:
//   d = floor(2*n, 3) - floor(n, 3)   3 · d ≥ (2*n - 2) - n = n - 2 > -3
struct WithoutFloors {
  Dim least = 0;
  int64_t scale = 1;
};
bool is_floor_by_number(const DimAtom* a) { return a->kind == Leaf::floor_div && a->b.constant().value_or(0) > 0; }
std::optional<WithoutFloors> without_floors(Dim d) {
  constexpr int64_t most = 1 << 20;
  WithoutFloors out;
  for (const DimTerm& t : d.expression().terms)
    for (const DimAtom* a : t.atoms)
      if (is_floor_by_number(a)) {
        out.scale = std::lcm(out.scale, std::min(most + 1, *a->b.constant()));
        if (out.scale > most) return std::nullopt;
      } else if (a->lower_bound < 0) {
        return std::nullopt;
      }
  if (out.scale == 1) return std::nullopt;
  for (const DimTerm& t : d.expression().terms) {
    const DimAtom* const* floor = llvm::find_if(t.atoms, is_floor_by_number);
    if (floor == t.atoms.end()) {
      out.least = out.least + Dim(out.scale) * make({t});
      continue;
    }
    DimTerm rest = t;
    rest.atoms.erase(rest.atoms.begin() + (floor - t.atoms.begin()));
    if (llvm::any_of(rest.atoms, is_floor_by_number)) return std::nullopt;
    const int64_t divisor = *(*floor)->b.constant();
    const Dim quotient = t.coefficient > 0 ? (*floor)->a - Dim(divisor - 1) : (*floor)->a;
    out.least = out.least + Dim(out.scale / divisor) * make({rest}) * quotient;
  }
  return out;
}
}  // namespace
bool proved_less_equal(Dim a, Dim b) {
  if (a.constant() && b.constant()) return *a.constant() <= *b.constant();
  if (a.is_overflow() || b.is_overflow()) return false;
  const auto least = lower_bound(b - a);
  if (least && *least >= 0) return true;
  const auto relaxed = without_floors(b - a);
  if (!relaxed) return false;
  const auto scaled = lower_bound(relaxed->least);
  return scaled && *scaled > -relaxed->scale;
}
bool proved_less(Dim a, Dim b) { return proved_less_equal(a + 1, b); }

std::string to_string(llvm::ArrayRef<Dim> dims) {
  std::string out = "[";
  for (size_t i = 0; i < dims.size(); ++i) out += (i ? ", " : "") + dims[i].text();
  return out + "]";
}

AssumedOrders::AssumedOrders(llvm::ArrayRef<std::pair<Dim, Dim>> orders) : before_(assumed_orders) {
  assumed_orders = orders;
}
AssumedOrders::~AssumedOrders() { assumed_orders = before_; }
}  // namespace optp
