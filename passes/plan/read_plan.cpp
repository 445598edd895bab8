#include <utility>

#include "frontend/io/input_folder.h"
#include "frontend/io/json.h"
#include "frontend/io/shard_json.h"
#include "frontend/ir/diagnostic.h"
#include "frontend/ir/written_sharding.h"
#include "llvm/ADT/STLExtras.h"
#include "passes/plan/layouts.h"
#include "passes/plan/plan_check.h"
#include "passes/plan/plan_members.h"

namespace optp {
namespace {
using JsonPath = llvm::json::Path;
using JsonValue = llvm::json::Value;
using JsonArray = llvm::json::Array;
using JsonObject = llvm::json::Object;
using llvm::StringLiteral;
}  // namespace

// Reading. Found by argument-dependent lookup from LLVM's ObjectMapper: what is read, and what entries refer to.
template <typename T>
struct Into {
  T& to;
  const PlanTables& tables;
};

namespace {
class Reader {
 public:
  Reader(const JsonValue& value, JsonPath path, const PlanTables& tables)
      : mapper_(value, path), object_(value.getAsObject()), path_(path), tables_(tables), ok_(mapper_) {}
  bool ok() const { return ok_; }

  template <typename T>
  void operator()(StringLiteral name, T& member) {
    Into<T> into{member, tables_};
    ok_ = ok_ && mapper_.map(name, into);
  }
  template <typename T>
  void optional(StringLiteral name, T& member) {
    if (ok_ && object_->get(name)) (*this)(name, member);
  }
  template <typename T>
  void optional(StringLiteral name, std::optional<T>& member) {
    if (ok_ && object_->get(name)) given(name, member);
  }
  template <typename T>
  void given(StringLiteral name, std::optional<T>& member) {
    (*this)(name, member.emplace());
  }
  void sharding(Sharding& s, llvm::ArrayRef<Dim> dims) {
    std::string text;
    llvm::SmallVector<Dims, 4> factors;
    (*this)("sharding", text);
    const auto written = written_dims(text.substr(0, text.find(']') + 1));
    if (written && llvm::any_of(*written, [](const WrittenDim& d) { return d.by_factors; }))
      (*this)("factors", factors);
    else
      optional("factors", factors);
    if (!ok_) return;
    auto parsed = parse_sharding(text, dims, factors);
    if (parsed)
      s = std::move(*parsed);
    else
      llvm::consumeError(parsed.takeError()), fail("sharding", "expected a sharding of the tensor's dims and factors");
  }
  void sharding_of_value(Sharding& s, llvm::StringRef value) {
    if (!ok_) return;
    const auto at = tables_.value_dims.find(value);
    if (at == tables_.value_dims.end()) return fail("result", "expected the name of a value");
    sharding(s, at->second);
  }
  void shard(SymbolicShard& s) {
    Dims shape;
    (*this)("shape", shape), (*this)("ranges", s.dims);
    if (!ok_) return;
    if (shape.size() != s.dims.size()) return fail("ranges", "expected a list of intervals for each dim of the shape");
    const Dims own = s.shape();
    for (size_t d = 0; d < shape.size(); ++d)
      if (shape[d].constant() && own[d].constant() && shape[d] != own[d])
        return fail("shape", "expected as many indices as in the ranges");
  }
  void shards(Plan::Layout& layout) {
    (*this)("shards", layout.shards);
    for (Plan::RankShard& s : layout.shards) {
      if (!ok_) return;
      if (s.shard.dims.size() != layout.dims.size()) return fail("shards", "expected ranges for each dim");
      s.shard.whole = layout.dims;
      const Plan::RankShard own = rank_shard(s.shard, layout.dtype, {});
      auto differ = [](Dim read, Dim expected) { return read.constant() && expected.constant() && read != expected; };
      if (differ(s.elements, own.elements) || differ(s.bytes, own.bytes))
        return fail("shards", "expected elements and bytes of the ranges");
    }
    if (ok_ && !index_ranks(layout, tables_.devices)) fail("shards", "expected each rank in one entry");
  }
  void layout(Plan::PlacedTensor& t) {
    int64_t k = 0;
    (*this)("layout", k);
    if (!ok_) return;
    if (size_t(k) >= tables_.layouts.size()) return fail("layout", "expected a position in layouts");
    t.layout = tables_.layouts[size_t(k)];
    const Plan::Layout& l = *t.layout;
    if (l.dtype != t.dtype || l.dims != t.dims || !same_placement(l.sharding, t.sharding))
      fail("layout", "expected a layout of the tensor's dtype, shape and sharding");
  }

