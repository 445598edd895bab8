#include "frontend/ir/diagnostic.h"
#include "frontend/ir/graph.h"
#include "frontend/ir/op.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/raw_ostream.h"

namespace optp {
namespace {
std::string text(const Attribute& attribute) {
  return std::visit(
      [](const auto& v) -> std::string {
        using T = std::decay_t<decltype(v)>;
        std::string out;
        llvm::raw_string_ostream os(out);
        if constexpr (std::is_same_v<T, int64_t>)
          os << v;
        else if constexpr (std::is_same_v<T, double>)
          os << llvm::format("%.9g", v);
        else if constexpr (std::is_same_v<T, std::string>)
          os << '"' << printable(v) << '"';
        else if constexpr (std::is_same_v<T, Dim>)
          os << v.text();
        else if constexpr (std::is_same_v<T, Dims>)
          os << to_string(v);
        else {
          os << "[";
          for (size_t k = 0; k < v.size(); ++k) os << (k ? ", " : "") << v[k];
          os << "]";
        }
        return out;
      },
      attribute);
}
std::string typed(const Value& v) {
  std::string out = "%" + printable(v.name) + ": " + to_string(v.type);
  if (v.sharding) out += " " + to_string(*v.sharding);
  return out;
}
}  // namespace

std::string to_string(const Node& node) {
  std::string out;
  for (size_t k = 0; k < node.results.size(); ++k) out += (k ? ", %" : "%") + printable(node.results[k]->name);
  out += " = " + node.op->name + "(";
  for (size_t k = 0; k < node.operands.size(); ++k) {
    const Value& v = node.operand(k);
    out += (k ? ", " : "") + (v.is_data() ? typed(v) : "%" + printable(v.name));
  }
  out += ")";
  if (!node.attributes.empty()) {
    out += " {";
    bool first = true;
    for (const auto& [key, attribute] : node.attributes) {
      out += (first ? "" : ", ") + key + " = " + text(attribute);
      first = false;
    }
    out += "}";
  }
  out += " : ";
  for (size_t k = 0; k < node.results.size(); ++k) {
    out += (k ? ", " : "") + to_string(node.results[k]->type);
    if (node.results[k]->sharding) out += " " + to_string(*node.results[k]->sharding);
  }
  return out;
}

void print(llvm::raw_ostream& out, const Graph& graph) {
  if (!graph.mesh.axes.empty()) out << "mesh " << to_string(graph.mesh) << "\n";
  for (const Value* v : graph.inputs) out << "input " << typed(*v) << "\n";
  for (const Guard& g : graph.guards) out << "guard " << g.left.text() << " = " << g.right.text() << "\n";
  for (const auto& node : graph.nodes) out << to_string(*node) << "\n";
  for (const GraphOutput& o : graph.outputs)
    out << "output " << printable(o.name) << " = %" << printable(o.value->name) << "\n";
}
}  // namespace optp
