#include "passes/recogniser.h"

#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/DenseSet.h"

namespace optp {
Recogniser::Recogniser(const Graph& graph, const Factors& factors) : graph_(graph), factors_(factors), depends_(graph) {
  candidates_.resize(factors.size());
  facts_.resize(factors.size());
  look_at_values();
  for (const auto& node : graph.nodes) look_at(*node);
  for (size_t c = 0; c < factors.size(); ++c) judge(int(c));
}

std::vector<Factors::Class> Recogniser::chosen(llvm::function_ref<bool(const Candidate&)> wanted) const {
  std::vector<int> order;
  for (size_t c = 0; c < candidates_.size(); ++c)
    if (candidates_[c].role != Role::none && wanted(candidates_[c])) order.push_back(int(c));
  llvm::stable_sort(order, [&](int a, int b) {
    const Candidate &x = candidates_[size_t(a)], &y = candidates_[size_t(b)];
    if ((x.role == Role::vocab) != (y.role == Role::vocab)) return x.role == Role::vocab;
    return x.bytes > y.bytes;
  });
  std::vector<int> out;
  llvm::DenseSet<const Value*> taken;
  for (int c : order) {
    const auto& places = factors_.info(c).places;
    if (llvm::any_of(places, [&](const Factors::Place& p) { return taken.contains(p.value); })) continue;
    for (const Factors::Place& p : places) taken.insert(p.value);
    out.push_back(c);
  }
  return out;
}

std::string Recogniser::what_is(Factors::Class of) const {
  const Candidate& c = (*this)[of];
  switch (c.role) {
    case Role::vocab:
      return c.table_rows ? "vocab: rows of a table that the input ids index"
                          : "vocab: columns of the head, which reach an output";
    case Role::attention:
      return "attention heads: columns of q, k, v and rows of the output projection, a batch in the products between";
    case Role::mlp:
      return "mlp: columns of the first product and rows of the second, with nothing but elementwise work between";
    case Role::none:
      break;
  }
  return "";
}

std::string Recogniser::nearly_matched() const {
  constexpr size_t most = 3;
  std::vector<size_t> rejected;
  for (size_t c = 0; c < candidates_.size(); ++c)
    if (!candidates_[c].rejection.empty()) rejected.push_back(c);
  if (rejected.empty()) return "the graph has no product with a weight";
  llvm::stable_sort(rejected, [&](size_t a, size_t b) { return candidates_[a].bytes > candidates_[b].bytes; });
  if (rejected.size() > most) rejected.resize(most);
  std::string out = "nearest: ";
  for (size_t c : rejected) {
    const auto& places = factors_.info(int(c)).places;
    const auto* weight =
        llvm::find_if(places, [](const Factors::Place& p) { return p.value->is_data() && p.value->ndim() >= 2; });
    out += c == rejected[0] ? "" : ", ";
    if (weight != places.end())
      out +=
          "dim " + std::to_string(weight->dim) + " of '" + weight->value->name + "' (" + candidates_[c].rejection + ")";
    else
      out += candidates_[c].rejection;
  }
  return out;
}

void Recogniser::each_class(const Node& node, int loop, llvm::function_ref<void(Facts&)> f) {
  for (int c : factors_.of_loop(node, loop).classes) f(facts_[size_t(c)]);
}
void Recogniser::look_at_values() {
  for (size_t c = 0; c < factors_.size(); ++c) {
    Facts& f = facts_[c];
    llvm::DenseSet<const Value*> seen;
    for (const Factors::Place& p : factors_.info(int(c)).places) {
      if (!seen.insert(p.value).second) f.twice = true;
      if (llvm::is_contained(graph_.inputs, p.value) && !is_float(p.value->type.dtype)) f.input_dim = true;
      if (graph_.is_output(*p.value)) f.output = true;
      if (p.value->is_data() && p.value->ndim() >= 2 && is_float(p.value->type.dtype))
        candidates_[c].bytes += p.value->data->elements() * size_bytes(p.value->type.dtype);
    }
  }
}
// Only views and casts in between, so this is the ids input itself and not positions computed from the mask.
bool Recogniser::is_input_index(const Value& index) const {
  const Value* v = &index;
  while (v->producer && v->producer->op->is(view_traits)) v = &v->producer->operand(0);
  return !v->producer && !v->is_data();
}
bool Recogniser::is_learned(const Value& table) {
  const Value* v = &table;
  while (v->producer && v->producer->op->is(Trait::converts)) v = &v->producer->operand(0);
  return !v->is_data() || v->is_parameter;
}
void Recogniser::look_at_product(const Node& node) {
  const Rule& rule = factors_.rule(node);

  const bool a = depends_(node.operand(0)), b = depends_(node.operand(1));
  auto in = [&](unsigned operand, int loop) { return llvm::is_contained(rule.operands[operand], loop); };
  for (int loop = 0; loop < int(rule.loops.size()); ++loop) {
    const bool summed = rule.loops[size_t(loop)].reduce != Reduce::none, both = in(0, loop) && in(1, loop);
    each_class(node, loop, [&](Facts& f) {
      if (a && b) {
        f.activation_product = true;
        if (!both || summed) f.batch_loop_only = false;
        if (summed) f.bad_sum = true, f.bad_node = describe(node);
      } else if (a || b) {
        const unsigned weight = a ? 1 : 0;
        if (summed)
          f.row = true;
        else if (in(weight, loop))
          f.column = true;
      } else if (summed) {
        f.bad_sum = true, f.bad_node = describe(node);
      }
    });
  }
}
void Recogniser::look_at(const Node& node) {
  const Rule& rule = factors_.rule(node);
  if (node.op->is(Trait::product)) return look_at_product(node);
  for (int loop = 0; loop < int(rule.loops.size()); ++loop) {
    if (rule.loops[size_t(loop)].reduce == Reduce::none) continue;
    each_class(node, loop, [&](Facts& f) {
      if (node.op->is(Trait::looks_up) && !depends_(node.operand(0))) {
        // Rows of sines are no vocabulary: small, and looked up for nothing if they are whole.
        if (is_input_index(node.operand(1)) && is_learned(node.operand(0)))
          f.table_rows = true;
        else
          f.position_rows = true;
      } else {
        f.bad_sum = true, f.bad_node = describe(node);
      }
    });
  }
}
void Recogniser::judge(Factors::Class c) {
  const Facts& f = facts_[size_t(c)];
  Candidate& out = candidates_[size_t(c)];
  out.column = f.column, out.row = f.row, out.table_rows = f.table_rows;
  const auto& info = factors_.info(c);
  if (info.extent.is(1) || (!f.column && !f.row && !f.table_rows)) return;
  auto reject = [&](const llvm::Twine& why) { out.rejection = why.str(); };
  if (f.input_dim) return reject("it is a dim of an input");
  if (info.needs_whole) return reject(info.needs_whole->op->name + " needs it whole");
  if (f.twice) return reject("it occurs twice in one tensor");
  if (f.bad_sum) return reject("it is summed at " + f.bad_node);
  if (f.position_rows) return reject("it is the rows of a table that the input ids do not index");
  if (f.table_rows || (f.column && f.output && !f.row)) {
    out.role = Role::vocab;
  } else if (f.column && f.row && f.activation_product) {
    if (f.batch_loop_only)
      out.role = Role::attention;
    else
      reject("a product of two activations runs over it other than as a batch");
  } else if (f.column && f.row) {
    out.role = Role::mlp;
  } else if (f.column) {
    reject("it is made by a product but summed by none");
  } else {
    reject("it is summed by a product but made by none");
  }
}
}  // namespace optp
