// Every operation on threads against a naive reference, element by element.
#include <doctest/doctest.h>

#include <atomic>
#include <cmath>

#include "frontend/ir/mesh.h"
#include "tests/runtime/comm/ranks.h"

using namespace optp;
using namespace optp::testing;

namespace {

constexpr int world_sizes[] = {1, 2, 3, 5, 8};
constexpr DType reducible[] = {DType::f32, DType::f64, DType::f16, DType::bf16, DType::i32, DType::i64};
using Sizes = std::vector<int64_t>;

int64_t elements(const Sizes& dims) {
  int64_t n = 1;
  for (int64_t extent : dims) n *= extent;
  return n;
}

template <class T>
T combine(Reduce reduce, T a, T b) {
  switch (reduce) {
    case Reduce::sum:
      return T(a + b);
    case Reduce::max:
      return a > b ? a : b;
    default:
      return a < b ? a : b;
  }
}
template <class T>
Bytes reduce_plain(Reduce reduce, const std::vector<Bytes>& in) {
  Bytes out = in[0];
  for (size_t member = 1; member < in.size(); ++member)
    for (size_t i = 0; i < out.size() / sizeof(T); ++i)
      put(out, i, combine(reduce, get<T>(out, i), get<T>(in[member], i)));
  return out;
}
Bytes reduce_halves(Reduce reduce, const std::vector<Bytes>& in, float (*widen)(uint16_t), uint16_t (*narrow)(float)) {
  Bytes out = in[0];
  for (size_t i = 0; i < out.size() / 2; ++i) {
    float sum = widen(get<uint16_t>(in[0], i));
    for (size_t member = 1; member < in.size(); ++member)
      sum = combine(reduce, sum, widen(get<uint16_t>(in[member], i)));
    put(out, i, narrow(sum));
  }
  return out;
}
Bytes reference_reduce(DType dtype, Reduce reduce, const std::vector<Bytes>& in) {
  switch (dtype) {
    case DType::f32:
      return reduce_plain<float>(reduce, in);
    case DType::f64:
      return reduce_plain<double>(reduce, in);
    case DType::f16:
      return reduce_halves(reduce, in, f16_to_f32, f32_to_f16);
    case DType::bf16:
      return reduce_halves(reduce, in, bf16_to_f32, f32_to_bf16);
    case DType::i32:
      return reduce == Reduce::sum ? reduce_plain<uint32_t>(reduce, in) : reduce_plain<int32_t>(reduce, in);
    default:
      return reduce == Reduce::sum ? reduce_plain<uint64_t>(reduce, in) : reduce_plain<int64_t>(reduce, in);
  }
}

// Member i's chunk of the whole along an axis.
Bytes chunk_of(const Bytes& whole, const Sizes& dims, int64_t element_bytes, int axis, int members, int i) {
  Bytes out;
  std::vector<int64_t> index(dims.size(), 0);
  const int64_t start = chunk_start(dims[axis], members, i), end = start + chunk_size(dims[axis], members, i);
  for (int64_t flat = 0; flat < elements(dims); ++flat) {
    int64_t rest = flat;
    for (int axis = int(dims.size()) - 1; axis >= 0; --axis) index[axis] = rest % dims[axis], rest /= dims[axis];
    if (index[axis] < start || index[axis] >= end) continue;
    out.insert(out.end(), whole.begin() + flat * element_bytes, whole.begin() + (flat + 1) * element_bytes);
  }
  return out;
}

std::vector<Bytes> inputs(DType dtype, const Sizes& dims, int members, uint64_t seed) {
  std::vector<Bytes> in;
  for (int member = 0; member < members; ++member)
    in.push_back(random_tensor(dtype, elements(dims), seed * 100 + member));
  return in;
}

}  // namespace

TEST_CASE("all_reduce gives all members the naive reference's bytes, small and large, in place too") {
  for (int size : world_sizes)
    for (DType dtype : reducible) {
      ThreadWorld world(size);
      const std::vector<int> group = all_ranks(size);
      for (const Sizes& dims : {Sizes{0}, Sizes{1}, Sizes{3}, Sizes{7, 11}, Sizes{4099}, Sizes{50257}, Sizes{}})
        for (Reduce reduce : {Reduce::sum, Reduce::max, Reduce::min})
          for (bool in_place : {false, true}) {
            CAPTURE(size);
            CAPTURE(to_string(dtype).str());
            CAPTURE(dims.size() ? dims[0] : -1);
            const std::vector<Bytes> in = inputs(dtype, dims, size, 1);
            const Bytes expected = reference_reduce(dtype, reduce, in);
            std::vector<Bytes> source = in, out(size, Bytes(expected.size(), 0xee));
            CHECK(run_ranks(world, [&](Communicator& comm) {
                    Bytes& target = in_place ? source[comm.rank()] : out[comm.rank()];
                    return all_reduce(comm, {"x", dtype, dims}, group, reduce, source[comm.rank()].data(),
                                      target.data());
                  }) == successes(size));
            for (int rank = 0; rank < size; ++rank) {
              CHECK((in_place ? source : out)[rank] == expected);
              if (!in_place) CHECK(source[rank] == in[rank]);
            }
          }
    }
}

