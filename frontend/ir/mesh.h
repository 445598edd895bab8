// The devices as a grid with named axes, e.g. "data=2, tensor=4". Ranks count row-major: the last axis is fastest.
#pragma once
#include <string>
#include <vector>

#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

namespace optp {

struct MeshAxis {
  std::string name;
  int64_t size = 1;
};

struct Mesh {
  std::vector<MeshAxis> axes;

  int64_t devices() const;
  const MeshAxis* find(llvm::StringRef name) const;
  int64_t axis_size(llvm::StringRef name) const;             // along an axis that is not there stands one device
  int64_t size_of(llvm::ArrayRef<std::string> names) const;  // product of the named axes
  int64_t coordinate(llvm::StringRef axis, int64_t rank) const;
  // The ranks that differ from `rank` only along the named axes, in the order of those axes (first named is slowest).
  llvm::SmallVector<int64_t, 8> group(llvm::ArrayRef<std::string> names, int64_t rank) const;
};

constexpr int64_t most_devices = 4096;  // of a mesh

std::string to_string(const Mesh& mesh);
llvm::Expected<Mesh> parse_mesh(llvm::StringRef text);  // "4" alone means "tensor=4"

// Balanced chunks: of n over k members the first n mod k get ⌈n/k⌉, the rest ⌊n/k⌋.
constexpr int64_t chunk_size(int64_t n, int64_t k, int64_t i) { return n / k + (i < n % k ? 1 : 0); }
constexpr int64_t chunk_start(int64_t n, int64_t k, int64_t i) { return i * (n / k) + (i < n % k ? i : n % k); }

}  // namespace optp
