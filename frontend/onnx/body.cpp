// Nodes of a graph, a function or a branch: each name is defined once, attributes are what they say, no cycle.
#include "frontend/ir/diagnostic.h"
#include "frontend/onnx/lowering.h"
#include "frontend/onnx/model.h"

namespace optp {
namespace {
constexpr int most_operands = 1 << 14;  // of one node; erasing it takes their square

// Of all fields only the one of its type: a value in another would be read by some and not by others.
llvm::Error check_fields(const onnx::AttributeProto& a) {
  using A = onnx::AttributeProto;
  const std::pair<int, bool> fields[] = {{A::INT, a.has_i()},
                                         {A::FLOAT, a.has_f()},
                                         {A::STRING, a.has_s()},
                                         {A::TENSOR, a.has_t()},
                                         {A::GRAPH, a.has_g()},
                                         {A::SPARSE_TENSOR, a.has_sparse_tensor()},
                                         {A::TYPE_PROTO, a.has_tp()},
                                         {A::INTS, a.ints_size() > 0},
                                         {A::FLOATS, a.floats_size() > 0},
                                         {A::STRINGS, a.strings_size() > 0},
                                         {A::TENSORS, a.tensors_size() > 0},
                                         {A::GRAPHS, a.graphs_size() > 0},
                                         {A::SPARSE_TENSORS, a.sparse_tensors_size() > 0},
                                         {A::TYPE_PROTOS, a.type_protos_size() > 0}};
  if (a.type() == A::UNDEFINED)
    return error(Code::malformed).what("attribute " + quoted(a.name())).what("it has no type");
  for (auto [type, present] : fields)
    if (present && (type != a.type() || !a.ref_attr_name().empty()))
      return error(Code::malformed)
          .what("attribute " + quoted(a.name()))
          .what("type")
          .expected("a value of " + A::AttributeType_Name(a.type()) + " only")
          .found("one of " + A::AttributeType_Name(A::AttributeType(type)));
  return llvm::Error::success();
}

llvm::Error check_attributes(const onnx::NodeProto& n, const BodyRules& rules) {
  llvm::StringSet<> seen;
  for (const auto& a : n.attribute()) {
    if (!seen.insert(a.name()).second)
      return error(Code::duplicate).at(place_of(n)).what("attribute " + quoted(a.name()) + " is given twice");
    if (!a.ref_attr_name().empty() && !rules.in_function)
      return error(Code::malformed)
          .at(place_of(n))
          .what("attribute " + quoted(a.name()) + " uses ref_attr_name outside a function");
    if (auto e = check_fields(a)) return within(place_of(n), std::move(e));
  }
  return llvm::Error::success();
}
}  // namespace

llvm::SmallVector<const onnx::GraphProto*, 2> subgraphs_of(const onnx::NodeProto& node) {
  llvm::SmallVector<const onnx::GraphProto*, 2> out;
  for (const auto& a : node.attribute()) {
    if (a.has_g()) out.push_back(&a.g());
    for (const auto& g : a.graphs()) out.push_back(&g);
  }
  return out;
}

llvm::StringSet<> used_names(const onnx::GraphProto& graph) {
  llvm::StringSet<> out;
  auto use = [&](const std::string& name) { out.insert(name); };
  for (const auto& n : graph.node()) {
    for (const auto& i : n.input()) use(i);
    for (const onnx::GraphProto* sub : subgraphs_of(n)) visit_captured(*sub, use);
  }
  for (const auto& o : graph.output()) use(o.name());
  return out;
}

llvm::Expected<Body> read_body(const NodeList& nodes, llvm::StringSet<> defined, const BodyRules& rules) {
  for (const auto& n : nodes) {
    for (const auto& o : n.output())
      if (!o.empty() && !defined.insert(o).second)
        return error(Code::duplicate).at(place_of(n)).tensor("output", o).says("is defined twice");
    if (llvm::all_of(n.output(), [](const std::string& o) { return o.empty(); }))
      return error(Code::malformed).at(place_of(n)).what("it has no outputs");
    if (n.input_size() > most_operands)
      return error(Code::too_large)
          .at(place_of(n))
          .what("operands")
          .expected("at most " + llvm::Twine(most_operands))
          .found(n.input_size());
  }
  for (const auto& n : nodes) {
    if (auto e = check_attributes(n, rules)) return e;
    for (const auto& i : n.input())
      if (!i.empty() && !rules.outer && !defined.contains(i))
        return error(Code::undefined).at(place_of(n)).tensor("operand", i).says("is defined nowhere");
  }
  Body body;
  body.nodes = &nodes;
  if (auto e = sort_nodes(body)) return e;
  return body;
}

std::string listed(llvm::ArrayRef<std::string> names) {
  constexpr size_t most_listed = 3;
  std::string out;
  for (size_t k = 0; k < names.size() && k < most_listed; ++k) out += (k ? ", " : "") + quoted(names[k]);
  if (names.size() > most_listed) out += " and " + std::to_string(names.size() - most_listed) + " more";
  return out;
}
}  // namespace optp
