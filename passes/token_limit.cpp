// How many tokens a decoder's tables have room for: it is asked at which rows they are read for the n-th token, with n
// halved in until all rows are there. So tables of positions that begin with rows for something else, that are cut, or
// that hold a mask need no rules of their own.
#include "frontend/ir/op.h"
#include "passes/cached_decoder.h"
#include "passes/input_dependence.h"
#include "passes/input_names.h"
#include "passes/passes.h"
#include "passes/token_free.h"

namespace optp {
namespace {
class Tables {
 public:
  Tables(const Graph& decoder, const Value& ids) {
    const InputDependence depends(decoder, [&](const Value& v) { return &v == &ids; });
    for (const State& s : decoder.states) capacity_ = decoder.find(s.input)->type.dims[size_t(s.axis)];
    places_ = decoder.clone();
    places_->outputs.clear(), places_->states.clear(), places_->guards.clear();
    for (const auto& node : decoder.nodes) {
      if (node->operands.empty()) continue;
      const Value& table = node->operand(0);
      const auto axis = size_t(node->integer("axis"));
      if (axis >= table.ndim() || !table.type.dims[axis].constant()) continue;
      const int64_t rows = *table.type.dims[axis].constant();
      if (node->op->is(Trait::cuts) && node->integer("step", 1) == 1)
        cuts_.push_back({table.name, node->dim("start"), node->dim("size"), rows});
      if (node->op->is(Trait::looks_up) && !depends(table) && !depends(node->operand(1))) {
        lookups_.push_back({table.name, rows});
        places_->outputs.push_back({table.name, places_->find(node->operand(1).name)});
      }
    }
    places_->erase_dead();
    for (Dim d : named_dims_of(decoder)) values_[name_of(d)->str()] = 1;
  }
  int64_t most_rows() const {
    int64_t out = 0;
    for (const Cut& c : cuts_) out = std::max(out, c.rows);
    for (const Lookup& l : lookups_) out = std::max(out, l.rows);
    return out;
  }
  // The table that has no row for the last of so many tokens; empty: all have.
  llvm::Expected<std::string> too_short_for(int64_t tokens) const {
    DimValues values = values_;
    if (const auto name = name_of(capacity_)) values[name->str()] = tokens;
    for (const Cut& c : cuts_) {
      auto start = evaluate(c.start, values), size = evaluate(c.size, values);
      if (!start || !size) return llvm::joinErrors(start.takeError(), size.takeError());
      if (*start + *size > c.rows) return c.table;
    }
    auto bound = bind_dims(*places_, values);
    if (!bound) return bound.takeError();
    TokenFree numbers([&](const Value& input) { return number_for(input, tokens - 1); });
    for (size_t k = 0; k < lookups_.size(); ++k) {
      auto rows = numbers.of(*(*bound)->outputs[k].value);
      if (!rows) {  // a row of what is not there
        llvm::consumeError(rows.takeError());
        return lookups_[k].table;
      }
      if (llvm::any_of((*rows)->i, [&](int64_t row) { return row >= lookups_[k].rows; })) return lookups_[k].table;
    }
    return "";
  }

 private:
  struct Cut {
    std::string table;
    Dim start, size;
    int64_t rows;
  };
  struct Lookup {
    std::string table;
    int64_t rows;
  };
  // Of a place and of positions that are given: the place. Masks let all tokens in.
  int64_t number_for(const Value& bound_input, int64_t place) const {
    const InputName name = input_name(bound_input.name);
    return name == InputName::positions ? place : name == InputName::mask ? 1 : 0;
  }
  Dim capacity_;
  std::unique_ptr<Graph> places_;  // its outputs are where tables are read
  std::vector<Cut> cuts_;
  std::vector<Lookup> lookups_;
  DimValues values_;
};
}  // namespace

llvm::Expected<std::optional<TokenLimit>> token_limit(const Graph& decoder) {
  auto ids = ids_of(decoder);
  if (!ids) return ids.takeError();
  const Tables tables(decoder, **ids);
  int64_t enough = 0, too_many = tables.most_rows() + 1;
  auto table = tables.too_short_for(too_many);
  if (!table) return table.takeError();
  if (table->empty()) return std::nullopt;
  TokenLimit out{0, *table};
  while (too_many - enough > 1) {
    const int64_t tokens = (enough + too_many) / 2;
    auto lacks = tables.too_short_for(tokens);
    if (!lacks) return lacks.takeError();
    (lacks->empty() ? enough : too_many) = tokens;
    if (!lacks->empty()) out.table = *lacks;
  }
  out.tokens = enough;
  return out;
}
}  // namespace optp
