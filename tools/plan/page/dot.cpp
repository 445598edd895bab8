// A plan's operations for Graphviz: boxes with the weights they use, collectives between, layers as clusters.
#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FormatVariadic.h"
#include "tools/cli/progress.h"
#include "tools/plan/page/page.h"
#include "tools/plan/page/parts.h"
#include "tools/plan/plan_text.h"

namespace optp {
namespace {
using namespace page;

std::string quoted_for_dot(llvm::StringRef text) {
  std::string out;
  for (char c : printable(text)) out += c == '"' || c == '\\' ? std::string("\\") + c : std::string(1, c);
  return out;
}
std::string with_sharding(const Plan::Tensor& tensor) {
  return shape_text(tensor.dims) + " " + to_string(tensor.sharding);
}

std::string node(const Page& page, size_t k, const Plan::FlowEntry& e) {
  if (e.is_collective()) {
    const Plan::Meeting& c = *page.collectives.at(e.collective);
    const std::string what = kind_text(c.call.kind, 1) + " over " + llvm::join(c.call.axes, " ");
    const std::string label = quoted_for_dot(what) + "\\n" + bytes_text(double(c.bytes));
    return llvm::formatv("n{0} [label=\"{1}\", shape=hexagon, style=filled, fillcolor=\"#cfe3f5\"];\n", k, label).str();
  }
  std::string label = quoted_for_dot(e.op);
  for (const std::string& name : e.parameters) {
    const auto t = page.tensors.find(name);
    label += "\\n" + quoted_for_dot(page.short_name(name)) +
             (t == page.tensors.end() ? "" : " " + quoted_for_dot(with_sharding(*t->second)));
  }
  return llvm::formatv("n{0} [label=\"{1}\\n→ {2}\"];\n", k, label, quoted_for_dot(to_string(e.sharding))).str();
}
}  // namespace

std::string plan_dot(const Plan& plan) {
  const Page page(plan);
  const std::vector<Plan::FlowEntry>& flow = plan.flow;
  std::string out = "digraph \"" + quoted_for_dot(plan.model.name) +
                    "\" {\nnode [shape=box, fontname=\"sans-serif\", fontsize=10];\n";
  int64_t next = 0;
  auto nodes = [&](int64_t to) {
    for (; next < to; ++next) out += node(page, size_t(next), flow[size_t(next)]);
  };
  for (int64_t layer = 0; layer < page.layers.count; ++layer) {
    nodes(page.layers.begin(layer));
    out += llvm::formatv("subgraph cluster_{0} {{ label=\"layer {0}\"; fontname=\"sans-serif\";\n", layer).str();
    nodes(page.layers.end(layer, int64_t(flow.size())));
    out += "}\n";
  }
  nodes(int64_t(flow.size()));
  for (size_t k = 0; k < flow.size(); ++k)
    for (int64_t from : flow[k].after) out += llvm::formatv("n{0} -> n{1};\n", from, k).str();
  return out + "}\n";
}
}  // namespace optp
