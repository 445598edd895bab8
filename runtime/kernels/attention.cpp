// Attention by blocks of queries (runtime/attention.h). For a block and a head: its scores against the keys, at most
// 48 rows of them, the steps between, a softmax of whole rows as the plain kernel makes it, and the sum of values. So
// the arithmetic is that of the single nodes, while the scores' memory grows with the number of keys alone; they are
// read again from the second-level cache. ("FlashAttention", Dao et al. 2022, blocks keys too, which a processor's
// larger cache does not need.)
//
// Keys and values that several tiles of rows read are laid out once as panels of columns, also for heads that share
// them. A block of a head is one thread's, whichever: the order of all sums is that of the keys.
#include "runtime/kernels/attention_block.h"
#include "runtime/kernels/softmax_row.h"
#include "runtime/kernels/tile.h"
#include "runtime/kernels/widen.h"
#include "runtime/parallel.h"

namespace optp::kernels {
namespace {
constexpr int64_t terms_of_values = 128;  // keys at a time, so that their values stay in the first-level cache

struct AttentionKernel {
  Attention a;
  RowProgramPlan before, after;
  int threads = 1;
  int64_t block_rows = 1, blocks = 1;             // of queries
  bool reads_keys = false, reads_values = false;  // as they lie: too few rows to lay them out for
  // Batch indices: first those that masks depend on, then the others.
  Ints mask_extents, other_extents;
  llvm::SmallVector<size_t, 4> mask_loops, other_loops, source_loops;  // of Attention::batch
  int64_t masks = 1, others = 1, sources = 1;                          // counts; of different keys and values
  // Scratch, bytes: panels of all sources, then each thread's own.
  int64_t key_panel = 0, value_panel = 0, panels_bytes = 0, floats_bytes = 0, thread_bytes = 0;
  int64_t score_row = 0, out_row = 0;  // elements

  AttentionKernel(const Work& work, const KernelContext& context);
  int64_t scratch_bytes() const { return panels_bytes + thread_bytes * threads; }
  void run(const KernelCall& call) const;

  Ints index_of(int64_t mask, int64_t other) const;
  KeyRange all_keys(const KernelCall& call) const;
  void lay_out(const KernelCall& call, int64_t source, KeyRange keys) const;
};

// One thread's work on a run.
class Worker {
 public:
  Worker(const AttentionKernel& kernel, const KernelCall& call, int thread);
  KeyRange go_to_block(int64_t mask, int64_t block);
  void run_head(int64_t mask, int64_t other);

 private:
  const AttentionKernel& k_;
  const Attention& a_;
  const KernelCall& call_;
  float *scores_, *out_, *queries_;
  QueryBlock block_;
  int64_t first_ = 0, rows_ = 0;  // of the block
  KeyRange keys_;
  float totals_[64];

  void make_scores(const Ints& index, int64_t source);
  void make_probabilities(int64_t row);
  void sum_values(const Ints& index, int64_t source);
  void store(const Ints& index);
};

AttentionKernel::AttentionKernel(const Work& work, const KernelContext& context)
    : a(*work.attention), threads(context.threads) {
  const Tiles& t = tiles();
  // As many rows as keep a thread's scores in its second-level cache beside the panels it reads.
  constexpr int64_t score_elements = 1 << 18, most_rows = 8 * Tiles::rows;
  const int64_t fit = std::clamp(score_elements / a.keys / Tiles::rows * Tiles::rows, 2 * Tiles::rows, most_rows);
  blocks = (a.queries + fit - 1) / fit;
  block_rows = std::min(up((a.queries + blocks - 1) / blocks, Tiles::rows), up(a.queries, Tiles::rows));
  blocks = (a.queries + block_rows - 1) / block_rows;
  before = RowProgramPlan(a.before, block_rows, a.keys);
  after = RowProgramPlan(a.after, block_rows, a.keys);
  const bool few = a.queries <= Tiles::rows;
  reads_keys = few && (a.k.column == 1 || a.depth == 1);
  reads_values = few && (a.v.column == 1 || a.width == 1);
  for (size_t d = 0; d < a.batch.size(); ++d) {
    auto steps = [&](const StridedOperand& leaf) { return leaf.batch[d] != 0; };
    const bool of_mask = llvm::any_of(a.before.leaves, steps) || llvm::any_of(a.after.leaves, steps);
    (of_mask ? mask_loops : other_loops).push_back(d);
    (of_mask ? mask_extents : other_extents).push_back(a.batch[d]);
    (of_mask ? masks : others) *= a.batch[d];
    if (a.k.batch[d] == 0 && a.v.batch[d] == 0) continue;
    source_loops.push_back(d);
    sources *= a.batch[d];
  }
  if (!reads_keys) key_panel = column_panels(a.keys, a.depth, t.columns);
  if (!reads_values) value_panel = term_panels(a.keys, a.width, t.lanes);
  panels_bytes = sources * (key_panel + value_panel) * 4;
  // Rows that don't all fall on the same lines of a cache.
  score_row = up(a.keys, t.columns) + t.most_lanes;
  out_row = up(a.width, t.lanes);
  floats_bytes = aligned(block_rows * (score_row + out_row + a.depth) * 4);
  thread_bytes = floats_bytes + QueryBlock::scratch_bytes(before, after, a.keys);
}

Ints AttentionKernel::index_of(int64_t mask, int64_t other) const {
  Ints index(a.batch.size(), 0);
  for (auto [loops, rest] : {std::pair(&mask_loops, mask), std::pair(&other_loops, other)})
    for (size_t d : llvm::reverse(*loops)) index[d] = rest % a.batch[d], rest /= a.batch[d];
  return index;
}

// Of all queries, where some keys may be needed by none: a cache has room for more than there are.
KeyRange AttentionKernel::all_keys(const KernelCall& call) const {
  const int64_t units = masks * blocks;
  llvm::SmallVector<KeyRange, 8> parts(size_t(threads), KeyRange{a.keys, 0});
  parallel_for(threads, threads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      Worker worker(*this, call, int(p));
      KeyRange& all = parts[size_t(p)];
      for (int64_t u = units * p / threads; u < units * (p + 1) / threads; ++u) {
        const KeyRange keys = worker.go_to_block(u / blocks, u % blocks);
        all = {std::min(all.begin, keys.begin), std::max(all.end, keys.end)};
      }
    }
  });
  KeyRange out{a.keys, 0};
  for (const KeyRange& r : parts) out = {std::min(out.begin, r.begin), std::max(out.end, r.end)};
  return out;
}

