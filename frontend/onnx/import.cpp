#include "frontend/onnx/import.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>
#include <onnx/onnx_pb.h>

#include <set>

#include "frontend/io/input_folder.h"
#include "frontend/ir/builder.h"
#include "frontend/ir/diagnostic.h"
#include "frontend/onnx/lowering.h"
#include "frontend/onnx/tensor.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/xxhash.h"

namespace optp {
namespace {

constexpr int most_listed = 20;           // unknown operators in one message
constexpr int most_operands = 1 << 14;    // of one node; erasing it takes their square
constexpr size_t most_dim_bytes = 256;    // of a named extent: a sum of n terms takes n² to make canonical

// Protobuf merges a singular message that is there twice: two graphs would become one that nobody wrote.
int graphs_in(llvm::ArrayRef<char> bytes) {
  google::protobuf::io::CodedInputStream in(reinterpret_cast<const uint8_t*>(bytes.data()), int(bytes.size()));
  int count = 0;
  while (const uint32_t tag = in.ReadTag()) {
    count += tag >> 3 == onnx::ModelProto::kGraphFieldNumber;
    if (!google::protobuf::internal::WireFormatLite::SkipField(&in, tag)) break;
  }
  return count;
}

// Of all fields only the one of its type: a value in another would be read by some and not by others.
llvm::Error check_fields(const onnx::AttributeProto& a) {
  using A = onnx::AttributeProto;
  const std::pair<int, bool> fields[] = {
      {A::INT, a.has_i()}, {A::FLOAT, a.has_f()}, {A::STRING, a.has_s()}, {A::TENSOR, a.has_t()}, {A::GRAPH, a.has_g()},
      {A::SPARSE_TENSOR, a.has_sparse_tensor()}, {A::TYPE_PROTO, a.has_tp()}, {A::INTS, a.ints_size() > 0}, {A::FLOATS, a.floats_size() > 0},
      {A::STRINGS, a.strings_size() > 0}, {A::TENSORS, a.tensors_size() > 0}, {A::GRAPHS, a.graphs_size() > 0},
      {A::SPARSE_TENSORS, a.sparse_tensors_size() > 0}, {A::TYPE_PROTOS, a.type_protos_size() > 0}};
  if (a.type() == A::UNDEFINED) return bad_input("attribute " + quoted(a.name()) + ": it has no type");
  for (auto [type, present] : fields)
    if (present && type != a.type())
      return bad_input("attribute " + quoted(a.name()) + ": type: expected a value of " + A::AttributeType_Name(a.type()) + " only, found one of " + A::AttributeType_Name(A::AttributeType(type)));
  return llvm::Error::success();
}

class Importer {
 public:
  Importer(std::string path, const ImportOptions& options) : path_(std::move(path)), options_(options), folder_({options.limits, Resolver::kernel}) {}

  llvm::Expected<std::unique_ptr<Graph>> run() {
    if (auto e = parse()) return e;
    if (auto e = check_head()) return with_prefix(path_, std::move(e));
    if (auto e = sort_nodes()) return with_prefix(path_, std::move(e));
    if (auto e = check_operators()) return with_prefix(path_, std::move(e));
    // Each round may find that two named extents must be equal: one is solved for, and the graph is built again.
    constexpr int most_rounds = 64;
    for (int round = 0; round < most_rounds; ++round) {
      auto graph = build();
      if (graph) return graph;
      std::optional<DimClash> clash;
      llvm::Error rest = llvm::handleErrors(graph.takeError(), [&](const DimClash& c) { clash.emplace(c.left, c.right, c.at); });
      if (rest) return with_prefix(path_, std::move(rest));
      auto solved = solve_equal(clash->left, clash->right);
      if (!solved) return bad_input(path_ + ": " + clash->at + ": extents " + clash->left.text() + " and " + clash->right.text() + " differ");
      for (auto& [name, dim] : substitution_)
        dim = substitute(dim, [&](llvm::StringRef s) -> std::optional<Dim> {
          if (s == solved->first) return solved->second;
          return std::nullopt;
        });
      substitution_[solved->first] = solved->second;
      guards_.push_back({Dim::symbol(solved->first), solved->second, clash->at});
    }
    return bad_input(path_ + ": the named extents can't be made equal");
  }

