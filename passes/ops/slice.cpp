// slice, concat, pad along one axis. What they cut out, join and pad is a piece of the longer dim (LoopPiece), so that
// each piece can be split on its own: a fused qkv within q, within k and within v.
#include "frontend/ir/formula.h"
#include "passes/ops/support.h"

namespace optp::ops {
namespace {

// slice: `size` indices along "axis" from "start", every "step"-th.
struct SliceOf {
  size_t axis;
  Dim start, size, extent;
  int64_t step;
};
SliceOf parts_of(const Node& node) {
  const size_t axis = size_t(node.integer("axis"));
  return {axis, node.dim("start"), node.dim("size"), node.operand(0).type.dims[axis], node.integer("step", 1)};
}
constexpr int64_t most_pieces = 64;  // of the concat that a gradient is
bool is_identity(const SliceOf& s) { return s.step == 1 && s.start.is(0) && s.size == s.extent; }
std::optional<Dim> equal_parts(const SliceOf& s) {
  if (s.step != 1 || s.size.is(0) || !exact_div(s.start, s.size)) return std::nullopt;
  return exact_div(s.extent, s.size);
}
// One index of every group of "step", of all groups: of [n · step] seen as [n, step] one column, which leaves n as it
// is. Gates between the columns of the projection beside them (gpt-oss), pairs that rotary embeddings turn.
bool is_one_of_each_group(const SliceOf& s) {
  const auto start = s.start.constant();
  return s.step > 1 && start && *start >= 0 && *start < s.step && s.size * Dim(s.step) == s.extent;
}
// Its gradient: among zeros in each group.
Value* among_groups(GradientContext& c, const SliceOf& s) {
  Dims dims = c.dy->type.dims, column = dims;
  column.insert(column.begin() + long(s.axis) + 1, Dim(1));
  Value* own = c.reshape(c.dy, column);
  Value* zeros = c.expand(c.scalar(c.dy->type.dtype, 0), column);
  llvm::SmallVector<Value*, 4> columns(size_t(s.step), zeros);
  columns[size_t(*s.start.constant())] = own;
  dims[s.axis] = s.extent;
  return c.reshape(c.op("concat", columns, {{"axis", int64_t(s.axis) + 1}}), dims);
}
// Zeros of the width of an equal part would cut the parts of other widths beside it: those of the same dim, in whatever
// order it stands among others.
bool has_equal_siblings(const Node& node, const SliceOf& s) {
  struct Seen {
    const Value* value;
    size_t axis;
  };
  Seen first{&node.operand(0), s.axis};
  while (first.value->producer && first.value->producer->op->is(Trait::permutes)) {
    const Node& permute = *first.value->producer;
    first = {&permute.operand(0), size_t(permute.integers("perm")[first.axis])};
  }
  llvm::SmallVector<Seen, 4> left{first};
  while (!left.empty()) {
    const Seen at = left.pop_back_val();
    for (const Use& use : at.value->uses) {
      if (use.node->op->is(Trait::permutes)) {
        const auto perm = use.node->integers("perm");
        left.push_back({&use.node->out(), size_t(llvm::find(perm, int64_t(at.axis)) - perm.begin())});
      } else if (use.node->op->is(Trait::cuts)) {
        const SliceOf other = parts_of(*use.node);
        if (other.axis == at.axis && other.size != s.size && !other.size.is(0) && !is_identity(other)) return false;
      }
    }
  }
  return true;
}
// What was left out gets zeros. A step that leaves a rest is undone by scattering; those are rare and small.
void slice_gradient(GradientContext& c) {
  const SliceOf s = parts_of(c.node);
  if (is_one_of_each_group(s) && s.step <= most_pieces) {
    c.dx[0] = among_groups(c, s);
  } else if (s.step != 1) {
    Value* index =
        c.op("iota", {}, {{"size", s.size}, {"start", s.start}, {"step", Dim(s.step)}, {"dtype", int64_t(DType::i64)}});
    c.dx[0] = c.op("scatter_add", {c.dy, index}, {{"axis", int64_t(s.axis)}, {"rows", s.extent}});
  } else if (const auto parts = equal_parts(s); parts && parts->constant() && *parts->constant() > 1 &&
                                                *parts->constant() <= most_pieces && has_equal_siblings(c.node, s)) {
    // An equal part among zeros, as a concat: it keeps the parts' factors, so that a fused qkv is split within each.
    llvm::SmallVector<Value*, 4> pieces;
    const int64_t own = exact_div(s.start, s.size)->constant().value_or(0);
    Value* zeros = c.expand(c.scalar(c.dy->type.dtype, 0), c.dy->type.dims);
    for (int64_t k = 0; k < *parts->constant(); ++k) pieces.push_back(k == own ? c.dy : zeros);
    c.dx[0] = c.op("concat", pieces, {{"axis", int64_t(s.axis)}});
  } else if (is_identity(s)) {
    c.dx[0] = c.dy;
  } else {
    c.dx[0] =
        c.op("pad", {c.dy},
             {{"axis", int64_t(s.axis)}, {"before", s.start}, {"after", s.extent - s.start - s.size}, {"value", 0.0}});
  }
}
const RegisteredOp slice{{
    .name = "slice",
    .summary = "a range of indices along one axis",
    .extents = {"start", "size"},
    .rule = [](const Node& node) -> llvm::Expected<Rule> {
      const SliceOf s = parts_of(node);
      Rule rule;
      rule.linear = Linear::view;
      rule.operands.emplace_back();
      rule.results.emplace_back();
      for (size_t d = 0; d < node.operand(0).ndim(); ++d) {
        if (d != s.axis || is_identity(s)) {
          const int loop = rule.add(node.operand(0).type.dims[d]);
          rule.operands[0].push_back(loop);
          rule.results[0].push_back(loop);
          continue;
        }
        const bool is_piece = s.step == 1 && !s.size.is(0), is_column = is_one_of_each_group(s);
        rule.operands[0].push_back(rule.add(s.extent, !is_piece && !is_column));
        rule.results[0].push_back(rule.add(s.size, !is_piece && !is_column));
        if (is_column)
          rule.links.push_back({{rule.operands[0][d]}, {rule.results[0][d], rule.add(s.step, /*whole=*/true)}});
        if (is_piece) rule.pieces.push_back({rule.operands[0][d], rule.results[0][d], s.start});
      }
      return rule;
    },
    .infer = [](const Node& node) -> llvm::Expected<Types> {
      auto axis = checked_axis(node, node.operand(0).ndim());
      if (!axis) return axis.takeError();
      Dims dims = node.operand(0).type.dims;
      // What is known to lie outside; the run checks the rest.
      const SliceOf s = parts_of(node);
      const auto start = s.start.constant(), size = s.size.constant(), extent = s.extent.constant();
      bool outside =
          proved_less(s.start, 0) || proved_less(s.size, 0) || (s.step == 1 && proved_less(s.extent, s.start + s.size));
      int64_t last = 0;
      if (start && size && extent && *size > 0)
        outside |= __builtin_mul_overflow(*size - 1, s.step, &last) || __builtin_add_overflow(*start, last, &last) ||
                   *start >= *extent || last < 0 || last >= *extent;
      if (outside)
        return error(Code::shape_mismatch)
            .at(node)
            .what("slice of " + s.size.text() + " indices from " + s.start.text() + " in steps of " +
                  llvm::Twine(s.step))
            .what("outside extent " + s.extent.text() + " of axis " + llvm::Twine(*axis));
      dims[size_t(*axis)] = s.size;
      return one(node.operand(0).type.dtype, dims);
    },
    .evaluate = [](const Node& node, llvm::ArrayRef<const Array*> in) -> llvm::Expected<Arrays> {
      const size_t axis = size_t(node.integer("axis"));
      const int64_t start = *node.dim("start").constant(), step = node.integer("step", 1);
      Ints strides = strides_of(in[0]->dims), dims = in[0]->dims;
      dims[axis] = *node.dim("size").constant();
      const int64_t last = start + (dims[axis] - 1) * step;
      if (dims[axis] > 0 && (start < 0 || last < 0 || start >= in[0]->dims[axis] || last >= in[0]->dims[axis]))
        return error(Code::malformed)
            .at(node)
            .what("slice from " + llvm::Twine(start) + " to " + llvm::Twine(last) + " of an axis of " +
                  llvm::Twine(in[0]->dims[axis]));
      const int64_t base = start * strides[axis];
      strides[axis] *= step;
      return single(rearranged(*in[0], dims, strides, count_of(dims) ? base : 0));
    },
    .content = [](const Node& node) -> std::optional<Content> {
      auto c = content_of(node.operand(0));
      const size_t axis = size_t(node.integer("axis"));
      auto start = node.dim("start").constant(), size = node.dim("size").constant();
      if (!c || !start || !size) return std::nullopt;
      Ints strides = strides_of(c->dims), dims(c->dims.begin(), c->dims.end());
      dims[axis] = *size;
      const int64_t base = *start * strides[axis];
      strides[axis] *= node.integer("step", 1);
      return rearranged_content(*c, dims, strides, base);
    },
    .localize = [](Node& node, const Rule& rule, const LoopSharding& sharding) -> llvm::Error {
      const Dim size = node.dim("size");
      if (rule.pieces.empty()) {  // all of it, or what can't be split
        node.attributes["size"] = sharding.local(rule.results[0][size_t(node.integer("axis"))], size);
        return llvm::Error::success();
      }
      const LoopPiece& piece = rule.pieces[0];
      node.attributes["start"] = sharding.local_start(piece, size);
      node.attributes["size"] = sharding.local(piece.piece, size);
      return llvm::Error::success();
    },
    .gradient = slice_gradient,
    .traits = Trait::cuts,
}};

const RegisteredOp concat{{
    .name = "concat",
    .summary = "operands one after the other along one axis",
    .operands = any_number,
    .rule = [](const Node& node) -> llvm::Expected<Rule> {
      const size_t axis = size_t(node.integer("axis"));
      Rule rule;
      rule.linear = Linear::jointly;
      rule.results.emplace_back();
      for (Dim d : node.out().type.dims) rule.results[0].push_back(rule.add(d));
      Dim start = 0;
      for (const Value* v : node.operands) {
        auto& loops = rule.operands.emplace_back(rule.results[0].begin(), rule.results[0].end());
        if (node.operands.size() == 1) break;
        const Dim extent = v->type.dims[axis];
        // What is empty is no piece of anything.
        loops[axis] = rule.add(extent, /*whole=*/extent.is(0));
        if (!extent.is(0)) rule.pieces.push_back({rule.results[0][axis], loops[axis], start});
        start = start + extent;
      }
      return rule;
    },
    .infer = [](const Node& node) -> llvm::Expected<Types> {
      if (node.operands.empty()) return error(Code::malformed).at(node).what("concat of nothing");
      auto axis = checked_axis(node, node.operand(0).ndim());
      if (!axis) return axis.takeError();
      Dims dims = node.operand(0).type.dims;
      for (unsigned k = 1; k < node.operands.size(); ++k) {
        if (auto e = same_dtype(node, {0, k})) return e;
        const auto& other = node.operand(k).type.dims;
        if (other.size() != dims.size())
          return wrong_shape(node, k, llvm::Twine(dims.size()) + " dims", to_string(other));
        for (size_t d = 0; d < dims.size(); ++d) {
          if (d == size_t(*axis))
            dims[d] = dims[d] + other[d];
          else if (auto e = must_agree(node, "concat", dims[d], other[d]))
            return e;
        }
      }
      return one(node.operand(0).type.dtype, dims);
    },
    .evaluate = [](const Node& node, llvm::ArrayRef<const Array*> in) -> llvm::Expected<Arrays> {
      const size_t axis = size_t(node.integer("axis"));
      Array out;
      out.resize(in[0]->is_float, numbers(node.out().type.dims));
      const int64_t outer = count_of(llvm::ArrayRef<int64_t>(out.dims).take_front(axis));
      int64_t at = 0;
      for (int64_t o = 0; o < outer; ++o)
        for (const Array* a : in) {
          const int64_t run = count_of(llvm::ArrayRef<int64_t>(a->dims).drop_front(axis));
          for (int64_t k = 0; k < run; ++k, ++at) {
            if (out.is_float)
              out.f[size_t(at)] = a->f[size_t(o * run + k)];
            else
              out.i[size_t(at)] = a->i[size_t(o * run + k)];
          }
        }
      return single(std::move(out));
    },
    .content = [](const Node& node) -> std::optional<Content> {
      if (node.out().ndim() != 1) return std::nullopt;
      Content out;
      for (const Value* v : node.operands) {
        auto c = content_of(*v);
        if (!c) return std::nullopt;
        out.elements.append(c->elements.begin(), c->elements.end());
      }
      if (int64_t(out.elements.size()) > most_content_elements) return std::nullopt;
      out.dims = {int64_t(out.elements.size())};
      return out;
    },
    .gradient =
        [](GradientContext& c) {
          const size_t axis = size_t(c.node.integer("axis"));
          Dim start = 0;
          for (unsigned k = 0; k < c.node.operands.size(); ++k) {
            const Dim size = c.x(k)->type.dims[axis];
            if (c.needs(k))
              c.dx[k] = c.op("slice", {c.dy},
                             {{"axis", int64_t(axis)}, {"start", start}, {"size", size}, {"step", int64_t(1)}});
            start = start + size;
          }
        },
    .traits = Trait::joins,
}};

// pad "axis" with "before" and "after" elements of "value"
const RegisteredOp pad{{
    .name = "pad",
    .summary = "constant elements before and after along one axis",
    .extents = {"before", "after"},
    .rule = [](const Node& node) -> llvm::Expected<Rule> {
      Rule rule;
      const size_t axis = size_t(node.integer("axis"));
      rule.operands.emplace_back();
      rule.results.emplace_back();
      for (size_t d = 0; d < node.out().ndim(); ++d) {
        const Dim extent = node.operand(0).type.dims[d];
        const bool is_piece = d == axis && node.out().type.dims[d] != extent, is_empty = is_piece && extent.is(0);
        const int loop = rule.add(extent, is_empty);
        rule.operands[0].push_back(loop);
        rule.results[0].push_back(is_piece ? rule.add(node.out().type.dims[d], is_empty) : loop);
        if (is_piece && !is_empty) rule.pieces.push_back({rule.results[0][d], loop, node.dim("before")});
      }
      if (node.number("value") == 0) rule.linear = Linear::jointly;
      return rule;
    },
    .infer = [](const Node& node) -> llvm::Expected<Types> {
      auto axis = checked_axis(node, node.operand(0).ndim());
      if (!axis) return axis.takeError();
      Dims dims = node.operand(0).type.dims;
      if (node.operand(0).type.dtype == DType::string) return wrong_dtype(node, 0, "a number", "string");
      for (const char* side : {"before", "after"})  // what is known; the run checks the rest
        if (proved_less(node.dim(side), 0))
          return error(Code::malformed)
              .at(node)
              .what("pad of " + node.dim(side).text() + " elements along axis " + llvm::Twine(*axis));
      dims[size_t(*axis)] = dims[size_t(*axis)] + node.dim("before") + node.dim("after");
      return one(node.operand(0).type.dtype, dims);
    },
    .evaluate = [](const Node& node, llvm::ArrayRef<const Array*> in) -> llvm::Expected<Arrays> {
      const size_t axis = size_t(node.integer("axis"));
      const int64_t before = *node.dim("before").constant();
      if (before < 0 || before + in[0]->dims[axis] > *node.out().type.dims[axis].constant())
        return error(Code::malformed)
            .at(node)
            .what("pad of " + node.dim(before < 0 ? "before" : "after").text() + " elements along axis " +
                  llvm::Twine(axis));
      Array out;
      out.resize(in[0]->is_float, numbers(node.out().type.dims));
      std::fill(out.f.begin(), out.f.end(), node.number("value"));
      if (!out.is_float) std::fill(out.i.begin(), out.i.end(), int64_t(node.number("value")));  // -∞ is no integer
      const int64_t outer = count_of(llvm::ArrayRef<int64_t>(out.dims).take_front(axis));
      const int64_t inner = count_of(llvm::ArrayRef<int64_t>(out.dims).drop_front(axis + 1));
      const int64_t run = in[0]->dims[axis] * inner;
      for (int64_t o = 0; o < outer; ++o)
        for (int64_t k = 0; k < run; ++k) {
          const size_t to = size_t((o * out.dims[axis] + before) * inner + k);
          if (out.is_float)
            out.f[to] = in[0]->f[size_t(o * run + k)];
          else
            out.i[to] = in[0]->i[size_t(o * run + k)];
        }
      return single(std::move(out));
    },
    .localize = [](Node& node, const Rule& rule, const LoopSharding& sharding) -> llvm::Error {
      if (rule.pieces.empty()) return llvm::Error::success();
      const LoopPiece& piece = rule.pieces[0];
      const Dim extent = rule.loops[size_t(piece.piece)].extent, whole = rule.loops[size_t(piece.whole)].extent;
      const Dim before = sharding.local_start(piece, extent);
      node.attributes["before"] = before;
      node.attributes["after"] = sharding.local(piece.whole, whole) - before - sharding.local(piece.piece, extent);
      return llvm::Error::success();
    },
    .gradient =
        [](GradientContext& c) {
          const int64_t axis = c.node.integer("axis");
          c.dx[0] = c.op("slice", {c.dy},
                         {{"axis", axis},
                          {"start", c.node.dim("before")},
                          {"size", c.x()->type.dims[size_t(axis)]},
                          {"step", int64_t(1)}});
        },
}};
}  // namespace
}  // namespace optp::ops
