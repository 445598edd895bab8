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
  // `type` is of raw files: "uint8", "uint16", "uint32", "int32" or "int64". A .npy file knows its own, as does one
  // with the header of llm.c (1024 bytes: magic, version, count), which is read past.
  static llvm::Expected<TokenFile> open(llvm::StringRef path, llvm::StringRef type);
  int64_t size() const { return count_; }
  int64_t operator[](int64_t position) const;
  // Every id is a row of the vocabulary. Errors: bad_input, with the first position that is not.
  llvm::Error check_vocabulary(int64_t vocabulary) const;
  // Are a raw file's bytes ids of the vocabulary in a wider type, too? Then that one is what was written: of narrow ids
  // read in pairs as one, the second would have to be 0 (or next to it) each time.
  llvm::Error check_width(int64_t vocabulary) const;
  llvm::Error check_unchanged() const { return file_->check_unchanged(); }
  std::string blake3() const;  // of the file
  FileId id() const { return file_->id(); }

 private:
  std::shared_ptr<MappedFile> file_;
  std::vector<char> copied_;  // of a .npy file
  llvm::ArrayRef<char> bytes_;
  DType dtype_ = DType::u16;
  int64_t count_ = 0;
  bool says_type_ = false;  // the file itself
};
std::string blake3_of(llvm::ArrayRef<char> bytes);

// Ids packed into sequences of one length.
//   ids        0 1 2 3 4 5 6 7 8 9, sequences of 4
//   sequences  [0 1 2 3] [4 5 6 7] [8 9 · ·]      a single id at the end has no target and is dropped
class Sequences {
 public:
  Sequences(const TokenFile& tokens, int64_t length) : tokens_(&tokens), length_(length) {}
  int64_t length() const { return length_; }
  int64_t count() const { return tokens_->size() / length_ + (tokens_->size() % length_ >= 2); }
  // Writes a sequence's ids and labels, which are the ids; where the rest is shorter, 0 and -100.
  void fill(int64_t sequence, int64_t* ids, int64_t* labels) const;
  int64_t tokens_of(int64_t sequence) const;

 private:
  const TokenFile* tokens_;
  int64_t length_;
};
// A permutation of `count` pieces of data that depends on the seed and the epoch alone, on every machine.
std::vector<int64_t> shuffled(int64_t count, uint64_t seed, int64_t epoch);

}  // namespace optp
