#include "frontend/io/shard_json.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/raw_ostream.h"
#include "passes/plan/plan_members.h"

namespace optp {
namespace {
using llvm::StringLiteral;

class Writer {
 public:
  Writer(llvm::json::OStream& json, const PlanTables& tables) : json_(json), tables_(tables) {}

  void operator()(StringLiteral name, const auto& member) {
    json_.attributeBegin(name);
    write(member);
    json_.attributeEnd();
  }
  // Left out where it says nothing.
  template <typename T>
  void optional(StringLiteral name, const T& member) {
    if (member != T()) (*this)(name, member);
  }
  template <typename T>
  void optional(StringLiteral name, const std::optional<T>& member) {
    if (member) (*this)(name, *member);
  }
  template <typename T>
  void given(StringLiteral name, const std::optional<T>& member) {
    (*this)(name, *member);
  }
  void sharding(const Sharding& s, llvm::ArrayRef<Dim> dims) {
    (*this)("sharding", to_string(s));
    const bool grouped = llvm::any_of(
        s.dims, [](const DimSharding& d) { return d.is_split() && (!d.is_product() || d.factors().size() > 1); });
    if (grouped) (*this)("factors", factor_extents(dims, s));
  }
  void sharding_of_value(const Sharding& s, llvm::StringRef value) {
    sharding(s, tables_.value_dims.find(value)->second);
  }
  void shard(const SymbolicShard& s) { (*this)("shape", s.shape()), json_.attribute("ranges", ranges_of(s)); }
  void shards(const Plan::Layout& layout) { (*this)("shards", layout.shards); }
  // By its place in the plan's list; where there is none, itself.
  void layout(const Plan::PlacedTensor& t) {
    const auto at = tables_.layout_index.find(t.layout.get());
    at == tables_.layout_index.end() ? (*this)("layout", t.layout) : (*this)("layout", at->second);
  }

  void write(const std::string& text) { json_.value(text); }
  void write(llvm::StringRef text) { json_.value(text); }
  void write(bool b) { json_.value(b); }
  void write(int64_t n) { json_.value(n); }
  void write(double x) { json_.value(x); }
  void write(DType dtype) { json_.value(long_name(dtype)); }
  void write(Dim d) { json_.value(to_json(d)); }
  void write(const std::shared_ptr<const Plan::Layout>& layout) { write(*layout); }
  template <typename T>
  void write(const std::vector<T>& list) {
    write_list(list);
  }
  template <typename T>
  void write(const llvm::SmallVectorImpl<T>& list) {
    write_list(list);
  }
  template <typename K, typename T>
  void write(const std::map<K, T>& map) {
    json_.object([&] {
      for (const auto& [key, value] : map) {
        json_.attributeBegin(text_of(key));
        write(value);
        json_.attributeEnd();
      }
    });
  }
  void write(const NamedEnum auto& value) { json_.value(to_string(value)); }
  template <typename T>
    requires requires(Writer& io, const T& m) { members(io, m); }
  void write(const T& m) {
    json_.object([&] { members(*this, m); });
  }

 private:
  void write_list(const auto& list) {
    json_.array([&] {
      for (const auto& each : list) write(each);
    });
  }
  static llvm::StringRef text_of(const std::string& key) { return key; }
  static llvm::StringRef text_of(Collective key) { return to_string(key); }

  llvm::json::OStream& json_;
  const PlanTables& tables_;
};

// The plan itself: a member a line, and an entry a line of its lists.
class PlanWriter {
 public:
  PlanWriter(llvm::raw_ostream& out, PlanTables& tables) : out_(out), tables_(tables) {}
  void operator()(StringLiteral name, const auto& member) {
    begin(name);
    write(member);
  }
  template <typename T>
  void operator()(StringLiteral name, const std::vector<T>& list) {
    begin(name);
    out_ << "[";
    for (size_t k = 0; k < list.size(); ++k) {
      out_ << (k ? ",\n  " : "\n  ");
      write(list[k]);
    }
    out_ << (list.empty() ? "]" : "\n ]");
  }
  template <typename T>
  void given(StringLiteral name, const std::optional<T>& member) {
    (*this)(name, *member);
  }
  template <typename T>
  void optional(StringLiteral name, const T& member) {
    if (member != T()) (*this)(name, member);
  }
  void mesh(const Mesh& mesh) {
    begin("mesh");
    llvm::json::OStream json(out_);
    Writer writer(json, tables_);
    json.object([&] { writer("axes", mesh.axes), writer("devices", mesh.devices()); });
  }
  void dims(const std::map<std::string, Plan::DimInfo>& dims) { (*this)("dims", dims); }
  void layouts() { (*this)("layouts", tables_.layouts); }
  void flow(const std::vector<Plan::FlowEntry>& flow, const std::vector<Plan::Value>& values) {
    for (const Plan::Value& v : values) tables_.value_dims[v.name] = v.dims;
    (*this)("flow", flow);
  }

 private:
  void begin(StringLiteral name) { out_ << ",\n \"" << name << "\": "; }
  void write(const auto& value) {
    llvm::json::OStream json(out_);
    Writer(json, tables_).write(value);
  }
  llvm::raw_ostream& out_;
  PlanTables& tables_;
};

void add_layout(PlanTables& tables, const Plan::PlacedTensor& t) {
  if (tables.layout_index.emplace(t.layout.get(), int64_t(tables.layouts.size())).second)
    tables.layouts.push_back(t.layout);
}
}  // namespace

std::string to_text(const Plan& plan) {
  std::string text;
  llvm::raw_string_ostream out(text);
  PlanTables tables;
  for (const auto* ports : {&plan.inputs, &plan.outputs})
    for (const Plan::Port& p : *ports) add_layout(tables, p);
  for (const Plan::Parameter& p : plan.parameters) add_layout(tables, p);
  for (const Plan::Constant& c : plan.constants) add_layout(tables, c);
  out << "{\n \"format\": \"" << plan_format << "\",\n \"version\": " << plan_version;
  PlanWriter writer(out, tables);
  members(writer, plan);
  out << "\n}\n";
  return text;
}

std::string tensors_text(const Plan& plan, llvm::function_ref<bool(const Plan::Tensor&)> is_wanted) {
  std::string text;
  llvm::raw_string_ostream out(text);
  llvm::json::OStream json(out, /*IndentSize=*/2);
  const PlanTables no_tables;
  Writer writer(json, no_tables);
  auto write_all = [&](StringLiteral kind, const auto& list) {
    for (const auto& t : list)
      if (is_wanted(t)) json.object([&] { writer("kind", kind), members(writer, t); });
  };
  json.object([&] {
    writer("format", StringLiteral("opt-partition tensors")), writer("version", int64_t(1));
    json.attributeArray("tensors", [&] {
      write_all("parameter", plan.parameters), write_all("constant", plan.constants);
      write_all("input", plan.inputs), write_all("output", plan.outputs), write_all("value", plan.values);
    });
  });
  return text + "\n";
}

}  // namespace optp
