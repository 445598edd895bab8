#include "tools/train/checkpoint.h"

#include <algorithm>

#include "frontend/io/json.h"
#include "frontend/io/manifest.h"
#include "frontend/io/shard_json.h"
#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FormatVariadic.h"

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

// The members of an optimizer's options, in one place for writing, reading, comparing and printing.
using Member = std::pair<const char*, std::optional<double> OptimizerOptions::*>;
constexpr Member numbers[] = {
    {"momentum", &OptimizerOptions::momentum}, {"weight_decay", &OptimizerOptions::weight_decay},
    {"beta1", &OptimizerOptions::beta1},       {"beta2", &OptimizerOptions::beta2},
    {"eps", &OptimizerOptions::epsilon},       {"alpha", &OptimizerOptions::alpha}};
using Flag = std::pair<const char*, bool OptimizerOptions::*>;
constexpr Flag flags[] = {{"nesterov", &OptimizerOptions::nesterov}, {"centered", &OptimizerOptions::centered}};

JsonObject to_json(const OptimizerOptions& o) {
  JsonObject out{{"name", o.name}};
  for (auto [name, member] : numbers)
    if (o.*member) out[name] = *(o.*member);
  for (auto [name, member] : flags) out[name] = o.*member;
  return out;
}

JsonObject to_json(const RunRecord& r) {
  JsonArray losses;
  for (double loss : r.losses) losses.push_back(loss);
  const DataPosition& p = r.position;
  return JsonObject{
      {"model", JsonObject{{"path", r.model_path}, {"blake3", r.model_blake3}, {"frozen_blake3", r.frozen_blake3}}},
      {"mesh", r.mesh},
      {"strategy", r.strategy},
      {"optimizer", to_json(r.optimizer)},
      {"learning_rate", r.learning_rate},
      {"max_grad_norm", r.max_gradient_norm},
      {"accumulate", r.accumulate},
      {"trainable", strings(r.trainable)},
      {"freeze", strings(r.freeze)},
      {"no_decay", strings(r.no_decay)},
      {"schedule", JsonObject{{"name", r.schedule}, {"warmup_steps", r.warmup_steps}, {"total_steps", r.total_steps}}},
      {"epochs", r.epochs},
      {"batch", r.batch},
      {"step", r.step},
      {"position", JsonObject{{"epoch", p.epoch},
                              {"batch", p.batch},
                              {"sequence", p.sequence},
                              {"seed", std::to_string(p.seed)},
                              {"length", p.length},
                              {"data", JsonObject{{"path", p.path}, {"blake3", p.blake3}}}}},
      {"losses", std::move(losses)}};
}

// Reads members of one object; the first that is missing or of another type is the error.
class Reader {
 public:
  Reader(const JsonObject* object, Where place) : object_(object), place_(std::move(place)) {
    if (!object_) fail("", "an object");
  }
  ~Reader() { llvm::consumeError(std::move(error_)); }
  Reader(const Reader&) = delete;

  std::string text(llvm::StringRef name) {
    const auto s = object_ ? object_->getString(name) : std::nullopt;
    if (!s) fail(name, "a string");
    return s.value_or("").str();
  }
  int64_t count(llvm::StringRef name) {
    const auto n = object_ ? object_->getInteger(name) : std::nullopt;
    if (!n || *n < 0) fail(name, "a whole number of at least 0");
    return n.value_or(0);
  }
  double number(llvm::StringRef name) {
    const auto n = object_ ? object_->getNumber(name) : std::nullopt;
    if (!n) fail(name, "a number");
    return n.value_or(0);
  }
  bool flag(llvm::StringRef name) {
    const auto b = object_ ? object_->getBoolean(name) : std::nullopt;
    if (!b) fail(name, "true or false");
    return b.value_or(false);
  }
  std::optional<double> maybe(llvm::StringRef name) {
    return object_ && object_->get(name) ? std::optional(number(name)) : std::nullopt;
  }
  const JsonObject* object(llvm::StringRef name) {
    const JsonObject* o = object_ ? object_->getObject(name) : nullptr;
    if (!o) fail(name, "an object");
    return o;
  }
  const JsonArray& list(llvm::StringRef name) {
    static const JsonArray none;
    const JsonArray* a = object_ ? object_->getArray(name) : nullptr;
    if (!a) fail(name, "a list");
    return a ? *a : none;
  }
  std::vector<std::string> texts(llvm::StringRef name) {
    std::vector<std::string> out;
    for (const auto& v : list(name)) {
      if (!v.getAsString()) fail(name, "a list of strings");
      out.push_back(v.getAsString().value_or("").str());
    }
    return out;
  }
  void fail(llvm::StringRef name, const llvm::Twine& expected) {
    if (!error_) {
      Diagnostic d = error(Code::bad_checkpoint).at(place_);
      if (!name.empty()) d.what(name);
      error_ = d.expected(expected);
    }
  }
  llvm::Error take() { return std::move(error_); }

