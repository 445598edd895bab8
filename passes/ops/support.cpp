#include "passes/ops/support.h"

#include "llvm/ADT/Sequence.h"

namespace optp::ops {

void walk(llvm::ArrayRef<int64_t> dims, llvm::ArrayRef<Ints> strides,
          llvm::function_ref<void(int64_t, llvm::ArrayRef<int64_t>)> visit) {
  const int64_t n = count_of(dims);
  Ints index(dims.size(), 0), offsets(strides.size(), 0);
  for (int64_t k = 0; k < n; ++k) {
    visit(k, offsets);
    for (size_t d = dims.size(); d-- > 0;) {
      ++index[d];
      for (size_t o = 0; o < strides.size(); ++o) offsets[o] += strides[o][d];
      if (index[d] < dims[d]) break;
      for (size_t o = 0; o < strides.size(); ++o) offsets[o] -= strides[o][d] * dims[d];
      index[d] = 0;
    }
  }
}

void walk_rows(llvm::ArrayRef<int64_t> dims, llvm::ArrayRef<Ints> strides,
               llvm::function_ref<void(int64_t, llvm::ArrayRef<int64_t>, int64_t, llvm::ArrayRef<int64_t>)> visit) {
  if (count_of(dims) == 0) return;
  size_t outer = dims.size();
  int64_t count = 1;
  Ints steps(strides.size(), 0);
  while (outer > 0) {
    const size_t d = outer - 1;
    if (dims[d] != 1) {
      if (count == 1)
        for (size_t o = 0; o < strides.size(); ++o) steps[o] = strides[o][d];
      else if (llvm::any_of(llvm::seq(strides.size()), [&](size_t o) { return strides[o][d] != steps[o] * count; }))
        break;
      count *= dims[d];
    }
    outer = d;
  }
  walk(dims.take_front(outer), strides,
       [&](int64_t k, llvm::ArrayRef<int64_t> at) { visit(k * count, at, count, steps); });
}

llvm::Expected<Dims> broadcast(const Node& node, llvm::ArrayRef<const Value*> operands) {
  size_t ndim = 0;
  for (const Value* v : operands) ndim = std::max(ndim, v->ndim());
  Dims out(ndim, Dim(1));
  for (const Value* v : operands)
    for (size_t k = 0; k < v->ndim(); ++k) {
      Dim& d = out[ndim - v->ndim() + k];
      const Dim e = v->type.dims[k];
      if (d.is(1))
        d = e;
      else if (!e.is(1))
        if (auto clash = must_agree(node, "broadcast of operands", d, e)) return clash;
    }
  return out;
}

llvm::Expected<Rule> elementwise_rule(const Node& node) {
  Rule rule;
  const auto& dims = node.out().type.dims;
  rule.results.emplace_back();
  for (Dim d : dims) rule.results[0].push_back(rule.add(d));
  for (const Value* v : node.operands) {
    auto& loops = rule.operands.emplace_back();
    for (size_t k = 0; k < v->ndim(); ++k) {
      const size_t at = dims.size() - v->ndim() + k;
      loops.push_back(v->type.dims[k] == dims[at] ? rule.results[0][at] : no_loop);
    }
  }
  return rule;
}

llvm::Error same_dtype(const Node& node, llvm::ArrayRef<unsigned> operands) {
  const Value& first = node.operand(operands[0]);
  for (unsigned k : operands.drop_front())
    if (node.operand(k).type.dtype != first.type.dtype)
      return wrong_dtype(
          node, k, long_name(first.type.dtype) + " as operand " + llvm::Twine(operands[0]) + " " + quoted(first.name),
          long_name(node.operand(k).type.dtype));
  if (first.type.dtype == DType::string) return wrong_dtype(node, operands[0], "a number", "string");
  return llvm::Error::success();
}

Array rearranged(const Array& in, llvm::ArrayRef<int64_t> dims, llvm::ArrayRef<int64_t> strides, int64_t base) {
  Array out;
  out.resize(in.is_float, dims);
  walk_rows(dims, {Ints(strides.begin(), strides.end())},
            [&](int64_t to, llvm::ArrayRef<int64_t> at, int64_t count, llvm::ArrayRef<int64_t> step) {
              auto copy = [&](auto& into, const auto& from) {
                for (int64_t k = 0; k < count; ++k) into[size_t(to + k)] = from[size_t(base + at[0] + k * step[0])];
              };
              if (in.is_float)
                copy(out.f, in.f);
              else
                copy(out.i, in.i);
            });
  return out;
}
std::optional<Content> rearranged_content(const Content& in, llvm::ArrayRef<int64_t> dims,
                                          llvm::ArrayRef<int64_t> strides, int64_t base) {
  if (!is_small(dims)) return std::nullopt;
  Content out;
  out.dims.assign(dims.begin(), dims.end());
  Ints s(strides.begin(), strides.end());
  walk(dims, {s},
       [&](int64_t, llvm::ArrayRef<int64_t> at) { out.elements.push_back(in.elements[size_t(base + at[0])]); });
  return out;
}

bool is_small(llvm::ArrayRef<int64_t> dims) {
  int64_t count = 1;
  for (int64_t d : dims)
    if (d < 0 || __builtin_mul_overflow(count, std::max<int64_t>(d, 1), &count) || count > most_content_elements)
      return false;
  return true;
}

llvm::Error localize_rows_of_operand(Node& node, const Rule& rule, const LoopSharding& sharding) {
  const int loop = rule.operands[0][size_t(node.integer("axis"))];
  if (!sharding.is_split(loop)) return llvm::Error::success();
  node.attributes["row_start"] = sharding.start(loop);
  node.attributes["rows"] = rule.loops[size_t(loop)].extent;
  return llvm::Error::success();
}
llvm::Error localize_rows_of_result(Node& node, const Rule& rule, const LoopSharding& sharding) {
  const int loop = rule.results[0][size_t(node.integer("axis"))];
  if (!sharding.is_split(loop)) return llvm::Error::success();
  node.attributes["row_start"] = sharding.start(loop);
  node.attributes["local_rows"] = sharding.local(loop, rule.loops[size_t(loop)].extent);
  return llvm::Error::success();
}
llvm::Expected<int64_t> checked_axis(const Node& node, size_t ndim) {
  int64_t axis = node.integer("axis");
  if (axis < 0 || axis >= int64_t(ndim))
    return error(Code::shape_mismatch)
        .at(node)
        .what("axis " + llvm::Twine(axis) + " of a tensor with " + llvm::Twine(ndim) + " dims");
  return axis;
}

Rule same_shape_rule(const Node& node, llvm::ArrayRef<int64_t> whole_axes, Linear linear) {
  Rule rule;
  rule.linear = linear;
  rule.results.emplace_back();
  for (size_t d = 0; d < node.out().ndim(); ++d)
    rule.results[0].push_back(rule.add(node.out().type.dims[d], llvm::is_contained(whole_axes, int64_t(d))));
  for (const Value* v : node.operands) {
    auto& loops = rule.operands.emplace_back();
    const size_t shift = node.out().ndim() - v->ndim();
    for (size_t d = 0; d < v->ndim(); ++d) loops.push_back(rule.results[0][shift + d]);
  }
  return rule;
}
llvm::Error index_out_of_range(const Node& node, int64_t index, int64_t rows) {
  return error(Code::out_of_range)
      .at(node)
      .what("index " + llvm::Twine(index) + " of operand 1 " + quoted(node.operand(1).name) + " is outside " +
            llvm::Twine(rows) + " rows of " + quoted(node.operand(0).name))
      .about({.tensor = node.operand(1).name,
              .expected = "from " + std::to_string(-rows) + " to " + std::to_string(rows - 1),
              .found = std::to_string(index)});
}

}  // namespace optp::ops