TEST_CASE("all_gather joins uneven and empty chunks along any axis") {
  for (int size : world_sizes) {
    ThreadWorld world(size);
    const std::vector<int> group = all_ranks(size);
    for (DType dtype : {DType::f32, DType::f16, DType::i64, DType::boolean})
      for (const Sizes& dims :
           {Sizes{50257}, Sizes{3, 12, 5}, Sizes{2, 3}, Sizes{3, 2, 5003}, Sizes{0, 4}, Sizes{4, 0}})
        for (int axis = 0; axis < int(dims.size()); ++axis) {
          CAPTURE(size);
          CAPTURE(axis);
          const Bytes whole = random_tensor(dtype, elements(dims), 2);
          std::vector<Bytes> out(size, Bytes(whole.size(), 0xee));
          CHECK(run_ranks(world, [&](Communicator& comm) {
                  const Bytes in = chunk_of(whole, dims, size_bytes(dtype), axis, size, comm.rank());
                  return all_gather(comm, {"x", dtype, dims}, group, axis, in.data(), out[comm.rank()].data());
                }) == successes(size));
          for (int rank = 0; rank < size; ++rank) CHECK(out[rank] == whole);
        }
  }
}

TEST_CASE("all_gather's input may lie at its place in the output") {
  for (int64_t n : {12, 50257}) {
    ThreadWorld world(5);
    const std::vector<int> group = all_ranks(5);
    const Bytes whole = random_tensor(DType::f32, n, 3);
    std::vector<Bytes> out(5, Bytes(whole.size(), 0xee));
    CHECK(run_ranks(world, [&](Communicator& comm) {
            uint8_t* own = out[comm.rank()].data() + chunk_start(n, 5, comm.rank()) * 4;
            const Bytes in = chunk_of(whole, {n}, 4, 0, 5, comm.rank());
            std::memcpy(own, in.data(), in.size());
            return all_gather(comm, {"x", DType::f32, {n}}, group, 0, own, out[comm.rank()].data());
          }) == successes(5));
    for (int rank = 0; rank < 5; ++rank) CHECK(out[rank] == whole);
  }
}

TEST_CASE("reduce_scatter gives each member its chunk of the all_reduce") {
  for (int size : world_sizes) {
    ThreadWorld world(size);
    const std::vector<int> group = all_ranks(size);
    for (DType dtype : reducible)
      for (const Sizes& dims : {Sizes{50257}, Sizes{3, 12, 5}, Sizes{2, 3}, Sizes{2, 8200}, Sizes{0, 4}, Sizes{4, 0}})
        for (int axis = 0; axis < int(dims.size()); ++axis)
          for (Reduce reduce : {Reduce::sum, Reduce::max}) {
            CAPTURE(size);
            CAPTURE(axis);
            const std::vector<Bytes> in = inputs(dtype, dims, size, 4);
            const Bytes whole = reference_reduce(dtype, reduce, in);
            std::vector<Bytes> out(size), expected(size);
            for (int rank = 0; rank < size; ++rank) {
              expected[rank] = chunk_of(whole, dims, size_bytes(dtype), axis, size, rank);
              out[rank].resize(expected[rank].size(), 0xee);
            }
            CHECK(run_ranks(world, [&](Communicator& comm) {
                    return reduce_scatter(comm, {"x", dtype, dims}, group, reduce, axis, in[comm.rank()].data(),
                                          out[comm.rank()].data());
                  }) == successes(size));
            CHECK(out == expected);
          }
  }
}

TEST_CASE("all_to_all turns a split along one axis into a split along another") {
  for (int size : world_sizes) {
    ThreadWorld world(size);
    const std::vector<int> group = all_ranks(size);
    for (DType dtype : {DType::f32, DType::bf16, DType::u8})
      for (const Sizes& dims : {Sizes{12, 5}, Sizes{2, 7, 3, 12}, Sizes{3, 2}, Sizes{64, 3, 300}, Sizes{4, 0, 3}})
        for (int split = 0; split < int(dims.size()); ++split)
          for (int concat = 0; concat < int(dims.size()); ++concat) {
            if (split == concat) continue;
            CAPTURE(size);
            CAPTURE(split);
            CAPTURE(concat);
            const Bytes whole = random_tensor(dtype, elements(dims), 5);
            std::vector<Bytes> out(size), expected(size);
            for (int rank = 0; rank < size; ++rank) {
              expected[rank] = chunk_of(whole, dims, size_bytes(dtype), split, size, rank);
              out[rank].resize(expected[rank].size(), 0xee);
            }
            CHECK(run_ranks(world, [&](Communicator& comm) {
                    const Bytes in = chunk_of(whole, dims, size_bytes(dtype), concat, size, comm.rank());
                    return all_to_all(comm, {"x", dtype, dims}, group, split, concat, in.data(),
                                      out[comm.rank()].data());
                  }) == successes(size));
            CHECK(out == expected);
          }
  }
}

