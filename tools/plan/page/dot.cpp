// A plan's operations for Graphviz: boxes with the weights they use, collectives between, layers as clusters.
#include <boost/graph/adjacency_list.hpp>
#include <boost/graph/graphviz.hpp>
#include <boost/graph/subgraph.hpp>
#include <sstream>

#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/StringExtras.h"
#include "tools/cli/progress.h"
#include "tools/plan/page/page.h"
#include "tools/plan/page/parts.h"
#include "tools/plan/plan_text.h"

namespace optp {
namespace {
using namespace page;

using Attributes = std::map<std::string, std::string>;
using Drawing = boost::subgraph<boost::adjacency_list<
    boost::vecS, boost::vecS, boost::directedS, boost::property<boost::vertex_attribute_t, Attributes>,
    boost::property<boost::edge_index_t, size_t, boost::property<boost::edge_attribute_t, Attributes>>,
    boost::property<boost::graph_name_t, std::string,
                    boost::property<boost::graph_graph_attribute_t, Attributes,
                                    boost::property<boost::graph_vertex_attribute_t, Attributes,
                                                    boost::property<boost::graph_edge_attribute_t, Attributes>>>>>>;

// Boost quotes what needs it, and leaves backslashes, by which Graphviz breaks lines, to us.
constexpr llvm::StringLiteral line_break = "\\n";
std::string escaped_for_dot(llvm::StringRef text) {
  std::string out;
  for (char c : printable(text)) out += c == '\\' ? std::string("\\\\") : std::string(1, c);
  return out;
}

Attributes look_of(const Page& page, const Plan::FlowEntry& e) {
  if (e.is_collective()) {
    const Plan::CollectiveUse& c = *page.collectives.at(e.collective);
    const std::string what = kind_text(c.call.kind, 1) + " over " + llvm::join(c.call.axes, " ");
    return {{"label", escaped_for_dot(what) + line_break.str() + bytes_text(double(c.bytes))},
            {"shape", "hexagon"},
            {"style", "filled"},
            {"fillcolor", "#cfe3f5"}};
  }
  std::string label = escaped_for_dot(e.op);
  for (const std::string& name : e.parameters) {
    label += line_break.str() + escaped_for_dot(page.short_name(name));
    if (const auto t = page.tensors.find(name); t != page.tensors.end())
      label += " " + escaped_for_dot(shape_text(t->second->dims) + " " + to_string(t->second->sharding));
  }
  return {{"label", label + line_break.str() + "→ " + escaped_for_dot(to_string(e.sharding))}};
}
}  // namespace

std::string plan_dot(const Plan& plan) {
  const Page page(plan);
  const std::vector<Plan::FlowEntry>& flow = plan.flow;
  Drawing drawing(flow.size());
  // Never one word: Boost would write one without quotes, even if it is a keyword of Graphviz's.
  boost::get_property(drawing, boost::graph_name) = escaped_for_dot(plan.model.name) + " on " +
                                                    std::to_string(plan.devices.size()) +
                                                    (plan.devices.size() == 1 ? " device" : " devices");
  boost::get_property(drawing, boost::graph_vertex_attribute) = {
      {"shape", "box"}, {"fontname", "sans-serif"}, {"fontsize", "10"}};
  for (size_t k = 0; k < flow.size(); ++k) boost::get(boost::vertex_attribute, drawing)[k] = look_of(page, flow[k]);
  for (int64_t layer = 0; layer < page.layers.count; ++layer) {
    Drawing& cluster = drawing.create_subgraph();
    const std::string number = std::to_string(layer);
    boost::get_property(cluster, boost::graph_name) = "cluster_" + number;
    boost::get_property(cluster, boost::graph_graph_attribute) = {{"label", "layer " + number},
                                                                  {"fontname", "sans-serif"}};
    for (int64_t k = page.layers.begin(layer); k < page.layers.end(layer, int64_t(flow.size())); ++k)
      boost::add_vertex(size_t(k), cluster);
  }
  for (size_t k = 0; k < flow.size(); ++k)
    for (int64_t from : flow[k].after) boost::add_edge(size_t(from), k, drawing);
  std::ostringstream out;
  boost::write_graphviz(out, drawing);
  return out.str();
}
}  // namespace optp