 private:
  llvm::Error parse() {
    auto file = folder_.open_model(path_);
    if (!file) return file.takeError();
    model_ = std::make_shared<onnx::ModelProto>();
    const auto bytes = (*file)->bytes();
    if (bytes.empty()) return bad_input(path_ + ": the file is empty");
    if (!model_->ParseFromArray(bytes.data(), int(bytes.size()))) return bad_input(path_ + ": not an ONNX model: its protocol buffer does not parse");
    if (graphs_in(bytes) > 1) return bad_input(path_ + ": the file holds more than one graph");
    return llvm::Error::success();
  }

  llvm::Error check_head() {
    if (!model_->has_graph() || (model_->graph().node_size() == 0 && model_->graph().output_size() == 0)) return bad_input("not an ONNX model: it has no graph");
    if (model_->ir_version() < 3 || model_->ir_version() > 100) return bad_input("ir_version: expected 3 or later, found " + llvm::Twine(model_->ir_version()));
    for (const auto& set : model_->opset_import()) {
      const std::string domain = set.domain() == "ai.onnx" ? "" : set.domain();
      if (!opsets_.try_emplace(domain, set.version()).second) return bad_input("opset_import: domain " + quoted(domain) + " is named twice");
      if (set.version() < 1 || set.version() > 100000) return bad_input("opset_import: domain " + quoted(domain) + ": version " + llvm::Twine(set.version()));
    }
    if (!opsets_.contains("")) return bad_input("opset_import: the standard domain is missing");
    const int64_t opset = opsets_.lookup("");
    if (opset < 11) return bad_input("opset " + llvm::Twine(opset) + ": expected 11 or later; export the model again with a newer opset");
    const auto& g = model_->graph();
    if (g.node_size() > options_.limits.max_nodes) return bad_input("more than " + llvm::Twine(options_.limits.max_nodes) + " nodes");
    if (g.sparse_initializer_size() > 0) return bad_input("sparse initializer " + quoted(g.sparse_initializer(0).values().name()) + ": not supported");
    if (g.output_size() == 0) return bad_input("the graph has no outputs");
    if (model_->functions_size() > options_.limits.max_functions) return bad_input("more than " + llvm::Twine(options_.limits.max_functions) + " functions");
    for (const auto& f : model_->functions())
      if (!functions_.insert(key_of(f.domain(), f.name())).second) return bad_input("function " + quoted(f.name()) + " of domain " + quoted(f.domain()) + " is defined twice");
    if (model_->training_info_size() > 0) remarks_.push_back("the file's training_info is not read; a training step is derived from the graph");
    for (const auto& entry : model_->metadata_props())
      if (int64_t rank = 0; entry.key() == "opt_partition.rank" && !llvm::StringRef(entry.value()).getAsInteger(10, rank)) rank_ = rank;
    llvm::StringSet<> defined;
    for (const auto& t : g.initializer()) {
      if (t.name().empty()) return bad_input("an initializer has no name");
      if (!defined.insert(t.name()).second) return bad_input("initializer " + quoted(t.name()) + " is defined twice");
    }
    llvm::StringSet<> inputs;
    for (const auto& v : g.input()) {
      if (v.name().empty()) return bad_input("an input has no name");
      if (!inputs.insert(v.name()).second) return bad_input("input " + quoted(v.name()) + " is defined twice");
      defined.insert(v.name());
    }
    for (const auto& n : g.node()) {
      for (const auto& o : n.output())
        if (!o.empty() && !defined.insert(o).second) return bad_input(describe(n) + ": output " + quoted(o) + " is defined twice");
      if (llvm::all_of(n.output(), [](const std::string& o) { return o.empty(); })) return bad_input(describe(n) + ": it has no outputs");
      if (n.input_size() > most_operands) return bad_input(describe(n) + ": operands: expected at most " + llvm::Twine(most_operands) + ", found " + llvm::Twine(n.input_size()));
    }
    for (const auto& n : g.node()) {
      llvm::StringSet<> attributes;
      for (const auto& a : n.attribute()) {
        if (!attributes.insert(a.name()).second) return bad_input(describe(n) + ": attribute " + quoted(a.name()) + " is given twice");
        if (!a.ref_attr_name().empty()) return bad_input(describe(n) + ": attribute " + quoted(a.name()) + " refers to a function's outside one");
        if (auto e = check_fields(a)) return with_prefix(describe(n), std::move(e));
      }
      for (const auto& i : n.input())
        if (!i.empty() && !defined.contains(i)) return bad_input(describe(n) + ": operand " + quoted(i) + " is defined nowhere");
    }
    llvm::StringSet<> outputs, described;
    for (const auto& o : g.output()) {
      if (!defined.contains(o.name())) return bad_input("output " + quoted(o.name()) + " is defined nowhere");
      if (!outputs.insert(o.name()).second) return bad_input("output " + quoted(o.name()) + " is named twice");
    }
    for (const auto& v : g.value_info())
      if (!described.insert(v.name()).second) return bad_input("value_info " + quoted(v.name()) + " is given twice");
    return llvm::Error::success();
  }

