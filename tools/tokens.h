// Token ids as people have them on disk, and the order in which training sees them.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "frontend/io/input_folder.h"
#include "frontend/ir/dtype.h"

namespace optp {

// A file of ids: raw little-endian ones, which stay mapped, or a .npy file of integers.
class TokenFile {
 public:
  // `type` is "uint8", "uint16" or "int32": of raw files. A .npy file knows its own.
  static llvm::Expected<TokenFile> open(llvm::StringRef path, llvm::StringRef type);
  int64_t size() const { return count_; }
  int64_t operator[](int64_t position) const;
  // Every id is a row of the vocabulary. Errors: bad_input, with the first position that is not.
  llvm::Error check_vocabulary(int64_t vocabulary) const;
  llvm::Error check_unchanged() const { return file_->check_unchanged(); }
  std::string blake3() const;  // of the file
  FileId id() const { return file_->id(); }

 private:
  std::shared_ptr<MappedFile> file_;
  std::vector<char> copied_;  // of a .npy file
  llvm::ArrayRef<char> bytes_;
  DType dtype_ = DType::u16;
  int64_t count_ = 0;
};
std::string blake3_of(llvm::ArrayRef<char> bytes);

// Ids packed into sequences of one length, in a new order each epoch.
//   ids        0 1 2 3 4 5 6 7 8 9, sequences of 4
//   sequences  [0 1 2 3] [4 5 6 7] [8 9 · ·]      a rest of one id has no next one to learn and is left out
class Sequences {
 public:
  Sequences(const TokenFile& tokens, int64_t length, uint64_t seed) : tokens_(&tokens), length_(length), seed_(seed) {}
  int64_t length() const { return length_; }
  int64_t count() const { return tokens_->size() / length_ + (tokens_->size() % length_ >= 2); }
  // Writes a sequence's ids and labels, which are the ids; where the rest is shorter, 0 and -100.
  void fill(int64_t sequence, int64_t* ids, int64_t* labels) const;
  int64_t tokens_of(int64_t sequence) const;
  // A permutation of all sequences that depends on the seed and the epoch alone, on every machine.
  std::vector<int64_t> order(int64_t epoch) const;

 private:
  const TokenFile* tokens_;
  int64_t length_;
  uint64_t seed_;
};

}  // namespace optp
