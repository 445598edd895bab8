#include "frontend/onnx/build_graph.h"

#include "frontend/ir/builder.h"
#include "frontend/ir/diagnostic.h"
#include "frontend/onnx/caches.h"
#include "frontend/onnx/lowering.h"
#include "frontend/onnx/source_names.h"
#include "frontend/onnx/tensor.h"
#include "llvm/ADT/DenseSet.h"

namespace optp {
namespace {
using Owner = std::shared_ptr<const void>;  // keeps a message alive while tensors use its bytes

// Where names have their meaning: the graph, one call of a function, or one branch.
struct Scope {
  const Scope* outer = nullptr;  // of a branch: what is not defined in it
  const Opsets* opsets = nullptr;
  Owner owner;
  std::string prefix;                       // of values and nodes made here
  llvm::StringMap<Value*> values = {};      // null: an operand that the call leaves out
  llvm::StringMap<Where> unsupported = {};  // outputs that no lowering gives, and of which node
  llvm::StringMap<std::string> shown = {};  // results of a call or branch: their names outside
  const llvm::StringMap<onnx::AttributeProto>* attributes = nullptr;  // of a function's call
  int64_t nesting = 0;

  // Null: no such name. Else where its value stands.
  Value* const* find(llvm::StringRef name) const {
    for (const Scope* s = this; s; s = s->outer)
      if (auto it = s->values.find(name); it != s->values.end()) return &it->second;
    return nullptr;
  }
  // Why a name has no value: exporters name outputs that nothing uses, so these are refused only here.
  llvm::Error no_value(llvm::StringRef name, llvm::StringRef user, const Where& place = {}) const {
    for (const Scope* s = this; s; s = s->outer)
      if (auto it = s->unsupported.find(name); it != s->unsupported.end())
        return error(Code::not_supported)
            .at(it->second)
            .says(quoted(name) + " is not supported")
            .about({.tensor = name.str()});
    return error(Code::undefined).at(place).tensor(user, name).says("is defined nowhere");
  }
  std::string show(llvm::StringRef name) const {
    auto it = shown.find(name);
    return it == shown.end() ? prefix + name.str() : it->second;
  }
};
std::string name_of(const onnx::NodeProto& n) {
  for (int k = 0; k < n.output_size() && n.name().empty(); ++k)
    if (!n.output(k).empty()) return n.output(k);
  return n.name();
}

// A clash of extents stays one: import solves it.
llvm::Error placed(const onnx::NodeProto& n, const llvm::Twine& inside, llvm::Error e) {
  if (e.isA<DimClash>()) return e;
  return within(place_of(n), within(joined(", ", words(inside)), std::move(e)));
}
}  // namespace

struct GraphBuilder::State {
  Model& model;
  InputFolder& folder;
  const Limits& limits;
  llvm::StringMap<std::shared_ptr<const Tensor>> tensors = {};
  llvm::StringSet<> unknown_keys = {};  // of external data

  // Of one try:
  Solved* solved = nullptr;
  std::unique_ptr<Graph> graph = nullptr;
  std::unique_ptr<Builder> builder = nullptr;
  llvm::DenseSet<const Value*> named = {};  // values that already carry a user's name
  std::vector<std::string> calls = {}, branches = {}, added_biases = {};

  // No tensor is larger than a file's may be, whether it is made at compile time or not.
  llvm::Error check_size(const Where& place, const Type& type) const {
    if (int64_t(type.dims.size()) > limits.max_ndim)
      return error(Code::too_large)
          .at(place)
          .what("dims")
          .expected("at most " + llvm::Twine(limits.max_ndim))
          .found(type.dims.size());
    std::optional<int64_t> count = 1;
    for (Dim d : type.dims)
      if (count) count = checked_mul(*count, std::max<int64_t>(d.constant().value_or(1), 1));
    if (!count || *count > limits.max_elements)
      return error(Code::too_large)
          .at(place)
          .what("shape " + to_string(type.dims))
          .what("more than " + llvm::Twine(limits.max_elements) + " elements");
    return llvm::Error::success();
  }

