#include "frontend/models/random_weights.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cassert>
#include <cerrno>
#include <cmath>
#include <random>
#include <thread>
#include <vector>

#include "frontend/io/files.h"
#include "frontend/io/interrupts.h"
#include "frontend/io/output_transaction.h"
#include "frontend/ir/diagnostic.h"

namespace optp {
namespace {
constexpr float standard_deviation = 0.02F;  // OPT's own initialisation

// SplitMix64 (Steele, Lea, Flood 2014): word i of a stream is the finaliser of key + i * golden, so any word is at hand
// without those before it.
constexpr uint64_t golden = 0x9e3779b97f4a7c15;
uint64_t mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

// ln(x) for x in (0, 1], after Cephes' logf; error below 1e-7 relative to the result's own size near 1.
inline float log_of(float x) {
  const int32_t bits = std::bit_cast<int32_t>(x);
  const int32_t exponent = (bits - 0x3f3504f3) >> 23;  // x = m * 2^exponent, m in [sqrt(1/2), sqrt(2))
  const float m = std::bit_cast<float>(bits - (exponent << 23)) - 1.0F, e = float(exponent), z = m * m;
  float p = 7.0376836292e-2F;
  p = p * m - 1.1514610310e-1F;
  p = p * m + 1.1676998740e-1F;
  p = p * m - 1.2420140846e-1F;
  p = p * m + 1.4249322787e-1F;
  p = p * m - 1.6668057665e-1F;
  p = p * m + 2.0000714765e-1F;
  p = p * m - 2.4999993993e-1F;
  p = p * m + 3.3333331174e-1F;
  p = p * m * z - 2.12194440e-4F * e - 0.5F * z;
  return m + p + 0.693359375F * e;
}

// Box and Muller 1958: radius sqrt(-2 ln u), a uniform angle. The angle is drawn within an eighth of a turn on either
// side of an axis, where short polynomials (Cephes' sinf, cosf) are exact to a rounding; three bits choose which axis.
constexpr size_t chunk_pairs = 256;
void draw_chunk(uint64_t key, int64_t first_pair, float mean, float* out) {
  int32_t radius_bits[chunk_pairs], angle_bits[chunk_pairs];
  for (size_t k = 0; k < chunk_pairs; ++k) {
    const uint64_t word = mix(key + (uint64_t(first_pair) + k) * golden);
    radius_bits[k] = int32_t(word >> 33);
    angle_bits[k] = int32_t(uint32_t(word));
  }
  for (size_t k = 0; k < chunk_pairs; ++k) {  // vectorised: no branch, no call
    const float u = (float(radius_bits[k]) + 1.0F) * 0x1p-31F;
    const float radius = standard_deviation * std::sqrt(-2.0F * log_of(u));
    const int32_t bits = angle_bits[k];
    const float t = float(bits >> 3) * (0x1p-28F * 0.785398163397F), z = t * t;  // [-pi/4, pi/4)
    float s = -1.9515295891e-4F;
    s = s * z + 8.3321608736e-3F;
    s = s * z - 1.6666654611e-1F;
    s = s * z * t + t;
    float c = 2.443315711809948e-5F;
    c = c * z - 1.388731625493765e-3F;
    c = c * z + 4.166664568298827e-2F;
    c = c * z * z - 0.5F * z + 1.0F;
    const int32_t cb = std::bit_cast<int32_t>(radius * c), sb = std::bit_cast<int32_t>(radius * s);
    const int32_t swap = -(bits & 1) & (cb ^ sb);
    out[2 * k] = mean + std::bit_cast<float>((cb ^ swap) ^ int32_t(uint32_t(bits & 2) << 30));
    out[2 * k + 1] = mean + std::bit_cast<float>((sb ^ swap) ^ int32_t(uint32_t(bits & 4) << 29));
  }
}
}  // namespace

void draw_normal(uint64_t seed, uint64_t parameter, int64_t first, float mean, llvm::MutableArrayRef<float> out) {
  assert(first % 2 == 0 && "pairs are drawn");
  const uint64_t key = mix(mix(seed + golden) ^ (parameter * golden));
  float chunk[2 * chunk_pairs];
  for (size_t at = 0; at < out.size(); at += 2 * chunk_pairs) {
    const size_t n = std::min(out.size() - at, 2 * chunk_pairs);
    draw_chunk(key, (first + int64_t(at)) / 2, mean, chunk);
    std::copy_n(chunk, n, out.data() + at);
  }
}

namespace {
constexpr int64_t block_elements = int64_t{1} << 18;  // 1 MiB: stays in a core's cache between drawing and writing

struct Block {
  size_t parameter;
  int64_t first, elements;
};

int write_at(int fd, const char* bytes, size_t size, int64_t offset) {
  while (size > 0) {
    const ssize_t n = ::pwrite(fd, bytes, size, offset);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return n < 0 ? errno : EIO;
    bytes += n, size -= size_t(n), offset += n;
  }
  return 0;
}

// All blocks, from all threads; the first failure ends them. 0 or errno.
int write_blocks(int fd, llvm::ArrayRef<RandomParameter> parameters, llvm::ArrayRef<Block> blocks, uint64_t seed,
                 int64_t total_bytes, const std::function<void(int64_t, int64_t)>& progress) {
  std::atomic<size_t> next = 0;
  std::atomic<int64_t> done_bytes = 0;
  std::atomic<int> failure = 0;
  const auto work = [&](bool reports) {
    std::vector<float> values(size_t{block_elements});
    while (failure == 0) {
      const size_t k = next++;
      if (k >= blocks.size()) return;
      const Block& block = blocks[k];
      const RandomParameter& p = parameters[block.parameter];
      draw_normal(seed, block.parameter, block.first, p.mean,
                  llvm::MutableArrayRef<float>(values).take_front(size_t(block.elements)));
      if (const int e = write_at(fd, reinterpret_cast<const char*>(values.data()), size_t(4 * block.elements),
                                 p.offset_bytes + 4 * block.first))
        failure = e;
      if (interrupting_signal() != 0) failure = EINTR;
      done_bytes += 4 * block.elements;
      if (reports && progress) progress(done_bytes, total_bytes);
    }
  };
  const size_t threads = std::min<size_t>(std::max(1U, std::thread::hardware_concurrency()), blocks.size());
  std::vector<std::jthread> others;
  for (size_t k = 1; k < threads; ++k) others.emplace_back(work, false);
  work(true);
  others.clear();  // joins
  if (failure == 0 && progress) progress(total_bytes, total_bytes);
  return failure;
}

std::string temporary_name(const std::string& name) {
  std::random_device random;
  return "." + name + ".tmp-" + std::to_string(random());
}

llvm::Error failed(llvm::StringRef path, const char* what, int error_number) {
  return error(Code::cannot_write).in_file(path).what(what + reason(error_number));
}

// A file that takes its name when it is whole. Where the file system has files without a name, nothing is left of one
// whose process ends before.
class NewFile {
 public:
  NewFile(llvm::StringRef path, const Descriptor& folder, std::string name)
      : path_(path), folder_(folder), name_(std::move(name)) {}
  llvm::Error check_target() {
    exists_ = ::fstatat(folder_.get(), name_.c_str(), &status_, AT_SYMLINK_NOFOLLOW) == 0;
    if (exists_ && !S_ISREG(status_.st_mode))
      return error(Code::occupied).in_file(path_).expected("a regular file or nothing").found(kind_of(status_));
    return llvm::Error::success();
  }
  llvm::Error create() {
    // Without /proc it could not be given a name later.
    file_ = Descriptor(::access("/proc/self/fd", X_OK) == 0
                           ? ::openat(folder_.get(), ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0666)
                           : -1);
    unnamed_ = bool(file_);
    while (!file_) {
      temporary_ = temporary_name(name_);
      file_ = Descriptor(
          ::openat(folder_.get(), temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666));
      if (!file_ && errno != EEXIST) return failed(path_, "a file beside it cannot be created: ", errno);
    }
    return llvm::Error::success();
  }
  int descriptor() const { return file_.get(); }
  // These return 0 or errno. Too little room is said at once, not after minutes; a file system that cannot reserve room
  // is not asked to.
  int reserve(int64_t bytes) const {
    const bool done = ::fallocate(file_.get(), 0, 0, std::max<int64_t>(bytes, 1)) == 0;
    return done || errno == EOPNOTSUPP || errno == ENOSYS ? 0 : errno;
  }
  int finish(int64_t bytes) {
    if (::ftruncate(file_.get(), bytes) != 0) return errno;
    if (exists_) (void)::fchmod(file_.get(), status_.st_mode & 07777);
    if (::fsync(file_.get()) != 0) return errno;
    if (const int e = unnamed_ ? give_temporary_name() : 0) return e;
    if (file_.close() != 0) return errno;
    return ::renameat(folder_.get(), temporary_.c_str(), folder_.get(), name_.c_str()) != 0 ? errno : 0;
  }
  void abandon() {
    file_.close();
    if (!temporary_.empty()) ::unlinkat(folder_.get(), temporary_.c_str(), 0);
  }

