// Loops over a rank's own OpenMP team. OPTP_SERIAL_KERNELS builds them without OpenMP, for the thread sanitizer
// (libgomp is not instrumented).
#pragma once
#include <algorithm>
#include <cstdint>

#ifndef OPTP_SERIAL_KERNELS
#include <omp.h>
#endif

namespace optp {

// How many threads a loop of the calling thread may take.
inline int team_size() {
#ifdef OPTP_SERIAL_KERNELS
  return 1;
#else
  return omp_get_max_threads();
#endif
}

// Sets the calling thread's team size while it lives; other threads are not affected.
class TeamSize {
 public:
#ifdef OPTP_SERIAL_KERNELS
  explicit TeamSize(int) {}
#else
  explicit TeamSize(int threads) : before_(omp_get_max_threads()) { omp_set_num_threads(threads); }
  ~TeamSize() { omp_set_num_threads(before_); }
  TeamSize(const TeamSize&) = delete;
  TeamSize& operator=(const TeamSize&) = delete;

 private:
  int before_;
#endif
};

// Calls body(begin, end) for parts of [0, n), each at least `grain` long where n allows.
template <class Body>
void parallel_for(int threads, int64_t n, int64_t grain, const Body& body) {
#ifndef OPTP_SERIAL_KERNELS
  const int64_t parts = std::min<int64_t>(threads, n / std::max<int64_t>(grain, 1));
  if (parts > 1) {
#pragma omp parallel for num_threads(int(parts)) schedule(static, 1)
    for (int64_t p = 0; p < parts; ++p) body(n * p / parts, n * (p + 1) / parts);
    return;
  }
#endif
  if (n > 0) body(int64_t(0), n);
}

}  // namespace optp
