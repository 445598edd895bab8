// check: does the partitioned model compute what the whole one does? Three comparisons, since a fault shared by both
// sides of one proves nothing:
//   meaning     the file's own graph in float64, op by op, against the canonical graph in the runtime
//   local       every value of every rank against its shard of the whole run's, in float64: a fault is at its first
//               place
//   end to end  the ranks in the runtime against the float64 truth
#include <malloc.h>

#include <cmath>
#include <map>

#include "frontend/io/output_transaction.h"
#include "frontend/ir/diagnostic.h"
#include "frontend/ir/op.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"
#include "passes/plan/job.h"
#include "passes/plan/make_plan.h"
#include "runtime/comm/thread_communicator.h"
#include "runtime/reference.h"
#include "tools/check/check_report.h"
#include "tools/check/check_training.h"
#include "tools/check/comparison.h"
#include "tools/check/first_nan.h"
#include "tools/check/mutants.h"
#include "tools/cli/command.h"
#include "tools/cli/job_options.h"
#include "tools/cli/machine.h"
#include "tools/cli/progress.h"
#include "tools/cli/suggestions.h"
#include "tools/run/arrays_at_root.h"
#include "tools/run/execution.h"
#include "tools/run/inputs.h"
#include "tools/run/machine_memory.h"
#include "tools/run/prepare.h"
#include "tools/run/same_plan.h"
#include "tools/run/slow_nodes.h"

namespace optp {
namespace {
// The groups of check --train make and drop the same arrays again and again: pages that the system gives anew, each
// cleared, took a third of its time. Before there are threads: each would have a heap of its own, which gives back.
void keep_freed_memory() {
  ::mallopt(M_ARENA_MAX, 1);
  ::mallopt(M_MMAP_MAX, 0);
  ::mallopt(M_TRIM_THRESHOLD, -1);  // none: the largest number that fits, 2 GB, is less than what a step frees
}
}  // namespace
namespace {

struct CheckOptions {
  JobOptions job;
  std::vector<std::string> inputs;
  std::string inputs_dir, golden, random_weights, mutant, json;
  int64_t threads = 0;
};

class Checker {
 public:
  Checker(const CheckOptions& o, Job job, World& world) : o_(o), job_(std::move(job)), world_(world) {}

  // The root has the whole model and every rank's graph, for what is computed in float64; the others have their ranks.
  llvm::Error run() {
    if (auto e = world_.at_root([&] { return check_places_for_files({o_.json}); })) return e;
    if (auto e = same_plan(world_, *job_.spmd)) return e;
    {
      const Progress preparing("preparing");
      if (auto e = prepare()) return e;
    }
    // A step is a node in float64, by far the slowest: of the file's graph, of the whole one, of each rank's.
    progress_.emplace("checking", int64_t(job_.imported->size() + job_.whole->size() +
                                          ranks_[world_.held()[0]]->size() * world_.size()));
    auto alone = [&]() -> llvm::Error {
      if (auto e = whole()) return e;
      return local();
    };
    if (auto e = world_.at_root(alone)) return e;
    if (auto e = end_to_end()) return e;
    progress_.reset();
    if (o_.job.train) {
      TrainingCheckOptions training{o_.job, o_.inputs, o_.inputs_dir, o_.random_weights, o_.mutant, o_.threads, &slow_};
      auto checked = check_training(training, job_, world_);
      if (!checked) return checked.takeError();
      rows_.insert(rows_.end(), checked->rows.begin(), checked->rows.end());
      if (!fault_) fault_ = checked->fault;
    }
    if (auto e = slow_.gather(world_)) return e;
    return world_.at_root([&] { return report(); });
  }

 private:
  llvm::Error report() {
    slow_.print();
    const CheckReport report{llvm::sys::path::filename(job_.whole->source).str(),
                             o_.job.train ? "training" : "inference",
                             job_.passes.strategy,
                             job_.whole->mesh,
                             dims_,
                             {is_default_mesh(o_.job), invented_.dims, invented_.inputs},
                             std::move(rows_),
                             fault_ ? fault_->message() : "",
                             slow_.json()};
    llvm::outs() << to_text(report);
    if (!o_.json.empty())
      if (auto e = write_file_atomically(o_.json, llvm::StringRef(llvm::formatv("{0:2}\n", to_json(report)).str())))
        return e;
    if (fault_) return *fault_;
    return llvm::Error::success();
  }