  // Files with nodes out of order exist; a cycle is named. Iterative: a chain may be as long as the file allows.
  llvm::Error sort_nodes() {
    const auto& g = model_->graph();
    llvm::StringMap<int> producer;
    for (int k = 0; k < g.node_size(); ++k)
      for (const auto& o : g.node(k).output())
        if (!o.empty()) producer[o] = k;
    std::vector<int> waiting(size_t(g.node_size()), 0);
    std::vector<llvm::SmallVector<int, 2>> users(size_t(g.node_size()));
    for (int k = 0; k < g.node_size(); ++k)
      for (const auto& i : g.node(k).input())
        if (auto it = producer.find(i); it != producer.end()) {
          ++waiting[size_t(k)];
          users[size_t(it->second)].push_back(k);
        }
    // In file order wherever that is possible, so that plans follow the file.
    bool sorted = true;
    std::vector<char> done(size_t(g.node_size()), 0);
    std::set<int> ready;
    for (int k = 0; k < g.node_size(); ++k)
      if (waiting[size_t(k)] == 0) ready.insert(k);
    int previous = -1;
    while (!ready.empty()) {
      const int k = *ready.begin();
      ready.erase(ready.begin());
      sorted &= k > previous;
      previous = k;
      order_.push_back(k);
      done[size_t(k)] = 1;
      for (int u : users[size_t(k)])
        if (--waiting[size_t(u)] == 0) ready.insert(u);
    }
    if (int(order_.size()) < g.node_size()) {
      int at = 0;
      while (done[size_t(at)]) ++at;
      std::vector<int> path;
      std::vector<int> seen(size_t(g.node_size()), -1);
      while (seen[size_t(at)] < 0) {
        seen[size_t(at)] = int(path.size());
        path.push_back(at);
        for (const auto& i : g.node(at).input())
          if (auto it = producer.find(i); it != producer.end() && !done[size_t(it->second)]) {
            at = it->second;
            break;
          }
      }
      std::string names;
      const std::vector<int> cycle(path.begin() + seen[size_t(at)], path.end());
      for (size_t k = 0; k < cycle.size() && k < 5; ++k) names += (k ? " <- " : "") + describe(g.node(cycle[k]));
      return bad_input("the graph has a cycle of " + llvm::Twine(cycle.size()) + " nodes: " + names);
    }
    if (!sorted) remarks_.push_back("the file's nodes are not in topological order; they were sorted");
    return llvm::Error::success();
  }

