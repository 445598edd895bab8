#include "frontend/ir/file_pages.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>

namespace optp {
void let_go(llvm::ArrayRef<char> bytes) {
  if (bytes.empty()) return;
  static const auto page = uintptr_t(::sysconf(_SC_PAGESIZE));
  const auto first = reinterpret_cast<uintptr_t>(bytes.data()) / page * page;
  const auto end = reinterpret_cast<uintptr_t>(bytes.data() + bytes.size());
  // A hint: if it is refused, memory stays in use.
  // NOLINTNEXTLINE(performance-no-int-to-ptr): rounded to pages as a number
  (void)::madvise(reinterpret_cast<void*>(first), size_t(end - first), MADV_DONTNEED);
}
void for_each_piece(const Tensor& tensor, llvm::function_ref<bool(llvm::ArrayRef<char>)> look) {
  constexpr size_t most = size_t(4) << 20;
  bool goes_on = true;
  for (llvm::ArrayRef<char> left = tensor.bytes; goes_on && !left.empty();) {
    const llvm::ArrayRef<char> piece = left.take_front(most);
    left = left.drop_front(piece.size());
    goes_on = look(piece);
    if (tensor.in_file) let_go(piece);
  }
}
void let_go(const Tensor& tensor) {
  const Tensor& stored = tensor.wide ? *tensor.wide : tensor;
  if (stored.in_file) let_go(stored.bytes);
}
}  // namespace optp