 private:
  const JsonObject* object_;
  Where place_;
  llvm::Error error_ = llvm::Error::success();
};

llvm::Expected<RunRecord> run_from(const JsonObject& top, const std::string& path) {
  RunRecord r;
  Reader in(&top, {file_place(path)});
  Reader model(in.object("model"), {file_place(path), words("model")}),
      schedule(in.object("schedule"), {file_place(path), words("schedule")}),
      position(in.object("position"), {file_place(path), words("position")}),
      optimizer(in.object("optimizer"), {file_place(path), words("optimizer")});
  r.model_path = model.text("path"), r.model_blake3 = model.text("blake3"),
  r.frozen_blake3 = model.text("frozen_blake3");
  r.mesh = in.text("mesh"), r.strategy = in.text("strategy");
  r.optimizer.name = optimizer.text("name");
  for (auto [name, member] : numbers) r.optimizer.*member = optimizer.maybe(name);
  for (auto [name, member] : flags) r.optimizer.*member = optimizer.flag(name);
  r.learning_rate = in.number("learning_rate"), r.max_gradient_norm = in.number("max_grad_norm"),
  r.accumulate = in.count("accumulate");
  r.trainable = in.texts("trainable"), r.freeze = in.texts("freeze");
  if (top.get("no_decay")) r.no_decay = in.texts("no_decay");  // none before it could be asked for
  r.schedule = schedule.text("name"), r.warmup_steps = schedule.count("warmup_steps"),
  r.total_steps = schedule.count("total_steps");
  r.epochs = in.count("epochs"), r.batch = in.count("batch"), r.step = in.count("step");
  DataPosition& p = r.position;
  p.epoch = position.count("epoch"), p.batch = position.count("batch"), p.sequence = position.count("sequence"),
  p.length = position.count("length");
  if (llvm::StringRef(position.text("seed")).getAsInteger(10, p.seed))
    position.fail("seed", "a number below 2^64 as a string");
  Reader data(position.object("data"), {file_place(path), words("position: data")});
  p.path = data.text("path"), p.blake3 = data.text("blake3");
  for (const auto& loss : in.list("losses")) {
    if (!loss.getAsNumber()) in.fail("losses", "a list of numbers");
    r.losses.push_back(loss.getAsNumber().value_or(0));
  }
  if (int64_t(r.losses.size()) != r.step)
    in.fail("losses", "one for each of the " + llvm::Twine(r.step) + " steps, found " + llvm::Twine(r.losses.size()));
  for (Reader* reader : {&in, &model, &optimizer, &schedule, &position, &data})
    if (auto e = reader->take()) return e;
  TrainingOptions settings;
  settings.learning_rate = r.learning_rate, settings.optimizer = r.optimizer,
  settings.max_gradient_norm = r.max_gradient_norm;
  if (auto outside = outside_domain(settings))
    return error(Code::bad_checkpoint)
        .in_file(path)
        .what(outside->member)
        .expected(outside->expected)
        .found(outside->found);
  return r;
}

llvm::Expected<Shard> bound_shard_from(const JsonArray& ranges, llvm::ArrayRef<int64_t> whole) {
  auto shard = shard_from(ranges, Dims(whole.begin(), whole.end()));
  if (!shard) return shard.takeError();
  return shard->bind({});
}

