// The body of add_product for the Eigen that was included, in the namespace that includes this.
using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using EigenSteps = Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>;

inline EigenSteps steps_of(Float64Product::Steps s) { return {s.row, s.column}; }

inline void add_by_eigen(const Float64Product& p) {
  const Eigen::Map<const Matrix, 0, EigenSteps> a(p.a, p.m, p.k, steps_of(p.a_steps));
  const Eigen::Map<const Matrix, 0, EigenSteps> b(p.b, p.k, p.n, steps_of(p.b_steps));
  Eigen::Map<Matrix, 0, EigenSteps>(p.y, p.m, p.n, steps_of(p.y_steps)).noalias() += a * b;
}
