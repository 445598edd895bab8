// Whether what a model computes whatever its ids are (positions, masks, tables of sines) is the same for the first
// tokens, however many follow. A decoder with caches computes it as if all tokens that its caches have room for were
// there: positions that are counted from the end, windows before the end, a temperature or sines chosen by the text's
// length would be others than in the model.
#include <cmath>

#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/Sequence.h"
#include "passes/cached_decoder.h"
#include "passes/passes.h"
#include "passes/token_free.h"

namespace optp {
namespace {
constexpr int64_t most_elements = int64_t(1) << 20;  // of a value that is computed to be compared
constexpr double no_score = 1e30;                    // a mask's: what is added to it is lost

// The graph's values for a text of so many tokens, one for each other name.
class Text {
 public:
  static llvm::Expected<Text> of(const Graph& graph, Dim sequence, int64_t tokens) {
    DimValues values;
    for (Dim symbol : named_dims_of(graph)) values[name_of(symbol)->str()] = symbol == sequence ? tokens : 1;
    auto bound = bind_dims(graph, values);
    if (!bound) return bound.takeError();
    return Text(std::move(*bound));
  }
  // Null: too large, or not there for so many tokens.
  const Array* numbers(llvm::StringRef name) {
    const Value* v = graph_->find(name);
    if (!v || !is_small(*v)) return nullptr;
    auto array = numbers_.of(*v);
    if (array) return *array;
    llvm::consumeError(array.takeError());
    return nullptr;
  }

 private:
  explicit Text(std::unique_ptr<Graph> graph)
      : graph_(std::move(graph)),
        // A mask of ones lets all tokens in.
        numbers_([](const Value&) { return 1; }, TokenFree::Products::computed) {}
  bool is_small(const Value& v) {
    const auto [known, is_new] = small_.try_emplace(&v, false);
    if (!is_new) return known->second;
    bool small = v.is_data() || *product(v.type.dims).constant() <= most_elements;
    if (v.producer)
      for (const Value* x : v.producer->operands) small = small && is_small(*x);
    return small_[&v] = small;
  }
  std::unique_ptr<Graph> graph_;
  TokenFree numbers_;
  llvm::DenseMap<const Value*, bool> small_;
};

bool are_equal(double a, double b) {
  return a == b || (std::isnan(a) && std::isnan(b)) || std::fabs(a - b) <= 1e-9 * std::max(std::fabs(a), std::fabs(b));
}
// Whether `more` begins as `few`. Along `shifted` it may be apart from it by one number, which a softmax does not see.
bool begins_as(const Array& few, const Array& more, std::optional<size_t> shifted) {
  llvm::SmallVector<int64_t, 4> stride(few.dims.size(), 1), stride_of_more(few.dims.size(), 1);
  for (size_t d = few.dims.size(); d-- > 1;)
    stride[d - 1] = stride[d] * few.dims[d], stride_of_more[d - 1] = stride_of_more[d] * more.dims[d];
  const int64_t line = shifted ? few.dims[*shifted] : 1, step = shifted ? stride[*shifted] : 0,
                step_of_more = shifted ? stride_of_more[*shifted] : 0;
  for (int64_t at = 0; at < few.elements(); ++at) {
    int64_t there = 0;
    bool is_first = true;
    for (size_t d = 0; d < few.dims.size(); ++d) {
      const int64_t index = at / stride[d] % few.dims[d];
      there += index * stride_of_more[d];
      is_first &= !shifted || d != *shifted || index == 0;
    }
    if (!is_first) continue;
    std::optional<double> apart;
    for (int64_t k = 0; k < line; ++k) {
      const double a = few.number(size_t(at + k * step)), b = more.number(size_t(there + k * step_of_more));
      if (are_equal(a, b) && (!shifted || !(std::fabs(a) < no_score))) continue;
      if (!shifted) return false;
      if (!apart) apart = b - a;
      if (!are_equal(a + *apart, b)) return false;
    }
  }
  return true;
}
}  // namespace

llvm::Error is_prefix_stable(const Graph& graph, Dim sequence, Dim capacity, llvm::ArrayRef<BesideTokens> values) {
  const std::optional<int64_t> most = capacity.constant();
  const int64_t few = most ? std::min<int64_t>(4, *most - 1) : 4;
  if (few < 1) return llvm::Error::success();
  auto first = Text::of(graph, sequence, few);
  if (!first) return first.takeError();
  // What a length chooses changes at some power of two, as a rule; caches that grow may reach each.
  llvm::SmallVector<int64_t, 8> lengths;
  for (int64_t n : {7, 40, 600, 5000, 40000, 300000})
    if (!most || n < *most) lengths.push_back(n);
  if (most) lengths.push_back(*most);
  for (const int64_t length : lengths) {
    auto more = Text::of(graph, sequence, length);
    if (!more) {
      llvm::consumeError(more.takeError());  // tables have no room for so many, and nor has the decoder
      break;
    }
    for (const BesideTokens& beside : values) {
      const Value& v = *beside.value;
      const Array *a = first->numbers(v.name), *b = more->numbers(v.name);
      // A dim that joins the tokens with another does not begin with those of fewer.
      const bool is_told = a && b && llvm::all_of(llvm::seq<size_t>(0, v.ndim()), [&](size_t d) {
                             return v.type.dims[d] == sequence || a->dims[d] == b->dims[d];
                           });
      if (!is_told || begins_as(*a, *b, beside.shifted)) continue;
      auto e = error(Code::not_supported).in_file(graph.source);
      if (v.producer) e.at(*v.producer);
      return e.what("a cache for decoding")
          .what(quoted(v.name))
          .about({.tensor = v.name})
          .expected("what is the same for a token however many follow")
          .found("another for texts of " + llvm::Twine(length) + " tokens than of " + llvm::Twine(few));
    }
  }
  return llvm::Error::success();
}
}  // namespace optp