  int64_t opset_of(const onnx::NodeProto& n) const {
    const std::string domain = n.domain() == "ai.onnx" ? "" : n.domain();
    auto it = opsets_.find(domain);
    return it == opsets_.end() ? 0 : it->second;
  }
  static std::string key_of(llvm::StringRef domain, llvm::StringRef name) { return ((domain == "ai.onnx" ? "" : domain) + llvm::Twine('\0') + name).str(); }
  llvm::Error check_operators() {
    std::string unknown;
    int count = 0;
    for (int k : order_) {
      const auto& n = model_->graph().node(k);
      const bool is_function = functions_.contains(key_of(n.domain(), n.op_type()));  // it would hide an operator of that name
      if (!is_function && find_lowering(n.op_type(), n.domain(), opset_of(n))) continue;
      if (++count <= most_listed)
        unknown += (count > 1 ? "; " : "") + describe(n) + " of domain " + quoted(n.domain().empty() ? "ai.onnx" : n.domain()) + ", opset " + std::to_string(opset_of(n)) + (is_function ? ", a function of the model" : "");
    }
    if (count == 0) return llvm::Error::success();
    if (count > most_listed) unknown += "; and " + std::to_string(count - most_listed) + " more";
    return bad_input(llvm::Twine(count) + (count == 1 ? " unknown operator: " : " unknown operators: ") + unknown);
  }

  // A named extent; names are kept, expressions parsed, anything else becomes a symbol of its own.
  Dim dim_of(const onnx::TensorShapeProto::Dimension& d, llvm::StringRef input, int index) {
    std::string text = d.has_dim_param() ? d.dim_param() : std::string();
    if (text.empty()) text = input.str() + "." + std::to_string(index);
    Dim dim;
    auto parsed = parse_dim(llvm::StringRef(text).take_front(most_dim_bytes + 1));
    // part and start are ours: a rank's extents, never a file's.
    if (text.size() <= most_dim_bytes && parsed && !parsed->constant() && !has_rank_terms(*parsed)) {
      dim = *parsed;
    } else {
      llvm::consumeError(parsed.takeError());
      std::string clean;
      for (char c : text) clean += llvm::isAlnum(c) || c == '_' || c == '.' ? c : '_';
      if (clean.empty() || llvm::isDigit(clean[0])) clean = "dim_" + clean;
      if (clean.size() > 100) clean = clean.substr(0, 100) + "." + llvm::utohexstr(llvm::xxh3_64bits(text));  // still another name for another text
      dim = Dim::symbol(clean);
    }
    return substitute(dim, [&](llvm::StringRef s) -> std::optional<Dim> {
      auto it = substitution_.find(s);
      if (it == substitution_.end()) return std::nullopt;
      return it->second;
    });
  }

  // No tensor is larger than a file's may be, whether it is made at compile time or not.
  llvm::Error check_size(const llvm::Twine& place, const Type& type) const {
    if (int64_t(type.dims.size()) > options_.limits.max_ndim) return bad_input(place + ": dims: expected at most " + llvm::Twine(options_.limits.max_ndim) + ", found " + llvm::Twine(type.dims.size()));
    std::optional<int64_t> count = 1;
    for (Dim d : type.dims)
      if (count) count = checked_mul(*count, std::max<int64_t>(d.constant().value_or(1), 1));
    if (!count || *count > options_.limits.max_elements) return bad_input(place + ": shape " + to_string(type.dims) + ": more than " + llvm::Twine(options_.limits.max_elements) + " elements");
    return llvm::Error::success();
  }
  // What the file says of a value against what it is. Names may differ, and a number may stand where a name was given
  // later; another type, or another number, is another model.
  static llvm::Error check_said(const onnx::ValueInfoProto& said, llvm::StringRef kind, const Value& value) {
    const std::string place = (kind + " " + quoted(said.name())).str();
    if (said.type().value_case() == onnx::TypeProto::VALUE_NOT_SET) return llvm::Error::success();
    if (!said.type().has_tensor_type()) return bad_input(place + ": type: expected a tensor, as the graph computes");
    const auto& t = said.type().tensor_type();
    if (t.elem_type() != 0 && t.elem_type() != int(value.type.dtype))
      return bad_input(place + ": dtype: expected " + long_name(value.type.dtype) + ", as the graph computes, found ONNX type " + llvm::Twine(t.elem_type()));
    if (!t.has_shape()) return llvm::Error::success();
    bool same = size_t(t.shape().dim_size()) == value.ndim();
    for (int k = 0; same && k < t.shape().dim_size(); ++k) {
      const auto& d = t.shape().dim(k);
      const auto known = value.type.dims[size_t(k)].constant();
      same = !known || !d.has_dim_value() || d.dim_value() == *known;
    }
    if (same) return llvm::Error::success();
    std::string found;
    for (int k = 0; k < std::min(t.shape().dim_size(), 8); ++k) {
      const auto& d = t.shape().dim(k);
      found += (k ? ", " : "") + (d.has_dim_value() ? std::to_string(d.dim_value()) : "_");
    }
    return bad_input(place + ": shape: expected " + to_string(value.type.dims) + ", as the graph computes, found [" + found + (t.shape().dim_size() > 8 ? ", …]" : "]"));
  }

