// The textual form: docs/ir.md. parse.cpp reads what this writes; what one knows the other must.
#include "frontend/ir/attribute_text.h"
#include "frontend/ir/diagnostic.h"
#include "frontend/ir/graph.h"
#include "frontend/ir/op.h"
#include "frontend/ir/sharding_text.h"
#include "frontend/ir/tensor_text.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/raw_ostream.h"

namespace optp {
namespace {
std::string named(llvm::StringRef name) { return "%" + spelled_name(name); }

// Type, what it is a shard of, and how it is sharded.
std::string typed(const Value& v) {
  std::string out = to_string(v.type);
  if (!v.logical_dims.empty()) out += " of " + to_string(v.logical_dims);
  if (v.sharding) out += " " + sharding_text(*v.sharding, v.logical_dims.empty() ? v.type.dims : v.logical_dims);
  return out;
}
// The numbers of data; their type too, where it is not the value's.
std::string contents_of(const Value& v) {
  if (v.data->missing == nowhere) return "";
  Dims dims;
  for (int64_t n : v.data->dims) dims.push_back(n);
  const Type own{v.data->dtype, dims};
  const Type expected{v.type.dtype, v.logical_dims.empty() ? v.type.dims : v.logical_dims};
  return " = " + (own == expected ? "" : to_string(own) + " ") + contents_text(*v.data);
}

// Lines below a value's or node's own, for what few of them have.
void print_details(llvm::raw_ostream& out, const Value& v, llvm::StringRef whose) {
  llvm::SmallVector<std::string, 4> facts;
  if (v.is_parameter && !v.is_data()) facts.push_back("parameter");
  if (v.frozen) facts.push_back("frozen");
  if (v.is_literal) facts.push_back("literal");
  if (v.is_anonymous) facts.push_back("anonymous");
  if (!v.model_name.empty()) facts.push_back("called " + spelled_name(v.model_name));
  for (const std::string& alias : v.model_aliases) facts.push_back("also called " + spelled_name(alias));
  for (const std::string& alias : v.aliases)
    facts.push_back("alias " + spelled_name(alias) +
                    (llvm::is_contained(v.transposed_aliases, alias) ? " transposed" : ""));
  if (v.shard) facts.push_back("holds " + to_string(*v.shard));
  if (!facts.empty()) out << "  " << whose << llvm::join(facts, ", ") << "\n";
  if (v.cause.text.empty() && v.cause.from.empty()) return;
  out << "  " << whose << "because ";
  if (v.cause.kind != implied_kind(v.cause.from)) out << to_string(v.cause.kind) << " ";
  out << in_double_quotes(v.cause.text);
  if (!v.cause.from.empty()) out << " from " << named(v.cause.from);
  out << "\n";
}
void print_details(llvm::raw_ostream& out, const Node& node) {
  llvm::SmallVector<std::string, 4> facts;
  if (!node.name.empty() || !node.origin.empty())
    facts.push_back("node" + (node.name.empty() ? "" : " " + spelled_name(node.name)) +
                    (node.origin.empty() ? "" : " (" + spelled_name(node.origin) + ")"));
  if (node.module.known)
    facts.push_back("module " + spelled_name(node.module.path) + (node.module.counts_calls ? " counts calls" : "") +
                    (node.module.name.empty() ? "" : " called " + spelled_name(node.module.name)));
  if (node.phase != Phase::forward) facts.push_back(to_string(node.phase).str());
  if (!facts.empty()) out << "  " << llvm::join(facts, ", ") << "\n";
  for (const auto& r : node.results) print_details(out, *r, r->result ? named(r->name) + " " : "");
}

// Names that may be 0; others are at least 1.
void print_lower_bounds(llvm::raw_ostream& out, const Graph& graph) {
  for (Dim symbol : named_dims_of(graph))
    if (lower_bound(symbol) == 0) out << "dim " << symbol.text() << " >= 0\n";
}
// What the graph knows of its inputs and outputs, beyond that they are there.
void print_roles(llvm::raw_ostream& out, const Graph& graph) {
  for (const State& s : graph.states)
    out << "state " << named(s.input) << " -> " << spelled_name(s.output) << " axis " << s.axis << "\n";
  for (const Update& u : graph.updates) {
    out << "update " << named(u.input) << " -> " << spelled_name(u.output) << " " << spelled_name(u.kind.text());
    if (!u.parameter.empty()) out << " of " << named(u.parameter);
    out << "\n";
  }
  for (const GradientOutput& g : graph.gradients)
    out << "gradient " << named(g.parameter) << " -> " << spelled_name(g.output) << "\n";
  for (const Remark& remark : graph.remarks) {
    out << "remark " << spelled_name(remark.pass) << " ";
    if (remark.kind != RemarkKind::note) out << to_string(remark.kind) << " ";
    out << in_double_quotes(remark.text) << "\n";
  }
}
}  // namespace

std::string called(llvm::StringRef name, llvm::StringRef model_name) {
  return quoted(name) + (model_name.empty() ? "" : " (" + printable(model_name) + ")");
}
std::string called(const ValueFacts& value) { return called(value.name, value.model_name); }

std::string to_string(const Node& node) {
  std::string out;
  for (const auto& r : node.results) out += (out.empty() ? "" : ", ") + named(r->name);
  out += " = " + node.op->name + "(";
  for (size_t k = 0; k < node.operands.size(); ++k) out += (k ? ", " : "") + named(node.operand(k).name);
  out += ")";
  if (!node.attributes.empty()) {
    bool first = true;
    for (const auto& [key, attribute] : node.attributes) {
      out += (first ? " {" : ", ") + key + " = " + attribute_text(attribute);
      first = false;
    }
    out += "}";
  }
  for (size_t k = 0; k < node.results.size(); ++k) out += (k ? ", " : " : ") + typed(node.out(k));
  return out;
}

void print(llvm::raw_ostream& out, const Graph& graph) {
  if (!graph.name.empty() || !graph.source.empty())
    out << "graph " << spelled_name(graph.name) << " from " << in_double_quotes(graph.source) << "\n";
  if (!graph.mesh.axes.empty()) out << "mesh " << to_string(graph.mesh) << "\n";
  if (graph.rank) out << "rank " << *graph.rank << "\n";
  print_lower_bounds(out, graph);
  for (const Value* v : graph.inputs) {
    out << "input " << named(v->name) << ": " << typed(*v) << "\n";
    print_details(out, *v, "");
  }
  for (const Value* v : graph.data()) {
    out << (v->is_parameter ? "parameter " : "data ") << named(v->name) << ": " << typed(*v) << contents_of(*v) << "\n";
    print_details(out, *v, "");
  }
  for (const Guard& g : graph.guards) {
    out << "guard " << g.left.text() << " = " << g.right.text();
    if (!g.at.empty()) out << " at " << in_double_quotes(to_string(g.at));
    out << "\n";
  }
  for (const auto& node : graph.nodes) {
    out << to_string(*node) << "\n";
    print_details(out, *node);
  }
  for (const GraphOutput& o : graph.outputs)
    out << "output " << spelled_name(o.name) << " = " << named(o.value->name) << "\n";
  print_roles(out, graph);
}
std::string to_string(const Graph& graph) {
  std::string text;
  llvm::raw_string_ostream out(text);
  print(out, graph);
  return text;
}
}  // namespace optp
