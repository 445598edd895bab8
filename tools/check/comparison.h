// Comparing what ranks computed with what the whole model computes.
#pragma once
#include <deque>
#include <map>
#include <optional>
#include <string>

#include "frontend/ir/diagnostic.h"
#include "frontend/ir/graph.h"
#include "runtime/reference.h"
#include "tools/check/rounding.h"

namespace optp {

class Progress;

// A line of a check's table.
struct Row {
  std::string name, against, note = {};
  int64_t values = 0, elements = 0;
  double error = 0, tolerance = 0;
  bool holds = true;
};

// The largest |a - b| over max(floor, max |b|); NaN and infinities must match in kind. Positions where `b` is NaN and
// `skip_nan` is set carry no promise.
double difference(const Array& a, const Array& b, bool skip_nan, int64_t* worst = nullptr, double floor = 1);
Array scalar(double x, bool floating);
std::string nine_digits(double x);  // enough that two float32 that differ are seen to differ
Diagnostic difference_at(const Where& where, const Array& expected, const Array& found,
                         int64_t at);  // ", index [0, 3]: expected 1, found 2"

// Every value of every rank against its shard of the whole run's value, all in float64, so that what differs beyond its
// rounding is a fault and the first such value is where it is. An element x of tensor t has the error
//   |difference| ÷ max(|x|, max |t| without masks' -3e38, 1e-4 · (the same max of its operands), r)
// where r is what rounding (rounding.h) needs to be allowed, at most the largest addend. So a sum that cancels is
// judged by the size of its addends, through all stages.
class LocalComparison {
 public:
  static constexpr double tolerance = 1e-9;
  struct Found {
    int64_t values = 0, elements = 0;
    double error = 0;
  };
  LocalComparison(const Mesh& mesh, llvm::ArrayRef<const Graph*> ranks)
      : mesh_(mesh), ranks_(ranks), roundings_(mesh.devices()) {}
  // `whole`: the graph before it was split, with the same named dims bound; inputs of the whole, and of each rank.
  llvm::Error run(const Graph& whole, const NamedArrays& inputs, llvm::ArrayRef<NamedArrays> rank_inputs,
                  std::optional<Progress>& progress);
  const Found& found(Phase phase) const { return found_[size_t(phase)]; }
  Found all() const;
  const std::optional<Diagnostic>& fault() const {
    return fault_;
  }  // the first value that differs: node, rank, index; empty: none
  Phase fault_phase() const { return fault_phase_; }
  const std::string& first_nan() const { return first_nan_; }  // of the whole run, first_nan.h; empty: none
  const NamedArrays& outputs() const { return outputs_; }      // of the whole run
  double addend_of(llvm::StringRef output) const;              // the largest of what the ranks summed up to it

 private:
  struct Kept {
    const Array* array = nullptr;  // in values_ or outputs_
    double scale = 0;
  };
  llvm::Error look(const Node& node, llvm::ArrayRef<const Value*> values, llvm::ArrayRef<const Array*> arrays);
  // Gives the measured difference, or nothing where the value is of no value of the whole.
  std::optional<double> compare_with_whole(const Node& node, llvm::ArrayRef<const Value*> values,
                                           llvm::ArrayRef<const Array*> arrays, double floor);
  double compare(const Node& node, const Value& value, const Array& found, const Array& expected, double scale,
                 const llvm::Twine& who);

  const Mesh& mesh_;
  llvm::ArrayRef<const Graph*> ranks_;
  std::deque<Array> values_;
  std::map<std::string, Kept, std::less<>> kept_;
  Roundings roundings_;  // of rank 0's values, for all ranks
  Found found_[4];
  std::optional<Diagnostic> fault_;
  Phase fault_phase_ = Phase::forward;
  NamedArrays outputs_;
  std::string first_nan_;
};

}  // namespace optp