  llvm::Error add_inputs(Graph& graph, llvm::StringMap<Value*>& values) {
    llvm::StringSet<> initializers;
    for (const auto& t : model_->graph().initializer()) initializers.insert(t.name());
    llvm::StringSet<> integer_symbols;
    std::vector<std::pair<std::string, Type>> inputs;
    for (const auto& v : model_->graph().input()) {
      if (initializers.contains(v.name())) continue;  // before IR 4 initializers were inputs too
      if (!v.type().has_tensor_type()) return bad_input("input " + quoted(v.name()) + ": type: expected a tensor");
      const auto& t = v.type().tensor_type();
      Type type;
      type.dtype = t.elem_type() > 0 && t.elem_type() < 256 ? DType(t.elem_type()) : DType::undefined;
      if (type.dtype != DType::string && size_bytes(type.dtype) == 0) return bad_input("input " + quoted(v.name()) + ": dtype: expected a numeric type, found ONNX type " + llvm::Twine(t.elem_type()));
      if (!t.has_shape()) return bad_input("input " + quoted(v.name()) + ": shape: expected one, found none");
      if (t.shape().dim_size() > options_.limits.max_ndim) return bad_input("input " + quoted(v.name()) + ": dims: found " + llvm::Twine(t.shape().dim_size()));
      for (int k = 0; k < t.shape().dim_size(); ++k) {
        const auto& d = t.shape().dim(k);
        if (d.has_dim_value()) {
          if (d.dim_value() < 0 || d.dim_value() > options_.limits.max_elements) return bad_input("input " + quoted(v.name()) + ": extent " + llvm::Twine(d.dim_value()));
          type.dims.push_back(d.dim_value());
        } else {
          type.dims.push_back(dim_of(d, v.name(), k));
        }
      }
      if (!is_float(type.dtype))
        for (Dim d : type.dims)
          for (const std::string& s : symbols_of(d))
            if (d == Dim::symbol(s)) integer_symbols.insert(s);
      if (auto e = check_size("input " + quoted(v.name()), type)) return e;
      inputs.emplace_back(v.name(), std::move(type));
    }
    for (auto& [name, type] : inputs) {
      // The length of a cache that is given as input may be 0: known by its role, whatever its name.
      if (is_float(type.dtype) && type.dims.size() >= 3)
        for (Dim d : type.dims)
          for (const std::string& s : symbols_of(d))
            if (!integer_symbols.contains(s)) allow_zero(s);
      values[name] = &graph.add_input(name, type);
    }
    return llvm::Error::success();
  }

  llvm::Error no_value(const std::string& name, const llvm::Twine& user) const {
    auto it = unsupported_.find(name);
    if (it != unsupported_.end()) return bad_input(it->second + " " + quoted(name) + " is not supported");
    return bad_input(user + " " + quoted(name) + " has no value");
  }