  llvm::Expected<Type> input_type(const onnx::ValueInfoProto& v, const DimBounds& bounds) {
    const Where place{tensor_place("input", v.name())};
    if (!v.type().has_tensor_type()) return error(Code::malformed).at(place).what("type").expected("a tensor");
    const auto& t = v.type().tensor_type();
    Type type;
    type.dtype = t.elem_type() > 0 && t.elem_type() < 256 ? DType(t.elem_type()) : DType::undefined;
    if (type.dtype != DType::string && size_bytes(type.dtype) == 0)
      return error(Code::dtype_mismatch)
          .at(place)
          .what("dtype")
          .expected("a numeric type")
          .found("ONNX type " + llvm::Twine(t.elem_type()));
    if (!t.has_shape()) return error(Code::shape_mismatch).at(place).what("shape").expected("one").found("none");
    if (t.shape().dim_size() > limits.max_ndim)
      return error(Code::too_large).at(place).what("dims").found(t.shape().dim_size());
    for (int k = 0; k < t.shape().dim_size(); ++k) {
      const auto& d = t.shape().dim(k);
      constexpr int64_t unknown = -1;  // as some writers say it
      if (d.has_dim_value() && d.dim_value() != unknown) {
        if (d.dim_value() < 0 || d.dim_value() > limits.max_elements)
          return error(Code::shape_mismatch).at(place).what("extent " + llvm::Twine(d.dim_value()));
        type.dims.push_back(d.dim_value());
        continue;
      }
      type.dims.push_back(
          substitute(model.dims.of(d, v.name(), k, bounds), [&](llvm::StringRef s) -> std::optional<Dim> {
            auto it = solved->dims.find(s);
            if (it == solved->dims.end()) return std::nullopt;
            return it->second;
          }));
    }
    if (auto e = check_size(place, type)) return e;
    return type;
  }

  llvm::Error add_inputs(Scope& main) {
    llvm::StringSet<> initializers;
    for (const auto& t : model.graph().initializer()) initializers.insert(t.name());
    // A rank's graph may be a training step's, which has no caches among its outputs; its whole was judged before.
    const llvm::StringSet<> extended = extended_inputs(*model.proto);
    auto is_cache = [&](llvm::StringRef name, const Type& type) {
      return may_be_cache(type) && (model.rank || extended.contains(name));
    };
    llvm::StringSet<> other_symbols;
    std::vector<std::pair<const onnx::ValueInfoProto*, Type>> inputs;
    // While they are judged any name may be 0: max(past, 1) is not `past`.
    DimBounds unsure;
    for (const auto& v : model.graph().input()) {
      if (initializers.contains(v.name())) continue;  // before IR 4 initializers were inputs too
      auto type = input_type(v, unsure);
      if (!type) return type.takeError();
      for (Dim d : type->dims)
        for (const std::string& s : symbols_of(d)) unsure.may_be_zero.insert(s);
    }
    for (const auto& v : model.graph().input()) {
      if (initializers.contains(v.name())) continue;
      auto type = input_type(v, unsure);
      if (!type) return type.takeError();
      if (!is_cache(v.name(), *type))
        for (Dim d : type->dims)
          if (const auto name = name_of(d)) other_symbols.insert(*name);
      inputs.emplace_back(&v, std::move(*type));
    }
    // The length of a cache that is given as input may be 0: known by its role, whatever its name.
    auto& may_be_zero = solved->bounds.may_be_zero;
    for (auto& [v, type] : inputs)
      if (is_cache(v->name(), type))
        for (Dim d : type.dims)
          for (const std::string& s : symbols_of(d))
            if (!other_symbols.contains(s) && !model.never_zero.contains(s)) may_be_zero.insert(s);
    auto with_bound = [&](llvm::StringRef s) { return std::optional(solved->bounds.symbol(s)); };
    for (auto& [name, dim] : solved->dims) dim = substitute(dim, with_bound);
    for (Guard& g : solved->guards) g.left = substitute(g.left, with_bound), g.right = substitute(g.right, with_bound);
    for (auto& [a, b] : solved->orders) a = substitute(a, with_bound), b = substitute(b, with_bound);
    for (auto& [v, first_read] : inputs) {
      auto type = input_type(*v, solved->bounds);
      if (!type) return type.takeError();
      main.values[v->name()] = &graph->add_input(v->name(), *type);
    }
    return llvm::Error::success();
  }

