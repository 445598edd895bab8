#include "tools/run/ports.h"

#include "frontend/io/shard_json.h"
#include "frontend/ir/diagnostic.h"

namespace optp {
namespace {
llvm::Expected<Dims> shape(const llvm::json::Array& list) {
  Dims out;
  for (const auto& v : list) {
    auto d = dim_from(v);
    if (!d) return with_prefix("plan.json", d.takeError());
    out.push_back(*d);
  }
  return out;
}
// Of `rank` in an entry of inputs, outputs, parameters or constants.
llvm::Expected<SymbolicShard> shard_in(const llvm::json::Object& entry, llvm::ArrayRef<Dim> whole, size_t rank) {
  const auto* ranks = entry.getArray("ranks");
  const auto* mine = ranks && rank < ranks->size() ? (*ranks)[rank].getAsObject() : nullptr;
  const auto* ranges = mine ? mine->getArray("ranges") : nullptr;
  auto shard =
      ranges ? shard_from(*ranges, whole) : llvm::Expected<SymbolicShard>(bad_input("expected one list for each rank"));
  if (!shard)
    return with_prefix("plan.json: ranges of " + quoted(entry.getString("name").value_or("")), shard.takeError());
  return shard;
}
}  // namespace

llvm::Expected<std::vector<Port>> ports(const llvm::json::Object& plan, llvm::StringRef list, size_t devices) {
  std::vector<Port> out;
  const auto* entries = plan.getArray(list);
  if (!entries) return bad_input("plan.json: member " + quoted(list) + " is missing");
  for (const auto& entry : *entries) {
    const auto* o = entry.getAsObject();
    if (!o || !o->getString("name") || !o->getString("dtype") || !o->getArray("shape"))
      return bad_input("plan.json: an entry of " + quoted(list) + " is malformed");
    auto dtype = dtype_from(*o->getString("dtype"));
    auto dims = shape(*o->getArray("shape"));
    if (!dims) return dims.takeError();
    if (!dtype) return bad_input("plan.json: dtype " + quoted(*o->getString("dtype")));
    std::vector<SymbolicShard> shards;
    for (size_t r = 0; r < devices; ++r) {
      auto shard = shard_in(*o, *dims, r);
      if (!shard) return shard.takeError();
      shards.push_back(std::move(*shard));
    }
    Port port{o->getString("name")->str(),
              *dtype,
              *dims,
              std::move(shards),
              o->getInteger("rows").value_or(0),
              "",
              "",
              "",
              std::nullopt};
    if (const auto* classes = o->get("classes")) {
      auto d = dim_from(*classes);
      if (!d) return d.takeError();
      port.classes = *d;
    }
    for (auto [member, text] : {std::pair{"role", &port.role}, {"parameter", &port.parameter}, {"kind", &port.kind}})
      *text = o->getString(member).value_or("").str();
    out.push_back(std::move(port));
  }
  return out;
}
llvm::Expected<Shard> shard_of(const Port& port, size_t rank, const DimValues& dims) {
  auto shard = port.shards[rank].bind(dims);
  if (!shard) return with_prefix("plan.json: ranges of " + quoted(port.name), shard.takeError());
  return shard;
}

llvm::Expected<HostArray> join(const Port& port, const DimValues& dims,
                               llvm::function_ref<const HostArray*(size_t rank)> part) {
  std::vector<Shard> shards;
  for (size_t r = 0; r < port.shards.size(); ++r) {
    auto shard = shard_of(port, r, dims);
    if (!shard) return shard.takeError();
    shards.push_back(std::move(*shard));
  }
  auto whole = join(port.dtype, shards[0].whole, shards, [&](size_t r) -> llvm::Expected<llvm::ArrayRef<char>> {
    const HostArray* own = part(r);
    if (!own || own->dims != shards[r].shape() || own->dtype != port.dtype)
      return bad_input("that of rank " + llvm::Twine(r) + " is not of the plan's shape");
    return own->bytes;
  });
  if (!whole) return with_prefix("output " + quoted(port.name), whole.takeError());
  return whole;
}

llvm::Expected<Shard> data_shard(const llvm::json::Object& plan, llvm::StringRef name, size_t rank) {
  for (const char* list : {"parameters", "constants"})
    for (const auto& entry : plan.getArray(list) ? *plan.getArray(list) : llvm::json::Array()) {
      const auto* o = entry.getAsObject();
      if (!o || o->getString("name") != name) continue;
      if (!o->getArray("shape")) return bad_input("plan.json: the entry of " + quoted(name) + " is malformed");
      auto whole = shape(*o->getArray("shape"));
      if (!whole) return whole.takeError();
      auto symbolic = shard_in(*o, *whole, rank);
      if (!symbolic) return symbolic.takeError();
      auto shard = symbolic->bind({});
      if (!shard) return with_prefix("plan.json: ranges of " + quoted(name), shard.takeError());
      return shard;
    }
  return bad_input("plan.json: it lists no tensor " + quoted(name));
}
}  // namespace optp
