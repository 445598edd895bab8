// A contraction by our own product (packed_product.h): a matrix after the other, each thread its own where there are as
// many matrices as threads. Weights known now are packed into panels once; others at each run, and there only when the
// next matrix has other weights than the last: of x[b, s, k] · w[k, n] they are packed once for all b.
#include "runtime/kernels/contract.h"
#include "runtime/kernels/packed_product.h"

namespace optp::kernels {
namespace {

// Tensors of the loop over matrices, in elements. `panels` are weights packed at compile time, in bytes; `plain` those
// of a run.
enum : size_t { result, source, panels, plain, addends };

struct PackedContraction {
  PackedProduct product;
  Loops batches;                         // over matrices
  llvm::SmallVector<unsigned, 4> added;  // a step's operand
  Copies copies;
  size_t src = A, wei = B;
  std::optional<FewRows> few;               // takes the product's place
  const char* packed = nullptr;             // null: weights are packed at each run
  int threads = 1, outer = 1, inner = 1;    // of a run; that each have matrices of their own; in one matrix
  int64_t run_bytes = 0, thread_bytes = 0;  // scratch of the product; of an outer thread: this and the panels

  llvm::Error run(const KernelCall& call) const;

 private:
  void run_matrices(const KernelCall& call, std::array<const void*, 2> in, float* y, int thread) const;
};

PackedProduct product_of(const Contraction& c) {
  PackedProduct product;
  product.m = c.m().extent, product.n = c.n().extent, product.k = c.k().extent;
  product.a_row = c.m().stride[c.src()], product.a_column = c.k().stride[c.src()];
  product.b_row = c.k().stride[c.wei()], product.b_column = c.n().stride[c.wei()];
  product.y_row = c.m().stride[Y];
  product.dtype = c.work.operands[0].dtype;
  product.steps = steps_of(c);
  return product;
}

// The loop over matrices, and how many of these the weights have.
std::pair<Loops, int64_t> matrices_of(const Contraction& c, int64_t panel_bytes) {
  Loops loops;
  loops.strides.resize(addends + c.m().stride.size() - (Y + 1));
  int64_t of_weights = 1;
  for (size_t i = c.batch().size(); i-- > 0;) {
    const StridedLoop& l = c.batch()[i];
    loops.dims.insert(loops.dims.begin(), l.extent);
    const int64_t own = l.stride[c.wei()] ? of_weights * panel_bytes : 0;
    if (own) of_weights *= l.extent;
    const int64_t first[] = {l.stride[Y], l.stride[c.src()], own, l.stride[c.wei()]};
    for (size_t t = 0; t < loops.strides.size(); ++t)
      loops.strides[t].insert(loops.strides[t].begin(), t < addends ? first[t] : l.stride[t - addends + Y + 1]);
  }
  // rows() visits all but the last dim.
  loops.dims.push_back(1);
  for (Ints& s : loops.strides) s.push_back(0);
  return {std::move(loops), of_weights};
}

char* pack_weights(const Contraction& c, const PackedContraction& p, int64_t bytes) {
  char* packed = c.context.packed->memory().allocate(size_t(bytes));
  const char* plain_bytes = static_cast<const char*>(c.weight_bytes());
  p.batches.rows(0, p.batches.row_count(), [&](llvm::ArrayRef<int64_t> at) {
    p.product.pack(plain_bytes + at[plain] * size_bytes(p.product.dtype), packed + at[panels], c.context.threads);
  });
  return packed;
}

llvm::Error PackedContraction::run(const KernelCall& call) const {
  const auto in = copies.operands(call, threads);
  float* y = static_cast<float*>(copies.result(call));
  parallel_for(outer, outer, 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) run_matrices(call, in, y, int(p));
  });
  copies.finish(call, threads);
  return llvm::Error::success();
}

void PackedContraction::run_matrices(const KernelCall& call, std::array<const void*, 2> in, float* y,
                                     int thread) const {
  char* own = static_cast<char*>(call.scratch) + copies.end + thread_bytes * thread;
  char* panel = own + run_bytes;
  const int64_t element = size_bytes(product.dtype);
  int64_t in_panel = -1;  // where the weights begin that are packed there
  const int64_t count = batches.row_count();
  batches.rows(count * thread / outer, count * (thread + 1) / outer, [&](llvm::ArrayRef<int64_t> at) {
    if (!packed && in_panel != at[plain]) {
      product.pack(static_cast<const char*>(in[wei]) + at[plain] * element, panel, inner);
      in_panel = at[plain];
    }
    llvm::SmallVector<const float*, 4> terms(product.steps.size(), nullptr);
    for (size_t s = 0, t = addends; s < product.steps.size(); ++s)
      if (product.steps[s].kind == ProductStep::Kind::add)
        terms[s] = static_cast<const float*>(call.in[added[s]]) + at[t++];
    if (few && packed) return few->run(in[src], packed, y, terms.data(), inner);
    product.run(static_cast<const char*>(in[src]) + at[source] * element, packed ? packed + at[panels] : panel,
                y + at[result], terms.data(), reinterpret_cast<float*>(own), inner);
  });
}
}  // namespace

Kernel packed_contraction(const Contraction& c) {
  auto p = std::make_shared<PackedContraction>();
  p->product = product_of(c);
  const int64_t panel_bytes = p->product.packed_bytes();
  int64_t of_weights = 0;
  std::tie(p->batches, of_weights) = matrices_of(c, panel_bytes);
  for (const Fused& f : c.work.after) p->added.push_back(f.operand);
  p->copies = c.copies, p->src = c.src(), p->wei = c.wei();
  p->few = few_rows_of(c);
  if (p->few && !p->few->takes_panels(PackedProduct::panel_columns)) p->few.reset();

  Kernel kernel;
  if (c.weights()) {
    kernel.packed = 1u << c.wei();
    kernel.packed_bytes = of_weights * panel_bytes;
    if (!c.context.plan_only) {
      const std::string form = c.shared_form();
      char* own = nullptr;  // nobody can share it
      char*& known = form.empty() ? own : c.context.packed->panels(form);
      if (known) kernel.packed_bytes = 0;
      if (!known) known = pack_weights(c, *p, of_weights * panel_bytes);
      p->packed = known;
    }
  }
  // With as many matrices as threads each has its own; else all share one after the other.
  p->threads = c.context.threads;
  p->outer = p->batches.row_count() >= p->threads ? p->threads : 1;
  p->inner = p->outer == 1 ? p->threads : 1;
  p->run_bytes = aligned(p->product.scratch_bytes(p->inner));
  p->thread_bytes = p->run_bytes + (c.weights() ? 0 : aligned(panel_bytes));
  kernel.scratch_bytes = c.copies.end + p->thread_bytes * p->outer;
  kernel.run = [p = std::shared_ptr<const PackedContraction>(std::move(p))](const KernelCall& call) {
    return p->run(call);
  };
  return kernel;
}
}  // namespace optp::kernels