void AttentionKernel::lay_out(const KernelCall& call, int64_t source, KeyRange keys) const {
  Ints index(a.batch.size(), 0);
  int64_t rest = source;
  for (size_t d : llvm::reverse(source_loops)) index[d] = rest % a.batch[d], rest /= a.batch[d];
  float* panels = static_cast<float*>(call.scratch) + source * (key_panel + value_panel);
  if (!reads_keys) lay_out_as_columns(address(call, a.k, offset_of(a.k, index)), a.k, keys, a.keys, a.depth, panels);
  if (!reads_values)
    lay_out_as_terms(address(call, a.v, offset_of(a.v, index)), a.v, keys, a.keys, a.width, panels + key_panel);
}

void AttentionKernel::run(const KernelCall& call) const {
  if (panels_bytes > 0) {
    const KeyRange keys = a.keys > a.queries && !before.is_empty() ? all_keys(call) : KeyRange{0, a.keys};
    parallel_for(threads, sources, 1, [&](int64_t begin, int64_t end) {
      for (int64_t s = begin; s < end; ++s) lay_out(call, s, keys);
    });
  }
  const int64_t units = masks * blocks * others;
  parallel_for(threads, threads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      Worker worker(*this, call, int(p));
      int64_t in_block = -1;
      for (int64_t u = units * p / threads; u < units * (p + 1) / threads; ++u) {
        const int64_t block = u / others;
        // From both ends, so that each thread has as many long rows of a triangle as short ones.
        const int64_t turn = block % blocks, here = turn % 2 ? blocks - 1 - turn / 2 : turn / 2;
        if (block != in_block) worker.go_to_block(block / blocks, here);
        in_block = block;
        worker.run_head(block / blocks, u % others);
      }
    }
  });
}

Worker::Worker(const AttentionKernel& kernel, const KernelCall& call, int thread)
    : k_(kernel),
      a_(kernel.a),
      call_(call),
      scores_(reinterpret_cast<float*>(static_cast<char*>(call.scratch) + kernel.panels_bytes +
                                       kernel.thread_bytes * thread)),
      out_(scores_ + kernel.block_rows * kernel.score_row),
      queries_(out_ + kernel.block_rows * kernel.out_row),
      block_(kernel.before, kernel.after, kernel.a.keys, call, reinterpret_cast<char*>(scores_) + kernel.floats_bytes) {
}

KeyRange Worker::go_to_block(int64_t mask, int64_t block) {
  first_ = block * k_.block_rows, rows_ = std::min(k_.block_rows, a_.queries - first_);
  return keys_ = block_.go_to(k_.index_of(mask, 0), first_, rows_);
}

void Worker::run_head(int64_t mask, int64_t other) {
  const Ints index = k_.index_of(mask, other);
  int64_t source = 0;
  for (size_t d : k_.source_loops) source = source * a_.batch[d] + index[d];
  load_rows(address(call_, a_.q, offset_of(a_.q, index) + first_ * a_.q.row), a_.q, rows_, a_.depth, queries_,
            a_.depth);
  make_scores(index, source);
  for (int64_t r = 0; r < rows_; ++r) make_probabilities(r);
  sum_values(index, source);
  store(index);
}

