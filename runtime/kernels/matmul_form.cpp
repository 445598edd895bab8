#include "runtime/kernels/matmul_form.h"

#include <algorithm>

namespace optp::kernels {
namespace {
// Joins neighbours, major to minor by the strides of `by`, that step alike in all tensors.
void join(LoopList& loops, size_t by) {
  std::stable_sort(loops.begin(), loops.end(),
                   [&](const StridedLoop& x, const StridedLoop& y) { return x.stride[by] > y.stride[by]; });
  for (size_t i = 0; i + 1 < loops.size();) {
    bool alike = true;
    for (size_t t = 0; t < loops[i].stride.size(); ++t)
      alike &= loops[i].stride[t] == loops[i + 1].stride[t] * loops[i + 1].extent;
    if (!alike) {
      ++i;
      continue;
    }
    loops[i + 1].extent *= loops[i].extent;
    loops.erase(loops.begin() + i);
  }
}

int group_of(const StridedLoop& l, size_t src) { return l.in[A] && l.in[B] ? (l.in[Y] ? 0 : 3) : (l.in[src] ? 1 : 2); }

// Gives one tensor dense strides in the order [batch, m, n, k], inside of a group in the order of another tensor that
// has the group, so that they join. The loops it has, in order, each with its stride before.
llvm::SmallVector<std::pair<StridedLoop*, int64_t>, 6> put_in_order(LoopList& loops, size_t tensor, size_t src) {
  llvm::SmallVector<std::pair<StridedLoop*, int64_t>, 6> order;
  for (int g : {0, 1, 2, 3}) {
    llvm::SmallVector<StridedLoop*, 4> part;
    for (StridedLoop& l : loops)
      if (l.in[tensor] && group_of(l, src) == g) part.push_back(&l);
    size_t other = tensor;
    for (size_t o : {Y, B, A})
      if (o != tensor && !part.empty() && part[0]->in[o]) other = o;
    std::stable_sort(part.begin(), part.end(),
                     [&](StridedLoop* x, StridedLoop* y) { return x->stride[other] > y->stride[other]; });
    for (StridedLoop* l : part) order.push_back({l, l->stride[tensor]});
  }
  int64_t stride = 1;
  for (size_t i = order.size(); i-- > 0;) {
    order[i].first->stride[tensor] = stride;
    stride *= order[i].first->extent;
  }
  return order;
}

// `tensors`: operands, result and addends; a loop that the lists don't have has a stride for each, too.
std::optional<Form> try_form(const LoopList& all, size_t tensors, bool swapped, std::array<bool, 3> copied) {
  Form form;
  form.swapped = swapped;
  LoopList loops = all;
  const size_t src = swapped ? B : A, wei = swapped ? A : B;
  for (size_t t : {A, B, Y}) {
    form.copied[t] = copied[t];
    if (copied[t]) put_in_order(loops, t, src);
  }
  for (StridedLoop& l : loops) {
    LoopList* lists[] = {&form.groups.batch, &form.groups.m, &form.groups.n, &form.groups.k};
    lists[group_of(l, src)]->push_back(l);
  }
  join(form.groups.batch, Y);
  join(form.groups.m, Y);
  join(form.groups.n, Y);
  join(form.groups.k, A);
  if (form.groups.k.size() > 1) return std::nullopt;
  // The main m and n: the innermost of y is n; of the others the largest. What is left is batch.
  auto main_of = [&](LoopList& list, bool innermost) -> StridedLoop {
    StridedLoop one;
    one.stride.assign(tensors, 0);
    if (list.empty()) return one;
    size_t best = 0;
    for (size_t i = 1; i < list.size(); ++i)
      if (innermost ? list[i].stride[Y] < list[best].stride[Y] : list[i].extent > list[best].extent) best = i;
    StridedLoop chosen = list[best];
    list.erase(list.begin() + best);
    return chosen;
  };
  const StridedLoop n = main_of(form.groups.n, true), m = main_of(form.groups.m, false);
  form.groups.batch.append(form.groups.m.begin(), form.groups.m.end());
  form.groups.batch.append(form.groups.n.begin(), form.groups.n.end());
  form.groups.m = {m};
  form.groups.n = {n};
  if (form.groups.k.empty()) {
    StridedLoop one;
    one.stride.assign(tensors, 0);
    form.groups.k = {one};
  }
  const StridedLoop& k = form.groups.k[0];
  auto unit = [](const StridedLoop& l, size_t t) { return l.extent == 1 || l.stride[t] == 1; };
  // A row or column must be dense, and rows must not overlap.
  auto matrix = [&](const StridedLoop& r, const StridedLoop& c, size_t t) {
    return (unit(c, t) && (r.extent == 1 || r.stride[t] >= c.extent)) ||
           (unit(r, t) && (c.extent == 1 || c.stride[t] >= r.extent));
  };
  if (!matrix(m, k, src) || !matrix(k, n, wei)) return std::nullopt;
  if (!unit(n, Y) || (m.extent > 1 && m.stride[Y] < n.extent)) return std::nullopt;
  return form;
}
}  // namespace

std::array<const void*, 2> Copies::operands(const KernelCall& call, int threads) const {
  std::array<const void*, 2> in{call.in[A], call.in[B]};
  for (size_t t : {A, B})
    if (offset[t] >= 0) {
      char* ordered = static_cast<char*>(call.scratch) + offset[t];
      copy[t](ordered, in[t], threads);
      in[t] = ordered;
    }
  return in;
}

void* Copies::result(const KernelCall& call) const {
  return offset[Y] >= 0 ? static_cast<char*>(call.scratch) + offset[Y] : call.out[0];
}

void Copies::finish(const KernelCall& call, int threads) const {
  if (offset[Y] >= 0) copy[Y](call.out[0], result(call), threads);
}

bool has_addends(const Work& work) {
  return llvm::any_of(work.after, [](const Fused& f) { return f.kind == Fused::Kind::add; });
}

std::optional<LoopList> loops_of(const Work& work, const ContractLoops& lists) {
  const TensorSpec& y = work.results[0];  // result dims of tails are those of the product
  llvm::SmallVector<unsigned, 2> addends;
  for (const Fused& f : work.after)
    if (f.kind == Fused::Kind::add) addends.push_back(f.operand);
  const size_t tensors = 3 + addends.size();
  std::vector<std::string> names;
  LoopList loops;
  auto fill = [&](const std::vector<std::string>& list, llvm::ArrayRef<int64_t> dims, llvm::ArrayRef<int64_t> strides,
                  size_t tensor) {
    for (size_t d = 0; d < list.size(); ++d) {
      if (list[d] == "1" || dims[d] == 1) continue;
      const size_t at = size_t(llvm::find(names, list[d]) - names.begin());
      if (at == names.size()) {
        names.push_back(list[d]);
        loops.emplace_back();
        loops.back().stride.assign(tensors, 0);
      }
      loops[at].extent = dims[d];
      loops[at].stride[tensor] += strides[d];
      if (tensor < 3) loops[at].in[tensor] = true;
    }
  };
  fill(lists.operands[0], work.operands[0].dims, strides_of(work.operands[0].dims), A);
  fill(lists.operands[1], work.operands[1].dims, strides_of(work.operands[1].dims), B);
  fill(lists.result, y.dims, strides_of(y.dims), Y);
  for (size_t k = 0; k < addends.size(); ++k)
    fill(lists.result, y.dims, broadcast_strides(work.operands[addends[k]].dims, y.dims), 3 + k);
  for (const StridedLoop& l : loops)
    if (int(l.in[A]) + int(l.in[B]) + int(l.in[Y]) < 2) return std::nullopt;
  return loops;
}

std::optional<Form> best_form(const Work& work, const LoopList& loops) {
  const TensorSpec& y = work.results[0];
  std::optional<Form> best;
  const size_t tensors =
      3 + size_t(llvm::count_if(work.after, [](const Fused& f) { return f.kind == Fused::Kind::add; }));
  const bool constant[] = {work.operands[0].constant != nullptr, work.operands[1].constant != nullptr, false};
  for (int bits = 0; bits < 8; ++bits)
    for (bool swapped : {false, true}) {
      if ((bits & 4) && has_addends(work)) continue;
      auto form = try_form(loops, tensors, swapped, {bool(bits & 1), bool(bits & 2), bool(bits & 4)});
      if (!form) continue;
      form->cost = swapped ? 1 : 0;
      // Weights are what oneDNN packs.
      if (constant[A] || constant[B]) form->cost += constant[swapped ? A : B] ? 0 : 64;
      for (size_t t : {A, B, Y})
        if (form->copied[t]) form->cost += constant[t] ? 1 : 1000 + (t == Y ? y : work.operands[t]).bytes();
      if (!best || form->cost < best->cost) best = std::move(form);
    }
  return best;
}

Copies copies_of(const Work& work, const LoopList& loops, const Form& form) {
  Copies copies;
  const size_t src = form.swapped ? B : A, wei = form.swapped ? A : B;
  for (size_t t : {A, B, Y}) {
    if (!form.copied[t]) continue;
    LoopList own = loops;
    for (size_t before : {A, B, Y}) {
      if (!form.copied[before] || before > t) continue;
      const auto order = put_in_order(own, before, src);
      if (before != t) continue;
      Ints dims, from, to;
      const int64_t element = size_bytes((t == Y ? work.results[0] : work.operands[t]).dtype);
      for (const auto& [loop, stride] : order) {
        dims.push_back(loop->extent);
        from.push_back(stride);
        to.push_back(loop->stride[t]);
      }
      copies.copy[t] = t == Y ? StridedCopy(dims, from, to, element) : StridedCopy(dims, to, from, element);
      if (t == wei && work.operands[wei].constant) continue;
      copies.offset[t] = copies.end;
      copies.end += aligned(count_of(dims) * element);
    }
  }
  return copies;
}
}  // namespace optp::kernels
