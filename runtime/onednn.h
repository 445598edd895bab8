// What oneDNN 2 and 3 spell differently: the one place with their version.
#pragma once
#include <dnnl.hpp>

namespace optp::onednn {

struct MatmulDescs {
  dnnl::memory::desc a, b, bias, y;
  bool has_bias = false;
};
// Throws dnnl::error where the library has no implementation.
inline dnnl::matmul::primitive_desc matmul(const dnnl::engine& engine, const MatmulDescs& d, const dnnl::primitive_attr& attr) {
#if DNNL_VERSION_MAJOR >= 3
  return d.has_bias ? dnnl::matmul::primitive_desc(engine, d.a, d.b, d.bias, d.y, attr)
                    : dnnl::matmul::primitive_desc(engine, d.a, d.b, d.y, attr);
#else
  return d.has_bias ? dnnl::matmul::primitive_desc(dnnl::matmul::desc(d.a, d.b, d.bias, d.y), attr, engine)
                    : dnnl::matmul::primitive_desc(dnnl::matmul::desc(d.a, d.b, d.y), attr, engine);
#endif
}

inline dnnl::memory::dims dims_of(const dnnl::memory::desc& desc) {
#if DNNL_VERSION_MAJOR >= 3
  return desc.get_dims();
#else
  return desc.dims();
#endif
}

inline void append_eltwise(dnnl::post_ops& ops, dnnl::algorithm algorithm, float alpha, float beta) {
#if DNNL_VERSION_MAJOR >= 3
  ops.append_eltwise(algorithm, alpha, beta);
#else
  ops.append_eltwise(1.0f, algorithm, alpha, beta);
#endif
}

}  // namespace optp::onednn
