#include "passes/lower_repeat.h"

#include "frontend/ir/formula.h"

namespace optp {

llvm::Expected<Value*> lower_repeat(Builder& build, Node& local, const Rule& rule, Dim first) {
  const LoopCover& cover = rule.covers[0];
  Value &x = local.operand(0), &y = local.out();
  const size_t axis =
      size_t(llvm::find_if(rule.operands[0], [&](int l) { return l == cover.coarse || l == cover.fine; }) -
             rule.operands[0].begin());
  const bool repeats = rule.operands[0][axis] == cover.coarse;
  const Dim times = cover.times, own = (repeats ? y : x).type.dims[axis];
  Dims joined = (repeats ? x : y).type.dims, apart = joined;
  joined[axis] = joined[axis] * times;
  apart.insert(apart.begin() + long(axis) + 1, repeats ? Dim(1) : times);
  const Dim after = joined[axis] - first - own;
  Formula f(build);
  Value* v = &x;
  if (repeats) {
    v = f.reshape(v, apart);
    apart[axis + 1] = times;
    v = f.reshape(f.expand(v, apart), joined);
    if (joined[axis] != own)
      v = f.op("slice", {v}, {{"axis", int64_t(axis)}, {"start", first}, {"size", own}, {"step", int64_t(1)}});
  } else {
    if (joined[axis] != own)
      v = f.op("pad", {v}, {{"axis", int64_t(axis)}, {"before", first}, {"after", after}, {"value", 0.0}});
    v = f.sum(f.reshape(v, apart), {int64_t(axis) + 1}, /*keepdims=*/false);
  }
  if (auto e = f.take_error()) return e;
  const std::string name = y.name;
  build.graph().erase(local);
  build.graph().rename(*v, name);
  return v;
}
}  // namespace optp
