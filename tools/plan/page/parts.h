// The page's sections, each from the plan to HTML, and what they share.
#pragma once
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringRef.h"
#include "tools/plan/page/page.h"

namespace optp::page {

// All text of a plan goes through this: names come from models that nobody vouches for.
std::string escaped(llvm::StringRef text);
std::string anchor(llvm::StringRef name);                       // id="tensor=NAME"
std::string link(llvm::StringRef name, llvm::StringRef shown);  // to that anchor
inline std::string link(llvm::StringRef name) { return link(name, name); }

std::string bytes(int64_t n);                           // 253.7 MiB, with the exact number as a tooltip
std::string rounded_bytes(int64_t n);                   // 253.7 MiB
std::string ranks_text(llvm::ArrayRef<int64_t> ranks);  // 0 1 2 3, or of many 0 2 … 62
std::string percent(double part, double whole);         // 50.7 %
std::string device(int64_t rank);                       // a chip with its number and colour
std::string flops(double n);                            // 16.1 Gflop
std::string seconds(double s);                          // 165 ms
std::string times(llvm::StringRef formula);             // "3072*batch" with · for *
// A shape with what cuts each dim: [50257 ÷ tensor, 768].
std::string chip(llvm::ArrayRef<Dim> dims, const Sharding& sharding);
inline std::string chip(const Plan::Tensor& tensor) { return chip(tensor.dims, tensor.sharding); }
std::string axes_text(llvm::ArrayRef<AxisUse> axes);  // "data·tensor": one cut after the other
// Header cells; scripts make the columns sortable. '#' before a title: numbers.
std::string table_head(llvm::ArrayRef<llvm::StringRef> columns);
std::string scrolling(llvm::StringRef label, llvm::StringRef table);  // within its own box on a narrow screen

// Weights at the same place of equal layers, or whose names differ in layer numbers alone, cut alike.
struct Kind {
  std::string name;  // layer numbers replaced by *
  std::string user;  // where names say nothing: the node that uses it
  std::vector<const Plan::Parameter*> tensors;
  int64_t bytes = 0;   // of all
  bool whole = false;  // on every device
};
struct Layers {
  int64_t start = 0, period = 0, count = 0;  // in `operations`
  std::vector<int64_t> operations;           // positions in `flow` without the collectives
  std::vector<int> looks;  // of each operation and the collectives that follow it: how they are cut, numbered
  bool alike(int64_t layer, int64_t other) const;
  // In `flow`. A layer's last collectives stand before the next operation, or the flow's end.
  int64_t begin(int64_t layer) const { return operations[size_t(start + layer * period)]; }
  int64_t end(int64_t layer, int64_t flow_size) const;
};

struct Page {
  explicit Page(const Plan& plan);
  const Plan& plan;
  int64_t devices;
  bool training;
  Layers layers;
  std::vector<Kind> kinds;                                        // by bytes, largest first
  std::string start;                                              // what the names of parameters begin with
  std::map<std::string, int64_t> causes;                          // kind and text → number on the page
  std::map<std::string, const Plan::CollectiveUse*> collectives;  // by id
  std::map<std::string, const Plan::Tensor*> tensors;             // by name; parameters first
  std::map<std::string, std::string> model_names;                 // of parameters that the file calls otherwise

  std::string short_name(llvm::StringRef name) const;     // the model's name, without `start`
  std::string because(const Plan::Tensor& tensor) const;  // links to the cause and to the value it came from
  // A formula with all dims at 1, the length of an empty cache at 0; none where that leaves the range of numbers.
  std::optional<int64_t> at_one_token(Dim formula) const;
};
std::string cause_key(const Plan::Tensor& tensor);

std::string verdict(const Page& page, const PageEvidence& evidence);
std::string devices(const Page& page);
std::string fit(const Page& page, const Fit& fit);
std::string layers(const Page& page);
std::string atlas(const Page& page);
std::string collectives(const Page& page);
std::string timeline(const Trace& trace);
std::string parity(const CheckReport& report);
std::string changes(const Page& page, const PlanDiff& diff, llvm::StringRef other);
std::string why(const Page& page);
std::string values(const Page& page);
const Trace::Run& typical_run(const Trace& trace);   // the one of median length
double share_in_collectives(const Trace::Run& run);  // of rank 0's time
extern const char* const style;
extern const char* const script;

}  // namespace optp::page
