// Model-local functions: what they say, what a call of one costs, and which operators of a model are not known.
#include "frontend/ir/diagnostic.h"
#include "frontend/onnx/lowering.h"
#include "frontend/onnx/model.h"
#include "frontend/onnx/own_domain.h"
#include "frontend/onnx/schema.h"
#include "llvm/ADT/DenseSet.h"

namespace optp {
namespace {
constexpr int most_listed = 20;  // unknown operators in one message

std::string key_of(llvm::StringRef domain, llvm::StringRef name, llvm::StringRef overload) {
  return (domain_of(domain) + llvm::Twine('\0') + name + llvm::Twine('\0') + overload).str();
}
std::string describe_function(const onnx::FunctionProto& f) {
  return "function " + quoted(f.name()) + " of domain " + quoted(f.domain().empty() ? "ai.onnx" : f.domain());
}

llvm::Error prepare(Function& f) {
  if (f.body.nodes) return llvm::Error::success();
  const onnx::FunctionProto& proto = *f.proto;
  auto opsets = read_opsets(proto.opset_import());
  if (!opsets) return opsets.takeError();
  f.opsets = std::move(*opsets);
  auto defaults = schema::default_attributes(proto);
  if (!defaults) return error(Code::malformed, "attribute_proto does not parse");
  f.defaults = std::move(*defaults);
  llvm::StringSet<> defined;
  for (const auto& i : proto.input())
    if (i.empty() || !defined.insert(i).second)
      return error(Code::duplicate).tensor("input", i).says("is defined twice");
  auto body = read_body(proto.node(), defined, {.outer = false, .in_function = true});
  if (!body) return body.takeError();
  for (const auto& n : proto.node())
    for (const auto& o : n.output()) defined.insert(o);
  for (const auto& o : proto.output())
    if (o.empty() || !defined.contains(o)) return error(Code::undefined).tensor("output", o).says("is defined nowhere");
  f.body = std::move(*body);
  return llvm::Error::success();
}
}  // namespace

llvm::Error Functions::read(const onnx::ModelProto& model, const Limits& limits) {
  if (model.functions_size() > limits.max_functions)
    return error(Code::too_large).what("more than " + llvm::Twine(limits.max_functions) + " functions");
  for (const auto& f : model.functions()) {
    auto function = std::make_unique<Function>();
    function->proto = &f;
    const std::string key = key_of(f.domain(), f.name(), schema::overload_of(f));
    if (!by_key_.try_emplace(key, std::move(function)).second)
      return error(Code::duplicate)
          .what("function " + quoted(f.name()) + " of domain " + quoted(f.domain()) + " is defined twice");
  }
  return llvm::Error::success();
}

Function* Functions::lookup(const onnx::NodeProto& node) const {
  if (by_key_.empty()) return nullptr;
  auto it = by_key_.find(key_of(node.domain(), node.op_type(), schema::overload_of(node)));
  return it == by_key_.end() ? nullptr : it->second.get();
}

llvm::Expected<Functions::Size> Functions::size_of(const NodeList& nodes, const Limits& limits, int64_t depth) {
  Size total{0, 0};
  for (const onnx::NodeProto& n : nodes) {
    auto own = size_of(n, limits, depth);
    if (!own) return own;
    total = {total.nodes + own->nodes, std::max(total.depth, own->depth)};
    if (total.nodes > limits.max_nodes)
      return error(Code::too_large).what("more than " + llvm::Twine(limits.max_nodes) + " nodes, functions expanded");
  }
  return total;
}
llvm::Expected<Functions::Size> Functions::size_of(const onnx::NodeProto& n, const Limits& limits, int64_t depth) {
  Size total{1, 0};
  for (const onnx::GraphProto* sub : subgraphs_of(n)) {
    auto inner = size_of(sub->node(), limits, depth);
    if (!inner) return inner;
    total = {total.nodes + inner->nodes, std::max(total.depth, inner->depth)};
  }
  Function* called = lookup(n);
  if (!called) return total;
  const Place place = words(describe_function(*called->proto));
  auto too_deep = [&] {
    return error(Code::too_large)
        .at(place)
        .what("calls are nested more than " + llvm::Twine(limits.max_call_depth) + " deep");
  };
  auto [known, fresh] = sizes_.try_emplace(called);
  if (fresh) {
    if (depth >= limits.max_call_depth) return too_deep();
    if (auto e = prepare(*called)) return within(place, std::move(e));
    auto body = size_of(called->proto->node(), limits, depth + 1);
    if (!body) return body;
    known->second = {body->nodes, body->depth + 1};
  } else if (known->second.nodes < 0) {
    return error(Code::malformed).at(place).says("calls itself");
  }
  if (depth + known->second.depth > limits.max_call_depth) return too_deep();
  return Size{total.nodes + known->second.nodes, std::max(total.depth, known->second.depth)};
}

llvm::Error Functions::check_calls(const Body& body, const Limits& limits) {
  if (by_key_.empty()) return llvm::Error::success();
  int64_t total = 0;
  for (int k : body.order) {
    const onnx::NodeProto& n = (*body.nodes)[k];
    auto size = size_of(n, limits, 0);
    if (!size) return within(place_of(n), size.takeError());
    total += size->nodes;
    if (total > limits.max_nodes)
      return error(Code::too_large).what("more than " + llvm::Twine(limits.max_nodes) + " nodes, functions expanded");
  }
  return llvm::Error::success();
}

namespace {
struct Unknown {
  const Functions& functions;
  std::string text;
  int count = 0;
  llvm::DenseSet<const Function*> seen;
  onnx::NodeProto first = {};  // of the unknown
  std::optional<Diagnostic> wrong_version = std::nullopt;