  llvm::Error add_initializers(const onnx::GraphProto& g, Scope& scope) {
    const bool cached = scope.prefix.empty();
    const llvm::StringSet<> buffers = buffers_of(g);
    std::optional<llvm::StringSet<>> used;
    for (int k = 0; k < g.initializer_size(); ++k) {
      const onnx::TensorProto& t = g.initializer(k);
      const Where place{tensor_place("initializer", t.name())};
      // What a quantiser left behind does not matter where nothing uses it.
      if (const DType dtype = DType(t.data_type() > 0 && t.data_type() < 256 ? t.data_type() : 0);
          dtype != DType::string && size_bytes(dtype) == 0) {
        if (!used) used = used_names(g);
        if (!used->contains(t.name())) continue;
      }
      auto known = tensors.find(t.name());
      if (!cached || known == tensors.end()) {
        const bool left = &g == &model.graph() && !model.raw_data.empty() && !model.raw_data[size_t(k)].empty();
        auto tensor = left ? load_tensor(t, {model.raw_data[size_t(k)], model.file}, folder, limits, place)
                           : load_tensor(t, scope.owner, folder, limits, place, &unknown_keys);
        if (!tensor) return tensor.takeError();
        scope.values[t.name()] = &graph->add_data(scope.show(t.name()), *tensor);
        if (cached) tensors[t.name()] = *tensor;
      } else {
        scope.values[t.name()] = &graph->add_data(t.name(), known->second);
      }
      Value& data = *scope.values[t.name()];
      data.is_anonymous = is_generated_name(t.name());
      // One number that has no name of a module's is what other files keep in a Constant node. PyTorch's names are all
      // a module's, if not made up.
      const bool is_named =
          !data.is_anonymous && (model.proto->producer_name() == "pytorch" || llvm::StringRef(t.name()).contains('.'));
      data.is_literal = buffers.contains(t.name()) || (data.data->elements() == 1 && !is_named);
      named.insert(&data);
    }
    return llvm::Error::success();
  }

  llvm::Error add_body(const Body& body, Scope& scope) {
    for (int k : body.order)
      if (auto e = add_node((*body.nodes)[k], scope)) return e;
    return llvm::Error::success();
  }

  // References to the function's attributes become what the call gives, or its default; else the attribute is left out.
  static std::shared_ptr<const onnx::NodeProto> with_attributes(const onnx::NodeProto& n, const Scope& scope) {
    auto out = std::make_shared<onnx::NodeProto>();
    out->CopyFrom(n);
    resolve(*out->mutable_attribute(), scope);
    return out;
  }
  static void resolve(google::protobuf::RepeatedPtrField<onnx::AttributeProto>& list, const Scope& scope) {
    for (int k = list.size(); k-- > 0;) {
      onnx::AttributeProto& a = list[k];
      if (a.has_g())
        for (auto& inner : *a.mutable_g()->mutable_node()) resolve(*inner.mutable_attribute(), scope);
      if (a.ref_attr_name().empty()) continue;
      auto given = scope.attributes->find(a.ref_attr_name());
      if (given == scope.attributes->end()) {
        list.DeleteSubrange(k, 1);
        continue;
      }
      const std::string name = a.name();
      a = given->second;
      a.set_name(name);
    }
  }
  static bool has_references(const onnx::NodeProto& n) {
    return llvm::any_of(n.attribute(), [](const onnx::AttributeProto& a) {
      return !a.ref_attr_name().empty() || llvm::any_of(a.g().node(), has_references);
    });
  }

