#include "frontend/ir/parse.h"

#include "frontend/ir/attribute_text.h"
#include "frontend/ir/diagnostic.h"
#include "frontend/ir/op.h"
#include "frontend/ir/sharding_text.h"
#include "frontend/ir/tensor_text.h"

namespace optp {
namespace {
// What stands behind a value's name and colon.
struct Typed {
  Type type;
  Dims logical;
  std::optional<Sharding> sharding;
  void give(Value& v) const {
    v.type = type;
    v.logical_dims = logical;
    v.sharding = sharding;
  }
};

// Extents that differ are a fault of the text: nothing solves for them here.
Diagnostic taken(llvm::Error e) {
  return take_diagnostic(llvm::handleErrors(std::move(e), [](const DimClash& c) -> llvm::Error {
    return error(Code::shape_mismatch).at(c.at).what("extents differ: " + c.left.text() + " and " + c.right.text());
  }));
}

class GraphReader {
 public:
  explicit GraphReader(llvm::StringRef place) : place_(place) {}

  llvm::Expected<std::unique_ptr<Graph>> read(llvm::StringRef text) {
    size_t number = 0;
    while (!text.empty()) {
      auto [line, rest] = text.split('\n');
      text = rest;
      ++number;
      line.consume_back("\r");
      if (line.trim().empty() || line.starts_with("#")) continue;
      TextCursor in(line, place_, number, bounds_);
      if (line.starts_with(" ") || line.starts_with("\t"))
        details(in);
      else
        statement(in);
      if (auto e = in.take_error()) return e;
    }
    return std::move(graph_);
  }

 private:
  void statement(TextCursor& in) {
    node_ = nullptr;
    value_ = nullptr;
    if (in.is_next("%")) return node(in);
    if (in.eat_word("input")) return input(in);
    if (in.eat_word("data")) return data(in, /*is_parameter=*/false);
    if (in.eat_word("parameter")) return data(in, /*is_parameter=*/true);
    if (in.eat_word("output")) return output(in);
    if (in.eat_word("guard")) return guard(in);
    if (in.eat_word("mesh")) return mesh(in);
    if (in.eat_word("rank")) return rank(in);
    if (in.eat_word("dim")) return lower_bound(in);
    if (in.eat_word("state")) return state(in);
    if (in.eat_word("update")) return update(in);
    if (in.eat_word("gradient")) return gradient(in);
    if (in.eat_word("remark")) return remark(in);
    if (in.eat_word("graph")) {
      graph_->name = in.name("the graph's name");
      if (in.eat_word("from")) graph_->source = in.text("its source in quotes");
      return;
    }
    in.fail(
        "%NAME = OP(…) or one of input, data, parameter, output, guard, mesh, rank, dim, state, update, gradient, "
        "remark, "
        "graph");
  }