void Worker::make_scores(const Ints& index, int64_t source) {
  const Tiles& t = tiles();
  if (k_.reads_keys) {
    const void* keys = address(call_, a_.k, offset_of(a_.k, index) + keys_.begin * a_.k.row);
    for (int64_t r = 0; r < rows_; ++r)
      dot_rows(a_.depth, queries_ + r * a_.depth, keys, a_.k.dtype, a_.k.row, keys_.end - keys_.begin,
               scores_ + r * k_.score_row + keys_.begin);
    return;
  }
  const float* panels = static_cast<const float*>(call_.scratch) + source * (k_.key_panel + k_.value_panel);
  for (int64_t first = keys_.begin / t.columns * t.columns; first < keys_.end; first += t.columns) {
    const int64_t vectors = (std::min(t.columns, a_.keys - first) + t.lanes - 1) / t.lanes;
    for (int64_t r = 0; r < rows_; r += Tiles::rows)
      t.at(std::min(Tiles::rows, rows_ - r), vectors)({.terms = a_.depth,
                                                       .a = queries_ + r * a_.depth,
                                                       .a_row = a_.depth,
                                                       .b = panels + first * a_.depth,
                                                       .b_row = t.columns,
                                                       .y = scores_ + r * k_.score_row + first,
                                                       .y_row = k_.score_row});
  }
}

// Where nothing follows the softmax its factor is left to the sum of values.
void Worker::make_probabilities(int64_t row) {
  float* all = scores_ + row * k_.score_row;
  if (!k_.before.is_empty()) block_.run_before(row, keys_, all);
  float* s = all + keys_.begin;
  const int64_t n = keys_.end - keys_.begin;
  float total = 0;
  vectorised([&, s, n]() OPTP_LAMBDA { total = exponentials_of(s, largest_of(s, n), s, n); });
  totals_[row] = 1.0f / total;
  if (k_.after.is_empty()) return;
  vectorised([s, n, factor = totals_[row]]() OPTP_LAMBDA {
    for (int64_t j = 0; j < n; ++j) s[j] *= factor;
  });
  block_.run_after(row, keys_, all, all);
  totals_[row] = 1;
}

void Worker::sum_values(const Ints& index, int64_t source) {
  if (k_.reads_values) {
    const void* values = address(call_, a_.v, offset_of(a_.v, index) + keys_.begin * a_.v.row);
    for (int64_t r = 0; r < rows_; ++r)
      sum_rows(keys_.end - keys_.begin, scores_ + r * k_.score_row + keys_.begin, values, a_.v.dtype, a_.v.row,
               a_.width, out_ + r * k_.out_row);
    return;
  }
  const Tiles& t = tiles();
  const float* panels = static_cast<const float*>(call_.scratch) + source * (k_.key_panel + k_.value_panel);
  for (int64_t first = 0; first < a_.width; first += t.columns) {
    const int64_t columns = up(std::min(t.columns, a_.width - first), t.lanes);
    const float* values = panels + k_.key_panel + first * a_.keys;
    for (int64_t at = keys_.begin; at < keys_.end; at += terms_of_values)
      for (int64_t r = 0; r < rows_; r += Tiles::rows)
        t.at(std::min(Tiles::rows, rows_ - r), columns / t.lanes)({.terms = std::min(terms_of_values, keys_.end - at),
                                                                   .a = scores_ + r * k_.score_row + at,
                                                                   .a_row = k_.score_row,
                                                                   .b = values + at * columns,
                                                                   .b_row = columns,
                                                                   .y = out_ + r * k_.out_row + first,
                                                                   .y_row = k_.out_row,
                                                                   .add = at != keys_.begin});
  }
}

void Worker::store(const Ints& index) {
  float* y = static_cast<float*>(call_.out[0]) + offset_of(a_.y, index) + first_ * a_.y.row;
  for (int64_t r = 0; r < rows_; ++r) {
    const float* from = out_ + r * k_.out_row;
    float* to = y + r * a_.y.row;
    if (a_.y.column == 1)
      vectorised([from, to, n = a_.width, factor = totals_[r]]() OPTP_LAMBDA {
        for (int64_t d = 0; d < n; ++d) to[d] = from[d] * factor;
      });
    else
      for (int64_t d = 0; d < a_.width; ++d) to[d * a_.y.column] = from[d] * totals_[r];
  }
}

llvm::Expected<Kernel> compile_attention(const Work& work, const KernelContext& context) {
  const auto k = std::make_shared<const AttentionKernel>(work, context);
  Kernel kernel;
  kernel.scratch_bytes = k->scratch_bytes();
  kernel.run = [k](const KernelCall& call) {
    k->run(call);
    return llvm::Error::success();
  };
  return kernel;
}
const RegisteredAttention attention{compile_attention, compile_attention_gradient};
}  // namespace
}  // namespace optp::kernels
