#include "passes/ops/float64_product.h"

#include <Eigen/Core>

namespace optp::ops {
bool add_product_by_avx2(const Float64Product& p);

namespace {
#include "passes/ops/float64_product_eigen.h"
}  // namespace

void add_product(const Float64Product& p) {
  if (!add_product_by_avx2(p)) add_by_eigen(p);
}
}  // namespace optp::ops