  // Values.
  static std::string value_name(TextCursor& in) {
    in.must("%");
    return in.name("a value's name");
  }
  std::string new_name(TextCursor& in) {
    const llvm::StringRef at = in.here();
    std::string name = value_name(in);
    if (!in.failed() && graph_->find(name))
      in.fail_with(error(Code::duplicate, "a second value named " + quoted(name)).about({.tensor = name}), at);
    return name;
  }
  static Type type(TextCursor& in) {
    const auto dtype = dtype_from(in.next_word());
    if (!dtype || *dtype == DType::undefined) in.fail("a type such as f32[batch, 768]");
    in.eat_word(in.next_word());
    return {dtype.value_or(DType::undefined), in.dims()};
  }
  Typed typed(TextCursor& in) {
    Typed out;
    out.type = type(in);
    if (in.eat_word("of")) out.logical = in.dims();
    if (!in.is_next("[")) return out;
    const llvm::StringRef at = in.here();
    out.sharding = read_sharding(in, out.logical.empty() ? out.type.dims : out.logical);
    for (const AxisUse& use : out.sharding->axes())
      if (!graph_->mesh.find(use.axis))
        in.fail_with(error(Code::malformed, "the mesh has no axis " + quoted(to_string(use))), at);
    return out;
  }
  void input(TextCursor& in) {
    const std::string name = new_name(in);
    in.must(":");
    const Typed t = typed(in);
    if (in.failed()) return;
    value_ = &graph_->add_input(name, t.type);
    t.give(*value_);
  }
  void data(TextCursor& in, bool is_parameter) {
    const std::string name = new_name(in);
    in.must(":");
    const llvm::StringRef at = in.here();
    const Typed t = typed(in);
    Type own{t.type.dtype, t.logical.empty() ? t.type.dims : t.logical};
    const bool has_contents = in.eat("=");
    if (has_contents && dtype_from(in.next_word())) own = type(in);
    llvm::SmallVector<int64_t, 4> dims;
    int64_t elements = 1;
    for (Dim d : own.dims) {
      if (!d.constant() || *d.constant() < 0)
        in.fail_with(error(Code::shape_mismatch, "the extents of data are numbers, found " + quoted(d.text()))
                         .about({.found = quoted(d.text())}),
                     at);
      dims.push_back(d.constant().value_or(0));
      if (__builtin_mul_overflow(elements, dims.back(), &elements))
        in.fail_with(error(Code::too_large, "too many elements"), at);
    }
    if (in.failed()) return;
    auto tensor = has_contents ? read_contents(in, own.dtype, dims) : without_bytes(own.dtype, dims, nowhere);
    if (in.failed()) return;
    value_ = &graph_->add_data(name, std::move(tensor));
    value_->is_parameter = is_parameter;
    t.give(*value_);
  }
  // An operand; one that is not there but has a type is an input.
  Value* operand(TextCursor& in) {
    const llvm::StringRef at = in.here();
    const std::string name = value_name(in);
    if (in.failed()) return nullptr;
    Value* v = graph_->find(name);
    if (in.eat(":")) {
      if (v) in.fail_with(error(Code::duplicate, quoted(name) + " has a type already").about({.tensor = name}), at);
      const Typed t = typed(in);
      if (in.failed()) return nullptr;
      v = &graph_->add_input(name, t.type);
      t.give(*v);
    }
    if (!v)
      in.fail_with(error(Code::undefined, quoted(name) + " is not defined before it is used").about({.tensor = name}),
                   at);
    return v;
  }

