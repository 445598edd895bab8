#include "runtime/kernels/onednn_product.h"

#include "llvm/ADT/StringRef.h"
#include "runtime/onednn.h"

namespace optp::kernels {

dnnl::memory::data_type onednn_type(DType dtype) {
  switch (dtype) {
    case DType::bf16:
      return dnnl::memory::data_type::bf16;
    case DType::f16:
      return dnnl::memory::data_type::f16;
    default:
      return dnnl::memory::data_type::f32;
  }
}

dnnl::memory::desc onednn_layout(const MatrixLayout& layout, DType dtype) {
  const dnnl::memory::dims& dims = layout.dims;
  dnnl::memory::dims strides = layout.strides;
  // Where the extent is 1 a stride is free: made what a dense tensor would have, so that its layout is recognised.
  for (size_t d = dims.size(); d-- > 0;)
    if (dims[d] == 1) {
      if (d + 1 == dims.size())
        strides[d] = d > 0 && dims[d - 1] != 1 && strides[d - 1] == 1 ? dims[d - 1] : 1;
      else
        strides[d] = std::max<int64_t>(1, dims[d + 1] * strides[d + 1]);
    }
  return {dims, onednn_type(dtype), strides};
}

namespace {
// Elements in the order of the dims, without gaps. From the address of a result the library's added tensors are found
// as if it were so: 2.6.3 reads elsewhere, beyond the end too, where it is not.
bool is_dense(const MatrixLayout& layout) {
  int64_t stride = 1;
  for (size_t d = layout.dims.size(); d-- > 0; stride *= layout.dims[d])
    if (layout.dims[d] != 1 && layout.strides[d] != stride) return false;
  return true;
}

// The library counts rows, columns, terms and matrices in 32 bits, and divides by what is left of more.
bool counts_fit(const MatrixLayout& layout) {
  constexpr int64_t most = INT32_MAX;
  const llvm::ArrayRef<int64_t> dims(layout.dims);
  int64_t matrices = 1;
  for (int64_t n : dims.drop_back(2))
    if (n > most || (matrices *= n) > most) return false;
  return llvm::all_of(dims.take_back(2), [](int64_t n) { return n <= most; });
}
}  // namespace

std::optional<OnednnProduct> OnednnProduct::create(const ProductRequest& request, const dnnl::engine& engine,
                                                   const dnnl::memory::desc* packed_as) {
  if (!counts_fit(request.src) || !counts_fit(request.weights) || !counts_fit(request.dst)) return std::nullopt;
  OnednnProduct p;
  onednn::MatmulDescs d;
  d.a = onednn_layout(request.src, request.dtype);
  d.b = packed_as ? *packed_as
        : request.pack
            ? dnnl::memory::desc(request.weights.dims, onednn_type(request.dtype), dnnl::memory::format_tag::any)
            : onednn_layout(request.weights, request.dtype);
  d.y = onednn_layout(request.dst, request.result);
  dnnl::post_ops ops;
  int factors = 0;
  p.addends_.resize(request.steps.size());
  for (size_t k = 0; k < request.steps.size(); ++k) {
    const ProductRequest::Step& step = request.steps[k];
    if (!step.add) {
      if (++factors > onednn::most_factors) return std::nullopt;
      onednn::append_eltwise(ops, dnnl::algorithm::eltwise_linear, step.factor, 0);
      continue;
    }
    const dnnl::memory::desc desc = onednn_layout(step.addend, step.dtype);
    p.addends_[k] = dnnl::memory(desc, engine, DNNL_MEMORY_NONE);
    // A row that comes first is what the library calls a bias.
    const dnnl::memory::dims& dims = step.addend.dims;
    const bool row = llvm::all_of(llvm::ArrayRef(dims).drop_back(), [](int64_t n) { return n == 1; }) &&
                     dims.back() == request.dst.dims.back() && (dims.back() == 1 || step.addend.strides.back() == 1);
    if (!(k == 0 && row) && !is_dense(request.dst)) return std::nullopt;
    if (k == 0 && row) {
      d.bias = desc;
      d.has_bias = true;
      p.arguments_.emplace(DNNL_ARG_BIAS, p.addends_[k]);
    } else {
      p.arguments_.emplace(DNNL_ARG_ATTR_MULTIPLE_POST_OP(int(ops.len())) | DNNL_ARG_SRC_1, p.addends_[k]);
      ops.append_binary(dnnl::algorithm::binary_add, desc);
    }
  }
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  attr.set_post_ops(ops);
  try {
    p.desc_ = onednn::matmul(engine, d, attr);
    p.primitive_ = dnnl::matmul(p.desc_);
    p.src_ = dnnl::memory(p.desc_.src_desc(), engine, DNNL_MEMORY_NONE);
    p.weights_ = dnnl::memory(p.desc_.weights_desc(), engine, DNNL_MEMORY_NONE);
    p.dst_ = dnnl::memory(p.desc_.dst_desc(), engine, DNNL_MEMORY_NONE);
    p.scratchpad_ = dnnl::memory(p.desc_.scratchpad_desc(), engine, DNNL_MEMORY_NONE);
  } catch (const dnnl::error&) {
    return std::nullopt;
  }
  p.arguments_.emplace(DNNL_ARG_SRC, p.src_);
  p.arguments_.emplace(DNNL_ARG_WEIGHTS, p.weights_);
  p.arguments_.emplace(DNNL_ARG_DST, p.dst_);
  p.arguments_.emplace(DNNL_ARG_SCRATCHPAD, p.scratchpad_);
  return p;
}

bool OnednnProduct::is_general() const { return llvm::StringRef(desc_.impl_info_str()).starts_with("gemm"); }
bool OnednnProduct::is_reference() const { return llvm::StringRef(desc_.impl_info_str()).starts_with("ref"); }

void OnednnProduct::run(dnnl::stream& stream, const void* src, const void* weights, void* dst,
                        llvm::ArrayRef<const void*> addends, void* scratch) {
  src_.set_data_handle(const_cast<void*>(src));
  weights_.set_data_handle(const_cast<void*>(weights));
  dst_.set_data_handle(dst);
  scratchpad_.set_data_handle(scratch);
  for (size_t k = 0; k < addends_.size(); ++k)
    if (addends_[k]) addends_[k].set_data_handle(const_cast<void*>(addends[k]));
  primitive_.execute(stream, arguments_);
  stream.wait();
}
}  // namespace optp::kernels
