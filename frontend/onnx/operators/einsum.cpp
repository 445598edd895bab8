// Einsum (ONNX opset 12): any number of operands, ellipses, an explicit or implicit result. Two operands are one
// contract; of more, each next one is contracted with what came before, keeping the letters that are still needed.
//   "bhqd,bhkd->bhqk"   "...ij,jk"   "ij->ji"   "bi,ij,bj->b"   "bii->bi"
#include <algorithm>

#include "frontend/onnx/operators/steps.h"
#include "llvm/ADT/StringExtras.h"

namespace optp {
namespace {
using Names = llvm::SmallVector<std::string, 6>;

// A value, and the name that each of its dims goes by: a letter, or "0", "1", … for what an ellipsis stands for,
// counted from the right.
struct Term {
  Value* value = nullptr;
  Names names;
};

class Equation {
 public:
  explicit Equation(LoweringContext& c) : c_(c) {
    for (char ch : c.text("equation", ""))
      if (ch != ' ') text_ += ch;
  }

  Lowered lower() {
    auto [left, right] = llvm::StringRef(text_).split("->");
    llvm::SmallVector<llvm::StringRef, 4> texts;
    left.split(texts, ',');
    if (texts.size() != c_.operands.size())
      return wrong().expected(llvm::Twine(c_.operands.size()) + " terms, one for each operand").found(texts.size());
    for (size_t k = 0; k < texts.size(); ++k) {
      OPTP_TRY(value, c_.need(k));
      OPTP_TRY(names, names_of(texts[k], value->ndim()));
      terms_.push_back({value, names});
    }
    if (llvm::StringRef(text_).contains("->")) {
      OPTP_TRY(names, names_of(right, std::nullopt));
      result_ = names;
    } else {
      result_ = implicit_result();
    }
    for (const std::string& name : result_)
      if (!is_in_operands(name)) return wrong().what("each letter of the result in an operand");
    for (Term& t : terms_) {
      OPTP_TRY(single, without_repeats(t));
      t = single;
    }
    Term done = terms_[0];
    for (size_t k = 1; k < terms_.size(); ++k) {
      OPTP_TRY(next, contracted(done, terms_[k], k + 1 == terms_.size() ? result_ : needed_after(done, k)));
      done = next;
    }
    OPTP_TRY(y, terms_.size() == 1 ? arranged(done) : llvm::Expected<Value*>(done.value));
    return llvm::SmallVector<Value*, 2>{y};
  }

 private:
  Diagnostic wrong() const { return c_.fail(Code::malformed).what("equation " + quoted(text_)); }

