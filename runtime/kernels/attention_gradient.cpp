// The gradient of attention by blocks of queries (runtime/attention.h). Each block makes its scores and probabilities
// again and the gradient of both, whole rows of them; rows of dq are then done, and what the block adds to dk and dv is
// summed up. (Dao et al., "FlashAttention", 2022, algorithm 4, which blocks keys too: see attention.cpp.) With g the
// gradient of a row p of probabilities, that of its scores is p · (g - Σ g p).
//
// What shares its sums, the heads of one group of keys and values, is one thread's, from the first block to the last:
// the order of all sums is the same for any number of threads.
#include <algorithm>
#include <cstring>

#include "runtime/kernels/attention_block.h"
#include "runtime/kernels/softmax_row.h"
#include "runtime/kernels/tile.h"
#include "runtime/parallel.h"

namespace optp::kernels {
namespace {
bool uses_second_start(const RowProgram& program) {
  return llvm::any_of(program.steps, [](const RowProgram::Step& s) {
    return llvm::any_of(s.in,
                        [](RowProgram::In in) { return in.kind == RowProgram::In::Kind::start && in.index == 1; });
  });
}

// Where a thread's buffers of floats begin.
struct GradientBuffers {
  int64_t scores = 0, taken = 0, kept = 0, outer = 0;  // [block rows, keys]
  int64_t q = 0, dy = 0, q_terms = 0, dy_terms = 0;    // of the block's queries
  int64_t k_columns = 0, v_columns = 0, k_terms = 0;   // panels
  int64_t dq = 0, dk = 0, dv = 0;                      // sums
  int64_t size = 0;

  int64_t add(int64_t floats) {
    const int64_t at = size;
    size += up(floats, 16);
    return at;
  }
};

struct GradientKernel {
  AttentionGradient g;
  RowProgramPlan before, after, undo_after, undo_before;
  int threads = 1;
  int64_t block_rows = 1, blocks = 1;
  llvm::SmallVector<size_t, 4> unit_loops, inner_loops;  // of Attention::batch
  int64_t units = 1, inners = 1;
  int64_t score_row = 0, dq_row = 0, dk_row = 0, dv_row = 0;  // elements
  GradientBuffers at;
  int64_t floats_bytes = 0, masks_bytes = 0, thread_bytes = 0;

  GradientKernel(const Work& work, const KernelContext& context);
  void run(const KernelCall& call) const;
  Ints index_of(int64_t unit, int64_t inner) const;
};

GradientKernel::GradientKernel(const Work& work, const KernelContext& context)
    : g(*work.attention_gradient), threads(context.threads) {
  const Tiles& t = tiles();
  const Attention& a = g.forward;
  constexpr int64_t score_elements = 1 << 16, most_rows = 8 * Tiles::rows;
  const int64_t fit = std::clamp(score_elements / a.keys / Tiles::rows * Tiles::rows, 2 * Tiles::rows, most_rows);
  block_rows = std::min(fit, up(a.queries, Tiles::rows));
  blocks = (a.queries + block_rows - 1) / block_rows;
  before = RowProgramPlan(a.before, block_rows, a.keys), after = RowProgramPlan(a.after, block_rows, a.keys);
  // A key that is not read has no gradient; where something is added to that it would have one.
  for (const RowProgram::Step& s : g.undo_before.steps)
    if (const Fusion f = fusion_of(*s.node); s.follows_start && (f == Fusion::is_add || f == Fusion::is_subtract))
      before.program.is_steady = false;
  undo_after = RowProgramPlan(g.undo_after, block_rows, a.keys);
  undo_before = RowProgramPlan(g.undo_before, block_rows, a.keys);
  for (size_t d = 0; d < a.batch.size(); ++d) {
    const bool is_inner =
        (g.dk.columns > 0 && g.dk.result.batch[d] == 0) || (g.dv.columns > 0 && g.dv.result.batch[d] == 0);
    (is_inner ? inner_loops : unit_loops).push_back(d);
    (is_inner ? inners : units) *= a.batch[d];
  }
  // Rows that don't all fall on the same lines of a cache.
  score_row = up(a.keys, t.columns) + t.most_lanes;
  dq_row = up(g.dq.columns, t.lanes), dk_row = up(g.dk.columns, t.lanes), dv_row = up(g.dv.columns, t.lanes);
  at.scores = at.add(block_rows * score_row), at.outer = at.add(block_rows * score_row);
  at.taken = after.is_empty() ? at.scores : at.add(block_rows * score_row);
  if (uses_second_start(g.undo_before)) at.kept = at.add(block_rows * score_row);
  at.q = at.add(block_rows * a.depth), at.dy = at.add(block_rows * a.width);
  at.q_terms = at.add(block_rows * dk_row), at.dy_terms = at.add(block_rows * dv_row);
  at.k_columns = at.add(column_panels(a.keys, a.depth, t.columns));
  at.v_columns = at.add(column_panels(a.keys, a.width, t.columns));
  at.k_terms = at.add(term_panels(a.keys, g.dq.columns, t.lanes));
  at.dq = at.add(block_rows * dq_row), at.dk = at.add(a.keys * dk_row), at.dv = at.add(a.keys * dv_row);
  floats_bytes = aligned(at.size * 4);
  masks_bytes = QueryBlock::scratch_bytes(before, after, a.keys);
  thread_bytes = aligned(floats_bytes + masks_bytes + undo_after.scratch_bytes() + undo_before.scratch_bytes());
}

Ints GradientKernel::index_of(int64_t unit, int64_t inner) const {
  Ints index(g.forward.batch.size(), 0);
  for (auto [loops, rest] : {std::pair(&unit_loops, unit), std::pair(&inner_loops, inner)})
    for (size_t d : llvm::reverse(*loops)) index[d] = rest % g.forward.batch[d], rest /= g.forward.batch[d];
  return index;
}

// One thread's work on a run.
class GradientWorker {
 public:
  GradientWorker(const GradientKernel& kernel, const KernelCall& call, int thread);
  void run_unit(int64_t unit);

