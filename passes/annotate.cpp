// Gives every value a sharding: a strategy chooses classes of factors to split, found by structure and not by names
// (Megatron-LM, arXiv:1909.08053 section 3); then partial sums are kept as far as they may go.
#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/StringSet.h"
#include "passes/factors.h"
#include "passes/input_dependence.h"
#include "passes/partials.h"
#include "passes/passes.h"
#include "passes/sharding_rules.h"
#include "passes/weights.h"

namespace optp {
namespace {

enum class Role { none, vocab, attention, mlp };

struct Candidate {
  Role role = Role::none;
  int64_t bytes = 0;      // of the weights it would split
  std::string rejection;  // why not, where something nearly matched
  bool column = false, row = false, table_rows = false;
};

class Recogniser {
 public:
  Recogniser(const Graph& graph, const Factors& factors) : graph_(graph), factors_(factors), depends_(graph) {
    candidates_.resize(factors.size());
    facts_.resize(factors.size());
    look_at_values();
    for (const auto& node : graph.nodes) look_at(*node);
    for (size_t c = 0; c < factors.size(); ++c) judge(int(c));
  }
  const Candidate& operator[](int c) const { return candidates_[size_t(c)]; }
  const InputDependence& depends() const { return depends_; }

  // vocab first, then by bytes; a class that shares a value with a chosen one is skipped.
  std::vector<int> chosen(llvm::function_ref<bool(const Candidate&)> wanted) {
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

  // The heaviest rejected classes of weights, each with its reason.
  std::string nearly_matched() const {
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
        out += "dim " + std::to_string(weight->dim) + " of '" + weight->value->name + "' (" + candidates_[c].rejection +
               ")";
      else
        out += candidates_[c].rejection;
    }
    return out;
  }