  // %y, %z = op(%a, %b) {key = attribute} : TYPE, TYPE
  void node(TextCursor& in) {
    llvm::SmallVector<std::string, 2> names;
    do {
      const llvm::StringRef at = in.here();
      std::string name = new_name(in);
      if (!in.failed() && llvm::is_contained(names, name))
        in.fail_with(error(Code::duplicate, "a second value named " + quoted(name)).about({.tensor = name}), at);
      names.push_back(std::move(name));
    } while (in.eat(","));
    in.must("=");
    const llvm::StringRef at = in.here();
    const OpDef* op = find_op(in.next_word());
    if (!op) in.fail("the name of an op");
    in.eat_word(in.next_word());
    llvm::SmallVector<Value*, 4> operands;
    in.must("(");
    while (!in.failed() && !in.is_next(")")) {
      operands.push_back(operand(in));
      if (!in.eat(",")) break;
    }
    if (op && (op->operands == any_number ? operands.empty() : int(operands.size()) != op->operands))
      in.fail_with(
          error(Code::malformed, op->name)
              .expected(op->operands == any_number ? "one operand or more" : std::to_string(op->operands) + " operands")
              .found(operands.size()),
          at);
    in.must(")");
    auto attributes = in.eat("{") ? read_attributes(in, *op) : Attributes();
    llvm::SmallVector<Typed, 2> types;
    if (in.eat(":")) do
        types.push_back(typed(in));
      while (in.eat(","));
    if (!types.empty() && types.size() != names.size())
      in.fail("as many types as results, " + std::to_string(names.size()));
    if (in.failed() || !in.at_end()) return;
    make(in, at, *op, operands, names, std::move(attributes), types);
  }
  void make(TextCursor& in, llvm::StringRef at, const OpDef& op, llvm::ArrayRef<Value*> operands,
            llvm::ArrayRef<std::string> names, Attributes attributes, llvm::ArrayRef<Typed> types) {
    if (auto axes = attributes.find("axes"); op.collective && axes != attributes.end())
      if (const auto* names_of = std::get_if<std::vector<std::string>>(&axes->second))
        for (const std::string& axis : *names_of)
          if (!graph_->mesh.find(axis))
            return in.fail_with(error(Code::malformed, "the mesh has no axis " + quoted(axis)), at);
    node_ = &graph_->add_node(op, operands, llvm::SmallVector<Type, 2>(names.size()), names);
    node_->attributes = std::move(attributes);
    for (size_t k = 0; k < types.size(); ++k) types[k].give(node_->out(k));
    if (types.empty()) {
      auto inferred = op.infer(*node_);
      if (!inferred) return in.fail_with(taken(inferred.takeError()), at);
      if (inferred->size() != names.size())
        return in.fail_with(error(Code::malformed, op.name).expected(llvm::Twine(inferred->size()) + " results"), at);
      for (size_t k = 0; k < names.size(); ++k) node_->out(k).type = (*inferred)[k];
    }
    // What is known of small integers is not written: it follows from the op again.
    if (op.content && !is_float(node_->out().type.dtype)) node_->out().content = op.content(*node_);
  }
  // Lines about the graph.
  void output(TextCursor& in) {
    const std::string name = in.name("the output's name");
    in.must("=");
    Value* v = operand(in);
    if (v) graph_->outputs.push_back({name, v});
  }
  void guard(TextCursor& in) {
    const Dim left = in.dim();
    in.must("=");
    const Dim right = in.dim();
    graph_->guards.push_back({left, right, in.eat_word("at") ? Where{words(in.text("a place in quotes"))} : Where()});
  }
  void mesh(TextCursor& in) {
    const llvm::StringRef at = in.here();
    std::string text;
    do {
      const std::string name = in.name("a mesh axis");
      in.must("=");
      text += (text.empty() ? "" : ",") + name + "=" + std::to_string(in.integer("a number of devices"));
    } while (in.eat(","));
    if (in.failed()) return;
    auto mesh = parse_mesh(text);
    if (!mesh) return in.fail_with(take_diagnostic(mesh.takeError()).recode(Code::malformed), at);
    graph_->mesh = std::move(*mesh);
  }
  void rank(TextCursor& in) {
    const int64_t rank = in.integer("a rank");
    if (rank < 0 || rank >= graph_->mesh.devices()) in.fail_last("a rank of the mesh");
    if (!in.failed()) graph_->rank = rank;
  }
  void lower_bound(TextCursor& in) {
    const auto name = name_of(in.dim());
    in.must(">=");
    if (in.integer("0") != 0 || !name) in.fail_last("NAME >= 0");
    if (!in.failed()) bounds_.may_be_zero.insert(*name);
  }
  void state(TextCursor& in) {
    State out;
    out.input = value_name(in);
    in.must("->");
    out.output = in.name("an output's name");
    if (!in.eat_word("axis")) in.fail("axis");
    out.axis = in.integer("an axis");
    graph_->states.push_back(std::move(out));
  }
  void update(TextCursor& in) {
    Update out;
    out.input = value_name(in);
    in.must("->");
    out.output = in.name("an output's name");
    out.kind = UpdateKind::parse(in.name("parameter, step or the name of an optimizer's state"));
    if (in.eat_word("of")) out.parameter = value_name(in);
    graph_->updates.push_back(std::move(out));
  }
  void gradient(TextCursor& in) {
    GradientOutput out;
    out.parameter = value_name(in);
    in.must("->");
    out.output = in.name("an output's name");
    graph_->gradients.push_back(std::move(out));
  }
  void remark(TextCursor& in) {
    Remark out;
    out.pass = in.name("the pass that says so");
    for (RemarkKind k : all_remark_kinds)
      if (in.eat_word(to_string(k))) out.kind = k;
    out.text = in.text("a remark in quotes");
    graph_->remarks.push_back(std::move(out));
  }