 private:
  const GradientKernel& k_;
  const Attention& a_;
  const KernelCall& call_;
  float* floats_;
  QueryBlock block_;
  RowProgramRun undo_after_, undo_before_;
  KeyRange keys_;

  float* at(int64_t buffer) const { return floats_ + buffer; }
  const void* from(const StridedOperand& o, const Ints& index, int64_t row = 0) const {
    return address(call_, o, offset_of(o, index) + row * o.row);
  }
  void lay_out(const Ints& index);
  void go_to(const Ints& index, int64_t block);
  void multiply_rows(const float* rows, int64_t terms, const float* panels, float* y);
  void make_probabilities(int64_t row);
  void make_gradient(int64_t row);
  void sum_keys(const Ints& index);
  void sum_queries(const float* scores, const float* terms, int64_t columns, float* sum);
  void store(const AttentionGradient::Sum& sum, const Ints& index, int64_t first, int64_t rows, const float* x,
             int64_t x_row);
};

GradientWorker::GradientWorker(const GradientKernel& kernel, const KernelCall& call, int thread)
    : k_(kernel),
      a_(kernel.g.forward),
      call_(call),
      floats_(reinterpret_cast<float*>(static_cast<char*>(call.scratch) + kernel.thread_bytes * thread)),
      block_(kernel.before, kernel.after, kernel.g.forward.keys, call,
             reinterpret_cast<char*>(floats_) + kernel.floats_bytes),
      undo_after_(kernel.undo_after, call, reinterpret_cast<char*>(floats_) + kernel.floats_bytes + kernel.masks_bytes),
      undo_before_(kernel.undo_before, call,
                   reinterpret_cast<char*>(floats_) + kernel.floats_bytes + kernel.masks_bytes +
                       kernel.undo_after.scratch_bytes()) {}

// Keys and values are the same for all of a unit.
void GradientWorker::lay_out(const Ints& index) {
  const KeyRange all{0, a_.keys};
  const AttentionGradient& g = k_.g;
  lay_out_as_columns(from(a_.k, index), a_.k, all, a_.keys, a_.depth, at(k_.at.k_columns));
  lay_out_as_columns(from(a_.v, index), a_.v, all, a_.keys, a_.width, at(k_.at.v_columns));
  if (g.dq.columns > 0)
    lay_out_as_terms(from(g.dq.operand, index), g.dq.operand, all, a_.keys, g.dq.columns, at(k_.at.k_terms));
  std::fill_n(at(k_.at.dk), a_.keys * k_.dk_row, 0.0f);
  std::fill_n(at(k_.at.dv), a_.keys * k_.dv_row, 0.0f);
}

void GradientWorker::go_to(const Ints& index, int64_t block) {
  const int64_t first = block * k_.block_rows, rows = std::min(k_.block_rows, a_.queries - first);
  keys_ = block_.go_to(index, first, rows);
  for (RowProgramRun* undo : {&undo_after_, &undo_before_}) {
    undo->go_to(index);
    for (int64_t r = 0; r < rows; ++r) undo->make_masks(first + r, r);
  }
  const AttentionGradient& g = k_.g;
  load_rows(from(a_.q, index, first), a_.q, rows, a_.depth, at(k_.at.q), a_.depth);
  load_rows(from(g.dy, index, first), g.dy, rows, a_.width, at(k_.at.dy), a_.width);
  if (g.dk.columns > 0)
    load_rows(from(g.dk.operand, index, first), g.dk.operand, rows, g.dk.columns, at(k_.at.q_terms), k_.dk_row);
  if (g.dv.columns > 0)
    load_rows(from(g.dv.operand, index, first), g.dv.operand, rows, g.dv.columns, at(k_.at.dy_terms), k_.dv_row);
}

// [rows, terms] · [terms, keys], for the keys of the block.
void GradientWorker::multiply_rows(const float* rows, int64_t terms, const float* panels, float* y) {
  const Tiles& t = tiles();
  for (int64_t first = keys_.begin / t.columns * t.columns; first < keys_.end; first += t.columns) {
    const int64_t vectors = (std::min(t.columns, a_.keys - first) + t.lanes - 1) / t.lanes;
    for (int64_t r = 0; r < block_.rows(); r += Tiles::rows)
      t.at(std::min(Tiles::rows, block_.rows() - r), vectors)({.terms = terms,
                                                               .a = rows + r * terms,
                                                               .a_row = terms,
                                                               .b = panels + first * terms,
                                                               .b_row = t.columns,
                                                               .y = y + r * k_.score_row + first,
                                                               .y_row = k_.score_row});
  }
}

void GradientWorker::make_probabilities(int64_t row) {
  float* all = at(k_.at.scores) + row * k_.score_row;
  const int64_t n = keys_.end - keys_.begin;
  if (k_.at.kept) std::copy_n(all + keys_.begin, n, at(k_.at.kept) + row * k_.score_row + keys_.begin);
  if (!k_.before.is_empty()) block_.run_before(row, keys_, all);
  float* s = all + keys_.begin;
  vectorised([=]() OPTP_LAMBDA {
    const float factor = 1.0f / exponentials_of(s, largest_of(s, n), s, n);
    for (int64_t j = 0; j < n; ++j) s[j] *= factor;
  });
  if (!k_.after.is_empty()) block_.run_after(row, keys_, all, at(k_.at.taken) + row * k_.score_row);
}

void GradientWorker::make_gradient(int64_t row) {
  const int64_t query = block_.first() + row, offset = row * k_.score_row;
  float *outer = at(k_.at.outer) + offset, *scores = at(k_.at.scores) + offset;
  if (!k_.undo_after.is_empty()) undo_after_.run(query, row, keys_.begin, keys_.end, {outer, scores}, outer);
  vectorised([g = outer + keys_.begin, p = scores + keys_.begin, n = keys_.end - keys_.begin]() OPTP_LAMBDA {
    const float mean = sum_of(n, [=](int64_t j) OPTP_LAMBDA { return g[j] * p[j]; });
    for (int64_t j = 0; j < n; ++j) g[j] = p[j] * (g[j] - mean);
  });
  if (!k_.undo_before.is_empty())
    undo_before_.run(query, row, keys_.begin, keys_.end, {outer, at(k_.at.kept) + offset}, outer);
}

void GradientWorker::sum_keys(const Ints& index) {
  constexpr int64_t terms_at_once = 128;  // so that their keys stay in the first-level cache
  const Tiles& t = tiles();
  const int64_t columns = k_.g.dq.columns, rows = block_.rows();
  for (int64_t first = 0; first < columns; first += t.columns) {
    const int64_t width = up(std::min(t.columns, columns - first), t.lanes);
    const float* keys = at(k_.at.k_terms) + first * a_.keys;
    for (int64_t key = keys_.begin; key < keys_.end; key += terms_at_once)
      for (int64_t r = 0; r < rows; r += Tiles::rows)
        t.at(std::min(Tiles::rows, rows - r), width / t.lanes)({.terms = std::min(terms_at_once, keys_.end - key),
                                                                .a = at(k_.at.outer) + r * k_.score_row + key,
                                                                .a_row = k_.score_row,
                                                                .b = keys + key * width,
                                                                .b_row = width,
                                                                .y = at(k_.at.dq) + r * k_.dq_row + first,
                                                                .y_row = k_.dq_row,
                                                                .add = key != keys_.begin});
  }
  store(k_.g.dq, index, block_.first(), rows, at(k_.at.dq), k_.dq_row);
}

// What the block's queries add to a sum for each key.
void GradientWorker::sum_queries(const float* scores, const float* terms, int64_t columns, float* sum) {
  const Tiles& t = tiles();
  const int64_t row = up(columns, t.lanes);
  for (int64_t first = 0; first < columns; first += t.columns) {
    const int64_t vectors = (std::min(t.columns, columns - first) + t.lanes - 1) / t.lanes;
    for (int64_t key = keys_.begin; key < keys_.end; key += Tiles::rows)
      t.across(std::min(Tiles::rows, keys_.end - key), vectors)({.terms = block_.rows(),
                                                                 .a = scores + key,
                                                                 .a_row = k_.score_row,
                                                                 .b = terms + first,
                                                                 .b_row = row,
                                                                 .y = sum + key * row + first,
                                                                 .y_row = row,
                                                                 .add = true});
  }
}

void GradientWorker::store(const AttentionGradient::Sum& sum, const Ints& index, int64_t first, int64_t rows,
                           const float* x, int64_t x_row) {
  const StridedOperand& o = sum.result;
  float* y = static_cast<float*>(call_.out[o.operand]) + offset_of(o, index) + first * o.row;
  for (int64_t r = 0; r < rows; ++r)
    if (o.column == 1)
      std::copy_n(x + r * x_row, sum.columns, y + r * o.row);
    else
      for (int64_t d = 0; d < sum.columns; ++d) y[r * o.row + d * o.column] = x[r * x_row + d];
}

void GradientWorker::run_unit(int64_t unit) {
  const AttentionGradient& g = k_.g;
  lay_out(k_.index_of(unit, 0));
  for (int64_t inner = 0; inner < k_.inners; ++inner) {
    const Ints index = k_.index_of(unit, inner);
    for (int64_t block = 0; block < k_.blocks; ++block) {
      go_to(index, block);
      multiply_rows(at(k_.at.q), a_.depth, at(k_.at.k_columns), at(k_.at.scores));
      multiply_rows(at(k_.at.dy), a_.width, at(k_.at.v_columns), at(k_.at.outer));
      for (int64_t r = 0; r < block_.rows(); ++r) make_probabilities(r), make_gradient(r);
      if (g.dq.columns > 0) sum_keys(index);
      if (g.dk.columns > 0) sum_queries(at(k_.at.outer), at(k_.at.q_terms), g.dk.columns, at(k_.at.dk));
      if (g.dv.columns > 0) sum_queries(at(k_.at.taken), at(k_.at.dy_terms), g.dv.columns, at(k_.at.dv));
    }
  }
  const Ints index = k_.index_of(unit, 0);
  if (g.dk.columns > 0) store(g.dk, index, 0, a_.keys, at(k_.at.dk), k_.dk_row);
  if (g.dv.columns > 0) store(g.dv, index, 0, a_.keys, at(k_.at.dv), k_.dv_row);
}

void GradientKernel::run(const KernelCall& call) const {
  parallel_for(threads, threads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      GradientWorker worker(*this, call, int(p));
      for (int64_t u = units * p / threads; u < units * (p + 1) / threads; ++u) worker.run_unit(u);
    }
  });
}
}  // namespace

llvm::Expected<Kernel> compile_attention_gradient(const Work& work, const KernelContext& context) {
  const auto k = std::make_shared<const GradientKernel>(work, context);
  Kernel kernel;
  kernel.scratch_bytes = k->thread_bytes * k->threads;
  kernel.run = [k](const KernelCall& call) {
    k->run(call);
    return llvm::Error::success();
  };
  return kernel;
}
}  // namespace optp::kernels
