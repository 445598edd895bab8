// contract: a sum of products, its loops named as an einsum names them, computed as products of matrices.
//
// Which tensors have a loop says what it is in a product of matrices y = a · b:
//   in a, b and y    batch        one matrix after another
//   in a and y       row          m of y[m, n]
//   in b and y       column       n
//   in a and b       contracted   k: y has no such dim, its terms are summed
// Attention's scores, "b s h d, b t h d -> b h s t" of q and k, have batches b and h, rows s, columns t, and d is
// contracted: for each b and h one product q[s, d] · k[t, d]ᵀ. Neither permuting nor transposing needs a copy: a matrix
// is a view, an address and two strides, here of q (heads · d, 1) and of kᵀ (1, heads · d). Loops of one kind that all
// their tensors step through alike are one: the rows of a linear layer, "b s k, k n -> b s n", are b and s as one dim
// of b · s. What no strides describe is copied into order first; matmul_form.cpp finds the form that copies least.
//
// Weights known at compile time are copied once, into the layout that oneDNN chooses for them. Where it has no such
// layout, which is what its general gemm says of itself, float32 products are our own: packed_contract.cpp.
//
// Named loops: Einstein's sums as in numpy.einsum. A contraction as batched gemm over strides: "Tensor Contractions
// with Extended BLAS Kernels on CPU and GPU" (Shi, Niranjan, Anandkumar, Cecka 2016).
#include "runtime/kernels/contract.h"

#include <cstring>

#include "frontend/ir/diagnostic.h"
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

std::string strides_text(llvm::ArrayRef<int64_t> dims, llvm::ArrayRef<int64_t> strides) {
  std::string out;
  for (size_t d = 0; d < dims.size(); ++d) out += std::to_string(dims[d]) + ":" + std::to_string(strides[d]) + ",";
  return out;
}
}  // namespace

std::string Contraction::shared_form() const {
  if (!weights_spec().is_data) return "";
  const MatrixLayout layout = layout_of(batch(), k(), n(), wei());
  // In the form's order, where they were copied into it.
  return weights_spec().name + (ordered.empty() ? " " : " in order ") + strides_text(layout.dims, layout.strides);
}

llvm::SmallVector<ProductStep, 4> steps_of(const Contraction& c) {
  llvm::SmallVector<ProductStep, 4> out;
  size_t tensor = Y;
  for (const Fused& f : c.work.after) {
    ProductStep step{.kind = f.kind == Fused::Kind::relu    ? ProductStep::Kind::relu
                             : f.kind == Fused::Kind::scale ? ProductStep::Kind::scale
                                                            : ProductStep::Kind::add,
                     .factor = float(f.factor)};
    if (f.kind == Fused::Kind::add) ++tensor, step.row = c.m().stride[tensor], step.column = c.n().stride[tensor];
    out.push_back(step);
  }
  return out;
}

std::optional<FewRows> few_rows_of(const Contraction& c) {
  const bool adds_floats = llvm::all_of(c.work.after, [&](const Fused& f) {
    return f.kind != Fused::Kind::add || c.work.operands[f.operand].dtype == DType::f32;
  });
  if (!c.batch().empty() || c.work.results[0].dtype != DType::f32 || !adds_floats) return std::nullopt;
  return FewRows{.m = c.m().extent,
                 .n = c.n().extent,
                 .k = c.k().extent,
                 .a_row = c.m().stride[c.src()],
                 .a_column = c.k().stride[c.src()],
                 .y_row = c.m().stride[Y],
                 .y_column = c.n().stride[Y],
                 .steps = steps_of(c),
                 .dtype = c.work.operands[0].dtype};
}

namespace {
// Weights into the layout that the library would choose, in the scratch memory from `scratch` on.
struct Repacking {
  dnnl::memory from, to;
  dnnl::reorder reorder;
  int64_t scratch = 0;

