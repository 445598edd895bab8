// What a graph computes whatever its tokens are: masks and places. Products and norms, in which tokens' vectors meet,
// are taken for zeros.
#pragma once
#include <functional>

#include "frontend/ir/graph.h"
#include "llvm/ADT/DenseMap.h"

namespace optp {

class TokenFree {
 public:
  enum class Products { zero, computed };  // computed: of values that no token's vector is in
  // `number` says what all elements of an input are.
  explicit TokenFree(std::function<int64_t(const Value&)> number, Products products = Products::zero)
      : number_(std::move(number)), products_(products) {}
  // Of a graph whose dims are numbers.
  llvm::Expected<const Array*> of(const Value& v);

 private:
  llvm::Expected<Array> make(const Value& v);
  std::function<int64_t(const Value&)> number_;
  Products products_;
  llvm::DenseMap<const Value*, std::unique_ptr<Array>> known_;
};

}  // namespace optp
