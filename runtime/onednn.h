// What oneDNN 2 and 3 spell differently: the one place with their version.
#pragma once
#include <dnnl.hpp>

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

}  // namespace optp::onednn
