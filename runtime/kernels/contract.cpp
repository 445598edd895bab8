// contract → oneDNN matmul. The loop lists become batch, m, n and k groups; each group that all its tensors step
// through alike is one strided dim, so permuted lists (q·kᵀ of [b s h d] layouts) and weights stored either way need no
// copies. What can't be strided is copied into order first; weights known at compile time are copied into oneDNN's own
// layout once. Where oneDNN has no such layout, which is what its general gemm says of itself, float32 products are our
// own.
#include <cstring>

#include "frontend/ir/diagnostic.h"
#include "runtime/kernels/matmul_form.h"
#include "runtime/kernels/onednn_product.h"
#include "runtime/kernels/packed_product.h"

namespace optp::kernels {
namespace {

// [batch…, rows, columns] of one tensor; a dim it doesn't step along has extent 1.
MatrixLayout layout_of(const LoopList& batch, const StridedLoop& rows, const StridedLoop& columns, size_t t) {
  MatrixLayout layout;
  auto add = [&](const StridedLoop& l) {
    layout.dims.push_back(l.stride[t] == 0 ? 1 : l.extent);
    layout.strides.push_back(l.stride[t]);
  };
  for (const StridedLoop& l : batch) add(l);
  add(rows);
  add(columns);
  return layout;
}

// A oneDNN product and what is around it.
struct Product {
  std::optional<OnednnProduct> one;
  llvm::SmallVector<unsigned, 4> added;  // a step's operand
  dnnl::memory packed;                   // weights in the library's own layout, or in order
  // A loop over batches, where oneDNN has no fast primitive for all at once.
  Loops batches;
};

// The form's product as our own: a matrix at a time, spread over threads where a matrix alone can't be.
Kernel own_product(const Work& work, const KernelContext& context, const Form& form, std::shared_ptr<Copies> copies,
                   const void* weights) {
  const Groups& g = form.groups;
  const StridedLoop &m = g.m[0], &n = g.n[0], &k = g.k[0];
  const size_t src = form.swapped ? B : A, wei = form.swapped ? A : B;
  PackedProduct one;
  one.m = m.extent, one.n = n.extent, one.k = k.extent;
  one.a_row = m.stride[src], one.a_column = k.stride[src];
  one.b_row = k.stride[wei], one.b_column = n.stride[wei];
  one.y_row = m.stride[Y];
  llvm::SmallVector<unsigned, 4> added;  // a step's operand
  size_t tensor = Y;
  for (const Fused& f : work.after) {
    ProductStep step{.kind = f.kind == Fused::Kind::relu    ? ProductStep::Kind::relu
                             : f.kind == Fused::Kind::scale ? ProductStep::Kind::scale
                                                            : ProductStep::Kind::add,
                     .factor = float(f.factor)};
    if (f.kind == Fused::Kind::add) ++tensor, step.row = m.stride[tensor], step.column = n.stride[tensor];
    one.steps.push_back(step);
    added.push_back(f.operand);
  }
  // Matrices: strides of y, src, the packed weights, the plain ones, addends.
  Loops batches;
  batches.strides.resize(4 + tensor - Y);
  int64_t matrices = 1;
  const int64_t panels = one.packed_elements();
  for (size_t i = g.batch.size(); i-- > 0;) {
    const StridedLoop& l = g.batch[i];
    batches.dims.insert(batches.dims.begin(), l.extent);
    const int64_t own = l.stride[wei] ? matrices * panels : 0;
    if (own) matrices *= l.extent;
    const int64_t first[] = {l.stride[Y], l.stride[src], own, l.stride[wei]};
    for (size_t t = 0; t < batches.strides.size(); ++t)
      batches.strides[t].insert(batches.strides[t].begin(), t < 4 ? first[t] : l.stride[t - 1]);
  }
  // rows() visits all but the last dim.
  batches.dims.push_back(1);
  for (Ints& s : batches.strides) s.push_back(0);
  const int64_t count = batches.row_count();

  Kernel kernel;
  std::shared_ptr<float[]> packed;
  if (weights) {
    if (!context.plan_only)
      packed.reset(new (std::align_val_t(64)) float[size_t(matrices * panels)],
                   [](float* p) { ::operator delete[](p, std::align_val_t(64)); });
    if (packed)
      batches.rows(0, count, [&](llvm::ArrayRef<int64_t> at) {
        one.pack(static_cast<const float*>(weights) + at[3], packed.get() + at[2], context.threads);
      });
    kernel.packed = 1u << wei;
    kernel.packed_bytes = matrices * panels * 4;
  }
  // With as many matrices as threads each has its own; else all share one after the other.
  const int outer = count >= context.threads ? context.threads : 1, inner = outer == 1 ? context.threads : 1;
  const int64_t run_bytes = aligned(one.scratch_elements(inner) * 4),
                slot = run_bytes + (weights ? 0 : aligned(panels * 4));
  kernel.scratch_bytes = copies->end + slot * outer;
  kernel.run = [=, threads = context.threads](const KernelCall& call) -> llvm::Error {
    char* scratch = static_cast<char*>(call.scratch);
    const void* in[2] = {call.in[A], call.in[B]};
    for (size_t t : {A, B})
      if (copies->offset[t] >= 0) {
        copies->copy[t](scratch + copies->offset[t], in[t], threads);
        in[t] = scratch + copies->offset[t];
      }
    float* y = static_cast<float*>(copies->offset[Y] >= 0 ? scratch + copies->offset[Y] : call.out[0]);
    parallel_for(outer, outer, 1, [&](int64_t begin, int64_t end) {
      for (int64_t p = begin; p < end; ++p) {
        char* own = scratch + copies->end + slot * p;
        float* panel = reinterpret_cast<float*>(own + run_bytes);
        int64_t in_panel = -1;
        batches.rows(count * p / outer, count * (p + 1) / outer, [&](llvm::ArrayRef<int64_t> at) {
          if (!packed && in_panel != at[3]) {
            one.pack(static_cast<const float*>(in[wei]) + at[3], panel, inner);
            in_panel = at[3];
          }
          llvm::SmallVector<const float*, 4> addends(one.steps.size(), nullptr);
          for (size_t s = 0, t = 4; s < one.steps.size(); ++s)
            if (one.steps[s].kind == ProductStep::Kind::add)
              addends[s] = static_cast<const float*>(call.in[added[s]]) + at[t++];
          one.run(static_cast<const float*>(in[src]) + at[1], packed ? packed.get() + at[2] : panel, y + at[0],
                  addends.data(), reinterpret_cast<float*>(own), inner);
        });
      }
    });
    if (copies->offset[Y] >= 0) copies->copy[Y](call.out[0], y, threads);
    return llvm::Error::success();
  };
  return kernel;
}

llvm::Expected<Kernel> compile_contract(const Work& work, const KernelContext& context) {
  const DType dtype = work.operands[0].dtype;
  Kernel kernel;
  const TensorSpec& y = work.results[0];
  for (const TensorSpec& s : work.operands)
    if (s.elements() == 0 && !work.after.empty()) return Kernel{};
  if (y.elements() == 0) {
    kernel.run = [](const KernelCall&) { return llvm::Error::success(); };
    return kernel;
  }
  if (work.operands[0].elements() == 0 || work.operands[1].elements() == 0) {
    // A sum of nothing; oneDNN would leave the result as it is.
    kernel.run = [bytes = y.bytes()](const KernelCall& call) {
      std::memset(call.out[0], 0, size_t(bytes));
      return llvm::Error::success();
    };
    return kernel;
  }

  const auto loops = loops_of(work, work.node->loops());
  if (!loops) return Kernel{};
  const auto form = best_form(work, *loops);
  if (!form) return Kernel{};
  const Groups& g = form->groups;
  const StridedLoop &m = g.m[0], &n = g.n[0], &k = g.k[0];
  const size_t src = form->swapped ? B : A, wei = form->swapped ? A : B;

  const auto copies = std::make_shared<Copies>(copies_of(work, *loops, *form));

  // Weights that are known, in order.
  const bool pack = work.operands[wei].constant != nullptr;
  const void* weights = work.operands[wei].constant;
  std::vector<char> ordered;
  if (pack && form->copied[wei] && !context.plan_only) {
    ordered.resize(size_t(work.operands[wei].bytes()));
    copies->copy[wei](ordered.data(), weights, context.threads);
    weights = ordered.data();
  }

  auto product = std::make_shared<Product>();
  // Not relu: oneDNN's makes 0 of NaN.
  const bool fusible = llvm::none_of(work.after, [](const Fused& f) { return f.kind == Fused::Kind::relu; });
  auto create = [&](const LoopList& batch, bool any) -> std::optional<OnednnProduct> {
    ProductRequest request{.dtype = dtype,
                           .src = layout_of(batch, m, k, src),
                           .weights = layout_of(batch, k, n, wei),
                           .dst = layout_of(batch, m, n, Y),
                           .pack = any};
    product->added.clear();
    size_t addend = 3;
    for (const Fused& f : work.after) {
      const bool add = f.kind == Fused::Kind::add;
      request.steps.push_back({.add = add, .factor = float(f.factor)});
      if (add) {
        request.steps.back().addend = layout_of(batch, m, n, addend++);
        request.steps.back().dtype = work.operands[f.operand].dtype;
      }
      product->added.push_back(f.operand);
    }
    auto one = OnednnProduct::create(request, context.engine);
    if (one && !one->is_reference() && !computes_rightly(request, one->implementation(), context.engine))
      return std::nullopt;
    return one;
  };
  LoopList batch = g.batch;
  bool batch_in_weights = false;
  for (const StridedLoop& l : batch) batch_in_weights |= l.stride[wei] != 0;
  std::optional<OnednnProduct>& one = product->one;
  if (batch.size() <= 10 && fusible) one = create(batch, pack);
  const bool own = dtype == DType::f32;  // our own product can take oneDNN's place
  if (own && PackedProduct::preferred() && (!one || one->is_general() || one->is_reference()))
    return own_product(work, context, *form, copies, weights);
  if ((!one || one->is_reference()) && !batch.empty() && fusible && !has_addends(work)) {
    // One matrix after the other: strides of batches are then free.
    if (auto single = create({}, pack && !batch_in_weights); single && !single->is_reference()) {
      one = std::move(single);
      for (const StridedLoop& l : batch) product->batches.dims.push_back(l.extent);
      for (size_t t : {src, wei, size_t(Y)}) {
        product->batches.strides.emplace_back();
        for (const StridedLoop& l : batch) product->batches.strides.back().push_back(l.stride[t]);
      }
      // A last dim of one: rows() visits all but the last.
      product->batches.dims.push_back(1);
      for (Ints& s : product->batches.strides) s.push_back(0);
    }
  }
  if (own && (!one || one->is_reference()) && work.after.empty())
    return own_product(work, context, *form, copies, weights);
  if (!one || (one->is_reference() && !work.after.empty())) return Kernel{};
  const int64_t element = size_bytes(dtype), scratchpad = copies->end;
  kernel.scratch_bytes = copies->end + one->scratch_bytes();

  if (pack && context.plan_only) {
    kernel.packed |= 1u << wei;
  } else if (pack) {
    const void* plain = weights;
    const bool looped = !product->batches.dims.empty();
    if (looped && batch_in_weights) {
      if (form->copied[wei]) {  // kept in order
        auto keep = std::make_shared<std::vector<char>>(std::move(ordered));
        kernel.packed |= 1u << wei;
        kernel.packed_bytes = int64_t(keep->size());
        product->packed =
            dnnl::memory(dnnl::memory::desc({int64_t(keep->size())}, dnnl::memory::data_type::u8, {1}), context.engine);
        std::memcpy(product->packed.get_data_handle(), keep->data(), keep->size());
      }
    } else {
      product->packed = dnnl::memory(one->weights_layout(), context.engine);
      const dnnl::memory::desc from = onednn_layout(layout_of(looped ? LoopList{} : batch, k, n, wei), dtype);
      dnnl::memory whole(from, context.engine, const_cast<void*>(plain));
      dnnl::stream stream = context.stream;
      dnnl::reorder(whole, product->packed).execute(stream, whole, product->packed);
      stream.wait();
      kernel.packed |= 1u << wei;
      kernel.packed_bytes = int64_t(one->weights_layout().get_size());
    }
  }
  kernel.run = [product, copies, src, wei, threads = context.threads, stream = context.stream, element,
                scratchpad](const KernelCall& call) mutable -> llvm::Error {
    Product& p = *product;
    char* scratch = static_cast<char*>(call.scratch);
    const void* in[2] = {call.in[A], call.in[B]};
    for (size_t t : {A, B})
      if (copies->offset[t] >= 0) {
        copies->copy[t](scratch + copies->offset[t], in[t], threads);
        in[t] = scratch + copies->offset[t];
      }
    void* out = copies->offset[Y] >= 0 ? scratch + copies->offset[Y] : call.out[0];
    const void* weights = p.packed ? p.packed.get_data_handle() : in[wei];
    llvm::SmallVector<const void*, 4> addends;
    for (unsigned operand : p.added) addends.push_back(call.in[operand]);
    auto execute = [&](int64_t a, int64_t b, int64_t y) {
      p.one->run(stream, static_cast<const char*>(in[src]) + a * element,
                 static_cast<const char*>(weights) + b * element, static_cast<char*>(out) + y * element, addends,
                 scratch + scratchpad);
    };
    if (p.batches.dims.empty())
      execute(0, 0, 0);
    else
      p.batches.rows(0, p.batches.row_count(), [&](llvm::ArrayRef<int64_t> at) { execute(at[0], at[1], at[2]); });
    if (copies->offset[Y] >= 0) copies->copy[Y](call.out[0], out, threads);
    return llvm::Error::success();
  };
  return kernel;
}

const RegisteredKernel contract{{.op = "contract",
                                 .dtypes = {DType::f32, DType::bf16},
                                 .compile = compile_contract,
                                 .fusion = Fusion::takes_after}};
}  // namespace
}  // namespace optp::kernels