 private:
  void fail(StringLiteral member, StringLiteral what) {
    path_.field(member).report(what);
    ok_ = false;
  }
  llvm::json::ObjectMapper mapper_;
  const JsonObject* object_;
  JsonPath path_;
  const PlanTables& tables_;
  bool ok_;
};

bool refuse(JsonPath path, StringLiteral what) {
  path.report(what);
  return false;
}
}  // namespace

static bool fromJSON(const JsonValue& v, Into<std::string> in, JsonPath p) { return llvm::json::fromJSON(v, in.to, p); }
static bool fromJSON(const JsonValue& v, Into<bool> in, JsonPath p) { return llvm::json::fromJSON(v, in.to, p); }
static bool fromJSON(const JsonValue& v, Into<double> in, JsonPath p) { return llvm::json::fromJSON(v, in.to, p); }
// Every number of a plan counts something or is a position.
static bool fromJSON(const JsonValue& v, Into<int64_t> in, JsonPath p) {
  const auto n = v.getAsInteger();
  if (!n || *n < 0) return refuse(p, "expected an integer of at least 0");
  in.to = *n;
  return true;
}
static bool fromJSON(const JsonValue& v, Into<DType> in, JsonPath p) {
  const auto dtype = v.getAsString() ? dtype_from(*v.getAsString()) : std::nullopt;
  if (!dtype) return refuse(p, "expected a dtype such as float32");
  in.to = *dtype;
  return true;
}
static bool fromJSON(const JsonValue& v, Into<Dim> in, JsonPath p) {
  auto dim = dim_from(v, in.tables.bounds);
  if (!dim || dim->constant().value_or(0) < 0) {
    llvm::consumeError(dim.takeError());
    return refuse(p, "expected an extent: an integer of at least 0 or an expression over dims");
  }
  in.to = *dim;
  return true;
}
// [start, stop], then count and stride of each repetition.
static bool fromJSON(const JsonValue& v, Into<SymbolicInterval> in, JsonPath p) {
  auto interval = interval_from(v, in.tables.bounds);
  if (!interval) {
    llvm::consumeError(interval.takeError());
    return refuse(p, "expected an interval of 2, 4 or more extents");
  }
  in.to = std::move(*interval);
  return true;
}
template <NamedEnum E>
static bool fromJSON(const JsonValue& v, Into<E> in, JsonPath p) {
  for (E e : EnumValues<E>::all)
    if (v.getAsString() == to_string(e)) {
      in.to = e;
      return true;
    }
  return refuse(p, "expected one of the words that docs/plan-schema.md lists");
}
template <typename T>
  requires requires(Reader& io, T& m) { members(io, m); }
static bool fromJSON(const JsonValue& v, Into<T> in, JsonPath p) {
  Reader reader(v, p, in.tables);
  if (reader.ok()) members(reader, in.to);
  return reader.ok();
}
template <typename List>
static bool list_from(const JsonValue& v, List& to, const PlanTables& tables, JsonPath p) {
  const JsonArray* list = v.getAsArray();
  if (!list) return refuse(p, "expected array");
  to.clear();
  to.resize(list->size());
  for (size_t k = 0; k < list->size(); ++k) {
    Into<typename List::value_type> into{to[k], tables};
    if (!fromJSON((*list)[k], into, p.index(unsigned(k)))) return false;
  }
  return true;
}
template <typename T>
static bool fromJSON(const JsonValue& v, Into<std::vector<T>> in, JsonPath p) {
  return list_from(v, in.to, in.tables, p);
}
template <typename T, unsigned N>
static bool fromJSON(const JsonValue& v, Into<llvm::SmallVector<T, N>> in, JsonPath p) {
  return list_from(v, in.to, in.tables, p);
}
template <typename T>
static bool fromJSON(const JsonValue& v, Into<std::map<std::string, T>> in, JsonPath p) {
  const JsonObject* object = v.getAsObject();
  if (!object) return refuse(p, "expected object");
  for (const auto& [key, value] : *object) {
    Into<T> into{in.to[key.str()], in.tables};
    if (!fromJSON(value, into, p.field(key))) return false;
  }
  return true;
}
static bool fromJSON(const JsonValue& v, Into<std::map<Collective, int64_t>> in, JsonPath p) {
  const JsonObject* object = v.getAsObject();
  if (!object) return refuse(p, "expected object");
  for (Collective kind : collective_ops) {
    const JsonValue* count = object->get(to_string(kind));
    const JsonPath at = p.field(to_string(kind));
    if (!count) return refuse(at, "missing value");
    if (!fromJSON(*count, Into<int64_t>{in.to[kind], in.tables}, at)) return false;
  }
  return true;
}

namespace {
// The plan itself. What has a check of its own before the rest can be read stops here with its own message.
class PlanReader {
 public:
  PlanReader(llvm::StringRef name, const JsonValue& top) : name_(name), top_(top) {}
  ~PlanReader() { llvm::consumeError(std::move(error_)); }