  void* run(dnnl::stream& stream, const void* weights, char* scratch_memory) {
    from.set_data_handle(const_cast<void*>(weights));
    to.set_data_handle(scratch_memory + scratch);
    reorder.execute(stream, from, to);
    stream.wait();
    return to.get_data_handle();
  }
};

// A oneDNN product and what is around it.
struct LibraryProduct {
  std::optional<OnednnProduct> one;
  Loops batches;  // over y's, src's and the weights' matrices, where `one` is of a single one; else no dims
  llvm::SmallVector<unsigned, 4> added;  // a step's operand
  dnnl::memory packed;                   // weights in the library's own layout, or in order
  std::optional<FewRows> few;            // takes the library's place
  std::optional<Repacking> repacking;    // at each run, of weights that only a run knows
  Copies copies;
  size_t src = A, wei = B;
  int64_t element = 4, result_element = 4;
  int threads = 1;
  dnnl::stream stream;

  // What oneDNN has are its plain loops, or nothing.
  bool is_slow() const { return !one || one->is_reference(); }
  llvm::Error run(const KernelCall& call);
};

llvm::Error LibraryProduct::run(const KernelCall& call) {
  const auto in = copies.operands(call, threads);
  void* out = copies.result(call);
  const void* weights = packed ? packed.get_data_handle() : in[wei];
  void* scratch = static_cast<char*>(call.scratch) + copies.end;
  llvm::SmallVector<const void*, 4> addends;
  for (unsigned operand : added) addends.push_back(call.in[operand]);
  if (few) {
    llvm::SmallVector<const float*, 4> terms(few->steps.size(), nullptr);
    for (size_t s = 0; s < terms.size(); ++s)
      if (few->steps[s].kind == ProductStep::Kind::add) terms[s] = static_cast<const float*>(addends[s]);
    few->run(in[src], weights, static_cast<float*>(out), terms.data(), threads);
    copies.finish(call, threads);
    return llvm::Error::success();
  }
  if (repacking) weights = repacking->run(stream, weights, static_cast<char*>(scratch));
  auto execute = [&](int64_t a, int64_t b, int64_t y) {
    one->run(stream, static_cast<const char*>(in[src]) + a * element, static_cast<const char*>(weights) + b * element,
             static_cast<char*>(out) + y * result_element, addends, scratch);
  };
  if (batches.dims.empty())
    execute(0, 0, 0);
  else
    batches.rows(0, batches.row_count(), [&](llvm::ArrayRef<int64_t> at) { execute(at[0], at[1], at[2]); });
  copies.finish(call, threads);
  return llvm::Error::success();
}

// The kernel of a result or a sum without elements, which no product is asked for.
std::optional<Kernel> without_elements(const Work& work) {
  const TensorSpec& y = work.results[0];
  Kernel kernel;
  for (const TensorSpec& s : work.operands)
    if (s.elements() == 0 && !work.after.empty()) return kernel;
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
  return std::nullopt;
}

std::optional<Contraction> contraction_of(const Work& work, const KernelContext& context) {
  const auto loops = loops_of(work, work.node->loops());
  if (!loops) return std::nullopt;
  auto form = best_form(work, *loops);
  if (!form) return std::nullopt;
  Contraction c{.work = work, .context = context, .form = std::move(*form), .copies = {}, .ordered = {}};
  c.copies = copies_of(work, *loops, c.form);
  const TensorSpec& weights = work.operands[c.wei()];
  if (weights.constant && c.form.copied[c.wei()] && !context.plan_only) {
    c.ordered.resize(size_t(weights.bytes()));
    c.copies.copy[c.wei()](c.ordered.data(), weights.read(), context.threads);
  }
  return c;
}

// The same product on weights that lie packed already, where the library does it by the same means.
std::optional<OnednnProduct> on_packed(const Contraction& c, const ProductRequest& request,
                                       const OnednnProduct& chosen) {
  if (!request.pack || c.shared_form().empty()) return std::nullopt;
  for (const dnnl::memory& known : c.context.packed->in_library_layouts(c.shared_form())) {
    const dnnl::memory::desc layout = known.get_desc();
    if (layout == chosen.weights_layout()) return std::nullopt;
    auto product = OnednnProduct::create(request, c.context.engine, &layout);
    if (product && product->implementation() == chosen.implementation()) return product;
  }
  return std::nullopt;
}
// `pack`: weights in a layout that the library chooses. None: it has no such product, or a wrong one.
std::optional<OnednnProduct> create(const Contraction& c, const LoopList& batch, bool pack) {
  ProductRequest request{.dtype = c.work.operands[0].dtype,
                         .result = c.work.results[0].dtype,
                         .src = layout_of(batch, c.m(), c.k(), c.src()),
                         .weights = layout_of(batch, c.k(), c.n(), c.wei()),
                         .dst = layout_of(batch, c.m(), c.n(), Y),
                         .pack = pack};
  size_t addend = Y + 1;
  for (const Fused& f : c.work.after) {
    const bool add = f.kind == Fused::Kind::add;
    request.steps.push_back({.add = add, .factor = float(f.factor)});
    if (add) {
      request.steps.back().addend = layout_of(batch, c.m(), c.n(), addend++);
      request.steps.back().dtype = c.work.operands[f.operand].dtype;
    }
  }
  auto one = OnednnProduct::create(request, c.context.engine);
  if (one && !one->is_reference() && !computes_rightly(request, one->implementation(), c.context.engine))
    return std::nullopt;
  if (one)
    if (auto shared = on_packed(c, request, *one)) return shared;
  return one;
}

bool has_batches_of_weights(const Contraction& c) {
  return llvm::any_of(c.batch(), [&](const StridedLoop& l) { return l.stride[c.wei()] != 0; });
}

// One matrix after the other, where that makes a fast product: strides of batches are then free.
void use_single_matrices(LibraryProduct& product, const Contraction& c) {
  auto single = create(c, {}, c.weights() && !has_batches_of_weights(c));
  if (!single || single->is_reference()) return;
  product.one = std::move(single);
  for (const StridedLoop& l : c.batch()) product.batches.dims.push_back(l.extent);
  for (size_t t : {c.src(), c.wei(), size_t(Y)}) {
    product.batches.strides.emplace_back();
    for (const StridedLoop& l : c.batch()) product.batches.strides.back().push_back(l.stride[t]);
  }
  // A last dim of one: rows() visits all but the last.
  product.batches.dims.push_back(1);
  for (Ints& s : product.batches.strides) s.push_back(0);
}

dnnl::memory weight_memory(const KernelContext& context, const dnnl::memory::desc& desc) {
  return {desc, context.engine, context.packed->memory().allocate(desc.get_size())};
}

// Copies the weights that are known now; how many bytes are kept, none where they are read as they lie.
std::optional<int64_t> pack_weights(LibraryProduct& product, const Contraction& c) {
  const dnnl::engine& engine = c.context.engine;
  const bool looped = !product.batches.dims.empty();
  if (looped && has_batches_of_weights(c)) {
    if (c.ordered.empty()) return std::nullopt;
    const auto bytes = int64_t(c.ordered.size());
    product.packed = weight_memory(c.context, dnnl::memory::desc({bytes}, dnnl::memory::data_type::u8, {1}));
    std::memcpy(product.packed.get_data_handle(), c.ordered.data(), c.ordered.size());
    return bytes;
  }
  std::vector<dnnl::memory>* shared = nullptr;
  if (const std::string form = c.shared_form(); !form.empty()) {
    shared = &c.context.packed->in_library_layouts(form);
    for (const dnnl::memory& known : *shared)
      if (known.get_desc() == product.one->weights_layout()) {
        product.packed = known;
        return 0;
      }
  }
  product.packed = weight_memory(c.context, product.one->weights_layout());
  if (shared) shared->push_back(product.packed);
  const dnnl::memory::desc from =
      onednn_layout(layout_of(looped ? LoopList{} : c.batch(), c.k(), c.n(), c.wei()), c.work.operands[0].dtype);
  dnnl::memory whole(from, engine, const_cast<void*>(c.weight_bytes()));
  dnnl::stream stream = c.context.stream;
  dnnl::reorder(whole, product.packed).execute(stream, whole, product.packed);
  stream.wait();
  return int64_t(product.one->weights_layout().get_size());
}

std::optional<FewRows> few_rows_of(const LibraryProduct& product, const Contraction& c) {
  auto out = product.batches.dims.empty() ? few_rows_of(c) : std::nullopt;
  if (!out || !out->takes(product.one->weights_layout())) return std::nullopt;
  return out;
}

// Where it pays. Rows of weights whose stride is a multiple of a page fall on each other in the first-level cache: at
// [256, 768] × [768, 3072] oneDNN 2.6 then does 85 GFLOP/s, and 147 if it packs first; and of many rows packing costs
// nothing that counts, while plain weights are 20 % slower or more in some shapes. Not of so many bytes that a training
// step's memory would grow by them.
bool repacks(const Contraction& c) {
  constexpr int64_t many = 512, some = 128, most_bytes = 32 << 20, page = 4096;
  if (c.weights() || !c.batch().empty() || c.weights_spec().dtype != DType::f32) return false;
  const int64_t k = c.k().extent, n = c.n().extent, m = c.m().extent;
  if (k * n * 4 > most_bytes) return false;
  const bool collides = c.n().stride[c.wei()] == 1 && c.k().stride[c.wei()] * 4 % page == 0;
  return m >= many || (m >= some && collides);
}
void use_repacking(LibraryProduct& product, const Contraction& c) {
  auto packed = create(c, {}, /*pack=*/true);
  const dnnl::memory::desc plain = onednn_layout(layout_of({}, c.k(), c.n(), c.wei()), DType::f32);
  if (!packed || packed->is_reference() || packed->is_general() || packed->weights_layout() == plain) return;
  product.one = std::move(packed);
  const dnnl::engine& engine = c.context.engine;
  Repacking r{.from = dnnl::memory(plain, engine, DNNL_MEMORY_NONE),
              .to = dnnl::memory(product.one->weights_layout(), engine, DNNL_MEMORY_NONE),
              .reorder = {},
              .scratch = aligned(product.one->scratch_bytes())};
  r.reorder = dnnl::reorder(r.from, r.to);
  product.repacking = std::move(r);
}

Kernel library_kernel(LibraryProduct product, const Contraction& c) {
  for (const Fused& f : c.work.after) product.added.push_back(f.operand);
  product.copies = c.copies, product.src = c.src(), product.wei = c.wei();
  product.element = size_bytes(c.work.operands[0].dtype);
  product.result_element = size_bytes(c.work.results[0].dtype);
  product.threads = c.context.threads, product.stream = c.context.stream;
  Kernel kernel;
  kernel.scratch_bytes = c.copies.end + product.one->scratch_bytes();
  if (product.repacking)
    kernel.scratch_bytes =
        c.copies.end + product.repacking->scratch + int64_t(product.one->weights_layout().get_size());
  if (c.weights() && c.context.plan_only) {
    kernel.packed |= 1u << c.wei();
  } else if (c.weights()) {
    if (const auto bytes = pack_weights(product, c)) kernel.packed |= 1u << c.wei(), kernel.packed_bytes = *bytes;
    if (product.packed) product.few = few_rows_of(product, c);
  }
  kernel.run = [p = std::make_shared<LibraryProduct>(std::move(product))](const KernelCall& call) {
    return p->run(call);
  };
  return kernel;
}

llvm::Expected<Kernel> compile_contract(const Work& work, const KernelContext& context) {
  if (auto kernel = without_elements(work)) return std::move(*kernel);
  const auto c = contraction_of(work, context);
  if (!c) return Kernel{};
  // Not relu: oneDNN's makes 0 of NaN.
  const bool fusible = llvm::none_of(work.after, [](const Fused& f) { return f.kind == Fused::Kind::relu; });
  const bool own = work.results[0].dtype == DType::f32;  // our own product can take oneDNN's place
  LibraryProduct product;
  if (c->batch().size() <= 10 && fusible) product.one = create(*c, c->batch(), c->weights() != nullptr);
  if (product.one && !product.is_slow() && !product.one->is_general() && repacks(*c)) use_repacking(product, *c);
  if (own && PackedProduct::preferred() && (product.is_slow() || product.one->is_general()))
    return packed_contraction(*c);
  if (product.is_slow() && !c->batch().empty() && fusible && !has_addends(work)) use_single_matrices(product, *c);
  if (own && product.is_slow() && work.after.empty()) return packed_contraction(*c);
  // Operands that a slow product would take as they were before they were widened are better widened.
  const bool is_alone = work.after.empty() && work.operands[0].dtype == work.node->operand(0).type.dtype;
  if (!product.one || (product.is_slow() && !is_alone)) return Kernel{};
  return library_kernel(std::move(product), *c);
}

const RegisteredKernel contract{{.op = "contract",
                                 .dtypes = {DType::f32, DType::bf16},
                                 .compile = compile_contract,
                                 .fusion = Fusion::takes_after}};
}  // namespace
}  // namespace optp::kernels