  llvm::Error add_node(const onnx::NodeProto& written, Scope& scope) {
    if (!scope.attributes || !has_references(written)) return add_resolved(written, scope.owner, scope);
    auto n = with_attributes(written, scope);
    return add_resolved(*n, n, scope);
  }
  llvm::Error add_resolved(const onnx::NodeProto& n, const Owner& owner, Scope& scope) {
    llvm::SmallVector<Value*, 4> operands;
    for (const auto& i : n.input()) {
      Value* const* value = i.empty() ? nullptr : scope.find(i);
      if (!i.empty() && !value) return scope.no_value(i, "operand", {place_of(n)});
      operands.push_back(value ? *value : nullptr);
    }
    if (const Function* f = model.functions.find(n)) {
      auto e = call(*f, n, operands, scope);
      const bool outermost = scope.nesting == 0;
      return !e || !outermost ? std::move(e) : placed(n, "function " + quoted(f->proto->name()), std::move(e));
    }
    if (domain_of(n.domain()).empty() && n.op_type() == "If") return branch(n, owner, operands, scope);
    return lower(n, owner, operands, scope);
  }

  llvm::Error lower(const onnx::NodeProto& n, const Owner& owner, llvm::ArrayRef<Value*> operands, Scope& scope) {
    builder->at(scope.prefix + name_of(n), n.op_type(), module_of(n));
    const int64_t opset = opset_of(n, *scope.opsets);
    LoweringContext context(*builder, n, operands, opset);
    context.rank = model.rank;
    context.bounds = &solved->bounds;
    context.drops_zero_bias = model.drops_zero_bias && !is_known_without_bias(n);
    context.module = module_of(n);
    context.added_biases = &added_biases;
    context.load_tensor = [&](const onnx::TensorProto& t, llvm::StringRef /*name*/) {
      return load_tensor(t, owner, folder, limits, {place_of(n)}, &unknown_keys);
    };
    auto results = find_lowering(n.op_type(), n.domain(), opset)->lower(context);
    if (auto e = context.check_attributes()) {  // the cause of whatever else is wrong
      llvm::consumeError(results.takeError());
      return e;
    }
    if (!results) return results.takeError();
    if (auto e = context.check_all_used()) return e;
    for (int o = 0; o < n.output_size(); ++o) {
      if (n.output(o).empty()) continue;
      const std::string noun = "output " + std::to_string(o);
      if (o >= int(results->size()))
        return error(Code::not_supported)
            .at(place_of(n))
            .what(noun + " is not supported")
            .about({.tensor = n.output(o)});
      Value* v = (*results)[size_t(o)];
      if (!v) {
        scope.unsupported[n.output(o)] = {place_of(n), words(noun)};
        continue;
      }
      if (auto e = check_size({place_of(n), tensor_place(noun, n.output(o))}, v->type)) return e;
      // A value made here takes the user's name; one that was there before keeps its own.
      const std::string name = scope.show(n.output(o));
      if (!named.contains(v) && v->name != name && !graph->find(name)) graph->rename(*v, name);
      scope.values[n.output(o)] = v;
      named.insert(v);
    }
    return llvm::Error::success();
  }

