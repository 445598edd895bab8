// What a training run learns from, in pieces that each epoch has once and in an order of its own: sequences of a file
// of tokens, or folders with an array for each input of the model and its labels.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tools/run/run.h"
#include "tools/train/training_batch.h"

namespace optp {

struct DataOptions {
  std::string model;               // for messages
  const Graph* graph = nullptr;    // of the model, whose lookups are judged before the first step; null: they are not
  std::string tokens, token_type;  // --data
  std::string folders;             // --inputs-dir; one of these two is given
  DimValues dims;                  // that were asked for
  struct Extent {
    std::optional<int64_t> asked, before;  // by the command line; by the checkpoint
  };
  Extent batch, length;  // of tokens; folders say theirs
  uint64_t seed = 0;
};

class TrainingData {
 public:
  // `ports`: the plan's inputs of roles data and labels; `ranks`: those to cut for. All is read once and judged: an id
  // that is no row, a label that is no class is an error before the first step. Errors name the file, the position, or
  // the folder.
  static llvm::Expected<TrainingData> open(const DataOptions& options, std::vector<Port> ports,
                                           llvm::ArrayRef<size_t> ranks);
  int64_t count() const { return sequences_ ? sequences_->count() : int64_t(folders_.size()); }
  std::vector<int64_t> order(int64_t epoch) const { return shuffled(count(), seed_, epoch); }
  // `pieces`: as many as a micro-batch has, or what is left of them.
  llvm::Expected<TrainingBatch> make(llvm::ArrayRef<int64_t> pieces) const;
  int64_t batch() const { return batch_; }                  // pieces in a micro-batch: sequences, or one folder
  int64_t length() const { return length_; }                // of a sequence; 0 of folders
  std::string names(llvm::ArrayRef<int64_t> pieces) const;  // of folders
  const std::string& path() const { return path_; }
  const std::string& blake3() const { return blake3_; }
  llvm::ArrayRef<FileId> files() const { return files_; }
  llvm::Error check_length(const Graph& graph) const;  // of tokens: has every table a row for each position?
  llvm::Error check_unchanged() const {
    return tokens_ ? tokens_->check_unchanged() : llvm::Error::success();
  }  // a folder is compared each time it is read

 private:
  llvm::Error open_tokens(const DataOptions& options, std::vector<Port> ports, llvm::ArrayRef<size_t> ranks);
  llvm::Error open_folders(const DataOptions& options, std::vector<Port> ports, llvm::ArrayRef<size_t> ranks);
  struct Folder {
    std::string path, blake3;
  };
  llvm::Expected<std::string> hash_of(const std::string& folder, std::vector<FileId>* files) const;
  llvm::Expected<Batch> read_whole(const Folder& folder) const;
  llvm::Expected<TrainingBatch> read(const Folder& folder) const;

  std::string path_, blake3_;
  std::vector<FileId> files_;
  uint64_t seed_ = 0;
  int64_t batch_ = 1, length_ = 0;
  std::unique_ptr<TokenFile> tokens_;
  std::optional<Sequences> sequences_;
  std::optional<BatchMaker> maker_;
  std::vector<Folder> folders_;
  std::vector<Port> ports_;
  DimValues dims_;
  std::vector<size_t> ranks_;
};

}  // namespace optp
