// Rank graphs with caches (passes/cached_decoder.h), run token after token. Each rank keeps its caches where they are:
// a step writes its rows into them.
#pragma once
#include <memory>
#include <vector>

#include "frontend/ir/graph.h"
#include "passes/plan/job.h"
#include "runtime/run_ranks.h"

namespace optp {

struct DecoderOptions {
  std::string ids;                 // the input of ids, [batch, sequence]
  int64_t table_rows = 0;          // that ids choose from; 0: not known
  int64_t threads_per_device = 0;  // 0: the cores shared out
  HostArrays given;                // whole inputs that are the same in each step
  DimValues dims;                  // other named dims than rows, tokens and capacity
  bool profile = false;            // each step's time is kept
};
llvm::Error too_long_for_caches(llvm::StringRef file, int64_t capacity, int64_t tokens);

class Decoder {
 public:
  // Graphs of the ranks that the world holds, whose named dims are open. The world must outlive this. Errors: an input
  // of which nobody knows what generating gives it.
  static llvm::Expected<std::unique_ptr<Decoder>> create(World& world, PerRank<std::unique_ptr<Graph>> ranks,
                                                         const Mesh& mesh, const DecoderOptions& options);
  // Of a job whose options asked for caches: takes its rank graphs.
  static llvm::Expected<std::unique_ptr<Decoder>> create(World& world, Job& job, llvm::StringRef random_weights,
                                                         DecoderOptions options);

  // Forgets all tokens. The next ones are those of `rows` rows, of at most `most` tokens each.
  // Errors: caches of a fixed number of tokens that are fewer.
  llvm::Error begin(int64_t rows, int64_t most);
  // Together: takes the next tokens of each row, [rows, count], and gives the logits behind the last of them, [rows,
  // vocabulary]; the same on every process.
  llvm::Expected<std::vector<double>> take(llvm::ArrayRef<int64_t> ids, int64_t count);

  // How many rows there always are, of a model that was exported so; else any number.
  std::optional<int64_t> fixed_rows() const { return rows_dim_.constant(); }
  int64_t cache_bytes(size_t rank) const;  // as they stand
  // What took the last tokens; not before there were any.
  const RankThreads& last_run() const { return *last_run_; }

 private:
  // What is given to the inputs that are no caches.
  enum class Role { ids, places, mask, positions, zeros, given };
  struct Input {
    std::string name;
    Role role;
    bool has_rows = false;  // else one row is all rows'
  };
  struct Bound {
    PerRank<std::unique_ptr<Graph>> graphs;
    std::unique_ptr<RankThreads> threads;
  };
  explicit Decoder(World& world) : world_(world) {}
  llvm::Error find_roles();
  llvm::Expected<RankThreads*> bound(int64_t count);
  void make_room(int64_t tokens);
  void grow_caches(const PerRank<std::unique_ptr<Graph>>& graphs);
  HostArrays inputs_for(const Graph& graph, llvm::ArrayRef<int64_t> ids, int64_t count) const;
  llvm::Expected<std::vector<double>> last_logits(const HostArray& logits) const;

  World& world_;
  Mesh mesh_;
  DecoderOptions options_;
  PerRank<std::unique_ptr<Graph>> graphs_;
  std::vector<Input> inputs_;
  std::string logits_;
  Dim rows_dim_, count_dim_, capacity_dim_;  // of ids, as whole, and of caches
  int64_t rows_ = 0, taken_ = 0, most_ = 0, capacity_ = 0;
  PerRank<std::shared_ptr<PackedWeights>> packed_;  // shared by what is compiled for other numbers of tokens
  PerRank<HostArrays> kept_;                        // of each rank its outputs: caches and logits
  std::map<std::array<int64_t, 3>, Bound> bound_;   // by rows, count and capacity
  const RankThreads* last_run_ = nullptr;
};

}  // namespace optp