  llvm::Error call(const Function& f, const onnx::NodeProto& n, llvm::ArrayRef<Value*> operands, Scope& scope) {
    const onnx::FunctionProto& proto = *f.proto;
    if (n.input_size() > proto.input_size() || n.output_size() > proto.output_size())
      return error(Code::too_large)
          .at(place_of(n))
          .what("function " + quoted(proto.name()))
          .expected("at most " + llvm::Twine(proto.input_size()) + " operands and " + llvm::Twine(proto.output_size()) +
                    " outputs")
          .found(llvm::Twine(n.input_size()) + " and " + llvm::Twine(n.output_size()));
    llvm::StringMap<onnx::AttributeProto> attributes;
    for (const auto& a : f.defaults) attributes[a.name()] = a;
    for (const auto& a : n.attribute()) {
      // A graph given from outside would look for its names in the wrong place.
      if (a.has_g() || a.graphs_size() > 0)
        return error(Code::not_supported)
            .at(place_of(n))
            .what("attribute " + quoted(a.name()))
            .what("a graph given to a function: not supported");
      attributes[a.name()] = a;
    }
    Scope inner{.opsets = &f.opsets,
                .owner = scope.owner,
                .prefix = scope.prefix + name_of(n) + "/",
                .attributes = &attributes,
                .nesting = scope.nesting + 1};
    for (int k = 0; k < proto.input_size(); ++k)
      inner.values[proto.input(k)] = k < int(operands.size()) ? operands[size_t(k)] : nullptr;
    for (int k = 0; k < n.output_size(); ++k)
      if (!n.output(k).empty()) inner.shown[proto.output(k)] = scope.show(n.output(k));
    if (scope.nesting == 0) calls.push_back(proto.name());
    if (auto e = add_body(f.body, inner)) return e;
    return take_results(n, inner, scope, [&](int k) { return proto.output(k); });
  }

  llvm::Error branch(const onnx::NodeProto& n, const Owner& owner, llvm::ArrayRef<Value*> operands, Scope& scope) {
    if (operands.empty() || !operands[0]) return error(Code::malformed).at(place_of(n)).what("operand 0 is missing");
    const Value& condition = *operands[0];
    if (condition.type.dtype != DType::boolean)
      return error(Code::dtype_mismatch)
          .at(place_of(n))
          .tensor("condition", condition.name)
          .what("dtype")
          .expected("bool")
          .found(long_name(condition.type.dtype));
    const auto content = content_of(condition);
    if (!content || content->elements.size() != 1 || !content->elements[0].constant())
      return error(Code::malformed)
          .at(place_of(n))
          .tensor("condition", condition.name)
          .says("is not known at compile time")
          .what("a branch is taken only where constants and shapes decide which");
    const std::string side = content->elements[0].is(0) ? "else_branch" : "then_branch";
    const auto a = llvm::find_if(n.attribute(), [&](const auto& each) { return each.name() == side; });
    if (a == n.attribute().end() || !a->has_g())
      return error(Code::malformed).at(place_of(n)).what(side + " is missing");
    auto e = take_branch(a->g(), n, owner, scope);
    return e && scope.nesting == 0 ? placed(n, side, std::move(e)) : std::move(e);
  }
  llvm::Error take_branch(const onnx::GraphProto& g, const onnx::NodeProto& n, const Owner& owner, Scope& scope) {
    if (scope.nesting >= limits.max_nesting + limits.max_call_depth) return error(Code::malformed, "nested too deep");
    if (g.input_size() > 0) return error(Code::malformed).what("inputs").expected("none").found(g.input_size());
    if (g.output_size() < n.output_size())
      return error(Code::malformed).what("outputs").expected(n.output_size()).found(g.output_size());
    if (g.sparse_initializer_size() > 0) return error(Code::not_supported).what("a sparse initializer: not supported");
    llvm::StringSet<> defined;
    for (const auto& t : g.initializer())
      if (t.name().empty() || !defined.insert(t.name()).second)
        return error(Code::duplicate).tensor("initializer", t.name()).says("is defined twice");
    auto body = read_body(g.node(), defined, {.outer = true});
    if (!body) return body.takeError();
    if (auto e = check_operators(*body, *scope.opsets, model.functions)) return e;
    Scope inner{.outer = &scope,
                .opsets = scope.opsets,
                .owner = owner,
                .prefix = scope.prefix + name_of(n) + "/",
                .attributes = scope.attributes,
                .nesting = scope.nesting + 1};
    for (int k = 0; k < n.output_size(); ++k)
      if (!n.output(k).empty()) inner.shown[g.output(k).name()] = scope.show(n.output(k));
    branches.push_back(scope.prefix + name_of(n));
    if (auto e = add_initializers(g, inner)) return e;
    if (auto e = add_body(*body, inner)) return e;
    return take_results(n, inner, scope, [&](int k) { return g.output(k).name(); });
  }
  static llvm::Error take_results(const onnx::NodeProto& n, const Scope& inner, Scope& scope,
                                  llvm::function_ref<std::string(int)> name) {
    for (int k = 0; k < n.output_size(); ++k) {
      if (n.output(k).empty()) continue;
      Value* const* value = inner.find(name(k));
      if (!value || !*value) return inner.no_value(name(k), "output " + std::to_string(k), {place_of(n)});
      scope.values[n.output(k)] = *value;
    }
    return llvm::Error::success();
  }

