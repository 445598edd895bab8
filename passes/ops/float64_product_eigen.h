// The body of add_product for the Eigen that was included, in the namespace that includes this.
using Steps = Float64Product::Steps;
template <int order>
using MatrixOf = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, order>;
template <typename Matrix>
using RowsApart = Eigen::Map<Matrix, 0, Eigen::OuterStride<>>;  // or columns, whichever are not contiguous
template <typename Matrix>
using AnySteps = Eigen::Map<Matrix, 0, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>>;

// Calls `work` with the matrix. Eigen multiplies as it lies what has contiguous rows or columns, by their type, and
// copies all else.
template <typename Work>
inline void with_matrix(const double* at, int64_t rows, int64_t columns, Steps steps, Work work) {
  using RowMajor = const MatrixOf<Eigen::RowMajor>;
  using ColumnMajor = const MatrixOf<Eigen::ColMajor>;
  if (steps.column == 1) return work(RowsApart<RowMajor>(at, rows, columns, Eigen::OuterStride<>(steps.row)));
  if (steps.row == 1) return work(RowsApart<ColumnMajor>(at, rows, columns, Eigen::OuterStride<>(steps.column)));
  const MatrixOf<Eigen::RowMajor> copy = AnySteps<RowMajor>(at, rows, columns, {steps.row, steps.column});
  work(RowsApart<RowMajor>(copy.data(), rows, columns, Eigen::OuterStride<>(columns)));
}

inline void add_by_eigen(const Float64Product& p) {
  using Result = MatrixOf<Eigen::RowMajor>;
  with_matrix(p.a, p.m, p.k, p.a_steps, [&](const auto& a) {
    with_matrix(p.b, p.k, p.n, p.b_steps, [&](const auto& b) {
      if (p.y_steps.column == 1)
        RowsApart<Result>(p.y, p.m, p.n, Eigen::OuterStride<>(p.y_steps.row)).noalias() += a * b;
      else
        AnySteps<Result>(p.y, p.m, p.n, {p.y_steps.row, p.y_steps.column}).noalias() += a * b;
    });
  });
}
