#include "tools/train/run_record.h"

#include <utility>

#include "frontend/io/json.h"
#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/FormatVariadic.h"

namespace optp {
namespace {
using Name = llvm::StringLiteral;

// The members of an optimizer's options, in one place for writing, reading, comparing and printing.
using Member = std::pair<Name, std::optional<double> OptimizerOptions::*>;
constexpr Member numbers[] = {
    {"momentum", &OptimizerOptions::momentum}, {"weight_decay", &OptimizerOptions::weight_decay},
    {"beta1", &OptimizerOptions::beta1},       {"beta2", &OptimizerOptions::beta2},
    {"eps", &OptimizerOptions::epsilon},       {"alpha", &OptimizerOptions::alpha}};
using Flag = std::pair<Name, bool OptimizerOptions::*>;
constexpr Flag flags[] = {{"nesterov", &OptimizerOptions::nesterov}, {"centered", &OptimizerOptions::centered}};

// A number that JSON's numbers do not hold, as text.
struct Wide {
  uint64_t& number;
};

// All members, once for writing and reading. `io(name, member)` is always there; `io.optional` may be left out.
void members(auto& io, auto& r) {
  auto& p = r.position;
  auto& s = r.optimizer;
  io.object("model", [&](auto& io) {
    io("path", r.model_path), io("blake3", r.model_blake3), io("frozen_blake3", r.frozen_blake3);
  });
  io.mesh("mesh", r.mesh), io("strategy", r.strategy);
  io.object("optimizer", [&](auto& io) {
    io("name", s.name);
    for (auto [name, member] : numbers) io.optional(name, s.*member);
    for (auto [name, member] : flags) io(name, s.*member);
  });
  io("learning_rate", r.learning_rate), io("max_grad_norm", r.max_gradient_norm), io.count("accumulate", r.accumulate);
  io("trainable", r.trainable), io("freeze", r.freeze);
  io.optional("no_decay", r.no_decay);  // none before it could be asked for
  io.object("schedule", [&](auto& io) {
    io.schedule("name", r.schedule), io.count("warmup_steps", r.warmup_steps), io.count("total_steps", r.total_steps);
  });
  io.count("epochs", r.epochs), io.count("batch", r.batch), io.count("step", r.step);
  io.object("position", [&](auto& io) {
    io.count("epoch", p.epoch), io.count("batch", p.batch), io.count("sequence", p.sequence);
    io.wide("seed", p.seed), io.count("length", p.length);
    io.object("data",
              [&](auto& io) { io("path", p.path), io("blake3", p.blake3), io.optional("token_type", p.token_type); });
  });
  io("losses", r.losses);
}

class Writer {
 public:
  explicit Writer(llvm::json::Object& out) : out_(out) {}
  template <typename T>
  void operator()(Name name, const T& member) {
    out_[name] = member;
  }
  template <typename T>
  void operator()(Name name, const std::vector<T>& list) {
    out_[name] = llvm::json::Array(list);
  }
  void mesh(Name name, const Mesh& member) { out_[name] = to_string(member); }
  void schedule(Name name, Schedule member) { out_[name] = to_string(member); }
  void count(Name name, int64_t member) { out_[name] = member; }
  void wide(Name name, uint64_t member) { out_[name] = std::to_string(member); }
  void optional(Name name, const std::optional<double>& member) {
    if (member) out_[name] = *member;
  }
  void optional(Name name, const std::vector<std::string>& list) { (*this)(name, list); }
  void optional(Name name, const std::string& text) {
    if (!text.empty()) out_[name] = text;
  }
  void object(Name name, auto inner) {
    llvm::json::Object object;
    Writer io(object);
    inner(io);
    out_[name] = std::move(object);
  }

 private:
  llvm::json::Object& out_;
};

// The first member that is missing or of another type is the error.
class Reader {
 public:
  Reader(const llvm::json::Value& value, llvm::json::Path path)
      : mapper_(value, path), object_(value.getAsObject()), path_(path), ok_(mapper_) {}
  bool ok() const { return ok_; }
  template <typename T>
  void operator()(Name name, T& member) {
    ok_ = ok_ && mapper_.map(name, member);
  }
  void mesh(Name name, Mesh& member) {
    std::string text;
    (*this)(name, text);
    auto mesh = parse_mesh(text);
    if (mesh)
      member = std::move(*mesh);
    else if (llvm::consumeError(mesh.takeError()); ok_)
      fail(name, "expected a mesh, such as tensor=2");
  }
  void schedule(Name name, Schedule& member) {
    std::string text;
    (*this)(name, text);
    const auto schedule = schedule_from(text);
    if (ok_ && !schedule) fail(name, "expected constant, linear or cosine");
    member = schedule.value_or(Schedule::constant);
  }
  void count(Name name, int64_t& member) {
    (*this)(name, member);
    if (ok_ && member < 0) fail(name, "expected a whole number of at least 0");
  }
  void wide(Name name, uint64_t& member) {
    std::string text;
    (*this)(name, text);
    if (ok_ && llvm::StringRef(text).getAsInteger(10, member)) fail(name, "expected a number below 2^64 as a string");
  }
  template <typename T>
  void optional(Name name, T& member) {
    if (ok_ && object_->get(name)) (*this)(name, member);
  }
  void object(Name name, auto inner) {
    static const llvm::json::Value missing(nullptr);
    if (!ok_) return;
    const llvm::json::Value* value = object_->get(name);
    Reader io(value ? *value : missing, path_.field(name));
    if (io.ok()) inner(io);
    ok_ = io.ok();
  }
  void fail(Name name, Name expected) { ok_ = false, path_.field(name).report(expected); }

 private:
  llvm::json::ObjectMapper mapper_;
  const llvm::json::Object* object_;
  llvm::json::Path path_;
  bool ok_;
};
}  // namespace

llvm::json::Object to_json(const RunRecord& run) {
  llvm::json::Object out;
  Writer io(out);
  members(io, run);
  return out;
}

llvm::Expected<RunRecord> run_record_from(const llvm::json::Value& top, llvm::StringRef file) {
  RunRecord r;
  llvm::json::Path::Root root;
  Reader in(top, root);
  members(in, r);
  if (in.ok() && int64_t(r.losses.size()) != r.step) in.fail("losses", "expected one for each step");
  if (!in.ok()) return path_error(Code::bad_checkpoint, file, root);
  TrainingOptions settings;
  settings.learning_rate = r.learning_rate, settings.optimizer = r.optimizer,
  settings.max_gradient_norm = r.max_gradient_norm;
  if (auto outside = outside_domain(settings))
    return error(Code::bad_checkpoint)
        .in_file(file)
        .what(outside->member)
        .expected(outside->expected)
        .found(outside->found);
  return r;
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
    if (o.*member) add(name.str());
  return out;
}

}  // namespace optp
