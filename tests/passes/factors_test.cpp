// Of what products dims consist, and which factors are one class: as text, the same letter for the same class.
#include "passes/factors.h"

#include <doctest/doctest.h>

#include "frontend/ir/parse.h"
#include "tests/must.h"

using namespace optp;

namespace {
// "%qkv: 6a·8b + 3c·8d" for each named value's last dim; a class that some op needs whole has a mark.
class FactorText {
 public:
  explicit FactorText(llvm::StringRef text) : graph_(must(parse_graph(text, "test"))), factors_(of(*graph_)) {}

  std::string operator()(llvm::StringRef value, unsigned dim) {
    std::string out;
    for (const auto& part : factors_.of(*graph_->find(value), dim).parts) {
      out += out.empty() ? "" : " + ";
      for (size_t k = 0; k < part.extents.size(); ++k)
        out += (k ? "·" : "") + part.extents[k].text() + letter(part.classes[k]);
    }
    return out;
  }

 private:
  static Factors of(const Graph& graph) { return must(Factors::of(graph)); }
  // Letters in the order in which classes are asked for.
  std::string letter(Factors::Class c) {
    const char next = char('a' + letters_.size());
    const char own = letters_.try_emplace(c, next).first->second;
    return std::string(1, own) + (factors_.info(c).needs_whole ? "!" : "");
  }
  std::unique_ptr<Graph> graph_;
  Factors factors_;
  std::map<int, char> letters_;
};
}  // namespace

TEST_CASE("parts of unequal widths are products of their own, and their factors go where the parts go") {
  FactorText of(
      "input %x: f32[b, 5]\n"
      "parameter %w: f32[5, 96]\n"
      "%qkv = contract(%x, %w) {loops = \"b k, k n -> b n\"}\n"
      "%q = slice(%qkv) {axis = 1, start = 0, size = 48, step = 1}\n"
      "%k = slice(%qkv) {axis = 1, start = 48, size = 24, step = 1}\n"
      "%v = slice(%qkv) {axis = 1, start = 72, size = 24, step = 1}\n"
      "%qh = reshape(%q) {dims = [b, 6, 8]}\n"
      "%kh = reshape(%k) {dims = [b, 3, 8]}\n"
      "output q = %qh\noutput k = %kh\noutput v = %v\n");
  CHECK(of("w", 1) == "6a·8b + 3c·8d + 24e");
  CHECK(of("qkv", 1) == "6a·8b + 3c·8d + 24e");
  CHECK(of("qh", 1) == "6a");
  CHECK(of("kh", 1) == "3c");
  CHECK(of("v", 1) == "24e");
}

TEST_CASE("pieces that overlap are cut where the others begin and end") {
  FactorText of(
      "input %x: f32[20]\n"
      "%a = slice(%x) {axis = 0, start = 0, size = 12, step = 1}\n"
      "%b = slice(%x) {axis = 0, start = 7, size = 13, step = 1}\n"
      "%c = slice(%b) {axis = 0, start = 1, size = 2, step = 1}\n"
      "output a = %a\noutput c = %c\n");
  CHECK(of("x", 0) == "7a + 1b + 2c + 2d + 8e");
  CHECK(of("a", 0) == "7a + 1b + 2c + 2d");
  CHECK(of("b", 0) == "1b + 2c + 2d + 8e");
  CHECK(of("c", 0) == "2c");
}

TEST_CASE("equal pieces are one product whose major factor is whole; cut within, they are parts") {
  const std::string thirds =
      "input %x: f32[b, 36]\n"
      "%q = slice(%x) {axis = 1, start = 0, size = 12, step = 1}\n"
      "%k = slice(%x) {axis = 1, start = 12, size = 12, step = 1}\n"
      "output q = %q\noutput k = %k\n";
  FactorText even(thirds);
  CHECK(even("x", 1) == "3a!·12b");
  CHECK(even("q", 1) == "12b");
  FactorText cut(thirds + "%c = slice(%k) {axis = 1, start = 5, size = 7, step = 1}\noutput c = %c\n");
  CHECK(cut("x", 1) == "12a + 5b + 7c + 12d");
  CHECK(cut("q", 1) == "12a");
  CHECK(cut("k", 1) == "5b + 7c");
}