  llvm::Error prepare() {
    if (auto e = prepare_weights(job_, o_.random_weights)) return e;
    dims_ = job_.asked;
    invented_.usual = usual_dims(*job_.whole, dims_, 2, 16);
    auto inputs = prepare_inputs(*job_.imported, o_.inputs, o_.inputs_dir, dims_, &invented_);
    if (!inputs) return inputs.takeError();
    inputs_ = std::move(*inputs);
    job_.asked.insert(invented_.dims.begin(), invented_.dims.end());
    for (const auto& [name, a] : inputs_) arrays_[name] = to_array(a);
    std::vector<size_t> needed;
    for (size_t r = 0; r < world_.size(); ++r)
      if (world_.is_root() || world_.holds(r)) needed.push_back(r);
    ranks_ = PerRank<std::unique_ptr<Graph>>(needed), rank_inputs_ = PerRank<HostArrays>(needed);
    for (const size_t r : needed) {
      auto bound = bind_to_run(*job_.ranks[r], dims_);
      if (!bound) return bound.takeError();
      ranks_[r] = std::move(*bound);
      if (!o_.mutant.empty() && !o_.job.train)
        if (auto e = apply_mutant(*ranks_[r], int64_t(r), o_.mutant)) return e;
      rank_inputs_[r] = take_shards(inputs_, *ranks_[r], job_.whole->mesh, int64_t(r));
    }
    return llvm::Error::success();
  }

  double runtime_tolerance(DType dtype) const {
    // float32 rounds at 6e-8; sums of n terms in blocks lose a few more bits. 1e-5 is the stated promise, not a fit.
    // An operand that lies between two numbers of half precision may be rounded to the other one.
    return std::max(rounding_, dtype == DType::f16 ? 4e-3 : dtype == DType::bf16 ? 3e-2 : 1e-5);
  }

  llvm::Error whole() {
    auto imported = bind_to_run(*job_.imported, dims_);
    if (!imported) return imported.takeError();
    FirstNan nan(arrays_);
    auto truth = run_reference({imported->get()}, {arrays_},
                               [&](const Node& node, llvm::ArrayRef<const Value*> results,
                                   llvm::ArrayRef<const Array*> arrays) -> llvm::Error {
                                 progress_->add(1);
                                 nan.look(node, *results[0], *arrays[0]);
                                 return llvm::Error::success();
                               });
    if (!truth) return truth.takeError();
    first_nan_ = nan.text();
    truth_ = std::move((*truth)[0]);
    auto canonical = bind_to_run(*job_.whole, dims_);
    if (!canonical) return canonical.takeError();
    whole_ = std::move(*canonical);
    if (job_.passes.compute != DType::f32)
      if (auto e = rounded_truth()) return e;
    ThreadWorld one(1);
    auto results = execute(one, PerRank<const Graph*>::of_all({whole_.get()}), PerRank<HostArrays>::of_all({inputs_}),
                           {.threads_per_device = o_.threads});
    if (!results) return results.takeError();
    compare("meaning", "the file's graph in float64", (*results)[0]);
    return llvm::Error::success();
  }
  // In half precision two things are told apart: what rounding its operands makes of the model, and whether what was
  // rounded is computed rightly.
  llvm::Error rounded_truth() {
    auto truth = run_reference({whole_.get()}, {arrays_}, nullptr, HalfValues::rounded);
    if (!truth) return truth.takeError();
    rounding_ = rounding_of_products(*whole_, job_.passes.compute);
    Row row{.name = "rounding", .against = "the file's graph, both in float64", .tolerance = rounding_};
    for (const auto& [output, expected] : truth_) {
      const Array& found = (*truth)[0][output];
      int64_t at = 0;
      const double d = difference(found, expected, /*skip_nan=*/false, &at);
      ++row.values;
      row.elements += expected.elements();
      row.error = std::max(row.error, d);
      if (!(d <= rounding_))
        fail(row, difference_at({words("rounding"), tensor_place("output", output)}, expected, found, at));
    }
    rows_.push_back(std::move(row));
    truth_ = std::move((*truth)[0]);
    return llvm::Error::success();
  }
  void compare(llvm::StringRef name, llvm::StringRef against, const HostArrays& results) {
    Row row{.name = name.str(), .against = against.str()};
    for (const auto& [output, expected] : truth_) {
      const HostArray& host = results.find(output)->second;
      const Array found = to_array(host);
      int64_t at = 0;
      const double d = difference(found, expected, /*skip_nan=*/false, &at);
      ++row.values;
      row.elements += expected.elements();
      row.tolerance = std::max(row.tolerance, runtime_tolerance(host.dtype));
      row.error = std::max(row.error, d);
      if (has_nan(expected)) row.note = first_nan_;
      if (d <= runtime_tolerance(host.dtype)) continue;
      Diagnostic fault = difference_at({words(name), tensor_place("output", output)}, expected, found, at);
      fail(row, std::isnan(expected.number(at)) ? fault.hint(first_nan_) : fault);
    }
    rows_.push_back(std::move(row));
  }
  void fail(Row& row, Diagnostic fault) {
    row.holds = false;
    if (!fault_) fault_ = std::move(fault);
  }