  template <typename T>
  void operator()(StringLiteral name, T& member) {
    if (error_) return;
    JsonPath::Root root;
    llvm::json::ObjectMapper mapper(top_, root);
    Into<T> into{member, tables_};
    if (!mapper || !mapper.map(name, into)) error_ = path_error(Code::bad_plan, name_, root);
  }
  template <typename T>
  void given(StringLiteral name, std::optional<T>& member) {
    (*this)(name, member.emplace());
  }
  template <typename T>
  void optional(StringLiteral name, T& member) {
    if (top_.getAsObject()->get(name)) (*this)(name, member);
  }
  void mesh(Mesh& mesh) {
    struct {
      std::vector<MeshAxis>& axes;
      int64_t devices = 0;
    } read{mesh.axes};
    JsonPath::Root root;
    const JsonPath top(root), path = top.field("mesh");
    const JsonValue* value = top_.getAsObject()->get("mesh");
    if (error_) return;
    if (!value) return (*this)("mesh", read.devices);  // which says that there is none
    Reader reader(*value, path, tables_);
    if (reader.ok()) reader("axes", read.axes), reader("devices", read.devices);
    error_ = reader.ok() ? check_mesh(name_, mesh, read.devices) : path_error(Code::bad_plan, name_, root);
    tables_.devices = read.devices;
  }
  // Which names may be 0 is known before the first expression is read: max(past, 1) of a `past` from 1 is `past`. One
  // that equals an expression is no extent of the graph.
  void dims(std::map<std::string, Plan::DimInfo>& dims) {
    const JsonObject* all = top_.getAsObject()->getObject("dims");
    for (const auto& [name, info] : all ? *all : JsonObject())
      if (const JsonObject* o = info.getAsObject(); o && o->getInteger("min") == 0 && !o->get("equals"))
        tables_.bounds.may_be_zero.insert(name);
    (*this)("dims", dims);
  }
  void layouts() {
    std::vector<Plan::Layout> layouts;
    (*this)("layouts", layouts);
    for (Plan::Layout& l : layouts) tables_.layouts.push_back(std::make_shared<Plan::Layout>(std::move(l)));
  }
  void flow(std::vector<Plan::FlowEntry>& flow, const std::vector<Plan::Value>& values) {
    for (const Plan::Value& v : values) tables_.value_dims[v.name] = v.dims;
    (*this)("flow", flow);
  }
  llvm::Error take() { return std::exchange(error_, llvm::Error::success()); }

 private:
  std::string name_;
  const JsonValue& top_;
  PlanTables tables_;
  llvm::Error error_ = llvm::Error::success();
};
}  // namespace

llvm::Expected<Plan> parse_plan(llvm::StringRef name, llvm::StringRef text) {
  auto json = parse_json(name, text);
  if (!json) return json.takeError();
  const JsonObject* top = json->getAsObject();
  if (!top || top->getString("format") != llvm::StringRef(plan_format))
    return error(Code::not_this_format).in_file(name).what("format").expected(quoted(plan_format));
  const auto version = top->getInteger("version");
  if (!version || *version != plan_version)
    return error(Code::unsupported_version)
        .in_file(name)
        .what("version")
        .expected(plan_version)
        .found((version ? std::to_string(*version) : std::string("no number")) +
               (version && *version < plan_version ? ": made by an earlier opt-partition" : ""))
        .hint(version && *version < plan_version ? "partition the model again" : "");
  Plan plan;
  PlanReader reader(name, *json);
  members(reader, plan);
  if (auto e = reader.take()) return e;
  if (auto e = check_plan(name, plan)) return e;
  return plan;
}
llvm::Expected<Plan> read_plan(llvm::StringRef folder) {
  const std::string path = (folder + "/plan.json").str();
  auto file = open_input_file(path);
  if (!file) return file.takeError();
  return parse_plan(path, (*file)->text());
}
}  // namespace optp
