// What oneDNN 2 and 3 spell differently: the one place with their version.
#pragma once
#include <dnnl.hpp>
#include <vector>

namespace optp::onednn {

struct MatmulDescs {
  dnnl::memory::desc a, b, bias, y;
  bool has_bias = false;
};
// Throws dnnl::error where the library has no implementation.
inline dnnl::matmul::primitive_desc matmul(const dnnl::engine& engine, const MatmulDescs& d,
                                           const dnnl::primitive_attr& attr) {
#if DNNL_VERSION_MAJOR >= 3
  return d.has_bias ? dnnl::matmul::primitive_desc(engine, d.a, d.b, d.bias, d.y, attr)
                    : dnnl::matmul::primitive_desc(engine, d.a, d.b, d.y, attr);
#else
  return d.has_bias ? dnnl::matmul::primitive_desc(dnnl::matmul::desc(d.a, d.b, d.bias, d.y), attr, engine)
                    : dnnl::matmul::primitive_desc(dnnl::matmul::desc(d.a, d.b, d.y), attr, engine);
#endif
}

// How a layout lies in blocks: the strides from block to block, along each dim, and within a block the extents,
// outermost first, and the dims that they are of.
struct Blocking {
  std::vector<int64_t> strides, inner_extents, inner_dims;
};
inline Blocking blocking_of(const dnnl::memory::desc& desc) {
  Blocking out;
#if DNNL_VERSION_MAJOR >= 3
  if (desc.get_format_kind() != dnnl::memory::format_kind::blocked) return out;
  const auto strides = desc.get_strides(), extents = desc.get_inner_blks(), dims = desc.get_inner_idxs();
  out.strides.assign(strides.begin(), strides.end());
  out.inner_extents.assign(extents.begin(), extents.end());
  out.inner_dims.assign(dims.begin(), dims.end());
#else
  if (desc.data.format_kind != dnnl_blocked) return out;
  const auto& b = desc.data.format_desc.blocking;
  out.strides.assign(b.strides, b.strides + desc.data.ndims);
  out.inner_extents.assign(b.inner_blks, b.inner_blks + b.inner_nblks);
  out.inner_dims.assign(b.inner_idxs, b.inner_idxs + b.inner_nblks);
#endif
  return out;
}

// How many factors may follow a product: for a second one oneDNN 2 multiplies by the first again, on every instruction
// set.
#if DNNL_VERSION_MAJOR >= 3
constexpr int most_factors = 8;
#else
constexpr int most_factors = 1;
#endif

inline void append_eltwise(dnnl::post_ops& ops, dnnl::algorithm algorithm, float alpha, float beta) {
#if DNNL_VERSION_MAJOR >= 3
  ops.append_eltwise(algorithm, alpha, beta);
#else
  ops.append_eltwise(1.0f, algorithm, alpha, beta);
#endif
}

// Whether oneDNN has products of float16 here. A set's number has a bit for each extension that it holds.
inline bool multiplies_float16() {
#if DNNL_VERSION_MAJOR >= 3
  const auto has = unsigned(dnnl::get_effective_cpu_isa()), needs = unsigned(dnnl::cpu_isa::avx512_core_fp16);
  return (has & needs) == needs;
#else
  return false;
#endif
}

}  // namespace optp::onednn