  void visit(const NodeList& nodes, llvm::ArrayRef<int> order, const Opsets& opsets, llvm::StringRef where) {
    for (int k : order) {
      const auto& n = nodes[k];
      if (const Function* f = functions.find(n)) {
        if (seen.insert(f).second)
          visit(*f->body.nodes, f->body.order, f->opsets, ", in " + describe_function(*f->proto));
        continue;
      }
      const int64_t opset = opset_of(n, opsets);
      const llvm::StringRef domain = domain_of(n.domain());
      // Another version than the one that is known could mean anything.
      const int64_t known = domain == own_domain ? own_domain_version : domain == "com.microsoft" ? 1 : opset;
      if (opset > 0 && opset != known && !wrong_version)
        wrong_version = error(Code::unsupported_version)
                            .what("opset_import")
                            .what("domain " + quoted(domain))
                            .what("version")
                            .expected(known)
                            .found(llvm::Twine(opset) + ", used by " + describe(n) + where)
                            .about({.node = place_of(n).name, .op = n.op_type()});
      if ((domain.empty() && n.op_type() == "If") || find_lowering(n.op_type(), n.domain(), opset)) continue;
      if (count == 0) first = n;
      if (++count > most_listed) continue;
      text += (count > 1 ? "; " : "") + describe(n) + " of domain " + quoted(domain.empty() ? "ai.onnx" : domain) +
              ", opset " + std::to_string(opset) + where.str();
    }
  }
};
}  // namespace

llvm::Error check_operators(const Body& body, const Opsets& opsets, const Functions& functions) {
  Unknown unknown{functions};
  unknown.visit(*body.nodes, body.order, opsets, "");
  if (unknown.wrong_version) return *unknown.wrong_version;
  if (unknown.count == 0) return llvm::Error::success();
  if (unknown.count > most_listed) unknown.text += "; and " + std::to_string(unknown.count - most_listed) + " more";
  return error(Code::unknown_operator)
      .what(llvm::Twine(unknown.count) + (unknown.count == 1 ? " unknown operator" : " unknown operators"))
      .what(unknown.text)
      .about({.node = place_of(unknown.first).name, .op = unknown.first.op_type()});
}
}  // namespace optp
