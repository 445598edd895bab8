// Where a dim consists of parts one after the other: a fused projection's q, k and v.
//
// A line is what stands for all loops and dims that are the same loop. A slice's or a concat's piece is a stretch of
// another line, and cuts it at both ends:
//
//   %q = slice(%qkv) 0 to 48   %k = slice(%qkv) 48 to 72   %v = slice(%qkv) 72 to 96      96 is cut at 48 and at 72
//
// Cuts go both ways, from a line to its pieces and back, and through a reshape where the major extents of its two sides
// are cut alike: [96] as [12, 8] with 12 cut at 6 and 9 is cut at 48 and 72. Where two cuts have no known order, the
// line can't be split.
//
// Pieces of one extent need no cuts: [3·768] is a product, whose major factor is whole.
#pragma once
#include <vector>

#include "passes/needs_whole.h"

namespace optp {

struct Line {
  Dim extent;
  NeedsWhole needs_whole = {};
  llvm::SmallVector<Dim, 2> cuts = {};  // ascending, within the extent
  bool is_even = false;                 // a product: its pieces are equal, and neither it nor they are cut

  llvm::SmallVector<Dim, 3> parts() const;  // extents
};
struct LinePiece {
  const Node* node;
  int whole, piece;
  Dim start;
};
// Two sides, major to minor, that enumerate the same elements.
struct LineLink {
  const Node* node;
  llvm::SmallVector<int, 4> left, right;
  // Its majors are cut alike, all other lines nowhere: it is one link for each part.
  bool goes_by_parts = false;
};

// Cuts the lines. Afterwards a piece's parts are parts of its whole, or its whole is even; a piece for which neither
// holds is dropped, and both its lines need to be whole.
void find_cuts(std::vector<Line>& lines, std::vector<LinePiece>& pieces, std::vector<LineLink>& links);

}  // namespace optp