TEST_CASE("an all_reduce gives the same bytes on all members and in every run") {
  for (int size : {3, 8})
    for (int64_t n : {1000, 100003}) {
      ThreadWorld world(size);
      const std::vector<int> group = all_ranks(size);
      const std::vector<Bytes> in = inputs(DType::f32, {n}, size, 7);
      const Bytes expected = reference_reduce(DType::f32, Reduce::sum, in);
      std::vector<int> wrong(size, 0);
      CHECK(run_ranks(world, [&](Communicator& comm) -> llvm::Error {
              for (int repeat = 0; repeat < 100; ++repeat) {
                Bytes data = in[comm.rank()];
                if (llvm::Error e =
                        all_reduce(comm, {"x", DType::f32, {n}}, group, Reduce::sum, data.data(), data.data()))
                  return e;
                wrong[comm.rank()] += data != expected;
              }
              return llvm::Error::success();
            }) == successes(size));
      CHECK(wrong == std::vector<int>(size, 0));
    }
}

TEST_CASE("the group's order is the order of additions and of chunks") {
  ThreadWorld world(4);
  const std::vector<int> group = {2, 0, 3};
  const float values[] = {1e8f, 0, 1, -1e8f};  // of ranks 0 to 3: (1 + 1e8) - 1e8 is 0, 1e8 - 1e8 + 1 is 1
  std::vector<float> sum(4, -1);
  std::vector<Bytes> joined(4, Bytes(3));
  CHECK(run_ranks(world, [&](Communicator& comm) -> llvm::Error {
          if (comm.rank() == 1) return llvm::Error::success();
          float value = values[comm.rank()];
          if (llvm::Error e = all_reduce(comm, {"s", DType::f32, {1}}, group, Reduce::sum, &value, &sum[comm.rank()]))
            return e;
          const uint8_t own = uint8_t(comm.rank());
          return all_gather(comm, {"g", DType::u8, {3}}, group, 0, &own, joined[comm.rank()].data());
        }) == successes(4));
  for (int rank : group) {
    CHECK(sum[rank] == 0);
    CHECK(joined[rank] == Bytes{2, 0, 3});
  }
}

TEST_CASE("groups of two mesh axes and of one rank run at the same time") {
  // A mesh of data=2, tensor=4: rank = 4 d + t. Rows and columns meet in turn, at their own pace.
  ThreadWorld world(8);
  CHECK(run_ranks(world, [&](Communicator& comm) -> llvm::Error {
          const int d = comm.rank() / 4, t = comm.rank() % 4;
          const std::vector<int> tensor = {4 * d, 4 * d + 1, 4 * d + 2, 4 * d + 3}, data = {t, 4 + t},
                                 self = {comm.rank()};
          Bytes big(40000 * 4);
          for (int step = 0; step < 300; ++step) {
            int64_t value = comm.rank() + 1000 * step, sum = 0;
            for (int i = 0; i <= d; ++i)  // the first row runs less often than the second
              if (llvm::Error e = all_reduce(comm, {"t", DType::i64, {}}, tensor, Reduce::sum, &value, &sum)) return e;
            if (sum != 4000 * step + 16 * d + 6) return error(Code::difference, "tensor sum");
            for (int64_t i = 0; i < 40000; ++i) put(big, i, float(comm.rank() + i));
            if (llvm::Error e = all_reduce(comm, {"d", DType::f32, {40000}}, data, Reduce::sum, big.data(), big.data()))
              return e;
            for (int64_t i = 0; i < 40000; i += 777)
              if (get<float>(big, i) != float(2 * t + 4 + 2 * i)) return error(Code::difference, "data sum");
            if (llvm::Error e = all_reduce(comm, {"s", DType::i64, {}}, self, Reduce::sum, &value, &value)) return e;
            if (value != comm.rank() + 1000 * step) return error(Code::difference, "own sum");
          }
          return llvm::Error::success();
        }) == successes(8));
}

TEST_CASE("8 ranks pass 10,000 barriers, however few the cores") {
  ThreadWorld world(8);
  const std::vector<int> group = all_ranks(8);
  std::atomic<int> come{0};
  CHECK(run_ranks(world, [&](Communicator& comm) -> llvm::Error {
          for (int i = 0; i < 10000; ++i) {
            come.fetch_add(1);
            if (llvm::Error e = barrier(comm, "b", group)) return e;
            if (come.load() < 8 * (i + 1)) return error(Code::difference, "passed before all had come");
          }
          return llvm::Error::success();
        }) == successes(8));
}
