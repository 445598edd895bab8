// Weights in the layouts that kernels chose for them. Executables of one rank that have the same weights, for a text's
// first tokens and for the next ones, share them.
#pragma once
#include <dnnl.hpp>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace optp {

// Memory for what lasts as long as this: one piece behind the other in few regions, which huge pages can back. A
// matrix that is read once a token is read at the speed of memory, and finding the page of every 4 KiB costs a tenth
// of that. A region's untouched rest takes no memory.
class HugePageMemory {
 public:
  HugePageMemory() = default;
  ~HugePageMemory();
  HugePageMemory(const HugePageMemory&) = delete;
  HugePageMemory& operator=(const HugePageMemory&) = delete;
  // On a cache line, zeros. Throws std::bad_alloc.
  char* allocate(size_t bytes);

 private:
  struct Region {
    char* data = nullptr;
    size_t bytes = 0;
  };
  void add_region(size_t least);
  std::vector<Region> regions_;
  size_t used_ = 0;  // of the last one
};

// Not for several threads at once. `form`: of which matrix of which tensor, in words that are the same for the same
// elements.
class PackedWeights {
 public:
  // The library's, in each layout that was asked for.
  std::vector<dnnl::memory>& in_library_layouts(const std::string& form) { return library_[form]; }
  // Our own panels, of one layout; null: not there yet.
  char*& panels(const std::string& form) { return panels_[form]; }
  // For weights that are packed into it, shared by others or not.
  HugePageMemory& memory() { return memory_; }
  int64_t bytes() const;  // of the library's layouts

 private:
  HugePageMemory memory_;
  std::map<std::string, std::vector<dnnl::memory>> library_;
  std::map<std::string, char*> panels_;
};

}  // namespace optp
