#include "tools/run/ports.h"

#include "frontend/ir/diagnostic.h"

namespace optp {
namespace {
llvm::Expected<Dim> extent(const llvm::json::Value& v) {
  if (auto n = v.getAsInteger()) return Dim(*n);
  if (auto s = v.getAsString()) return parse_dim(*s);
  return bad_input("plan.json: expected an extent");
}
llvm::Expected<int64_t> number(const llvm::json::Value& v, const DimValues& dims) {
  auto d = extent(v);
  if (!d) return d.takeError();
  return evaluate(*d, dims);
}
llvm::Expected<Dims> shape(const llvm::json::Array& list) {
  Dims out;
  for (const auto& v : list) {
    auto d = extent(v);
    if (!d) return d.takeError();
    out.push_back(*d);
  }
  return out;
}
// Section 9 of docs/plan-schema.md: intervals, or intervals repeated with a stride.
llvm::Expected<Indices> indices(const llvm::json::Array& ranges, const DimValues& dims) {
  Indices out;
  for (const auto& dim : ranges) {
    auto& list = out.emplace_back();
    if (!dim.getAsArray()) return bad_input("plan.json: expected ranges");
    for (const auto& interval : *dim.getAsArray()) {
      const auto* parts = interval.getAsArray();
      if (!parts || (parts->size() != 2 && parts->size() != 4))
        return bad_input("plan.json: expected an interval of 2 or 4 numbers");
      int64_t n[4] = {0, 0, 1, 0};
      for (size_t k = 0; k < parts->size(); ++k) {
        auto v = number((*parts)[k], dims);
        if (!v) return v.takeError();
        n[k] = *v;
      }
      if (n[0] < 0 || n[1] < n[0] || n[2] < 0 || n[1] - n[0] > (int64_t(1) << 40))
        return bad_input("plan.json: an interval out of range");
      for (int64_t i = 0; i < n[2]; ++i)
        for (int64_t j = n[0]; j < n[1]; ++j) list.push_back(i * n[3] + j);
    }
  }
  return out;
}
}  // namespace

llvm::Expected<std::vector<Port>> ports(const llvm::json::Object& plan, llvm::StringRef list, size_t devices) {
  std::vector<Port> out;
  const auto* entries = plan.getArray(list);
  if (!entries) return bad_input("plan.json: member " + quoted(list) + " is missing");
  for (const auto& entry : *entries) {
    const auto* o = entry.getAsObject();
    if (!o || !o->getString("name") || !o->getString("dtype") || !o->getArray("shape") || !o->getArray("ranks") ||
        o->getArray("ranks")->size() != devices)
      return bad_input("plan.json: an entry of " + quoted(list) + " is malformed");
    auto dtype = dtype_from(*o->getString("dtype"));
    auto dims = shape(*o->getArray("shape"));
    if (!dims) return dims.takeError();
    if (!dtype) return bad_input("plan.json: dtype " + quoted(*o->getString("dtype")));
    Port port{o->getString("name")->str(),
              *dtype,
              *dims,
              o->getArray("ranks"),
              o->getInteger("rows").value_or(0),
              "",
              "",
              "",
              std::nullopt};
    if (const auto* classes = o->get("classes")) {
      auto d = extent(*classes);
      if (!d) return d.takeError();
      port.classes = *d;
    }
    for (auto [member, text] : {std::pair{"role", &port.role}, {"parameter", &port.parameter}, {"kind", &port.kind}})
      *text = o->getString(member).value_or("").str();
    out.push_back(std::move(port));
  }
  return out;
}
llvm::Expected<Indices> rank_indices(const Port& port, size_t rank, const DimValues& dims,
                                     llvm::ArrayRef<int64_t> whole) {
  const auto* o = (*port.ranks)[rank].getAsObject();
  if (!o || !o->getArray("ranges") || o->getArray("ranges")->size() != whole.size())
    return bad_input("plan.json: ranges of " + quoted(port.name) + " are malformed");
  auto out = indices(*o->getArray("ranges"), dims);
  if (!out) return out.takeError();
  for (size_t d = 0; d < whole.size(); ++d)
    for (int64_t i : (*out)[d])
      if (i < 0 || i >= whole[d])
        return bad_input("plan.json: ranges of " + quoted(port.name) + " reach beyond its shape");
  return out;
}

llvm::Expected<HostArray> join(const Port& port, const DimValues& dims,
                               llvm::function_ref<const HostArray*(size_t rank)> part, size_t devices) {
  HostArray whole;
  whole.dtype = port.dtype;
  int64_t bytes = size_bytes(port.dtype);
  for (Dim d : port.dims) {
    auto n = evaluate(d, dims);
    if (!n) return n.takeError();
    whole.dims.push_back(*n);
    bytes *= *n;
  }
  whole.bytes.assign(size_t(bytes), 0);
  std::vector<std::vector<char>> covered;
  for (int64_t n : whole.dims) covered.emplace_back(size_t(n), 0);
  for (size_t r = 0; r < devices; ++r) {
    auto at = rank_indices(port, r, dims, whole.dims);
    if (!at) return at.takeError();
    const HostArray* own = part(r);
    size_t n = 1;
    for (const auto& list : *at) n *= list.size();
    if (!own || own->bytes.size() != n * size_t(size_bytes(port.dtype)))
      return bad_input("output " + quoted(port.name) + " of rank " + llvm::Twine(r) + " is not of the plan's shape");
    put(whole, *own, *at);
    for (size_t d = 0; d < covered.size(); ++d)
      for (int64_t i : (*at)[d]) covered[d][size_t(i)] = 1;
  }
  for (size_t d = 0; d < covered.size(); ++d)
    if (auto gap = llvm::find(covered[d], 0); gap != covered[d].end())
      return bad_input("plan.json: output " + quoted(port.name) + ", dim " + llvm::Twine(d) + ": index " +
                       llvm::Twine(gap - covered[d].begin()) + " is on no rank");
  return whole;
}

// Which part of which whole tensor a rank's initializer is.
llvm::Expected<Shard> shard_in(const llvm::json::Object& plan, llvm::StringRef name, size_t rank) {
  for (const char* list : {"parameters", "constants"})
    for (const auto& entry : plan.getArray(list) ? *plan.getArray(list) : llvm::json::Array()) {
      const auto* o = entry.getAsObject();
      if (!o || o->getString("name") != name) continue;
      const auto *global = o->getArray("shape"), *ranks = o->getArray("ranks");
      const auto* mine = ranks && rank < ranks->size() ? (*ranks)[rank].getAsObject() : nullptr;
      if (!global || !mine || !mine->getArray("ranges"))
        return bad_input("plan.json: the entry of " + quoted(name) + " is malformed");
      Shard out;
      for (const auto& n : *global) out.dims.push_back(n.getAsInteger().value_or(-1));
      auto at = indices(*mine->getArray("ranges"), {});
      if (!at) return at.takeError();
      out.indices = std::move(*at);
      bool inside = out.dims.size() == out.indices.size();
      for (size_t d = 0; inside && d < out.dims.size(); ++d)
        inside = llvm::all_of(out.indices[d], [&](int64_t i) { return i >= 0 && i < out.dims[d]; });
      if (!inside) return bad_input("plan.json: ranges of " + quoted(name) + " reach beyond its shape");
      return out;
    }
  return bad_input("plan.json: it lists no tensor " + quoted(name));
}
}  // namespace optp
