// The weights of a model stay in its file: protobuf would copy them, and they would stand beside what they are packed
// into. They are cut out of the message before it is parsed, and read where they lie.
#pragma once
#include <string>
#include <vector>

#include "llvm/ADT/ArrayRef.h"

namespace optp {

struct ParsedApart {
  std::string message;  // a ModelProto, without the raw_data of the initializers below
  std::vector<llvm::ArrayRef<char>>
      raw_data;  // of each of the graph's initializers; empty: the message has what there is
};
// `bytes`: of a ModelProto. Where nothing is large, or they are no message, the result is empty.
ParsedApart cut_out_data(llvm::ArrayRef<char> bytes);

}  // namespace optp
