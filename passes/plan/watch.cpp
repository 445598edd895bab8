#include "passes/plan/watch.h"

#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/raw_ostream.h"

namespace optp {

Watch::Watch(const WatchOptions& options, bool trains) : options_(options) {
  for (const Stage& s : pipeline())
    if (trains || s.when != Stage::When::training) stages_.push_back(&s);
}

llvm::Expected<Watch> Watch::create(const WatchOptions& options, bool trains) {
  Watch watch(options, trains);
  if (auto e = watch.check_names()) return e;
  if (options.dump_dir.empty()) return watch;
  auto out = OutputTransaction::begin(options.dump_dir);
  if (!out) return out.takeError();
  watch.dumps_.emplace(std::move(*out));
  return watch;
}

llvm::Error Watch::check_names() {
  std::vector<std::string> asked = options_.print_before;
  asked.insert(asked.end(), options_.print_after.begin(), options_.print_after.end());
  if (!options_.stop_after.empty()) asked.push_back(options_.stop_after);
  if (!options_.rewrite_limit.empty()) {
    auto [name, number] = llvm::StringRef(options_.rewrite_limit).rsplit(':');
    int64_t most = 0;
    if (number.getAsInteger(10, most) || most < 0)
      return error(Code::bad_value).flag("--rewrite-limit", quoted(options_.rewrite_limit)).expected("PASS:NUMBER");
    asked.push_back(name.str());
    limit_ = {name.str(), most};
  }
  for (const std::string& name : asked) {
    if (llvm::any_of(stages_, [&](const Stage* s) { return s->name == name; })) continue;
    const std::string known = llvm::join(llvm::map_range(stages_, [](const Stage* s) { return s->name; }), ", ");
    return error(Code::unknown_pass).what("no pass is named " + quoted(name)).hint("there are " + known);
  }
  if (!limit_ || find_stage(limit_->first)->is(Stage::counts)) return llvm::Error::success();
  const auto counting = llvm::make_filter_range(stages_, [](const Stage* s) { return s->is(Stage::counts); });
  return error(Code::bad_value)
      .flag("--rewrite-limit")
      .what(limit_->first + " can't stop halfway")
      .hint("of these a part can be done: " +
            llvm::join(llvm::map_range(counting, [](const Stage* s) { return s->name; }), ", "));
}

StageHooks Watch::hooks() {
  return {
      .before =
          [this](const Stage& stage, const Graph& graph) {
            if (llvm::is_contained(options_.print_before, stage.name)) show("before " + std::string(stage.name), graph);
          },
      .after = [this](const Stage& stage, const Graph& graph, std::optional<int64_t> rank, double ms) -> llvm::Error {
        times_ms_.emplace_back(&stage, ms);
        const std::string of = rank ? " of rank " + std::to_string(*rank) : "";
        const int time = ++times_[{&stage, rank.value_or(0)}];
        const std::string again = time > 1 ? ", time " + std::to_string(time) : "";
        if (llvm::is_contained(options_.print_after, stage.name)) show("after " + (stage.name + of) + again, graph);
        return dumps_ ? dump(stage, graph, rank, time) : llvm::Error::success();
      },
      .progress = {},
      .stop_after = options_.stop_after,
      .rewrite_limit = limit_};
}

void Watch::show(const std::string& when, const Graph& graph) const {
  std::string text;
  llvm::raw_string_ostream stream(text);
  stream << "# " << when << "\n";
  print(stream, graph);
  if (options_.print) options_.print(text);
}

llvm::Error Watch::dump(const Stage& stage, const Graph& graph, std::optional<int64_t> rank, int time) {
  const auto at = llvm::find(stages_, &stage) - stages_.begin();
  const std::string name =
      llvm::formatv("{0,0+2}-{1}{2}{3}.ir", at + 1, stage.name, rank ? "-" + std::to_string(*rank) : "",
                    time > 1 ? "." + std::to_string(time) : "")
          .str();
  std::string text;
  llvm::raw_string_ostream stream(text);
  print(stream, graph);
  auto file = dumps_->create(name);
  if (!file) return file.takeError();
  if (auto e = (*file)->write(llvm::StringRef(text))) return e;
  return (*file)->finish();
}

llvm::Error Watch::end() {
  if (options_.time && options_.print) {
    std::string text = "     ms  pass\n";
    double sum = 0;
    for (const Stage* s : stages_) {
      double ms = 0;
      for (auto [stage, took] : times_ms_) ms += stage == s ? took : 0;
      text += llvm::formatv("{0,7:f1}  {1}\n", ms, s->name).str();
      sum += ms;
    }
    options_.print(text + llvm::formatv("{0,7:f1}  together\n", sum).str());
  }
  return dumps_ ? dumps_->commit() : llvm::Error::success();
}
}  // namespace optp
