#include "runtime/reference.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "frontend/ir/collective.h"
#include "frontend/ir/diagnostic.h"
#include "frontend/ir/op.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/Support/Parallel.h"
#include "runtime/parallel.h"

namespace optp {
namespace {

Array reduced(Reduce reduce, llvm::ArrayRef<const Array*> in) {
  Array out = *in[0];
  auto combine = [&](auto& into, const auto& from) {
    for (size_t k = 0; k < into.size(); ++k)
      into[k] = reduce == Reduce::sum
                    ? into[k] + from[k]
                    : (reduce == Reduce::max ? std::max(into[k], from[k]) : std::min(into[k], from[k]));
  };
  for (const Array* other : in.drop_front()) {
    combine(out.f, other->f);
    combine(out.i, other->i);
  }
  return out;
}
// What member `me` gets, all members' inputs being `in`.
Array result_of(const CollectiveCall& call, llvm::ArrayRef<const Array*> in, int64_t me) {
  const auto members = int64_t(in.size());
  auto chunk = [&](llvm::ArrayRef<int64_t> whole, int64_t axis, int64_t member) {
    return Shard::chunk_of(whole, size_t(axis), members, member);
  };
  if (call.kind == Collective::all_reduce) return reduced(call.reduce, in);
  if (call.kind == Collective::reduce_scatter) {
    const Array whole = reduced(call.reduce, in);
    return take(chunk(whole.dims, call.cut_axis, me), whole);
  }
  // The chunks joined; of an all-to-all only that part of each which is this member's.
  auto part_of = [&](const Array& from) {
    return cuts(call.kind) ? take(chunk(from.dims, call.cut_axis, me), from) : from;
  };
  Array out;
  Extents dims = part_of(*in[0]).dims;
  dims[size_t(call.join_axis)] = *call.dims[size_t(call.join_axis)].constant();
  out.resize(in[0]->is_float, dims);
  for (int64_t m = 0; m < members; ++m) put(chunk(dims, call.join_axis, m), out, part_of(*in[size_t(m)]));
  return out;
}

class Lockstep {
 public:
  Lockstep(llvm::ArrayRef<const Graph*> ranks, const ReferenceTap& tap, HalfValues halves, const ReferenceSink& sink)
      : ranks_(ranks),
        tap_(tap),
        halves_(halves),
        sink_(sink),
        inputs_(ranks.size()),
        values_(ranks.size()),
        left_(ranks.size()) {}

  llvm::Expected<std::vector<NamedArrays>> run(llvm::ArrayRef<NamedArrays> inputs) {
    for (size_t r = 0; r < ranks_.size(); ++r) {
      for (const Value* v : ranks_[r]->inputs) {
        auto it = inputs[r].find(v->name);
        if (it == inputs[r].end()) return error(Code::input_not_given).tensor("input", v->name).says("is not given");
        inputs_[r][v] = &it->second;
      }
      if (ranks_[r]->size() != ranks_[0]->size()) return error(Code::bug, "rank graphs differ in length");
    }
    std::vector<std::list<std::unique_ptr<Node>>::const_iterator> at;
    for (const Graph* g : ranks_) at.push_back(g->nodes.begin());
    for (size_t step = 0; step < ranks_[0]->size(); ++step) {
      llvm::SmallVector<const Node*, 8> nodes;
      for (auto& it : at) nodes.push_back((it++)->get());
      if (auto e = nodes[0]->op->collective ? communicate(nodes) : compute(nodes)) return e;
      if (tap_) {
        for (size_t k = 0; k < nodes[0]->results.size(); ++k) {
          llvm::SmallVector<const Value*, 8> vs;
          llvm::SmallVector<const Array*, 8> arrays;
          for (size_t r = 0; r < ranks_.size(); ++r) {
            vs.push_back(&nodes[r]->out(k));
            arrays.push_back(&values_[r][&nodes[r]->out(k)]);
          }
          if (auto e = tap_(*nodes[0], vs, arrays)) return e;
        }
      }
      for (size_t r = 0; r < ranks_.size(); ++r)
        for (const Value* v : nodes[r]->operands) release(r, v);
    }
    if (sink_)
      for (auto& [v, array] : values_[0])
        if (v->producer && !ranks_[0]->is_output(*v)) sink_(*v, std::move(array));
    std::vector<NamedArrays> out(ranks_.size());
    for (size_t r = 0; r < ranks_.size(); ++r) {
      llvm::DenseMap<const Value*, size_t> left;
      for (const GraphOutput& o : ranks_[r]->outputs) ++left[o.value];
      for (const GraphOutput& o : ranks_[r]->outputs) {
        const Array& array = value(r, *o.value);
        if (const auto own = values_[r].find(o.value); --left[o.value] == 0 && own != values_[r].end())
          out[r][o.name] = std::move(own->second);
        else
          out[r][o.name] = array;
      }
    }
    return out;
  }

