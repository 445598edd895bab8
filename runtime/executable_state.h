// What an Executable is made of: compile.cpp makes it, place_buffers.cpp says where its values lie, executable.cpp runs
// it.
#pragma once
#include <deque>
#include <limits>

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/DenseSet.h"
#include "runtime/collective_queue.h"
#include "runtime/executable.h"
#include "runtime/fusion.h"
#include "runtime/kernel.h"

namespace optp {

struct Executable::State {
  // Bytes that start on a cache line, and may be backed by huge pages.
  class Bytes {
   public:
    Bytes() = default;
    explicit Bytes(int64_t n) : data_(n ? ::operator new(size_t(n), std::align_val_t(64)) : nullptr) {}
    void* get() const { return data_.get(); }
    void reset() { data_.reset(); }

   private:
    struct Free {
      void operator()(void* p) const { ::operator delete(p, std::align_val_t(64)); }
    };
    std::unique_ptr<void, Free> data_;
  };
  // A buffer; views share their operand's.
  struct Root {
    enum class Kind { constant, input, output, arena, nowhere } kind = Kind::arena;
    int64_t bytes = 0;
    int64_t first = std::numeric_limits<int64_t>::max(), last = -1;  // steps
    Bytes owned;                                                     // constant
    const void* mapped = nullptr;                                    // constant: in the model's file
    const Value* data = nullptr;                                     // constant: the model's, perhaps not loaded yet
    bool loaded = true;                                              // constant: its bytes are there
    int64_t open_uses = 0;                                           // of data: by nodes that are not compiled yet
    int index = -1;                                                  // of the graph input or output
    bool read = false;                                               // constant: by some kernel, or an output
    bool read_elements = false;                                      // constant: likewise, and not as bytes alone
    bool packed = false;                                             // constant: by some kernel, as it was compiled
    int merged = -1;                                                 // the root whose bytes it takes

    const char* bytes_now() const { return static_cast<const char*>(owned.get() ? owned.get() : mapped); }  // constant
  };
  struct Place {
    int root = -1;
    int64_t offset = 0;  // bytes
  };
  struct Step {
    const Node* anchor = nullptr;
    const Node* last = nullptr;
    std::vector<const Node*> nodes;
    Work work;
    Kernel kernel;
    llvm::SmallVector<Place, 4> in;
    llvm::SmallVector<Place, 1> out;
    int64_t scratch_offset = 0;
    double flops = 0;
    std::optional<CollectiveCall> collective;
    bool is_begun = false;  // a collective that later steps wait for
    size_t awaits = 0;      // so many of those that are begun have to be done before this step

    std::vector<std::string> ops() const;
    StepTime time(double start_us, double duration_us) const;
  };

  struct Fused {
    llvm::DenseMap<const Node*, FusedStep> by_last_node;
    llvm::DenseSet<const Node*> taken;  // into one of the steps
  };

  const Graph& graph;
  ExecutableOptions options;
  KernelContext context;
  llvm::DenseMap<const Value*, Place> places;
  std::vector<Root> roots;
  std::deque<Step> steps;  // which are large, and stay where they are
  MemoryNumbers memory;
  double flops = 0;
  Bytes arena;
  std::vector<int64_t> offsets;  // of arena roots
  std::vector<char*> base;       // of each root, while running
  std::vector<StepTime> times;
  CollectiveQueue queue;
  std::vector<const Step*> begun;             // collectives of this run, in order
  size_t awaited = 0;                         // of them
  llvm::DenseMap<const Node*, Kernel> early;  // compiled before the others, by their last node
  llvm::DenseMap<const Value*, Place> wide;   // tables in float32 that are rounded row by row

  State(const Graph& g, const ExecutableOptions& o) : graph(g), options(o), queue(o.communicator) {}

  llvm::Error compile();
  llvm::Error run(const HostInputs& inputs, HostArrays& outputs);

  bool updates_in_place(llvm::StringRef input, llvm::StringRef output) const;

  int root_of(int r) const {
    while (roots[size_t(r)].merged >= 0) r = roots[size_t(r)].merged;
    return r;
  }
  void* address(const Place& p) const {
    char* b = base[size_t(root_of(p.root))];
    return b ? b + p.offset : nullptr;
  }

 private:
  int add_root(Root::Kind kind, int64_t bytes);
  const void* constant_bytes(const Value& v) const;
  void declare(const Value& v);
  llvm::Error check_weights() const;
  llvm::Error load(const Value& v, bool as_bytes = false);
  llvm::Error load_data(Root& root, bool as_bytes);
  std::optional<Place> wide_table(const Value& v);
  static void let_go_of_copy(Root& root);
  void let_go_with_neighbours(const Root& root) const;
  void let_go_of_files() const;  // as far as they are in memory
  void used(const Node& node);
  Work work_of(const FusedStep& fused);
  llvm::Expected<bool> fold(const Node& node);
  llvm::Error add_inputs();
  llvm::Expected<std::optional<FusedStep>> widest(const Node& node, const KernelContext& attempt,
                                                  const llvm::DenseSet<const Node*>& taken);
  llvm::Expected<Fused> fuse_nodes();
  llvm::Error pack_largest(const Fused& fused);
  llvm::Error add_steps();
  void reads(Root& root, int64_t now, bool packed, bool as_bytes);
  llvm::Error add_step(const FusedStep& fused);
  void place_outputs();
  void drop_unread_gathers();
  size_t needed_at(size_t collective) const;
  void begin_collectives();
  void keep_until_done();
  bool is_update(const Root& root) const;
  void merge_in_place();
  bool becomes_result(const Step& step, size_t k, int64_t now) const;
  void plan();
  void count_bytes();
  bool stays_in_file(const Root& root) const;
  void allocate();

  llvm::Error take_inputs(const HostInputs& inputs);
  void prepare_outputs(HostArrays& outputs);
  llvm::Error run_steps();
  llvm::Error step_after_step();
  llvm::Error await(size_t count);
  llvm::Error run_step(Step& step, llvm::ArrayRef<const void*> in, llvm::ArrayRef<void*> out);
  void copy_outputs(HostArrays& outputs) const;
};

}  // namespace optp