llvm::Expected<CheckpointTensor> tensor_from(const llvm::json::Value& value, const std::string& path,
                                             llvm::ArrayRef<std::shared_ptr<MappedFile>> files) {
  CheckpointTensor t;
  Reader in(value.getAsObject(), {file_place(path), words("tensors")});
  t.name = in.text("name"), t.kind = in.text("kind"), t.parameter = in.text("parameter");
  const Where place{file_place(path), tensor_place("tensor", t.name)};
  const auto dtype = dtype_from(in.text("dtype"));
  t.dtype = dtype.value_or(DType::undefined);
  t.aliases = in.texts("aliases"), t.transposed_aliases = in.texts("transposed_aliases");
  for (const auto& n : in.list("shape")) t.dims.push_back(n.getAsInteger().value_or(-1));
  const JsonArray& parts = in.list("ranks");
  if (auto e = in.take()) return e;
  const auto whole_bytes = size_bytes(t.dtype, t.dims);
  int64_t stored_bytes = 0;  // no shape can be larger, and so no list of indices
  for (const auto& file : files) stored_bytes += file->size_bytes();
  if (!whole_bytes || *whole_bytes > stored_bytes ||
      llvm::any_of(t.dims, [&](int64_t d) { return d > stored_bytes; }) || size_bytes(t.dtype) == 0 ||
      t.dims.size() > size_t(Limits().max_ndim))
    return error(Code::dtype_mismatch).at(place).expected("a numeric dtype and a shape that the files can hold");
  std::vector<Shard> shards;
  for (const auto& each : parts) {
    Reader part(each.getAsObject(), {file_place(path), tensor_place("tensor", t.name), words("ranks")});
    const auto rank = size_t(part.count("rank"));
    const int64_t offset = part.count("offset"), part_bytes = part.count("size_bytes");
    const JsonArray& ranges = part.list("ranges");
    if (auto e = part.take()) return e;
    if (rank >= files.size())
      return error(Code::bad_checkpoint).at(place).what("ranks").expected("ranks of the mesh").found(rank);
    const Place at = words("rank " + llvm::Twine(rank));
    auto shard = bound_shard_from(ranges, t.dims);
    if (!shard) return within(place, within(at, within(words("ranges"), shard.takeError())));
    if (const int64_t n = shard->elements() * size_bytes(t.dtype); n != part_bytes)
      return error(Code::size_mismatch)
          .at(place)
          .at(at)
          .what("size")
          .expected(llvm::Twine(n) + " bytes of its ranges")
          .found(part_bytes);
    auto bytes = files[rank]->range(uint64_t(offset), uint64_t(part_bytes));
    if (!bytes) return within(place, bytes.takeError());
    shards.push_back(*shard);
    t.parts.push_back({rank, offset, part_bytes, std::move(*shard)});
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
  auto run = run_from(*top, path);
  if (!run) return run.takeError();
  out.run_ = std::move(*run);
  const int64_t ranks = top->getInteger("ranks").value_or(0);
  if (ranks < 1 || ranks > 4096)
    return error(Code::bad_checkpoint).in_file(path).what("ranks").expected("from 1 to 4096");
  for (int64_t r = 0; r < ranks; ++r) {
    auto data = open_input_file((folder + "/" + file_of(size_t(r))).str());
    if (!data) return data.takeError();
    out.files_.push_back(std::move(*data));
  }
  const JsonArray* tensors = top->getArray("tensors");
  if (!tensors) return error(Code::bad_checkpoint).in_file(path).what("tensors").expected("a list");
  for (const auto& each : *tensors) {
    auto tensor = tensor_from(each, path, out.files_);
    if (!tensor) return tensor.takeError();
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
  return JsonObject{
      {"name", p.name},
      {"kind", p.role == Plan::Role::state ? p.kind : to_string(p.role).str()},
      {"parameter", p.parameter},
      {"dtype", long_name(p.dtype)},
      {"shape", std::move(shape)},
      {"aliases", parameter ? strings(llvm::ArrayRef<std::string>(parameter->aliases.begin(), parameter->aliases.end()))
                            : JsonArray()},
      {"transposed_aliases", parameter ? strings(llvm::ArrayRef<std::string>(parameter->transposed_aliases.begin(),
                                                                             parameter->transposed_aliases.end()))
                                       : JsonArray()},
      {"ranks", std::move(parts)}};
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

bool same_optimizer(const OptimizerOptions& left, const OptimizerOptions& right) {
  const OptimizerOptions a = with_defaults(left), b = with_defaults(right);
  return a.name == b.name && llvm::all_of(numbers, [&](const Member& m) { return a.*m.second == b.*m.second; }) &&
         llvm::all_of(flags, [&](const Flag& f) { return a.*f.second == b.*f.second; });
}
std::string describe(const OptimizerOptions& o) {
  std::string out = o.name;
  const char* separator = " with ";
  auto add = [&](const std::string& what) {
    out += separator + what;
    separator = ", ";
  };
  for (auto [name, member] : numbers)
    if (o.*member) add(llvm::formatv("{0} {1}", name, *(o.*member)).str());
  for (auto [name, member] : flags)
    if (o.*member) add(name);
  return out;
}
}  // namespace optp
