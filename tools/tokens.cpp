#include "tools/tokens.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "frontend/io/npy.h"
#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/BLAKE3.h"

namespace optp {
namespace {
constexpr int64_t ignored_label = -100;

// Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (OOPSLA 2014). Not std::shuffle, whose result
// each standard library may choose.
struct SplitMix {
  uint64_t state;
  uint64_t next() {
    uint64_t z = state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
  }
  // Each number below n alike: what would favour the small ones is drawn again.
  uint64_t below(uint64_t n) {
    const uint64_t limit = -n % n;  // 2^64 mod n
    uint64_t x;
    do x = next();
    while (x < limit);
    return x % n;
  }
};
}  // namespace

std::string blake3_of(llvm::ArrayRef<char> bytes) {
  llvm::BLAKE3 hash;
  hash.update(llvm::StringRef(bytes.data(), bytes.size()));
  const auto digest = hash.final();
  return llvm::toHex(llvm::ArrayRef<uint8_t>(digest.data(), digest.size()), /*LowerCase=*/true);
}

llvm::Expected<TokenFile> TokenFile::open(llvm::StringRef path, llvm::StringRef type) {
  TokenFile out;
  if (type == "uint8") out.dtype_ = DType::u8;
  else if (type == "uint16") out.dtype_ = DType::u16;
  else if (type == "int32") out.dtype_ = DType::i32;
  else return error(Fault::usage, "--token-type " + quoted(type) + ": expected uint8, uint16 or int32");
  auto file = open_input_file(path);
  if (!file) return file.takeError();
  out.file_ = std::move(*file);
  out.bytes_ = out.file_->bytes();
  if (path.ends_with(".npy")) {
    auto array = parse_npy(path, out.bytes_);
    if (!array) return array.takeError();
    if (!llvm::is_contained({DType::u8, DType::u16, DType::u32, DType::u64, DType::i8, DType::i16, DType::i32, DType::i64}, array->dtype))
      return bad_input(path + ": dtype: expected integers, found " + long_name(array->dtype));
    out.dtype_ = array->dtype;
    out.copied_ = std::move(array->bytes);
    out.bytes_ = out.copied_;
  }
  const auto each = size_t(size_bytes(out.dtype_));
  if (out.bytes_.size() % each != 0)
    return bad_input(path + ": size: expected a multiple of " + llvm::Twine(each) + " bytes, as " + type + " has, found " + llvm::Twine(out.bytes_.size()));
  out.count_ = int64_t(out.bytes_.size() / each);
  return out;
}

int64_t TokenFile::operator[](int64_t position) const {
  auto load = [&]<typename T>(T x) {
    std::memcpy(&x, bytes_.data() + size_t(position) * sizeof(T), sizeof(T));
    return int64_t(x);
  };
  switch (dtype_) {
    case DType::u8: return load(uint8_t());
    case DType::i8: return load(int8_t());
    case DType::u16: return load(uint16_t());
    case DType::i16: return load(int16_t());
    case DType::u32: return load(uint32_t());
    case DType::i32: return load(int32_t());
    default: return load(int64_t());  // an unsigned one above int64 becomes negative, which no vocabulary has
  }
}

llvm::Error TokenFile::check_vocabulary(int64_t vocabulary) const {
  for (int64_t k = 0; k < count_; ++k) {
    const int64_t id = (*this)[k];
    if (id < 0 || id >= vocabulary)
      return bad_input(file_->name() + ": token " + llvm::Twine(k) + ": expected an id from 0 to " + llvm::Twine(vocabulary - 1) + ", the model's vocabulary, found " + llvm::Twine(id));
  }
  return llvm::Error::success();
}

std::string TokenFile::blake3() const { return blake3_of(file_->bytes()); }

int64_t Sequences::tokens_of(int64_t sequence) const { return std::min(length_, tokens_->size() - sequence * length_); }

void Sequences::fill(int64_t sequence, int64_t* ids, int64_t* labels) const {
  const int64_t n = tokens_of(sequence);
  for (int64_t k = 0; k < length_; ++k) {
    ids[k] = k < n ? (*tokens_)[sequence * length_ + k] : 0;
    labels[k] = k < n ? ids[k] : ignored_label;
  }
}

std::vector<int64_t> Sequences::order(int64_t epoch) const {
  std::vector<int64_t> out(static_cast<size_t>(count()));
  std::iota(out.begin(), out.end(), 0);
  SplitMix random{seed_};
  random.state = random.next() ^ uint64_t(epoch);
  for (size_t k = out.size(); k > 1; --k) std::swap(out[k - 1], out[random.below(k)]);
  return out;
}
}  // namespace optp