 private:
  const Array& value(size_t r, const Value& v) {
    if (const Array* given = inputs_[r].lookup(&v)) return *given;
    auto it = values_[r].find(&v);
    if (it != values_[r].end()) return it->second;
    return values_[r][&v] = to_array(*v.data, v.data_shard());
  }
  void release(size_t r, const Value* v) {
    if (ranks_[r]->is_output(*v)) return;
    if (v->is_data()) {
      if (v->data->elements() > 4096) values_[r].erase(v);  // read again at its next use
      return;
    }
    auto it = left_[r].find(v);
    if (it == left_[r].end() || --it->second > 0) return;
    if (r == 0 && sink_) sink_(*v, std::move(values_[r][v]));
    values_[r].erase(v);
  }
  llvm::Error missing(const Value& v) {
    if (v.is_data() && v.data->is_missing())
      return error(Code::weights_not_found)
          .what("weights file " + quoted(v.data->missing) + " of " + quoted(v.name) + " is not there")
          .about({.file = v.data->missing, .tensor = v.name});
    return llvm::Error::success();
  }
  // The ranks side by side, each with its part of the threads that products take.
  llvm::Error compute(llvm::ArrayRef<const Node*> nodes) {
    for (const Node* node : nodes)
      for (const Value* v : node->operands)
        if (auto e = missing(*v)) return e;
    std::vector<std::optional<llvm::Expected<Arrays>>> results(nodes.size());
    const int threads = std::max(1, team_size() / int(nodes.size()));
    auto evaluate = [&](size_t r) {
      const TeamSize team(threads);
      llvm::SmallVector<const Array*, 3> operands;
      for (const Value* v : nodes[r]->operands) operands.push_back(&value(r, *v));
      results[r].emplace(nodes[r]->op->evaluate(*nodes[r], operands));
    };
    if (nodes.size() == 1)
      evaluate(0);
    else
      llvm::parallelFor(0, nodes.size(), evaluate);
    llvm::Error error = llvm::Error::success();
    for (size_t r = 0; r < nodes.size(); ++r) {
      if (*results[r])
        keep(r, *nodes[r], std::move(**results[r]));
      else if (error)
        llvm::consumeError(results[r]->takeError());  // the same of another rank
      else
        error = results[r]->takeError();
    }
    return error;
  }
  void keep(size_t r, const Node& node, Arrays results) {
    for (size_t k = 0; k < results.size(); ++k) {
      const DType dtype = node.out(k).type.dtype;
      const bool rounds = halves_ == HalfValues::rounded && is_half(dtype);
      values_[r][&node.out(k)] = rounds ? to_array(*to_tensor(results[k], dtype)) : std::move(results[k]);
      left_[r][&node.out(k)] = node.out(k).uses.size();
    }
  }
  llvm::Error communicate(llvm::ArrayRef<const Node*> nodes) {
    for (size_t r = 0; r < nodes.size(); ++r) {
      const CollectiveCall call = call_of(*nodes[r]);
      std::vector<const Array*> in;
      for (int64_t member : call.group) in.push_back(&value(size_t(member), nodes[size_t(member)]->operand(0)));
      Arrays results;
      results.push_back(result_of(call, in, llvm::find(call.group, int64_t(r)) - call.group.begin()));
      keep(r, *nodes[r], std::move(results));
    }
    return llvm::Error::success();
  }

  llvm::ArrayRef<const Graph*> ranks_;
  const ReferenceTap& tap_;
  const HalfValues halves_;
  const ReferenceSink& sink_;
  std::vector<llvm::DenseMap<const Value*, const Array*>> inputs_;  // the caller's own
  std::vector<std::map<const Value*, Array>> values_;
  std::vector<llvm::DenseMap<const Value*, size_t>> left_;
};
}  // namespace

llvm::Expected<std::vector<NamedArrays>> run_reference(llvm::ArrayRef<const Graph*> ranks,
                                                       llvm::ArrayRef<NamedArrays> inputs, const ReferenceTap& tap,
                                                       HalfValues halves, const ReferenceSink& sink) {
  return Lockstep(ranks, tap, halves, sink).run(inputs);
}
}  // namespace optp
