// How a plan's names, shapes and numbers are worded, in a terminal and on a page.
#pragma once
#include <optional>
#include <string>

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/JSON.h"

namespace optp {

std::string grouped(int64_t n);  // 50,272
std::string shape_text(const llvm::json::Array& shape);
std::string ranges_text(const llvm::json::Array& ranges);
std::string local_text(const llvm::json::Array& ranks);          // the shapes of all devices in one: [25129|25128, 768]
std::string kind_text(llvm::StringRef kind, int64_t n);          // "all-reduces"
std::string collectives_text(const llvm::json::Object& totals);  // "25 all-reduces, 1 all-gather", "nothing"
// Layer numbers become '*': equal layers fold to one line.
std::string folded(llvm::StringRef name);
// What all names begin with, up to a dot or slash.
std::string common_start(llvm::ArrayRef<std::string> names);
// "self_attn.q_proj.weight" and "self_attn.k_proj.weight" are "self_attn.{q,k}_proj.weight", if they differ in one
// short place.
std::optional<std::string> joined(llvm::ArrayRef<std::string> names);
const llvm::json::Object* find_tensor(const llvm::json::Object& plan, llvm::StringRef name);  // by its name or an alias

}  // namespace optp