  // Lines below a value's or node's own.
  void details(TextCursor& in) {
    if (!node_ && !value_) return in.fail("a line at the margin: only a value or a node has lines below its own");
    Value* v = value_ ? value_ : &node_->out();
    if (node_ && in.is_next("%")) {
      const std::string name = value_name(in);
      v = graph_->find(name);
      if (!v || v->producer != node_) return in.fail_last("a result of this node");
    }
    do {
      if (!detail(in, *v) && !(node_ && detail(in, *node_)))
        in.fail(node_ ? "what a node or value is" : "what a value is");
    } while (in.eat(","));
  }
  static bool detail(TextCursor& in, Value& v) {
    if (in.eat_word("parameter")) return v.is_parameter = true;
    if (in.eat_word("frozen")) return v.frozen = true;
    if (in.eat_word("literal")) return v.is_literal = true;
    if (in.eat_word("anonymous")) return v.is_anonymous = true;
    if (in.eat_word("called")) {
      v.model_name = in.name("a name");
      return true;
    }
    if (in.eat_word("also")) {
      in.must("called");
      v.model_aliases.push_back(in.name("a name"));
      return true;
    }
    if (in.eat_word("alias")) {
      v.aliases.push_back(in.name("a name"));
      if (in.eat_word("transposed")) v.transposed_aliases.push_back(v.aliases.back());
      return true;
    }
    if (in.eat_word("because")) {
      std::optional<CauseKind> kind;
      for (CauseKind k : all_cause_kinds)
        if (in.eat_word(to_string(k))) kind = k;
      v.cause.text = in.text("a cause in quotes");
      if (in.eat_word("from")) v.cause.from = value_name(in);
      v.cause.kind = kind.value_or(implied_kind(v.cause.from));
      return true;
    }
    if (!in.eat_word("holds")) return false;
    shard(in, v);
    return true;
  }
  static void shard(TextCursor& in, Value& v) {
    const llvm::StringRef at = in.here();
    llvm::StringRef rest = at;
    auto shard = take_shard(rest);
    if (!shard) return in.fail_with(take_diagnostic(shard.takeError()), at);
    in.eat(at.drop_back(rest.size()));
    if (!v.data || v.data->dims != shard->whole)
      return in.fail_with(error(Code::shape_mismatch, "a shard of something else than this data"), at);
    v.shard = std::move(*shard);
  }
  static bool detail(TextCursor& in, Node& node) {
    if (in.eat_word("node")) {
      if (!in.is_next("(")) node.name = in.name("the node's name");
      if (!in.eat("(")) return true;
      node.origin = in.name("an operator");
      in.must(")");
      return true;
    }
    if (in.eat_word("module")) {
      node.module = {in.name("a module's path"), true, false};
      if (in.eat_word("counts")) node.module.counts_calls = in.eat_word("calls");
      if (in.eat_word("called")) node.module.name = in.name("a module's name");
      return true;
    }
    const auto phase = phase_from(in.next_word());
    if (!phase) return false;
    node.phase = *phase;
    return in.eat_word(to_string(*phase));
  }

  std::string place_;
  std::unique_ptr<Graph> graph_ = std::make_unique<Graph>();
  DimBounds bounds_;
  Node* node_ = nullptr;  // that the line above is about, or the value
  Value* value_ = nullptr;
};
}  // namespace

llvm::Expected<std::unique_ptr<Graph>> parse_graph(llvm::StringRef text, llvm::StringRef place) {
  auto graph = GraphReader(place).read(text);
  if (!graph) return graph.takeError();
  if (auto e = find_fault(**graph))
    return take_diagnostic(std::move(e)).recode(Code::malformed).within(file_place(place));
  return graph;
}
}  // namespace optp
