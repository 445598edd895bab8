// How a plan's names, shapes and numbers are worded, in a terminal and on a page.
#pragma once
#include <optional>
#include <string>

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "passes/plan/plan.h"

namespace optp {

// What people call it: by the model's name, where the file has another.
inline const std::string& model_name(const Plan::Constant& t) { return t.model_name.empty() ? t.name : t.model_name; }
// A number of the exporter's, onnx::MatMul_1773, that says nothing of the model.
inline bool is_numbered(llvm::StringRef name) { return name.starts_with("onnx::"); }
std::string grouped(int64_t n);         // 50,272
std::string gflop_text(int64_t flops);  // 16.12, below 0.1 with more digits
std::string shape_text(llvm::ArrayRef<Dim> dims);
std::string ranges_text(const SymbolicShard& shard);
std::string local_text(const Plan::Layout& layout);        // the shapes of all devices in one: [25129|25128, 768]
std::string kind_text(Collective kind, int64_t n);         // "all-reduces"
std::string collectives_text(const Plan::Totals& totals);  // "25 all-reduces, 1 all-gather", "nothing"
std::string mesh_text(const Mesh& mesh);                   // "data=2 × tensor=4"
std::string examples_text(const Plan& plan);               // "batch 1, sequence 128": of dims that stand in shapes
// Layer numbers become '*': equal layers fold to one line.
std::string folded(llvm::StringRef name);
std::string folded_numbers(llvm::StringRef name);  // what '*' stands for: "3", of several "3, 1"
// What all names begin with, up to a dot or slash.
std::string common_start(llvm::ArrayRef<std::string> names);
// "self_attn.q_proj.weight" and "self_attn.k_proj.weight" are "self_attn.{q,k}_proj.weight", if they differ in one
// short place.
std::optional<std::string> joined(llvm::ArrayRef<std::string> names);

}  // namespace optp