 private:
  int give_temporary_name() {  // linkat replaces nothing, rename does
    const std::string self = "/proc/self/fd/" + std::to_string(file_.get());
    while (true) {
      const std::string name = temporary_name(name_);
      if (::linkat(AT_FDCWD, self.c_str(), folder_.get(), name.c_str(), AT_SYMLINK_FOLLOW) == 0) {
        temporary_ = name;
        return 0;
      }
      if (errno != EEXIST) return errno;
    }
  }

  llvm::StringRef path_;
  const Descriptor& folder_;
  const std::string name_;
  Descriptor file_;
  std::string temporary_;
  bool unnamed_ = false, exists_ = false;
  struct stat status_ = {};
};
}  // namespace

llvm::Error write_random_weights(llvm::StringRef path, llvm::ArrayRef<RandomParameter> parameters, uint64_t seed,
                                 const std::function<void(int64_t, int64_t)>& progress) {
  const auto [folder, name] = split_path(path);
  const Descriptor parent(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!parent) return failed(path, "its folder cannot be opened: ", errno);
  NewFile file(path, parent, name);
  if (auto e = file.check_target()) return e;

  int64_t total_bytes = 0, end_bytes = 0;
  std::vector<Block> blocks;
  for (size_t k = 0; k < parameters.size(); ++k) {
    total_bytes += parameters[k].size_bytes();
    end_bytes = std::max(end_bytes, parameters[k].offset_bytes + parameters[k].size_bytes());
    for (int64_t first = 0; first < parameters[k].elements; first += block_elements)
      blocks.push_back({k, first, std::min(block_elements, parameters[k].elements - first)});
  }

  const DeferInterrupts defer;
  if (auto e = file.create()) return e;
  int failure = file.reserve(end_bytes);
  if (failure == 0) failure = write_blocks(file.descriptor(), parameters, blocks, seed, total_bytes, progress);
  if (failure == 0) failure = file.finish(end_bytes);
  if (failure != 0) {
    file.abandon();
    if (failure == EINTR) return error(Code::interrupted).in_file(path).what("interrupted, nothing was written");
    return failed(path, "cannot be written: ", failure);
  }
  if (::fsync(parent.get()) != 0 && errno != EINVAL && errno != EROFS)
    return failed(path, "is in place, but perhaps not after a power loss: ", errno);
  return llvm::Error::success();
}

}  // namespace optp
