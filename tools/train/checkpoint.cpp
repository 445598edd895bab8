#include "tools/train/checkpoint.h"

#include <algorithm>

#include "frontend/io/json.h"
#include "frontend/io/manifest.h"
#include "frontend/io/shard_json.h"
#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FormatVariadic.h"
#include "passes/plan/plan_parts.h"

namespace optp {
namespace {
using JsonObject = llvm::json::Object;
using JsonArray = llvm::json::Array;
constexpr llvm::StringLiteral format = "opt-partition checkpoint";
constexpr int64_t version = 1, alignment = 64;

std::string file_of(size_t rank) { return "rank" + std::to_string(rank) + ".data"; }
JsonArray strings(llvm::ArrayRef<std::string> list) {
  JsonArray out;
  for (const std::string& s : list) out.push_back(s);
  return out;
}

// A tensor as checkpoint.json tells of it.
struct Ranges {
  JsonArray list;
};
bool fromJSON(const llvm::json::Value& value, Ranges& out, llvm::json::Path path) {
  const JsonArray* list = value.getAsArray();
  if (list) out.list = *list;
  if (!list) path.report("expected array");
  return list != nullptr;
}
struct StoredPart {
  int64_t rank = 0, offset = 0, size_bytes = 0;
  Ranges ranges;
};
bool fromJSON(const llvm::json::Value& value, StoredPart& out, llvm::json::Path path) {
  llvm::json::ObjectMapper map(value, path);
  if (!map || !map.map("rank", out.rank) || !map.map("offset", out.offset) || !map.map("size_bytes", out.size_bytes) ||
      !map.map("ranges", out.ranges))
    return false;
  for (auto [name, number] : {std::pair{"rank", out.rank}, {"offset", out.offset}, {"size_bytes", out.size_bytes}})
    if (number < 0) return path.field(name).report("expected a whole number of at least 0"), false;
  return true;
}
struct StoredTensor {
  std::string name, kind, parameter, dtype, model_name;
  std::vector<int64_t> shape;
  std::vector<std::string> aliases, transposed_aliases;
  std::vector<StoredPart> parts;
};
bool fromJSON(const llvm::json::Value& value, StoredTensor& out, llvm::json::Path path) {
  llvm::json::ObjectMapper map(value, path);
  return map && map.map("name", out.name) && map.map("kind", out.kind) && map.map("parameter", out.parameter) &&
         map.map("dtype", out.dtype) && map.map("shape", out.shape) && map.map("aliases", out.aliases) &&
         map.map("transposed_aliases", out.transposed_aliases) && map.map("ranks", out.parts) &&
         map.mapOptional("model_name", out.model_name);
}

llvm::Expected<Shard> bound_shard_from(const JsonArray& ranges, llvm::ArrayRef<int64_t> whole) {
  auto shard = shard_from(ranges, Dims(whole.begin(), whole.end()));
  if (!shard) return shard.takeError();
  return shard->bind({});
}

// What a rank's file has of the tensor, if it can have it.
llvm::Expected<CheckpointTensor::Part> part_from(const StoredPart& part, const CheckpointTensor& t, const Place& place,
                                                 llvm::ArrayRef<std::shared_ptr<MappedFile>> files) {
  const auto rank = size_t(part.rank);
  if (rank >= files.size())
    return error(Code::bad_checkpoint).at(place).what("ranks").expected("ranks of the mesh").found(rank);
  const Place at = words("rank " + llvm::Twine(rank));
  auto shard = bound_shard_from(part.ranges.list, t.dims);
  if (!shard) return within(place, within(at, within(words("ranges"), shard.takeError())));
  if (const int64_t n = shard->elements() * size_bytes(t.dtype); n != part.size_bytes)
    return error(Code::size_mismatch)
        .at(place)
        .at(at)
        .what("size")
        .expected(llvm::Twine(n) + " bytes of its ranges")
        .found(part.size_bytes);
  auto bytes = files[rank]->range(uint64_t(part.offset), uint64_t(part.size_bytes));
  if (!bytes) return within(place, bytes.takeError());
  return CheckpointTensor::Part{rank, part.offset, part.size_bytes, std::move(*shard)};
}
llvm::Expected<CheckpointTensor> tensor_from(StoredTensor stored, llvm::ArrayRef<std::shared_ptr<MappedFile>> files) {
  CheckpointTensor t;
  t.name = std::move(stored.name), t.kind = UpdateKind::parse(stored.kind), t.parameter = std::move(stored.parameter);
  t.model_name = std::move(stored.model_name);
  t.dtype = dtype_from(stored.dtype).value_or(DType::undefined);
  t.dims.assign(stored.shape.begin(), stored.shape.end());
  t.aliases = std::move(stored.aliases), t.transposed_aliases = std::move(stored.transposed_aliases);
  const Place place = tensor_place("tensor", t.name);
  const auto whole_bytes = size_bytes(t.dtype, t.dims);
  int64_t stored_bytes = 0;  // no shape can be larger, and so no list of indices
  for (const auto& file : files) stored_bytes += file->size_bytes();
  if (!whole_bytes || *whole_bytes > stored_bytes ||
      llvm::any_of(t.dims, [&](int64_t d) { return d > stored_bytes; }) || size_bytes(t.dtype) == 0 ||
      t.dims.size() > size_t(Limits().max_ndim))
    return error(Code::dtype_mismatch).at(place).expected("a numeric dtype and a shape that the files can hold");
  std::vector<Shard> shards;
  for (const StoredPart& each : stored.parts) {
    auto part = part_from(each, t, place, files);
    if (!part) return part.takeError();
    shards.push_back(part->shard);
    t.parts.push_back(std::move(*part));
  }
  if (auto at = held_by_none(t.dims, shards))
    return error(Code::bad_checkpoint)
        .at(place)
        .what("ranks")
        .what("no rank has element " + to_string(Dims(at->begin(), at->end())));
  return t;
}
}  // namespace

llvm::Expected<Checkpoint> Checkpoint::open(llvm::StringRef folder) {
  Checkpoint out;
  out.folder_ = folder.str();
  if (auto e = verify_manifest(folder, /*hashes=*/true)) return e;
  const std::string path = (folder + "/checkpoint.json").str();
  auto file = open_input_file(path);
  if (!file) return file.takeError();
  auto json = parse_json(path, (*file)->text());
  if (!json) return json.takeError();
  const JsonObject* top = json->getAsObject();
  if (!top || top->getString("format") != llvm::StringRef(format))
    return error(Code::not_this_format).in_file(path).what("format").expected(quoted(format));
  if (top->getInteger("version") != version)
    return error(Code::unsupported_version).in_file(path).what("version").expected(version);
  auto run = run_record_from(*json, path);
  if (!run) return run.takeError();
  out.run_ = std::move(*run);
  const int64_t ranks = top->getInteger("ranks").value_or(0);
  if (ranks < 1 || ranks > most_devices)
    return error(Code::bad_checkpoint).in_file(path).what("ranks").expected("from 1 to " + llvm::Twine(most_devices));
  for (int64_t r = 0; r < ranks; ++r) {
    auto data = open_input_file((folder + "/" + file_of(size_t(r))).str());
    if (!data) return data.takeError();
    out.files_.push_back(std::move(*data));
  }
  std::vector<StoredTensor> tensors;
  llvm::json::Path::Root root;
  llvm::json::ObjectMapper map(*json, root);
  if (!map || !map.map("tensors", tensors)) return path_error(Code::bad_checkpoint, path, root);
  for (StoredTensor& stored : tensors) {
    auto tensor = tensor_from(std::move(stored), out.files_);
    if (!tensor) return within(file_place(path), tensor.takeError());
    if (out.find(tensor->name))
      return error(Code::duplicate).in_file(path).tensor("tensor", tensor->name).what("occurs twice");
    out.tensors_.push_back(std::move(*tensor));
  }
  return out;
}

const CheckpointTensor* Checkpoint::find(llvm::StringRef name) const {
  const auto it = llvm::find_if(tensors_, [&](const CheckpointTensor& t) { return t.name == name; });
  return it == tensors_.end() ? nullptr : &*it;
}

llvm::Expected<HostArray> Checkpoint::whole(const CheckpointTensor& tensor) const {
  std::vector<Shard> shards;
  for (const auto& part : tensor.parts) shards.push_back(part.shard);
  return join(tensor.dtype, tensor.dims, shards, [&](size_t k) -> llvm::Expected<llvm::ArrayRef<char>> {
    const CheckpointTensor::Part& part = tensor.parts[k];
    if (auto e = files_[part.rank]->check_unchanged()) return e;
    return files_[part.rank]->range(uint64_t(part.offset), uint64_t(part.size_bytes));
  });
}

namespace {
// One rank's file, as the root is told of it: which ports' bytes lie where.
llvm::Expected<JsonObject> write_rank(OutputTransaction& out, size_t rank, llvm::ArrayRef<Port> ports,
                                      llvm::function_ref<const HostArray&(size_t, llvm::StringRef)> held) {
  auto file = out.create(file_of(rank));
  if (!file) return file.takeError();
  JsonArray parts;
  for (size_t k = 0; k < ports.size(); ++k) {
    // What an earlier rank holds, too, is equal to the bit and written once.
    const bool there = size_t((*ports[k].layout)[rank].ranks[0]) < rank;
    const HostArray& own = held(rank, ports[k].name);
    if (there || own.bytes.empty()) continue;
    if (auto e = (*file)->pad_to(alignment)) return e;
    parts.push_back(JsonArray{int64_t(k), (*file)->offset(), int64_t(own.bytes.size())});
    if (auto e = (*file)->write(llvm::ArrayRef<char>(own.bytes))) return e;
  }
  if (auto e = (*file)->finish()) return e;
  return JsonObject{
      {"size_bytes", (*file)->offset()}, {"blake3", (*file)->blake3().str()}, {"parts", std::move(parts)}};
}

// What the ranks' files hold, by port.
llvm::Expected<std::vector<JsonArray>> parts_of(OutputTransaction& out, const World& world, llvm::ArrayRef<Port> ports,
                                                const PerRank<std::string>& files) {
  std::vector<JsonArray> parts(ports.size());
  for (const size_t r : files.ranks()) {
    auto json = llvm::json::parse(files[r]);
    if (!json) return json.takeError();
    const JsonObject* file = json->getAsObject();
    const JsonArray* its = file ? file->getArray("parts") : nullptr;
    if (!its) return error(Code::bug, "a message between processes is damaged");
    if (!world.holds(r))
      out.add_finished(file_of(r), file->getInteger("size_bytes").value_or(0), file->getString("blake3").value_or(""));
    for (const llvm::json::Value& each : *its) {
      const JsonArray& part = *each.getAsArray();
      const auto k = size_t(part[0].getAsInteger().value_or(0));
      parts[k].push_back(JsonObject{{"rank", int64_t(r)},
                                    {"offset", part[1]},
                                    {"size_bytes", part[2]},
                                    {"ranges", ranges_of((*ports[k].layout)[r].shard)}});
    }
  }
  return parts;
}

JsonObject to_json(const Port& p, const Graph& whole, JsonArray parts) {
  JsonArray shape;
  for (Dim d : p.dims) shape.push_back(d.constant().value_or(-1));
  const Value* parameter = p.role == Plan::Role::parameter ? whole.find(p.name) : nullptr;
  JsonObject out{
      {"name", p.name},
      {"kind", kind_of(p).text()},
      {"parameter", p.parameter},
      {"dtype", long_name(p.dtype)},
      {"shape", std::move(shape)},
      {"aliases", parameter ? strings(llvm::ArrayRef<std::string>(parameter->aliases.begin(), parameter->aliases.end()))
                            : JsonArray()},
      {"transposed_aliases", parameter ? strings(llvm::ArrayRef<std::string>(parameter->transposed_aliases.begin(),
                                                                             parameter->transposed_aliases.end()))
                                       : JsonArray()},
      {"ranks", std::move(parts)}};
  if (parameter && !parameter->model_name.empty()) out["model_name"] = parameter->model_name;
  return out;
}
}  // namespace

llvm::Error write_checkpoint(OutputTransaction& out, World& world, const RunRecord& run, const Graph& whole,
                             llvm::ArrayRef<Port> ports,
                             llvm::function_ref<const HostArray&(size_t, llvm::StringRef)> held) {
  PerRank<std::string> own(world.held());
  for (const size_t r : world.held()) {
    auto file = write_rank(out, r, ports, held);
    if (!file) return file.takeError();
    own[r] = llvm::formatv("{0}", llvm::json::Value(std::move(*file))).str();
  }
  auto files = world.gather(std::move(own));
  if (!files) return files.takeError();
  return world.at_root([&]() -> llvm::Error {
    auto parts = parts_of(out, world, ports, *files);
    if (!parts) return parts.takeError();
    JsonArray tensors;
    for (size_t k = 0; k < ports.size(); ++k) tensors.push_back(to_json(ports[k], whole, std::move((*parts)[k])));
    JsonObject top = to_json(run);
    top["format"] = format, top["version"] = version, top["ranks"] = int64_t(world.size());
    top["tensors"] = std::move(tensors);
    auto file = out.create("checkpoint.json");
    if (!file) return file.takeError();
    std::string text;
    llvm::raw_string_ostream(text) << llvm::formatv("{0:1}\n", llvm::json::Value(std::move(top)));
    if (auto e = (*file)->write(llvm::StringRef(text))) return e;
    return (*file)->finish();
  });
}

}  // namespace optp
