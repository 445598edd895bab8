#include "tools/run/literal.h"

#include <cmath>

#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/StringExtras.h"

namespace optp {
namespace {
class Parser {
 public:
  Parser(llvm::StringRef text, DType dtype) : left_(text), dtype_(dtype) { array_.is_float = is_float(dtype); }

  llvm::Expected<Array> parse(size_t ndim) {
    const bool is_nested = left_.starts_with("[");
    if (is_nested) {
      if (auto e = list(0, ndim)) return e;
    } else if (auto e = numbers(0)) {
      return e;
    }
    if (!left_.empty()) return bad("the end");
    if (!is_nested && ndim == 0 && array_.dims[0] == 1) array_.dims.clear();
    if (!is_nested)
      while (array_.dims.size() < ndim) array_.dims.insert(array_.dims.begin(), 1);
    return std::move(array_);
  }

 private:
  llvm::Error bad(const llvm::Twine& expected) const {
    return error(Code::bad_value).expected(expected).found(left_.empty() ? "the end" : quoted(left_));
  }
  bool take(char c) {
    left_ = left_.ltrim();
    if (!left_.starts_with(llvm::StringRef(&c, 1))) return false;
    left_ = left_.drop_front().ltrim();
    return true;
  }
  // Each list of a depth is as long as the first one.
  llvm::Error close(size_t depth, int64_t length) {
    if (array_.dims.size() <= depth) array_.dims.resize(depth + 1, -1);
    int64_t& dim = array_.dims[depth];
    if (dim >= 0 && dim != length)
      return error(Code::bad_value).what("the lists").expected("one length, " + llvm::Twine(dim)).found(length);
    dim = length;
    return llvm::Error::success();
  }
  llvm::Error list(size_t depth, size_t ndim) {
    take('[');
    if (depth >= ndim || (depth + 1 == ndim && left_.starts_with("[")))
      return error(Code::bad_value).expected("brackets of depth " + llvm::Twine(ndim)).found("more");
    if (depth + 1 == ndim || !left_.starts_with("[")) {
      if (auto e = numbers(depth)) return e;
      if (depth + 1 < ndim)
        return error(Code::bad_value).expected("brackets of depth " + llvm::Twine(ndim)).found(depth + 1);
    } else {
      int64_t length = 0;
      do {
        if (!left_.starts_with("[")) return bad("'['");
        if (auto e = list(depth + 1, ndim)) return e;
        ++length;
      } while (take(','));
      if (auto e = close(depth, length)) return e;
    }
    return take(']') ? llvm::Error::success() : bad("']' or ','");
  }
  llvm::Error numbers(size_t depth) {
    int64_t length = 0;
    left_ = left_.ltrim();
    if (!left_.starts_with("]")) do {
        if (auto e = number()) return e;
        ++length;
      } while (take(','));
    return close(depth, length);
  }
  llvm::Error number() {
    const llvm::StringRef word = left_.take_until([](char c) { return c == ',' || c == ']' || c == '['; }).rtrim();
    double x = 0;
    int64_t n = 0;
    if (array_.is_float) {
      if (word.empty() || word.getAsDouble(x)) return bad("a number");
      array_.f.push_back(x);
    } else {
      const bool is_word = dtype_ == DType::boolean && (word == "true" || word == "false");
      if (is_word)
        n = word == "true";
      else if (word.getAsInteger(10, n))
        return bad("an integer");
      array_.i.push_back(n);
    }
    left_ = left_.drop_front(word.size()).ltrim();
    return llvm::Error::success();
  }

  llvm::StringRef left_;
  DType dtype_;
  Array array_;
};
}  // namespace

bool is_literal(llvm::StringRef text) {
  const llvm::StringRef digits = text.ltrim('-').ltrim('.');
  return text.starts_with("[") || (!digits.empty() && llvm::isDigit(digits[0])) || text == "true" || text == "false" ||
         text.starts_with("true,") || text.starts_with("false,");
}

llvm::Expected<HostArray> parse_literal(llvm::StringRef text, DType dtype, size_t ndim) {
  auto array = Parser(text.trim(), dtype).parse(ndim);
  if (!array) return array.takeError();
  HostArray out = host_array(*array, dtype);
  if (!array->is_float)
    for (const auto& [asked, held] : llvm::zip(array->i, to_array(out).i))
      if (asked != held)
        return error(Code::bad_value).expected("a number that " + long_name(dtype) + " holds").found(asked);
  return out;
}
}  // namespace optp
