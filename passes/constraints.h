// What users' constraints mean: a pattern and a word or sharding, resolved to values and their shardings.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "frontend/ir/written_sharding.h"
#include "passes/factors.h"
#include "passes/passes.h"
#include "passes/recogniser.h"

namespace optp {

enum class ConstraintWord { unknown, columns, rows, table_rows, table_columns, whole, nothing };
// A line as it was written, and what its text says.
struct ConstraintLine : Constraint {
  bool held;            // of how it is held alone; else what is computed with it follows where it can
  ConstraintWord word;  // unknown also where it is a sharding in brackets
  std::optional<llvm::SmallVector<WrittenDim, 4>> written;  // of that sharding

  size_t entries() const { return written ? written->size() : 0; }
};
ConstraintLine read_line(const Constraint& line);  // constraint_words.cpp

// What a line asks of a value, where no later line asks otherwise.
struct ValueConstraint {
  Value* value;
  Sharding sharding;
  const ConstraintLine* by;
};
struct ResolvedConstraints {
  std::vector<ConstraintLine> lines;  // all, which the list points to
  std::vector<ValueConstraint> list;  // in the order of lines, then of the graph; of each value one
  std::vector<std::string> remarks;   // on lines that are overridden, and on words that ask nothing
};
// Errors (usage, with the constraint's place): a pattern that matches nothing, a word that fits none of the matched
// values, an axis that the mesh has not.
llvm::Expected<ResolvedConstraints> resolve_constraints(const Graph& graph, const Factors& factors,
                                                        const Recogniser& recogniser,
                                                        llvm::ArrayRef<Constraint> constraints);
std::string text_of(const Constraint& c);  // "shardings.txt:3: fc1 = colwise"

// constraint_words.cpp: what the words of a line mean for one value.
struct ConstraintWords {
  const Graph& graph;
  const Factors& factors;
  const Recogniser& recogniser;
  const ConstraintLine& line;

  bool is_of_weights() const;  // colwise and the like: they mean nothing for an activation
  bool asks_nothing() const;   // of how experts are called, say
  // None where the word is about something else than this value.
  llvm::Expected<std::optional<Sharding>> sharding_of(const Value& v) const;

 private:
  Diagnostic wrong() const;
  Sharding whole(const Value& v) const;
  DimSharding cut_where_free(const Value& v, unsigned dim, const AxisUses& axes) const;
  llvm::Error check_axes(const AxisUses& axes, AxisUses& used,
                         const Value& v) const;  // and adds them to those that are used
  llvm::Error fit(const WrittenDim& written, const Value& v, unsigned d, DimSharding& out, AxisUses& used) const;
  llvm::Expected<std::optional<Sharding>> as_written(const Value& v) const;
  std::optional<unsigned> dim_of_loop(const Value& v, const Use& use, int loop) const;
  llvm::Expected<std::optional<Sharding>> of_layer(const Value& v, bool by_column) const;
  llvm::Expected<std::optional<Sharding>> cut(const Value& v, unsigned dim) const;
  std::optional<int64_t> repeated(Factors::Class c) const;
};
}  // namespace optp