  llvm::Expected<std::unique_ptr<Graph>> build() {
    auto graph = std::make_unique<Graph>();
    graph->name = model_->graph().name().empty() ? "graph" : model_->graph().name();
    graph->source = path_;
    llvm::StringMap<Value*> values;
    named_.clear();
    unsupported_.clear();
    if (auto e = add_inputs(*graph, values)) return e;
    for (const Value* v : graph->inputs) named_.insert(v);
    for (const auto& t : model_->graph().initializer()) {
      auto it = tensors_.find(t.name());
      if (it == tensors_.end()) {
        auto tensor = load_tensor(t, model_, folder_, options_.limits, "initializer " + quoted(t.name()));
        if (!tensor) return tensor.takeError();
        it = tensors_.try_emplace(t.name(), *tensor).first;
      }
      values[t.name()] = &graph->add_data(t.name(), it->second);
      named_.insert(values[t.name()]);
    }
    Builder builder(*graph);
    for (int k : order_) {
      const auto& n = model_->graph().node(k);
      llvm::SmallVector<Value*, 4> operands;
      for (const auto& i : n.input()) operands.push_back(i.empty() ? nullptr : values.lookup(i));
      for (size_t o = 0; o < operands.size(); ++o)
        if (!operands[o] && !n.input(int(o)).empty()) return no_value(n.input(int(o)), describe(n) + ": operand");
      builder.at(n.name().empty() && n.output_size() ? n.output(0) : n.name(), n.op_type());
      LoweringContext context(builder, n, operands, opset_of(n));
      context.rank = rank_;
      context.load_tensor = [&](const onnx::TensorProto& t, llvm::StringRef name) {
        return load_tensor(t, model_, folder_, options_.limits, describe(n));
      };
      auto results = find_lowering(n.op_type(), n.domain(), opset_of(n))->lower(context);
      if (auto e = context.check_attributes()) {  // the cause of whatever else is wrong
        llvm::consumeError(results.takeError());
        return e;
      }
      if (!results) return results.takeError();
      if (auto e = context.check_all_used()) return e;
      for (int o = 0; o < n.output_size(); ++o) {
        if (n.output(o).empty()) continue;
        if (o >= int(results->size())) return bad_input(describe(n) + ": output " + llvm::Twine(o) + " is not supported");
        if (!(*results)[size_t(o)]) {  // exporters name optional outputs that nothing uses
          unsupported_[n.output(o)] = describe(n) + ": output " + std::to_string(o);
          continue;
        }
        Value* v = (*results)[size_t(o)];
        if (auto e = check_size(describe(n) + ": output " + quoted(n.output(o)), v->type)) return e;
        // A value made here takes the user's name; one that was there before keeps its own.
        if (!named_.contains(v) && v->name != n.output(o) && !graph->find(n.output(o))) graph->rename(*v, n.output(o));
        values[n.output(o)] = v;
        named_.insert(v);
      }
    }
    for (const auto& o : model_->graph().output()) {
      Value* v = values.lookup(o.name());
      if (!v) return no_value(o.name(), "output");
      graph->outputs.push_back({o.name(), v});
    }
    const auto& g = model_->graph();
    for (auto [kind, said] : {std::pair{"input", &g.input()}, {"value_info", &g.value_info()}, {"output", &g.output()}})
      for (const auto& v : *said)
        if (const Value* value = values.lookup(v.name()))
          if (auto e = check_said(v, kind, *value)) return e;
    graph->guards = guards_;
    graph->remarks.insert(graph->remarks.begin(), remarks_.begin(), remarks_.end());
    graph->erase_dead();
    return graph;
  }

  std::string path_;
  const ImportOptions& options_;
  InputFolder folder_;
  std::shared_ptr<onnx::ModelProto> model_;
  llvm::StringMap<int64_t> opsets_;
  llvm::StringSet<> functions_;
  std::optional<int64_t> rank_;
  std::vector<int> order_;
  std::map<std::string, Dim, std::less<>> substitution_;
  std::vector<Guard> guards_;
  std::vector<std::string> remarks_;
  llvm::StringMap<std::shared_ptr<const Tensor>> tensors_;
  llvm::StringMap<std::string> unsupported_;  // outputs that no lowering gives, and of which node: refused where they are used
  llvm::DenseSet<const Value*> named_;  // values that already carry a user's name
};
}  // namespace

llvm::Expected<std::unique_ptr<Graph>> import_onnx(llvm::StringRef path, const ImportOptions& options) { return Importer(path.str(), options).run(); }
}  // namespace optp
