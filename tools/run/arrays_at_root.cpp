#include "tools/run/arrays_at_root.h"

#include <cstring>
#include <optional>

namespace optp {
namespace {
// An array on its way: a byte that says whether there is one, its dtype, its dims with their number before them, bytes.
template <typename T>
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}
void put(std::string& out, const HostArray* array) {
  put<uint8_t>(out, array != nullptr);
  if (!array) return;
  put<uint8_t>(out, uint8_t(array->dtype));
  put<uint64_t>(out, array->dims.size());
  for (const int64_t d : array->dims) put(out, d);
  put<uint64_t>(out, array->bytes.size());
  out.append(array->bytes.data(), array->bytes.size());
}

class Taker {
 public:
  explicit Taker(llvm::StringRef text) : rest_(text) {}
  bool is_damaged() const { return damaged_; }
  template <typename T>
  T take() {
    T value{};
    if (const llvm::StringRef bytes = take_bytes(sizeof value); !bytes.empty())
      // NOLINTNEXTLINE(bugprone-suspicious-stringview-data-usage): its size is checked
      std::memcpy(&value, bytes.data(), sizeof value);
    return value;
  }
  std::optional<HostArray> take_array() {
    if (!take<uint8_t>()) return std::nullopt;
    HostArray out;
    out.dtype = DType(take<uint8_t>());
    for (uint64_t left = take<uint64_t>(); left > 0 && !damaged_; --left) out.dims.push_back(take<int64_t>());
    const llvm::StringRef bytes = take_bytes(take<uint64_t>());
    out.bytes.assign(bytes.begin(), bytes.end());
    return out;
  }

 private:
  llvm::StringRef take_bytes(uint64_t count) {
    if (count > rest_.size()) return damaged_ = true, llvm::StringRef();
    const llvm::StringRef out = rest_.take_front(count);
    rest_ = rest_.drop_front(count);
    return out;
  }
  llvm::StringRef rest_;
  bool damaged_ = false;
};
}  // namespace

llvm::Expected<ArraysAtRoot> ArraysAtRoot::gather(World& world, llvm::ArrayRef<std::string> names, HeldArray held) {
  PerRank<std::string> own(world.held());
  for (const size_t r : world.held())
    for (const std::string& name : names)
      if (!world.is_root()) put(own[r], held(r, name));
  auto all = world.gather(std::move(own));
  if (!all) return all.takeError();
  ArraysAtRoot out;
  out.found_ = PerRank<std::map<std::string, const HostArray*, std::less<>>>(all->ranks());
  for (const size_t r : all->ranks()) {
    Taker sent((*all)[r]);
    for (const std::string& name : names)
      if (world.holds(r))
        out.found_[r][name] = held(r, name);
      else if (auto array = sent.take_array())
        out.found_[r][name] = &out.sent_.emplace_back(std::move(*array));
    if (sent.is_damaged()) return error(Code::bug, "a message between processes is damaged");
  }
  return out;
}

const HostArray* ArraysAtRoot::find(size_t rank, llvm::StringRef name) const {
  const auto it = found_[rank].find(name);
  return it == found_[rank].end() ? nullptr : it->second;
}

}  // namespace optp
