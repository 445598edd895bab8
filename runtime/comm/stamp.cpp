#include "runtime/comm/stamp.h"

#include <cstring>

namespace optp {
namespace {
void put(std::string& out, int64_t number) { out.append(reinterpret_cast<const char*>(&number), sizeof number); }

class Reader {
 public:
  explicit Reader(llvm::StringRef bytes) : rest_(bytes) {}
  int64_t number() {
    int64_t out = 0;
    if (rest_.size() < sizeof out) {
      damaged_ = true;
      return 0;
    }
    std::memcpy(&out, rest_.data(), sizeof out);
    rest_ = rest_.drop_front(sizeof out);
    return out;
  }
  // Of numbers that follow: no more than there are bytes.
  int64_t count() {
    const int64_t n = number();
    damaged_ |= n < 0 || uint64_t(n) > rest_.size() / sizeof(int64_t);
    return damaged_ ? 0 : n;
  }
  bool is_damaged() const { return damaged_; }
  llvm::StringRef rest() const { return rest_; }

 private:
  llvm::StringRef rest_;
  bool damaged_ = false;
};
}  // namespace

std::string write_stamp(const CollectiveCall& call) {
  std::string out;
  put(out, int64_t(call.kind)), put(out, int64_t(call.reduce)), put(out, int64_t(call.dtype));
  put(out, call.cut_axis), put(out, call.join_axis);
  put(out, int64_t(call.dims.size()));
  for (const int64_t extent : extents(call)) put(out, extent);
  put(out, int64_t(call.group.size()));
  for (const int rank : call.group) put(out, rank);
  return out + call.id;
}

std::optional<CollectiveCall> read_stamp(llvm::StringRef bytes) {
  Reader in(bytes);
  CollectiveCall out;
  out.kind = Collective(in.number());
  out.reduce = Reduce(in.number());
  out.dtype = DType(in.number());
  out.cut_axis = in.number(), out.join_axis = in.number();
  for (int64_t n = in.count(); n > 0; --n) out.dims.push_back(Dim(in.number()));
  for (int64_t n = in.count(); n > 0; --n) out.group.push_back(int(in.number()));
  out.id = in.rest().str();
  if (in.is_damaged()) return std::nullopt;
  return out;
}

}  // namespace optp
