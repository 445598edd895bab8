#include "tools/check/first_nan.h"

#include <algorithm>
#include <cmath>

#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/raw_ostream.h"
#include "tools/check/in_parts.h"

namespace optp {
namespace {
std::string short_number(double x) {
  std::string out;
  llvm::raw_string_ostream(out) << llvm::format("%.3g", x);
  return out;
}
}  // namespace

bool has_nan(const Array& a) {
  return a.is_float && llvm::any_of(a.f, [](double x) { return std::isnan(x); });
}

template <typename Numbers>
FirstNan::Range FirstNan::range_of(const Numbers& numbers) {
  return in_parts(
      numbers,
      [](const Array& a, int64_t from, int64_t to) {
        Range part;
        for (int64_t k = from; k < to; ++k) {
          const double x = a.number(k);
          part.nan |= std::isnan(x);
          part.low = std::min(part.low, x), part.high = std::max(part.high, x);  // neither takes a NaN
        }
        return part;
      },
      [](Range& all, const Range& part) {
        all.nan |= part.nan;
        all.low = std::min(all.low, part.low), all.high = std::max(all.high, part.high);
      });
}
const FirstNan::Range& FirstNan::range_of_operand(const Value& operand) {
  const auto [it, is_new] = ranges_.try_emplace(&operand);
  if (!is_new) return it->second;
  if (const auto in = inputs_.find(operand.name); in != inputs_.end())
    it->second = range_of(in->second);
  else if (operand.is_data() && !operand.data->is_missing())
    it->second = range_of(*operand.data);
  return it->second;
}

void FirstNan::look(const Node& node, const Value& result, const Array& array) {
  if (!text_.empty()) return;
  const Range own = range_of(array);
  ranges_[&result] = own;
  if (!own.nan) return;
  const auto held = llvm::find_if(node.operands, [&](const Value* v) { return range_of_operand(*v).nan; });
  if (held != node.operands.end()) {
    // What is made of another node's NaN is not the first: this one came from outside.
    text_ = "the model itself gives nan: " + called(**held) + " of " + describe(node) + " holds it";
    return;
  }
  text_ = "the model itself gives nan: first in " + called(result) + " of " + describe(node);
  for (size_t k = 0; k < node.operands.size(); ++k) {
    const Range& range = range_of_operand(*node.operands[k]);
    text_ += (k == 0 ? ", of " : ", ") + called(*node.operands[k]);
    if (range.low <= range.high) text_ += " from " + short_number(range.low) + " to " + short_number(range.high);
  }
}
}  // namespace optp