 private:
  struct Facts {
    bool input_dim = false, twice = false, bad_sum = false, table_rows = false, position_rows = false, column = false,
         row = false;
    bool output = false, activation_product = false, batch_loop_only = true;
    std::string bad_node;
  };
  template <typename F>
  void each_class(const Node& node, int loop, F&& f) {
    for (int c : factors_.of_loop(node, loop).classes) f(facts_[size_t(c)]);
  }
  void look_at_values() {
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
  // Through views and casts only: then the ids themselves, not positions made from a mask.
  bool is_input_index(const Value& index) const {
    const Value* v = &index;
    while (v->producer && (v->producer->op->name == "reshape" || v->producer->op->name == "cast" ||
                           v->producer->op->name == "transpose" || v->producer->op->name == "expand"))
      v = &v->producer->operand(0);
    return !v->producer && !v->is_data();
  }
  static bool is_learned(const Value& table) {
    const Value* v = &table;
    while (v->producer && v->producer->op->name == "cast") v = &v->producer->operand(0);
    return !v->is_data() || v->is_parameter;
  }
  void look_at(const Node& node) {
    const Rule& rule = factors_.rule(node);
    const bool is_product = node.op->name == "contract";
    if (is_product) {
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
      return;
    }
    for (int loop = 0; loop < int(rule.loops.size()); ++loop) {
      if (rule.loops[size_t(loop)].reduce == Reduce::none) continue;
      each_class(node, loop, [&](Facts& f) {
        if (node.op->name == "gather" && !depends_(node.operand(0))) {
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
  void judge(int c) {
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

  const Graph& graph_;
  const Factors& factors_;
  InputDependence depends_;
  std::vector<Candidate> candidates_;
  std::vector<Facts> facts_;
};

class Annotator {
 public:
  Annotator(Graph& graph, const PassOptions& options, const Factors& factors)
      : graph_(graph), options_(options), factors_(factors), recogniser_(graph, factors) {}

  bool is_pinned(const Value& v) const { return pins_.contains(&v); }
  llvm::Error run() {
    class_axes_.resize(factors_.size());
    class_cause_.resize(factors_.size());
    const MeshAxis* tensor = graph_.mesh.find("tensor");
    if (tensor && tensor->size > 1) {
      if (auto e = seed(*tensor)) return e;
    } else if (graph_.mesh.devices() > 1 && options_.constraints.empty()) {
      return error(Fault::usage, "mesh " + to_string(graph_.mesh) + ": strategy " + options_.strategy +
                                     " cuts over the axis tensor alone, expected one of more than 1 device, found " +
                                     (tensor ? "1" : "none") +
                                     "; name it tensor, or say in a file of constraints what other axes cut");
    }
    if (auto e = constrain()) return e;
    place_all();
    propagate_pins();
    find_partials(graph_, factors_, [](const Value&) { return false; });
    return llvm::Error::success();
  }

 private:
  static std::string cause_of(Role role, const Candidate& c) {
    switch (role) {
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

  llvm::Error seed(const MeshAxis& axis) {
    const bool megatron = options_.strategy == "megatron", origin = options_.strategy == "origin";
    if (!megatron && !origin)
      return error(Fault::usage, "strategy " + quoted(options_.strategy) + ": expected megatron or origin");
    auto chosen = recogniser_.chosen([&](const Candidate& c) {
      // origin leaves attention whole, and splits the table along hidden: its rows are no seed, an untied head's
      // columns are.
      return megatron || c.role == Role::mlp || (c.role == Role::vocab && !c.table_rows);
    });
    for (int c : chosen) {
      class_axes_[size_t(c)] = {axis.name};
      class_cause_[size_t(c)] = options_.strategy + ": " + cause_of(recogniser_[c].role, recogniser_[c]);
    }
    bool any = !chosen.empty();
    if (origin) any |= pin_tables(axis);
    if (!any && options_.constraints.empty())
      return bad_input(graph_.source + ": strategy " + options_.strategy + " finds nothing to split; " +
                       recogniser_.nearly_matched());
    return llvm::Error::success();
  }

  // origin: the table and what is gathered from it are split along hidden; nothing else follows it.
  bool pin_tables(const MeshAxis& axis) {
    bool any = false;
    for (const auto& node : graph_.nodes) {
      if (node->op->name != "gather" || !node->operand(0).is_data() || node->operand(0).ndim() != 2 ||
          node->integer("axis") != 0)
        continue;
      bool is_vocab = false;
      for (int c : factors_.of(node->operand(0), 0).classes) is_vocab |= recogniser_[c].table_rows;
      if (!is_vocab) continue;
      llvm::SmallVector<Value*, 4> pinned{&node->operand(0), &node->out()};
      // A half-precision table and rows are widened where they are used.
      for (Value* v : {&node->operand(0), &node->out()})
        for (const Use& use : v->uses)
          if (use.node->op->name == "cast") pinned.push_back(&use.node->out());
      for (Value* v : pinned) {
        Sharding s = of_classes(*v);
        for (auto& d : s.dims)
          for (auto& f : d.factors) f.axes.clear();
        s.dims.back().factors[0].axes = {axis.name};
        pin(*v, s, {"origin: an embedding is split along hidden", v == &node->operand(0) ? "" : node->operand(0).name});
      }
      any = true;
    }
    return any;
  }

  Sharding of_classes(const Value& v) const {
    Sharding s;
    for (unsigned d = 0; d < v.ndim(); ++d) {
      DimSharding dim;
      const auto& f = factors_.of(v, d);
      for (size_t k = 0; k < f.extents.size(); ++k)
        dim.factors.push_back({f.extents[k], class_axes_[size_t(f.classes[k])]});
      s.dims.push_back(std::move(dim));
    }
    return s;
  }
  void pin(Value& v, Sharding s, Cause cause) { pins_[&v] = {std::move(s), std::move(cause)}; }

  llvm::Error constrain() {
    for (const Constraint& c : options_.constraints) {
      auto resolved = resolve_constraint(graph_, factors_, c);
      if (!resolved) return resolved.takeError();
      for (auto& [value, sharding] : *resolved) {
        // A constraint on a weight moves its whole class where the class is free to be split.
        bool by_class = !sharding.is_replicated();
        for (unsigned d = 0; by_class && d < value->ndim(); ++d)
          for (size_t k = 0; k < sharding.dims[d].factors.size(); ++k)
            if (!sharding.dims[d].factors[k].axes.empty()) {
              const int cls = factors_.of(*value, d).classes[k];
              const Candidate& candidate = recogniser_[cls];
              if (factors_.info(cls).needs_whole || !candidate.rejection.empty()) by_class = false;
            }
        const Cause cause{"constraint " + c.place + ": " + c.pattern + " = " + c.wish, ""};
        if (by_class) {
          for (unsigned d = 0; d < value->ndim(); ++d)
            for (size_t k = 0; k < sharding.dims[d].factors.size(); ++k) {
              const int cls = factors_.of(*value, d).classes[k];
              class_axes_[size_t(cls)] = sharding.dims[d].factors[k].axes;
              class_cause_[size_t(cls)] = cause.text;
            }
        }
        pin(*value, sharding, cause);
      }
    }
    return llvm::Error::success();
  }

  void place(Value& v) {
    if (auto it = pins_.find(&v); it != pins_.end()) {
      v.sharding = it->second.first;
      v.cause = it->second.second;
      return;
    }
    v.sharding = of_classes(v);
    v.cause = {};
    for (unsigned d = 0; d < v.ndim(); ++d)
      for (int c : factors_.of(v, d).classes) {
        if (class_axes_[size_t(c)].empty()) continue;
        const auto& first = factors_.info(c).places.front();
        v.cause = {class_cause_[size_t(c)], first.value == &v ? "" : first.value->name};
      }
    if (v.cause.text.empty()) v.cause.text = whole_because(v);
  }
  std::string whole_because(const Value& v) const {
    std::string out;
    for (unsigned d = 0; d < v.ndim(); ++d)
      for (int c : factors_.of(v, d).classes)
        if (!recogniser_[c].rejection.empty()) {
          out += (out.empty() ? "whole: dim " : "; dim ") + std::to_string(d) + ": " + recogniser_[c].rejection;
          break;
        }
    return out.empty() ? "whole: no strategy or constraint splits it" : out;
  }
  void place_all() {
    for (Value* v : graph_.inputs) place(*v);
    for (Value* v : graph_.data()) place(*v);
    for (auto& node : graph_.nodes)
      for (auto& r : node->results) place(*r);
  }

  // A product whose activation comes split along what it sums takes its weight split the same way: no gather is needed.
  void propagate_pins() {
    for (auto& node : graph_.nodes) {
      if (node->op->name != "contract") continue;
      const Rule& rule = factors_.rule(*node);
      for (unsigned k : {0u, 1u}) {
        Value &x = node->operand(k), &w = node->operand(1 - k);
        if (!w.is_data() || w.uses.size() != 1 || pins_.contains(&w) || !w.sharding->is_replicated()) continue;
        for (size_t d = 0; d < rule.operands[k].size(); ++d) {
          const int loop = rule.operands[k][d];
          if (loop == no_loop || rule.loops[size_t(loop)].reduce == Reduce::none || !x.sharding->dims[d].is_split())
            continue;
          for (size_t e = 0; e < rule.operands[1 - k].size(); ++e)
            if (rule.operands[1 - k][e] == loop) {
              w.sharding->dims[e] = x.sharding->dims[d];
              w.cause = {"row-parallel: its activation comes split along what the product sums", x.name};
            }
        }
      }
    }
  }

  Graph& graph_;
  const PassOptions& options_;
  const Factors& factors_;
  Recogniser recogniser_;
  std::vector<Axes> class_axes_;
  std::vector<std::string> class_cause_;
  llvm::DenseMap<const Value*, std::pair<Sharding, Cause>> pins_;
};
}  // namespace

llvm::SmallVector<MeshAxis, 2> idle_axes(const Graph& graph) {
  llvm::StringSet<> used;
  auto look = [&](const Value& v) {
    if (v.sharding)
      for (const std::string& axis : v.sharding->axes()) used.insert(axis);
  };
  for (const Value* v : graph.inputs) look(*v);
  for (const Value* v : graph.data()) look(*v);
  for (const auto& node : graph.nodes)
    for (const auto& r : node->results) look(*r);
  llvm::SmallVector<MeshAxis, 2> out;
  for (const MeshAxis& axis : graph.mesh.axes)
    if (axis.size > 1 && !used.contains(axis.name)) out.push_back(axis);
  return out;
}

llvm::Error annotate(Graph& graph, const PassOptions& options) {
  while (true) {
    auto factors = Factors::of(graph);
    if (!factors) return factors.takeError();
    Annotator annotator(graph, options, *factors);
    if (auto e = annotator.run()) return e;
    auto joined = join_partials(graph, *factors, options, [&](const Value& v) { return annotator.is_pinned(v); });
    if (!joined) return joined.takeError();
    if (!*joined) break;
  }
  for (const MeshAxis& axis : idle_axes(graph))
    graph.remarks.push_back("nothing is cut over the mesh axis " + axis.name + ": its " + std::to_string(axis.size) +
                            " devices do the same");
  return llvm::Error::success();
}
}  // namespace optp