  // Without `ndim` the term is the result's: its ellipsis stands for all dims that the operands' do.
  llvm::Expected<Names> names_of(llvm::StringRef text, std::optional<size_t> ndim) {
    Names out;
    const size_t letters = size_t(llvm::count_if(text, llvm::isAlpha));
    const bool has_ellipsis = text.contains("...");
    if (text.size() != letters + (has_ellipsis ? 3 : 0))
      return wrong().what("term " + quoted(text)).expected("letters, and '...' once");
    if (ndim && (has_ellipsis ? *ndim < letters : *ndim != letters))
      return wrong().what("term " + quoted(text)).expected(llvm::Twine(*ndim) + " dims of its operand");
    const size_t inner = ndim ? *ndim - letters : ellipsis_;
    ellipsis_ = std::max(ellipsis_, inner);
    for (size_t k = 0; k < text.size(); ++k) {
      if (text[k] == '.') {
        for (size_t d = inner; d-- > 0;) out.push_back(std::to_string(d));
        k += 2;
      } else if (!ndim && llvm::is_contained(out, text.substr(k, 1))) {
        return wrong().what("each letter once in the result");
      } else {
        out.push_back(text.substr(k, 1).str());
      }
    }
    return out;
  }
  // What the ellipses stand for, then the letters that occur once, in alphabetical order.
  Names implicit_result() const {
    Names out, letters;
    for (size_t d = ellipsis_; d-- > 0;) out.push_back(std::to_string(d));
    for (const Term& t : terms_)
      for (const std::string& name : t.names) letters.push_back(name);
    llvm::sort(letters);
    for (const std::string& name : letters)
      if (llvm::isAlpha(name[0]) && llvm::count(letters, name) == 1) out.push_back(name);
    return out;
  }
  // A letter twice in one operand stands for its diagonal: zeros beside that, then a sum over the second dim. A product
  // with zeros would make a NaN of an infinity beside it.
  llvm::Expected<Term> without_repeats(Term t) const {
    for (size_t d = 1; d < t.names.size();) {
      const size_t first = size_t(llvm::find(t.names, t.names[d]) - t.names.begin());
      if (first == d) {
        ++d;
        continue;
      }
      const Dims& dims = t.value->type.dims;
      if (dims[first] != dims[d]) return c_.must_equal(dims[first], dims[d], "dims " + quoted(t.names[d]));
      Dims down(d - first + 1, Dim(1)), along(dims.size() - d, Dim(1));
      down[0] = along[0] = dims[d];
      down.append(along.size() - 1, Dim(1));
      Formula f(c_.build);
      Value* is_diagonal = f.op("equal", {f.reshape(iota(f, 0, dims[d]), down), f.reshape(iota(f, 0, dims[d]), along)});
      Value* rest = f.op("where", {is_diagonal, t.value, &c_.scalar_like(*t.value, 0)});
      Value* y = f.sum(rest, {int64_t(d)}, /*keepdims=*/false);
      if (auto e = f.take_error()) return e;
      t.value = y;
      t.names.erase(t.names.begin() + long(d));
    }
    return t;
  }
  bool is_in_operands(llvm::StringRef name) const {
    return llvm::any_of(terms_, [&](const Term& t) { return llvm::is_contained(t.names, name); });
  }
  // After operand k joins `done`: the names that the result or a later operand asks for.
  Names needed_after(const Term& done, size_t k) const {
    Names out;
    auto add = [&](const std::string& name) {
      const bool later = std::any_of(terms_.begin() + long(k) + 1, terms_.end(),
                                     [&](const Term& t) { return llvm::is_contained(t.names, name); });
      if (!llvm::is_contained(out, name) && (later || llvm::is_contained(result_, name))) out.push_back(name);
    };
    for (const std::string& name : done.names) add(name);
    for (const std::string& name : terms_[k].names) add(name);
    return out;
  }
  // A dim of extent 1 is repeated where the other operand's dim of that name is longer: no loop runs over it.
  llvm::Expected<Term> contracted(const Term& a, const Term& b, const Names& result) const {
    auto extent = [](const Term& t, const std::string& name) -> std::optional<Dim> {
      auto it = llvm::find(t.names, name);
      if (it == t.names.end()) return std::nullopt;
      return t.value->type.dims[size_t(it - t.names.begin())];
    };
    auto listed = [&](const Term& own, const Term& other) {
      Names out;
      for (const std::string& name : own.names) {
        const auto there = extent(other, name);
        out.push_back(extent(own, name)->is(1) && there && !there->is(1) ? "1" : loop(name));
      }
      return std::vector<std::string>(out.begin(), out.end());
    };
    ContractLoops loops{{listed(a, b), listed(b, a)}, {}};
    for (const std::string& name : result) loops.result.push_back(loop(name));
    OPTP_TRY(y, c_.op("contract", {a.value, b.value}, {{"loops", std::move(loops)}}));
    return Term{y, result};
  }
  static std::string loop(const std::string& name) { return llvm::isAlpha(name[0]) ? name : "e" + name; }

  // One operand: what the result lacks is summed up, the rest comes in the result's order.
  llvm::Expected<Value*> arranged(const Term& term) const {
    llvm::SmallVector<int64_t, 4> summed, perm;
    Names left;
    for (size_t d = 0; d < term.names.size(); ++d) {
      if (llvm::is_contained(result_, term.names[d]))
        left.push_back(term.names[d]);
      else
        summed.push_back(int64_t(d));
    }
    Value* y = term.value;
    if (!summed.empty()) {
      OPTP_TRY(sum, c_.op("reduce_sum", {y}, {{"axes", summed}, {"keepdims", int64_t(0)}}));
      y = sum;
    }
    for (const std::string& name : result_) perm.push_back(llvm::find(left, name) - left.begin());
    return llvm::is_sorted(perm) ? llvm::Expected<Value*>(y) : c_.transpose(*y, perm);
  }

  LoweringContext& c_;
  std::string text_;
  std::vector<Term> terms_;
  Names result_;
  size_t ellipsis_ = 0;  // the most dims that one stands for
};

Lowered einsum(LoweringContext& c) { return Equation(c).lower(); }

const LoweringRow rows[] = {{"Einsum", 12, einsum}};
const RegisteredLowerings registered{rows};
}  // namespace
}  // namespace optp
