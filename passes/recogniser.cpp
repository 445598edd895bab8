#include "passes/recogniser.h"

#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/DenseSet.h"

namespace optp {
namespace {
// An adapter that is given at run time (LoRA, Hu et al., arXiv:2106.09685): a matrix of numbers for extents that only
// products use, beside inputs whose extents have names.
bool is_adapter(const Graph& graph, const Value& input) {
  auto is_number = [](Dim d) { return d.constant().has_value(); };
  return input.ndim() == 2 && is_float(input.type.dtype) && llvm::all_of(input.type.dims, is_number) &&
         llvm::any_of(graph.inputs, [&](const Value* v) { return !llvm::all_of(v->type.dims, is_number); }) &&
         llvm::all_of(input.uses, [](const Use& use) { return use.node->op->is(Trait::product); });
}
const Value& seen_through(const Value& v, Trait views) {
  const Value* at = &v;
  while (at->producer && at->producer->op->is(views)) at = &at->producer->operand(0);
  return *at;
}
}  // namespace

Recogniser::Recogniser(const Graph& graph, const Factors& factors)
    : graph_(graph), factors_(factors), depends_(graph, [&](const Value& v) { return !is_adapter(graph, v); }) {
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
  llvm::DenseMap<const Value*, llvm::SmallVector<const Factors::Place*, 1>> taken;
  auto is_beside = [](const Factors::Place& a, const Factors::Place& b) { return a.dim == b.dim && a.part != b.part; };
  for (int c : order) {
    const auto& places = factors_.info(c).places;
    if (llvm::any_of(places, [&](const Factors::Place& p) {
          return llvm::any_of(taken.lookup(p.value), [&](const auto* other) { return !is_beside(p, *other); });
        }))
      continue;
    for (const Factors::Place& p : places) taken[p.value].push_back(&p);
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
      out += "dim " + std::to_string(weight->dim) + " of " + called(*weight->value) + " (" + candidates_[c].rejection +
             ")";
    else
      out += candidates_[c].rejection;
  }
  return out;
}

void Recogniser::each_class(const Node& node, int loop, llvm::function_ref<void(Facts&)> f) {
  for (int c : factors_.of_loop(node, loop).classes()) f(facts_[size_t(c)]);
}
void Recogniser::look_at_values() {
  for (size_t c = 0; c < factors_.size(); ++c) {
    Facts& f = facts_[c];
    llvm::DenseSet<const Value*> seen;
    const Factors::Place* last = nullptr;
    for (const Factors::Place& p : factors_.info(int(c)).places) {
      // Places of one value follow each other. It may be in several parts of one dim, in each once.
      if (!seen.insert(p.value).second && (p.dim != last->dim || p.part == last->part)) f.twice = true;
      last = &p;
      if (llvm::is_contained(graph_.inputs, p.value) && !is_float(p.value->type.dtype)) f.input_dim = true;
      if (graph_.is_output(*p.value)) f.output = true;
      if (p.value->is_data() && p.value->ndim() >= 2 && is_float(p.value->type.dtype))
        candidates_[c].bytes += p.value->data->elements() * size_bytes(p.value->type.dtype);
    }
  }
}
// Only views and casts in between, so this is the ids input itself and not positions computed from the mask.
bool Recogniser::is_input_index(const Value& index) const {
  const Value& v = seen_through(index, view_traits);
  return !v.producer && !v.is_data();
}
// A parameter, or what is computed of one, or of what the caller gives. Numbers in a row, sines of them, are not.
bool Recogniser::is_learned(const Value& table) {
  llvm::SmallVector<const Value*> open{&table};
  llvm::DenseSet<const Value*> seen{&table};
  while (!open.empty()) {
    const Value* v = open.pop_back_val();
    if (!v->producer && (!v->is_data() || v->is_parameter)) return true;
    if (v->producer)
      for (const Value* x : v->producer->operands)
        if (seen.insert(x).second) open.push_back(x);
  }
  return false;
}
// A weight, or what is looked up in a learned stack of matrices: the experts that a token is routed to.
bool Recogniser::is_weight(const Value& v) const {
  if (!depends_(v)) return true;
  const Node* made_by = seen_through(v, view_traits).producer;
  if (!made_by || !made_by->op->is(Trait::looks_up)) return false;
  const Value& stack = made_by->operand(0);
  return stack.ndim() >= 3 && !depends_(stack) && is_learned(stack);
}
void Recogniser::look_at_product(const Node& node) {
  const Rule& rule = factors_.rule(node);

  const bool a = !is_weight(node.operand(0)), b = !is_weight(node.operand(1));
  auto in = [&](unsigned operand, int loop) { return llvm::is_contained(rule.operands[operand], loop); };
  for (int loop = 0; loop < int(rule.loops.size()); ++loop) {
    const bool summed = rule.loops[size_t(loop)].reduce != Reduce::none, both = in(0, loop) && in(1, loop);
    each_class(node, loop, [&](Facts& f) {
      if (a && b) {
        f.activation_product = true;
        if (summed)
          f.batch_loop_only = false, f.bad_sum = true, f.bad_node = describe(node);
        else if (!both)
          f.of_one_operand = true;
      } else if (a || b) {
        const unsigned weight = a ? 1 : 0;
        // What is looked up has the tokens that look as a batch.
        const bool is_batch = both && depends_(node.operand(weight));
        if (summed)
          f.row = true;
        else if (in(weight, loop) && !is_batch)
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
  if (node.op->is(Trait::shares_out))
    for (int loop = 0; loop < int(rule.loops.size()); ++loop)
      if (!rule.loops[size_t(loop)].whole) each_class(node, loop, [](Facts& f) { f.in_scores = true; });
  for (const LoopCover& cover : rule.covers) each_class(node, cover.coarse, [](Facts& f) { f.repeated = true; });
  for (int loop = 0; loop < int(rule.loops.size()); ++loop) {
    if (rule.loops[size_t(loop)].reduce == Reduce::none) continue;
    each_class(node, loop, [&](Facts& f) {
      if (node.op->is(Trait::looks_up) && !depends_(node.operand(0))) {
        // Rows of sines are no vocabulary: small, and looked up for nothing if they are whole.
        if (is_input_index(node.operand(1)) && is_learned(node.operand(0)))
          f.table_rows = true;
        else
          f.position_rows = true;
      } else if (rule.loops[size_t(loop)].reduce == Reduce::sum && rule.linear == Linear::jointly) {
        if (f.sum_node.empty()) f.sum_node = describe(node);
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
  // Heads that have a token's scores of their own are a batch, also where they share one k and v. (The width of v's
  // heads is made and summed by weights, too, but no score has it.)
  const bool is_heads =
      f.column && f.row && f.activation_product && f.batch_loop_only && (!f.of_one_operand || f.in_scores);
  auto reject = [&](const llvm::Twine& why) { out.rejection = why.str(); };
  if (f.input_dim) return reject("it is a dim of an input");
  if (info.needs_whole && !(is_heads && info.needs_whole.by_norms_only()))
    return reject(info.needs_whole.first->op->name + " needs it whole");
  if (f.twice) return reject("it occurs twice in one tensor");
  if (f.bad_sum) return reject("it is summed at " + f.bad_node);
  // A norm over all heads costs a few numbers a token. What else is summed beside the weights' products is the residual
  // stream, whose norms would cost that for each of them.
  if (!f.sum_node.empty() && !is_heads) return reject("it is summed at " + f.sum_node);
  // Also where they are an output: the keys and values that a decoder keeps.
  if (f.repeated) return reject("it is repeated, and lies where its copies are");
  if (f.position_rows) return reject("it is the rows of a table that the input ids do not index");
  if (f.table_rows || (f.column && f.output && !f.row)) {
    out.role = Role::vocab;
  } else if (f.column && f.row && f.activation_product) {
    if (is_heads)
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
