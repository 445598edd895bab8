// What a dim says of itself, and what becomes of it where names, ranks or numbers are put in.
#include <functional>

#include "frontend/ir/diagnostic.h"
#include "frontend/ir/dim_expression.h"
#include "llvm/ADT/STLExtras.h"

namespace optp {
Dim rebuild(Dim d, llvm::function_ref<Dim(const DimAtom&)> replace) {
  if (d.is_overflow()) return d;
  Dim sum = 0;
  for (const DimTerm& t : d.expression().terms) {
    Dim term = t.coefficient;
    for (const DimAtom* a : t.atoms) term = term * replace(*a);
    sum = sum + term;
  }
  return sum;
}

llvm::SmallVector<std::string, 4> symbols_of(Dim d) {
  llvm::SmallVector<std::string, 4> out;
  for (Dim symbol : named_dims_of(d)) out.push_back(name_of(symbol)->str());
  return out;
}
std::optional<llvm::StringRef> name_of(Dim d) {
  const auto& terms = d.expression().terms;
  if (terms.size() != 1 || terms[0].coefficient != 1 || terms[0].atoms.size() != 1) return std::nullopt;
  const DimAtom& a = *terms[0].atoms[0];
  return a.kind == Leaf::symbol ? std::optional<llvm::StringRef>(a.name) : std::nullopt;
}
llvm::SmallVector<Dim, 4> named_dims_of(Dim d) {
  llvm::SmallVector<Dim, 4> out;
  std::function<void(Dim)> visit = [&](Dim e) {
    for (const DimTerm& t : e.expression().terms)
      for (const DimAtom* a : t.atoms) {
        if (a->kind == Leaf::symbol) {
          if (const Dim symbol = of(a); !llvm::is_contained(out, symbol)) out.push_back(symbol);
        } else {
          visit(a->a);
          visit(a->b);
        }
      }
  };
  visit(d);
  return out;
}
llvm::SmallVector<DimProduct, 4> products_of(Dim d) {
  llvm::SmallVector<DimProduct, 4> out;
  for (const DimTerm& t : d.expression().terms) {
    out.push_back({t.coefficient, {}});
    for (const DimAtom* a : t.atoms) out.back().factors.push_back(of(a));
  }
  return out;
}
std::optional<DimCall> call_of(Dim factor) {
  const auto& terms = factor.expression().terms;
  if (terms.size() != 1 || terms[0].coefficient != 1 || terms[0].atoms.size() != 1) return std::nullopt;
  const DimAtom& a = *terms[0].atoms[0];
  if (a.kind != Leaf::floor_div && a.kind != Leaf::minimum) return std::nullopt;
  return DimCall{a.kind == Leaf::minimum, a.a, a.b};
}
Dim substitute(Dim d, llvm::function_ref<std::optional<Dim>(llvm::StringRef)> leaf) {
  return rebuild(d, [&](const DimAtom& a) -> Dim {
    switch (a.kind) {
      case Leaf::symbol:
        return leaf(a.name).value_or(of(&a));
      case Leaf::part:
        return Dim::part(substitute(a.a, leaf), a.axes);
      case Leaf::start:
        return Dim::start(substitute(a.a, leaf), a.axes);
      case Leaf::floor_div:
        return floor_div(substitute(a.a, leaf), substitute(a.b, leaf));
      case Leaf::minimum:
        return minimum(substitute(a.a, leaf), substitute(a.b, leaf));
    }
    return 0;
  });
}
namespace {
struct Chunk {
  Dim first, size;
};
Chunk chunk_of(Dim n, const MeshAxis& axis, const Mesh& mesh, int64_t rank) {
  const int64_t k = axis.size, i = mesh.coordinate(axis.name, rank);
  const Dim quotient = floor_div(n, k), rest = n - Dim(k) * quotient;
  return {Dim(i) * quotient + minimum(Dim(i), rest), floor_div(n + Dim(k - 1 - i), k)};
}
Chunk cover_of(Dim n, const AxisUse& use, const MeshAxis& axis, const Mesh& mesh, int64_t rank) {
  const Dim group = use.group, up = use.group - 1;
  const Chunk fine = chunk_of(n * group, axis, mesh, rank);
  const Dim first = floor_div(use.once ? fine.first + up : fine.first, group);
  return {first, floor_div(fine.first + fine.size + up, group) - first};
}
}  // namespace
Dim bind_rank(Dim d, const Mesh& mesh, int64_t rank) {
  return rebuild(d, [&](const DimAtom& a) -> Dim {
    if (a.kind == Leaf::floor_div) return floor_div(bind_rank(a.a, mesh, rank), bind_rank(a.b, mesh, rank));
    if (a.kind == Leaf::minimum) return minimum(bind_rank(a.a, mesh, rank), bind_rank(a.b, mesh, rank));
    if (a.kind == Leaf::symbol) return of(&a);
    Dim size = bind_rank(a.a, mesh, rank), first = 0;
    for (const AxisUse& use : a.axes) {
      const MeshAxis* split = mesh.find(use.axis);
      if (!split) continue;  // one device along it
      const Chunk own = use.is_cover() ? cover_of(size, use, *split, mesh, rank) : chunk_of(size, *split, mesh, rank);
      first = first + own.first;
      size = own.size;
    }
    return a.kind == Leaf::part ? size : first;
  });
}
bool has_rank_terms(Dim d) {
  for (const DimTerm& t : d.expression().terms)
    for (const DimAtom* a : t.atoms) {
      if (a->kind == Leaf::part || a->kind == Leaf::start) return true;
      if (a->kind != Leaf::symbol && (has_rank_terms(a->a) || has_rank_terms(a->b))) return true;
    }
  return false;
}

llvm::Expected<int64_t> evaluate(Dim d, const DimValues& values) {
  if (d.is_overflow()) return error(Code::shape_mismatch, "an extent does not fit in 64 bits");
  int64_t sum = 0;
  for (const DimTerm& t : d.expression().terms) {
    int64_t term = t.coefficient;
    for (const DimAtom* a : t.atoms) {
      int64_t v = 0;
      if (a->kind == Leaf::symbol) {
        auto it = values.find(a->name);
        if (it == values.end()) return error(Code::dim_without_value).dim(a->name).says("has no value");
        v = it->second;
      } else if (a->kind == Leaf::floor_div || a->kind == Leaf::minimum) {
        auto x = evaluate(a->a, values), y = evaluate(a->b, values);
        if (!x || !y) return llvm::joinErrors(x.takeError(), y.takeError());
        if (a->kind == Leaf::floor_div && *y == 0)
          return error(Code::shape_mismatch).what("division by zero in extent " + quoted(d.text()));
        if (a->kind == Leaf::minimum)
          v = std::min(*x, *y);
        else
          v = *floor_div(Dim(*x), Dim(*y)).constant();
      } else {
        return error(Code::bug).what("extent " + quoted(d.text()) + " is not bound to a rank");
      }
      if (__builtin_mul_overflow(term, v, &term))
        return error(Code::shape_mismatch).what("extent " + quoted(d.text()) + " does not fit in 64 bits");
    }
    if (__builtin_add_overflow(sum, term, &sum))
      return error(Code::shape_mismatch).what("extent " + quoted(d.text()) + " does not fit in 64 bits");
  }
  return sum;
}

}  // namespace optp