  static std::string counted(size_t n, llvm::StringRef one, llvm::StringRef many) {
    return std::to_string(n) + " " + (n == 1 ? one : many).str();
  }
  void remark(std::string text) { graph->remarks.push_back({"import", std::move(text)}); }
  llvm::Error add_remarks(const Scope& main) {
    for (const std::string& text : model.remarks) remark(text);
    if (!calls.empty()) {
      std::vector<std::string> names;
      for (const std::string& c : calls)
        if (!llvm::is_contained(names, c)) names.push_back(c);
      remark(counted(calls.size(), "call of a function", "calls of functions") +
             " of the model expanded in place: " + listed(names));
    }
    if (!branches.empty())
      remark(counted(branches.size(), "If", "Ifs") +
             " with a known condition: only the branch that is taken is read: " + listed(branches));
    if (!added_biases.empty())
      remark(counted(added_biases.size(), "bias of zeros", "biases of zeros") +
             " that the exporter dropped, added again: " + listed(added_biases));
    if (!unknown_keys.empty()) {
      std::vector<std::string> keys;
      for (const auto& key : unknown_keys) keys.push_back(key.first().str());
      llvm::sort(keys);
      remark("external data: keys that are not known are not read: " + listed(keys));
    }
    auto contradictions = compare_said(model.graph(), main.values);
    if (!contradictions) return contradictions.takeError();
    for (std::string& text : *contradictions) remark(std::move(text));
    return llvm::Error::success();
  }

  llvm::Error run() {
    graph = std::make_unique<Graph>();
    graph->name = model.graph().name().empty() ? "graph" : model.graph().name();
    graph->source = model.path;
    graph->rank = model.rank;
    builder = std::make_unique<Builder>(*graph);
    named.clear();
    calls.clear();
    branches.clear();
    added_biases.clear();
    Scope main{.opsets = &model.opsets, .owner = model.proto};
    if (auto e = add_inputs(main)) return e;
    for (const Value* v : graph->inputs) named.insert(v);
    const AssumedOrders assumed(solved->orders);  // the guards above still say what is assumed from here on
    if (auto e = add_initializers(model.graph(), main)) return e;
    if (auto e = add_body(model.body, main)) return e;
    for (const auto& o : model.graph().output()) {
      Value* const* value = main.find(o.name());
      if (!value || !*value) return main.no_value(o.name(), "output");
      graph->outputs.push_back({o.name(), *value});
    }
    if (auto e = add_remarks(main)) return e;
    graph->guards = solved->guards;
    graph->erase_dead();
    return llvm::Error::success();
  }
};

GraphBuilder::GraphBuilder(Model& model, InputFolder& folder, const Limits& limits)
    : state_(new State{model, folder, limits}) {}
GraphBuilder::~GraphBuilder() = default;
llvm::Expected<std::unique_ptr<Graph>> GraphBuilder::build(Solved& solved) {
  state_->solved = &solved;
  if (auto e = state_->run()) return e;
  return std::move(state_->graph);
}
}  // namespace optp
