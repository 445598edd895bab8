#include "runtime/packed_weights.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <new>

namespace optp {
namespace {
constexpr size_t huge_page = size_t(2) << 20, cache_line = 64;

size_t up(size_t n, size_t to) { return (n + to - 1) / to * to; }
}  // namespace

// Regions are address space first: what is touched of them takes memory. Where the system counts it all, they are
// small.
void HugePageMemory::add_region(size_t least) {
  for (size_t bytes : {size_t(1) << 30, size_t(1) << 26, size_t(0)}) {
    bytes = up(std::max(bytes, least), huge_page) + huge_page;
    void* at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) continue;
    // A hint: without huge pages it is as any other memory.
    (void)::madvise(at, bytes, MADV_HUGEPAGE);
    regions_.push_back({static_cast<char*>(at), bytes});
    const auto first = reinterpret_cast<uintptr_t>(at);
    used_ = up(first, huge_page) - first;
    return;
  }
  throw std::bad_alloc();
}

char* HugePageMemory::allocate(size_t bytes) {
  bytes = up(bytes, cache_line);
  if (regions_.empty() || regions_.back().bytes - used_ < bytes) add_region(bytes);
  char* out = regions_.back().data + used_;
  used_ += bytes;
  return out;
}

HugePageMemory::~HugePageMemory() {
  for (const Region& r : regions_) ::munmap(r.data, r.bytes);
}

int64_t PackedWeights::bytes() const {
  int64_t out = 0;
  for (const auto& [form, layouts] : library_)
    for (const dnnl::memory& m : layouts) out += int64_t(m.get_desc().get_size());
  return out;
}
}  // namespace optp
