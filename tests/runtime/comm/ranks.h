// Runs a function on every rank of a world of threads, and helpers to fill and read buffers of any dtype.
#pragma once
#include <doctest/doctest.h>

#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "frontend/ir/diagnostic.h"
#include "frontend/ir/dtype.h"
#include "llvm/Support/Error.h"
#include "runtime/comm/thread_communicator.h"

template <>
struct doctest::StringMaker<std::vector<std::string>> {
  static String convert(const std::vector<std::string>& messages) {
    std::string text;
    for (const std::string& message : messages) text += "\n    \"" + message + "\"";
    return text.c_str();
  }
};

namespace optp::testing {

using Bytes = std::vector<uint8_t>;

// Each rank's error message, "" where it succeeded; a failure must be of the given fault.
inline std::vector<std::string> run_ranks(llvm::ArrayRef<Communicator*> ranks,
                                          const std::function<llvm::Error(Communicator&)>& body) {
  std::vector<std::string> messages(ranks.size());
  std::vector<std::thread> threads;
  for (size_t rank = 0; rank < ranks.size(); ++rank)
    threads.emplace_back([&, rank] {
      llvm::handleAllErrors(body(*ranks[rank]), [&](const Diagnostic& d) {
        messages[rank] =
            (d.fault() == Fault::rank_failed ? "" : "fault " + std::to_string(int(d.fault())) + ": ") + d.message();
      });
    });
  for (std::thread& thread : threads) thread.join();
  return messages;
}
inline std::vector<std::string> run_ranks(ThreadWorld& world, const std::function<llvm::Error(Communicator&)>& body) {
  std::vector<Communicator*> ranks;
  for (size_t rank = 0; rank < world.size(); ++rank) ranks.push_back(&world.communicator(rank));
  return run_ranks(ranks, body);
}

inline std::vector<int> all_ranks(int size) {
  std::vector<int> ranks(size);
  for (int rank = 0; rank < size; ++rank) ranks[rank] = rank;
  return ranks;
}

inline std::vector<std::string> successes(int size) { return std::vector<std::string>(size); }

// Collectives with their arguments one by one.
struct Tensor {
  std::string id;
  DType dtype = DType::undefined;
  std::vector<int64_t> dims;
};
inline CollectiveCall call_on(const Tensor& t, llvm::ArrayRef<int> group, CollectiveCall call) {
  call.id = t.id, call.dtype = t.dtype, call.group.assign(group.begin(), group.end());
  call.dims.assign(t.dims.begin(), t.dims.end());
  return call;
}
inline llvm::Error all_reduce(Communicator& comm, const Tensor& t, llvm::ArrayRef<int> group, Reduce reduce,
                              const void* in, void* out) {
  return comm.run(call_on(t, group, {.kind = Collective::all_reduce, .reduce = reduce}), in, out);
}
inline llvm::Error all_gather(Communicator& comm, const Tensor& t, llvm::ArrayRef<int> group, int axis, const void* in,
                              void* out) {
  return comm.run(call_on(t, group, {.kind = Collective::all_gather, .join_axis = axis}), in, out);
}
inline llvm::Error reduce_scatter(Communicator& comm, const Tensor& t, llvm::ArrayRef<int> group, Reduce reduce,
                                  int axis, const void* in, void* out) {
  return comm.run(call_on(t, group, {.kind = Collective::reduce_scatter, .reduce = reduce, .cut_axis = axis}), in, out);
}
inline llvm::Error all_to_all(Communicator& comm, const Tensor& t, llvm::ArrayRef<int> group, int split_axis,
                              int concat_axis, const void* in, void* out) {
  return comm.run(call_on(t, group, {.kind = Collective::all_to_all, .cut_axis = split_axis, .join_axis = concat_axis}),
                  in, out);
}
inline llvm::Error barrier(Communicator& comm, const std::string& id, llvm::ArrayRef<int> group) {
  return comm.run(call_on({id, DType::undefined, {}}, group, {.kind = Collective::barrier}), nullptr, nullptr);
}

// A small generator, the same everywhere.
struct Random {
  uint64_t state;
  uint64_t next() {
    state += 0x9e3779b97f4a7c15;
    uint64_t z = state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  double uniform() { return double(next() >> 11) * 0x1p-53 * 2 - 1; }
};

template <class T>
T get(const Bytes& bytes, int64_t index) {
  T value;
  std::memcpy(&value, bytes.data() + index * sizeof(T), sizeof(T));
  return value;
}
template <class T>
void put(Bytes& bytes, int64_t index, T value) {
  std::memcpy(bytes.data() + index * sizeof(T), &value, sizeof(T));
}

// Floats in (-1, 1), of different exponents; integers over their whole range.
inline Bytes random_tensor(DType dtype, int64_t elements, uint64_t seed) {
  Random random{seed};
  Bytes bytes(elements * size_bytes(dtype));
  for (int64_t i = 0; i < elements; ++i) {
    const double value = random.uniform();
    switch (dtype) {
      case DType::f32:
        put(bytes, i, float(value));
        break;
      case DType::f64:
        put(bytes, i, value);
        break;
      case DType::f16:
        put(bytes, i, f32_to_f16(float(value)));
        break;
      case DType::bf16:
        put(bytes, i, f32_to_bf16(float(value)));
        break;
      default:
        for (int64_t b = 0; b < size_bytes(dtype); ++b) bytes[i * size_bytes(dtype) + b] = uint8_t(random.next());
    }
  }
  return bytes;
}

}  // namespace optp::testing