TEST_CASE("what is joined of unequal operands has their factors, also where extents are named") {
  FactorText of(
      "input %past: f32[b, past, 6]\n"
      "input %new: f32[b, s, 6]\n"
      "%all = concat(%past, %new) {axis = 1}\n"
      "%padded = pad(%new) {axis = 1, before = 2, after = 1, value = 0.0}\n"
      "output all = %all\noutput padded = %padded\n");
  CHECK(of("all", 1) == "pasta + sb");
  CHECK(of("new", 1) == "sb");
  CHECK(of("padded", 1) == "2c + sb + 1d");
}

TEST_CASE("a reshape takes cuts of the major extent to its other side, and sees a dim cut elsewhere as whole") {
  FactorText heads(
      "input %x: f32[b, 96]\n"
      "%h = reshape(%x) {dims = [b, 12, 8]}\n"
      "%q = slice(%h) {axis = 1, start = 0, size = 6, step = 1}\n"
      "%k = slice(%h) {axis = 1, start = 6, size = 3, step = 1}\n"
      "output q = %q\noutput k = %k\n");
  CHECK(heads("x", 1) == "6a·8b + 3c·8b + 3d·8b");
  CHECK(heads("h", 1) == "6a + 3c + 3d");
  CHECK(heads("q", 1) == "6a");
  // Rotary positions of a part of each head: the heads can still be split.
  FactorText rotary(
      "input %x: f32[b, 48]\n"
      "%h = reshape(%x) {dims = [b, 6, 8]}\n"
      "%r = slice(%h) {axis = 2, start = 0, size = 3, step = 1}\n"
      "output r = %r\n");
  CHECK(rotary("x", 1) == "6a·8b!");
  CHECK(rotary("h", 1) == "6a");
  CHECK(rotary("h", 2) == "3c! + 5d!");
  // 10 of the 6 · 8 end within a head.
  FactorText within(
      "input %x: f32[b, 48]\n"
      "%h = reshape(%x) {dims = [b, 6, 8]}\n"
      "%c = slice(%x) {axis = 1, start = 0, size = 10, step = 1}\n"
      "output h = %h\noutput c = %c\n");
  CHECK(within("x", 1) == "10a! + 38b!");
  CHECK(within("h", 1) == "6c!");
}

TEST_CASE("pieces whose order is not known, or that step and leave a rest, can't be split") {
  FactorText unordered(
      "input %x: f32[n + m]\n"
      "%a = slice(%x) {axis = 0, start = 0, size = n, step = 1}\n"
      "%c = slice(%x) {axis = 0, start = 0, size = m, step = 1}\n"
      "output a = %a\noutput c = %c\n");
  CHECK(unordered("x", 0) == "m + na!");
  CHECK(unordered("a", 0) == "nb!");
  FactorText steps(
      "input %x: f32[9]\n"
      "%a = slice(%x) {axis = 0, start = 0, size = 4, step = 2}\n"
      "output a = %a\n");
  CHECK(steps("x", 0) == "9a!");
  CHECK(steps("a", 0) == "4b!");
}

TEST_CASE("one index of each group leaves the groups as they are") {
  FactorText pairs(
      "input %x: f32[b, 12*s]\n"
      "%even = slice(%x) {axis = 1, start = 0, size = 6*s, step = 2}\n"
      "%odd = slice(%x) {axis = 1, start = 1, size = 6*s, step = 2}\n"
      "output even = %even\noutput odd = %odd\n");
  CHECK(pairs("x", 1) == "6*sa·2b!");
  CHECK(pairs("even", 1) == "6*sa");
  CHECK(pairs("odd", 1) == "6*sa");
}

TEST_CASE("heads that look up in their own scores, by an index that all share, are one class") {
  FactorText heads(
      "input %x: f32[b, s, 4*8]\n"
      "input %positions: i64[1, 1, s, t]\n"
      "%h = reshape(%x) {dims = [b, s, 4, 8]}\n"
      "%scores = transpose(%h) {perm = [0, 2, 1, 3]}\n"
      "%index = expand(%positions) {dims = [b, 4, s, t]}\n"
      "%y = gather_elements(%scores, %index) {axis = 3}\n"
      "output y = %y\n");
  CHECK(heads("x", 2) == "4a·8b");
  CHECK(heads("y", 1) == "4a");
  CHECK(heads("index", 1) == "4a");
  CHECK(heads("positions", 1) == "1c");
  CHECK(heads("y", 3) == "td");
}