  // Another program computes in half precision what the file says in half precision, whatever it widens at its ends;
  // this one in float32. What is only stored so, and widened where it is used, both compute in float32.
  double half_tolerance() const {
    double out = 0;
    for (const auto& node : job_.imported->nodes)
      for (const auto& v : node->results)
        if (is_half(v->type.dtype)) out = std::max(out, runtime_tolerance(v->type.dtype));
    return out;
  }
  // Stored arrays of another program, and beside them, in exact/, what it should have found. In half precision that
  // program's own error and one rounding of the result are allowed.
  llvm::Error golden(const HostArrays& results) {
    Row row{.name = "golden", .against = o_.golden};
    Row exact{.name = "exact", .against = o_.golden + "/exact"};
    double own = 0;
    auto files = TensorFolder::open(o_.golden, TensorFolder::Kind::outputs),
         exact_files = TensorFolder::open(o_.golden + "/exact", TensorFolder::Kind::outputs);
    if (!files || !exact_files) return llvm::joinErrors(files.takeError(), exact_files.takeError());
    const double half = half_tolerance();
    for (size_t number = 0; number < job_.whole->outputs.size(); ++number) {
      const std::string& output = job_.whole->outputs[number].name;
      const HostArray& host = results.find(output)->second;
      const Array found = to_array(host);
      auto stored = [&](const TensorFolder& folder) -> llvm::Expected<std::optional<Array>> {
        auto file = folder.find(output, number);
        if (!file) return file.takeError();
        if (!*file) return std::nullopt;
        Array out = to_array((*file)->array);
        if (out.dims != found.dims)
          return error(Code::shape_mismatch)
              .in_file((*file)->file)
              .about({.tensor = output})
              .expected("the output's shape " + to_string(Dims(found.dims.begin(), found.dims.end())))
              .found(to_string(Dims(out.dims.begin(), out.dims.end())));
        return out;
      };
      auto compare = [&](Row& to, const Array& expected, double tolerance) {
        int64_t at = 0;
        const double d = difference(found, expected, /*skip_nan=*/true, &at);
        ++to.values;
        to.elements += expected.elements();
        to.tolerance = std::max(to.tolerance, tolerance);
        to.error = std::max(to.error, d);
        if (!(d <= tolerance))
          fail(to, difference_at({words(to.name), tensor_place("output", output)}, expected, found, at));
      };
      auto theirs = stored(*files), truth = stored(*exact_files);
      if (!theirs || !truth) return llvm::joinErrors(theirs.takeError(), truth.takeError());
      if (*theirs)
        compare(row, **theirs,
                is_float(host.dtype) ? std::max(half, runtime_tolerance(host.dtype)) : runtime_tolerance(host.dtype));
      if (!*theirs || !*truth) continue;
      const double error = difference(**theirs, **truth, /*skip_nan=*/true);
      own = std::max(own, error);
      compare(
          exact, **truth,
          is_half(host.dtype) ? error + (host.dtype == DType::f16 ? 0x1p-10 : 0x1p-7) : runtime_tolerance(host.dtype));
    }
    if (row.values == 0) return error(Code::file_not_found).in_file(o_.golden).what("no .npy or .pb file of an output");
    rows_.push_back(std::move(row));
    if (exact.values > 0) {
      exact.note = llvm::formatv("golden's own error {0:E2}", own).str();
      rows_.push_back(std::move(exact));
    }
    return llvm::Error::success();
  }

  llvm::Error local() {
    Row row{.name = "local",
            .against = "shards of the whole run's values, float64",
            .tolerance = LocalComparison::tolerance};
    std::vector<const Graph*> graphs;
    std::vector<NamedArrays> arrays(world_.size());
    for (size_t r = 0; r < world_.size(); ++r) {
      graphs.push_back(ranks_[r].get());
      for (const auto& [name, a] : rank_inputs_[r]) arrays[r][name] = to_array(a);
    }
    LocalComparison comparison(job_.whole->mesh, graphs);
    if (auto e = comparison.run(*whole_, arrays_, arrays, progress_)) return e;
    const LocalComparison::Found found = comparison.all();
    row.values = found.values, row.elements = found.elements, row.error = found.error;
    if (auto fault = comparison.fault()) fail(row, std::move(fault->within(words("local"))));
    rows_.push_back(std::move(row));
    return llvm::Error::success();
  }

