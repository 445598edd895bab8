#include "tools/train/tokens.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "frontend/io/npy.h"
#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/BLAKE3.h"
#include "passes/training.h"

namespace optp {
namespace {
struct RawType {
  const char* name;
  DType dtype;
};
constexpr RawType raw_types[] = {
    {"uint8", DType::u8}, {"uint16", DType::u16}, {"uint32", DType::u32}, {"int32", DType::i32}, {"int64", DType::i64}};

int64_t id_at(llvm::ArrayRef<char> bytes, DType dtype, int64_t position) {
  auto load = [&]<typename T>(T x) {
    std::memcpy(&x, bytes.data() + size_t(position) * sizeof(T), sizeof(T));
    return int64_t(x);
  };
  switch (dtype) {
    case DType::u8:
      return load(uint8_t());
    case DType::i8:
      return load(int8_t());
    case DType::u16:
      return load(uint16_t());
    case DType::i16:
      return load(int16_t());
    case DType::u32:
      return load(uint32_t());
    case DType::i32:
      return load(int32_t());
    default:
      return load(int64_t());  // an unsigned one above int64 becomes negative, which no vocabulary has
  }
}

// llm.c, dev/data/data_common.py: 256 int32, of which the first three are magic, version and the count of ids behind
// them.
struct Header {
  int64_t magic, version;
  DType dtype;
};
constexpr Header headers[] = {{20240520, 1, DType::u16},
                              {20240801, 7, DType::u32}};  // of GPT-2's ids, and of Llama 3's
constexpr int64_t header_bytes = 256 * 4;
int64_t word(llvm::ArrayRef<char> bytes, int64_t k) { return id_at(bytes, DType::i32, k); }
const Header* header_of(llvm::ArrayRef<char> bytes) {
  if (int64_t(bytes.size()) < header_bytes) return nullptr;
  const auto* found =
      llvm::find_if(headers, [&](const Header& h) { return word(bytes, 0) == h.magic && word(bytes, 1) == h.version; });
  return found == std::end(headers) ? nullptr : found;
}

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
  const auto named = llvm::find_if(raw_types, [&](const RawType& t) { return type == t.name; });
  if (named == std::end(raw_types))
    return error(Code::bad_value).flag("--token-type", quoted(type)).expected("uint8, uint16, uint32, int32 or int64");
  out.dtype_ = named->dtype;
  auto file = open_input_file(path);
  if (!file) return file.takeError();
  out.file_ = std::move(*file);
  out.bytes_ = out.file_->bytes();
  if (path.ends_with(".npy")) {
    auto array = parse_npy(path, out.bytes_);
    if (!array) return array.takeError();
    if (!llvm::is_contained(
            {DType::u8, DType::u16, DType::u32, DType::u64, DType::i8, DType::i16, DType::i32, DType::i64},
            array->dtype))
      return error(Code::dtype_mismatch)
          .in_file(path)
          .what("dtype")
          .expected("integers")
          .found(long_name(array->dtype));
    out.dtype_ = array->dtype;
    out.copied_ = std::move(array->bytes);
    out.bytes_ = out.copied_;
    out.says_type_ = true;
  } else if (const Header* header = header_of(out.bytes_)) {
    out.dtype_ = header->dtype;
    const int64_t count = word(out.bytes_, 2);
    out.bytes_ = out.bytes_.drop_front(header_bytes);
    out.says_type_ = true;
    if (int64_t(out.bytes_.size()) != count * size_bytes(out.dtype_))
      return error(Code::size_mismatch)
          .in_file(path)
          .what("size")
          .expected(llvm::Twine(header_bytes + count * size_bytes(out.dtype_)) +
                    " bytes, as its header of llm.c says (" + llvm::Twine(count) + " ids of " + long_name(out.dtype_) +
                    ")")
          .found(header_bytes + int64_t(out.bytes_.size()));
  }
  const auto each = size_t(size_bytes(out.dtype_));
  if (out.bytes_.size() % each != 0)
    return error(Code::size_mismatch)
        .in_file(path)
        .what("size")
        .expected("a multiple of " + llvm::Twine(each) + " bytes, as " + type + " has")
        .found(out.bytes_.size());
  out.count_ = int64_t(out.bytes_.size() / each);
  return out;
}

int64_t TokenFile::operator[](int64_t position) const { return id_at(bytes_, dtype_, position); }

llvm::Error TokenFile::check_width(int64_t vocabulary) const {
  if (says_type_) return llvm::Error::success();
  // Two bytes of a text are an id of a large vocabulary as often as not: there the second must be 0.
  const int64_t limit = size_bytes(dtype_) == 1 ? std::min<int64_t>(vocabulary, 256) : vocabulary;
  const RawType* wider = nullptr;
  for (const RawType& t : raw_types) {
    const auto width = size_t(size_bytes(t.dtype));
    if (width <= size_t(size_bytes(dtype_)) || bytes_.size() % width != 0) continue;
    const auto count = int64_t(bytes_.size() / width);
    // By chance, where each id is as likely as the next: below 2^-32.
    const double bits = double(bytes_.size() / size_t(size_bytes(dtype_)) - size_t(count)) *
                        std::log2(double(std::max<int64_t>(vocabulary, 2)));
    bool fits = bits >= 32, only_zeros = true;
    for (int64_t k = 0; fits && k < count; ++k) {
      const int64_t id = id_at(bytes_, t.dtype, k);
      fits = id >= 0 && id < limit;
      only_zeros &= id == 0;
    }
    if (fits && !only_zeros && (!wider || width > size_t(size_bytes(wider->dtype)))) wider = &t;
  }
  if (!wider) return llvm::Error::success();
  const int64_t ratio = size_bytes(wider->dtype) / size_bytes(dtype_);
  return error(Code::malformed)
      .in_file(file_->name())
      .expected("ids of " + long_name(dtype_))
      .found(llvm::Twine("what reads as ids of ") + wider->name + ", all within the vocabulary: of each " +
             llvm::Twine(ratio) + " numbers " + llvm::Twine(ratio - 1) + (ratio == 2 ? " is" : " are") +
             " 0 or close to it")
      .hint(llvm::Twine("give --token-type ") + wider->name + ", or a .npy file, which says its own type");
}

llvm::Error TokenFile::check_vocabulary(int64_t vocabulary) const {
  for (int64_t k = 0; k < count_; ++k) {
    const int64_t id = (*this)[k];
    if (id < 0 || id >= vocabulary)
      return error(Code::out_of_range)
          .in_file(file_->name())
          .what("token " + llvm::Twine(k))
          .expected("an id from 0 to " + llvm::Twine(vocabulary - 1) + ", the model's vocabulary")
          .found(id);
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

std::vector<int64_t> shuffled(int64_t count, uint64_t seed, int64_t epoch) {
  std::vector<int64_t> out(static_cast<size_t>(count));
  std::iota(out.begin(), out.end(), 0);
  SplitMix random{seed};
  random.state = random.next() ^ uint64_t(epoch);
  for (size_t k = out.size(); k > 1; --k) std::swap(out[k - 1], out[random.below(k)]);
  return out;
}
}  // namespace optp
