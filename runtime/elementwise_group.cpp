#include "runtime/elementwise_group.h"

#include "frontend/ir/op.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/IntEqClasses.h"
#include "runtime/row_programs.h"

namespace optp {
namespace {
constexpr size_t most_steps = 64, most_operands = 32;  // a bit each, of Kernel::in_place
constexpr int64_t tiny = 1024;                         // elements: no traffic that counts

// Nodes of one shape between which nothing stands that needs one of them are a run. Those of a run that read the same
// values or each other's are a group; others side by side would only keep what they read for longer.
class Finder {
 public:
  Finder(const Graph& graph, const KernelContext& context, const llvm::DenseSet<const Node*>& taken,
         const llvm::DenseSet<const Value*>& read)
      : graph_(graph), taken_(taken), read_(read), rows_(context) {}

  std::vector<FusedStep> find() {
    for (const auto& node : graph_.nodes) {
      note_constant(*node);
      const bool depends = llvm::any_of(node->operands, [&](const Value* v) { return made_.contains(v); });
      if (!is_candidate(*node)) {
        if (depends || node->op->collective || node->op->is(Trait::product)) close();
        continue;
      }
      const bool fits = run_.empty() || dims_of(node->out()) == dims_of(run_[0]->out());
      if (!fits && !depends && count_of(dims_of(node->out())) <= tiny) continue;
      if (!fits) close();
      made_[&node->out()] = run_.size();
      run_.push_back(node.get());
    }
    close();
    return std::move(found_);
  }

 private:
  const Graph& graph_;
  const llvm::DenseSet<const Node*>& taken_;
  const llvm::DenseSet<const Value*>& read_;
  RowsOfNodes rows_;
  llvm::DenseSet<const Value*> constants_;  // made of data alone: computed before anything runs
  std::vector<FusedStep> found_;
  std::vector<const Node*> run_;               // that is open
  llvm::DenseMap<const Value*, size_t> made_;  // by its nodes

  static llvm::SmallVector<int64_t, 4> dims_of(const Value& v) { return spec_of(v).dims; }
  void note_constant(const Node& node) {
    if (node.op->collective) return;
    if (llvm::all_of(node.operands, [&](const Value* v) { return v->is_data() || constants_.contains(v); }))
      for (const auto& r : node.results) constants_.insert(r.get());
  }
  bool is_candidate(const Node& node) {
    return !taken_.contains(&node) && node.results.size() == 1 && !constants_.contains(&node.out()) &&
           !view_offset(node) && rows_.of(node);
  }

  // Which of the run's nodes belong together: an int for each, the same for those of one group.
  llvm::IntEqClasses classes() const {
    llvm::IntEqClasses out(unsigned(run_.size()));
    llvm::DenseMap<const Value*, unsigned> first_reader;
    for (unsigned k = 0; k < run_.size(); ++k)
      for (const Value* v : run_[k]->operands)
        if (const auto made = made_.find(v); made != made_.end())
          out.join(unsigned(made->second), k);
        else if (dims_of(*v) == dims_of(run_[k]->out()))
          out.join(first_reader.try_emplace(v, k).first->second, k);
    out.compress();
    return out;
  }
  void close() {
    const llvm::IntEqClasses of = classes();
    std::vector<std::vector<const Node*>> groups(of.getNumClasses());
    std::vector<llvm::DenseSet<const Value*>> values(groups.size());
    for (unsigned k = 0; k < run_.size(); ++k) {
      auto& group = groups[of[k]];
      auto& seen = values[of[k]];
      if (group.size() == most_steps || seen.size() + run_[k]->operands.size() >= most_operands) {
        emit(group);
        group.clear(), seen.clear();
      }
      group.push_back(run_[k]);
      seen.insert(run_[k]->operands.begin(), run_[k]->operands.end());
    }
    for (const auto& group : groups) emit(group);
    run_.clear(), made_.clear();
  }

  void emit(llvm::ArrayRef<const Node*> nodes) {
    if (nodes.size() < 2) return;
    FusedStep out;
    out.anchor = nodes.front(), out.last = nodes.back();
    out.nodes = nodes.vec();
    auto group = std::make_shared<ElementwiseGroup>();
    llvm::DenseMap<const Value*, unsigned> made, read;
    for (const Node* node : nodes) {
      ElementwiseGroup::Step step{
          .row = rows_.of(*node), .in = {}, .element_bytes = size_bytes(node->out().type.dtype)};
      for (const Value* v : node->operands) {
        if (const auto at = made.find(v); at != made.end()) {
          step.in.push_back({true, at->second});
          continue;
        }
        const auto [at, is_new] = read.try_emplace(v, unsigned(out.operands.size()));
        if (is_new) out.operands.push_back(v);
        step.in.push_back({false, at->second});
      }
      made[&node->out()] = unsigned(group->steps.size());
      group->steps.push_back(std::move(step));
    }
    for (size_t k = 0; k < nodes.size(); ++k) {
      const Value& v = nodes[k]->out();
      const bool inner = llvm::all_of(v.uses, [&](const Use& use) { return llvm::is_contained(nodes, use.node); });
      if (inner && !read_.contains(&v) && !graph_.is_output(v)) continue;
      group->steps[k].result = int(out.results.size());
      out.results.push_back(&v);
    }
    out.group = std::move(group);
    if (!out.results.empty()) found_.push_back(std::move(out));  // else nobody needs it
  }
};
}  // namespace

std::vector<FusedStep> find_elementwise_groups(const Graph& graph, const KernelContext& context,
                                               const llvm::DenseSet<const Node*>& taken,
                                               const llvm::DenseSet<const Value*>& read) {
  return Finder(graph, context, taken, read).find();
}
}  // namespace optp