  llvm::Error end_to_end() {
    PerRank<const Graph*> graphs(world_.held());
    PerRank<HostArrays> inputs(world_.held());
    for (const size_t r : world_.held()) graphs[r] = ranks_[r].get(), inputs[r] = rank_inputs_[r];
    auto results = execute(world_, graphs, inputs, {.threads_per_device = o_.threads, .slow = &slow_});
    if (!results) return results.takeError();
    std::vector<std::string> names;
    for (const GraphOutput& o : graphs[world_.held()[0]]->outputs) names.push_back(o.name);
    auto parts = ArraysAtRoot::gather(world_, names, [&](size_t r, llvm::StringRef name) -> const HostArray* {
      const auto it = (*results)[r].find(name);
      return it == (*results)[r].end() ? nullptr : &it->second;
    });
    if (!parts) return parts.takeError();
    return world_.at_root([&] { return compare_joined(*parts); });
  }
  llvm::Error compare_joined(const ArraysAtRoot& parts) {
    HostArrays joined;
    const Mesh& mesh = job_.whole->mesh;
    for (const GraphOutput& o : ranks_[0]->outputs) {
      const auto& dims = truth_[o.name].dims;
      auto whole = join(o.value->type.dtype, dims, Shard::of_all(dims, *o.value->sharding, mesh),
                        [&](size_t r) -> llvm::Expected<llvm::ArrayRef<char>> {
                          const HostArray* part = parts.find(r, o.name);
                          return part ? llvm::ArrayRef<char>(part->bytes) : llvm::ArrayRef<char>();
                        });
      if (!whole) return within(tensor_place("output", o.name), whole.takeError());
      joined[o.name] = std::move(*whole);
    }
    compare("end to end",
            llvm::formatv("{0} device{1}, float64 truth", mesh.devices(), mesh.devices() > 1 ? "s" : "").str(), joined);
    if (!o_.golden.empty()) return golden(joined);
    return llvm::Error::success();
  }

  const CheckOptions& o_;
  Job job_;
  World& world_;
  DimValues dims_;
  Invented invented_;
  HostArrays inputs_;
  NamedArrays arrays_, truth_;
  std::string first_nan_;  // of the file's graph
  std::unique_ptr<Graph> whole_;
  PerRank<std::unique_ptr<Graph>> ranks_;  // at the root of all ranks, as is the next
  PerRank<HostArrays> rank_inputs_;
  std::vector<Row> rows_;
  double rounding_ = 0;  // what rounding of products' operands may do to a result
  SlowNodes slow_;       // of the ranks
  std::optional<Diagnostic> fault_;
  std::optional<Progress> progress_;
};
}  // namespace

static llvm::Expected<Job> job_of(const JobOptions& options) {
  if (auto e = can_compute(options.compute)) return e;
  return make_job(options);
}

Command add_check(CLI::App& app, WorldMaker make_world) {
  auto o = std::make_shared<CheckOptions>();
  CLI::App* c =
      app.add_subcommand("check", "check that the partitioned model computes the same as the whole; exit 1 if not");
  add_job_options(*c, o->job);
  add_outputs_option(*c, o->job);
  add_kv_cache_option(*c, o->job);
  CLI::Option* train =
      c->add_flag("--train", o->job.train,
                  "also check the training step: loss, gradients, backward values, optimizers, memory, stability");
  add_training_options(*c, o->job, train);
  c->add_option("--input", o->inputs, input_help);
  c->add_option("--inputs-dir", o->inputs_dir,
                "folder with NAME.npy or NAME.pb for every input, or input_0.pb … as ONNX's test data have them")
      ->type_name("DIR");
  also_called(c->add_option("--golden", o->golden,
                            "folder with OUTPUT.npy or .pb (or output_0.pb …) to compare with; its folder exact/ may "
                            "hold higher-precision references; NaNs are ignored")
                  ->type_name("DIR"),
              {"expected", "reference", "expected-outputs"});
  c->add_option("--json", o->json, "also write the result to this file; inspect --check puts it on the plan's page")
      ->type_name("FILE");
  also_called(c->add_option("--threads-per-device", o->threads, "OpenMP threads per device"),
              {"threads", "num-threads", "omp-threads"});
  c->add_option("--random-weights", o->random_weights, "SEED: draw random weights where their file is missing");
  c->add_option("--mutant", o->mutant,
                "break one thing, to see it caught: drop-all-reduce[:N], row-bias-everywhere, shift-shard[:NAME]")
      ->group("");
  return {.app = c,
          .run = [o, make_world = std::move(make_world)]() -> llvm::Error {
            if (o->job.train) keep_freed_memory();
            // The forward part of a training step is the inference plan's.
            JobOptions forward = o->job;
            forward.train = false;
            auto world = make_world(devices_of(forward));
            if (!world) return world.takeError();
            const llvm::ArrayRef<size_t> held = (*world)->held();
            if (!(*world)->is_root()) forward.ranks.emplace(held.begin(), held.end());  // the root compares all
            auto job = job_of(forward);
            if (auto e = (*world)->agree(job ? llvm::Error::success() : job.takeError())) return e;
            return (*world)->run([&] { return Checker(*o, std::move(*job), **world).run(); });
          },
          .runs_ranks = true};
}
}  // namespace optp
