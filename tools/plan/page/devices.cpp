// What each device holds, as bars on one scale and as a table.
#include <algorithm>

#include "llvm/Support/FormatVariadic.h"
#include "tools/plan/page/parts.h"
#include "tools/plan/plan_text.h"

namespace optp::page {
namespace {
struct Part {
  const char *name, *kind;
};
constexpr Part parts[] = {{"parameters, on this device alone", "k0"},
                          {"parameters that other devices hold too", "k0 copy"},
                          {"gradients", "k1"},
                          {"optimizer state", "k2"},
                          {"activations at their peak", "k3"},
                          {"constants", "k4"}};
constexpr size_t n_parts = std::size(parts);
struct Device {
  int64_t first = 0, last = 0;  // ranks alike are one
  std::string coordinates;
  int64_t elements = 0, flops = 0;
  int64_t bytes[n_parts] = {};
  int64_t parameters() const { return bytes[0] + bytes[1]; }
  int64_t total() const {
    int64_t n = 0;
    for (int64_t b : bytes) n += b;
    return n;
  }
  bool like(const Device& o) const {
    return elements == o.elements && flops == o.flops && std::equal(bytes, bytes + n_parts, o.bytes);
  }
};
constexpr int64_t most_single = 16;  // devices with a bar each

// Bytes of parameters that another device holds, too, by rank.
std::vector<int64_t> copied_bytes(const Page& page) {
  std::vector<int64_t> out(size_t(page.devices), 0);
  for (const Plan::Parameter& p : page.plan.parameters)
    for (const Plan::RankShard& s : p.layout->shards)
      if (s.ranks.size() > 1)
        for (int64_t rank : s.ranks) out[size_t(rank)] += s.bytes.constant().value_or(0);
  return out;
}
std::vector<Device> all_devices(const Page& page) {
  std::vector<Device> out;
  const std::vector<int64_t> copied = copied_bytes(page);
  for (const Plan::Device& d : page.plan.devices) {
    Device& device = out.emplace_back(Device{d.rank, d.rank, "", d.parameter_elements, d.flops, {}});
    for (const MeshAxis& a : page.plan.mesh.axes)
      device.coordinates +=
          (device.coordinates.empty() ? "" : ", ") + a.name + " " + std::to_string(d.coordinates.at(a.name));
    device.bytes[1] = copied[size_t(d.rank)];
    device.bytes[0] = d.parameter_bytes - device.bytes[1];
    device.bytes[2] = d.gradient_bytes, device.bytes[3] = d.state_bytes,
    device.bytes[4] = d.activation_peak_bytes.value_or(0), device.bytes[5] = d.constant_bytes;
  }
  return out;
}
std::string ranks_of(const Device& d) {
  return d.first == d.last ? device(d.first) : device(d.first) + "–" + device(d.last);
}
std::string spread(const char* what, const std::vector<Device>& devices, int64_t (Device::*of)() const) {
  auto less = [&](const Device& a, const Device& b) { return (a.*of)() < (b.*of)(); };
  const auto least = std::min_element(devices.begin(), devices.end(), less),
             most = std::max_element(devices.begin(), devices.end(), less);
  const int64_t low = ((*least).*of)(), high = ((*most).*of)();
  if (low == high) return std::string(what) + ": all devices hold the same, " + bytes(high) + ".";
  return std::string(what) + ": device " + std::to_string(most->first) + " holds most, " + bytes(high) + ", which is " +
         bytes(high - low) + " (" +
         llvm::formatv("{0:f2}&nbsp;%", 100.0 * double(high - low) / double(std::max<int64_t>(1, low))).str() +
         ") more than device " + std::to_string(least->first) + ", which holds least.";
}
}  // namespace

std::string devices(const Page& page) {
  const std::vector<Device> every = all_devices(page);
  if (every.empty()) return "";
  std::vector<Device> rows;
  for (const Device& d : every) {
    if (page.devices > most_single && !rows.empty() && rows.back().like(d))
      rows.back().last = d.last;
    else
      rows.push_back(d);
  }
  bool used[n_parts] = {};
  int64_t most = 1;
  for (const Device& d : every) {
    most = std::max(most, d.total());
    for (size_t k = 0; k < n_parts; ++k) used[k] |= d.bytes[k] > 0;
  }
  std::string out;
  if (page.devices > 1)
    out += "<p><b>" + spread("Parameters", every, &Device::parameters) + "</b> " +
           spread("All together", every, &Device::total) + "</p>";
  out += "<ul class=\"legend\">";
  for (size_t k = 0; k < n_parts; ++k)
    if (used[k]) out += std::string("<li><i class=\"") + parts[k].kind + "\"></i>" + parts[k].name + "</li>";
  out += "</ul>\n<div class=\"bars\">";
  for (const Device& d : rows) {
    out += "<div class=\"row\" data-d=\"" + std::to_string(d.first) + "\"><span>" + ranks_of(d) +
           "</span><div class=\"bar\" role=\"img\" aria-label=\"device " + std::to_string(d.first) + ": ";
    std::string spans, words;
    for (size_t k = 0; k < n_parts; ++k) {
      if (d.bytes[k] == 0) continue;
      words += std::string(words.empty() ? "" : ", ") + parts[k].name + " " + grouped(d.bytes[k]) + " bytes";
      spans += llvm::formatv("<i class=\"{0}\" style=\"width:{1:f3}%\" title=\"{2}: {3} bytes\"></i>", parts[k].kind,
                             100.0 * double(d.bytes[k]) / double(most), parts[k].name, grouped(d.bytes[k]))
                   .str();
    }
    out += words + "\">" + spans + "</div><span class=\"n\">" + bytes(d.total()) + "</span></div>\n";
  }
  out += "</div>\n<p class=\"note\">One scale: the longest bar is " + bytes(most) +
         ". Activations are the most that intermediate values take at one time, without the workspace of kernels.</p>";

  std::vector<llvm::StringRef> columns{"device",       "place in the mesh", "#parameters",
                                       "#their bytes", "#of the model",     "#of it copies"};
  if (used[2]) columns.push_back("#gradients");
  if (used[3]) columns.push_back("#optimizer state");
  for (llvm::StringRef c : {"#activations", "#constants", "#together", "#arithmetic"}) columns.push_back(c);
  std::string table = "<table class=\"sort\">" + table_head(columns) + "<tbody>";
  auto cell = [](int64_t n) { return "<td class=\"n\" data-v=\"" + std::to_string(n) + "\">" + bytes(n) + "</td>"; };
  for (const Device& d : rows) {
    table += "<tr><td>" + ranks_of(d) + "</td><td>" +
             escaped(d.first == d.last ? d.coordinates : grouped(d.last - d.first + 1) + " alike") +
             "</td><td class=\"n\">" + grouped(d.elements) + "</td>" + cell(d.parameters()) + "<td class=\"n\">" +
             percent(double(d.parameters()), double(page.plan.totals.parameter_bytes)) + "</td>" + cell(d.bytes[1]);
    if (used[2]) table += cell(d.bytes[2]);
    if (used[3]) table += cell(d.bytes[3]);
    table += cell(d.bytes[4]) + cell(d.bytes[5]) + cell(d.total()) + "<td class=\"n\" data-v=\"" +
             std::to_string(d.flops) + "\">" + flops(double(d.flops)) + "</td></tr>\n";
  }
  return out + scrolling("What each device holds", table + "</tbody></table>");
}
}  // namespace optp::page
