#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FormatVariadic.h"
#include "tools/cli/progress.h"
#include "tools/plan/page/parts.h"
#include "tools/plan/plan_text.h"

namespace optp::page {
std::string escaped(llvm::StringRef text) {
  std::string out;
  for (char c : printable(text)) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}
std::string anchor(llvm::StringRef name) { return "id=\"tensor=" + escaped(name) + "\""; }
std::string link(llvm::StringRef name, llvm::StringRef shown) {
  std::string target;
  for (char c : printable(name)) {
    if (llvm::isAlnum(c) || llvm::StringRef("-._~/:").contains(c))
      target += c;
    else
      target += "%" + llvm::toHex(llvm::StringRef(&c, 1));
  }
  return "<a href=\"#tensor=" + target + "\">" + escaped(shown) + "</a>";
}

std::string rounded_bytes(int64_t n) {
  if (n < 1024) return std::to_string(n) + "&nbsp;B";
  std::string shown = bytes_text(double(n));
  return shown.replace(shown.find(' '), 1, "&nbsp;");
}
std::string bytes(int64_t n) {
  return n < 1024 ? rounded_bytes(n) : "<span title=\"" + grouped(n) + " bytes\">" + rounded_bytes(n) + "</span>";
}
std::string ranks_text(llvm::ArrayRef<int64_t> ranks) {
  auto rank = [&](size_t n) { return std::to_string(ranks[n]); };
  if (ranks.size() > 4) return rank(0) + " " + rank(1) + " … " + rank(ranks.size() - 1);
  std::string out;
  for (size_t n = 0; n < ranks.size(); ++n) out += (n ? " " : "") + rank(n);
  return out;
}
std::string percent(double part, double whole) {
  if (whole <= 0) return "0&nbsp;%";
  return llvm::formatv("{0:f1}&nbsp;%", 100 * part / whole).str();
}
std::string flops(double n) {
  const char* const unit[] = {"flop", "kflop", "Mflop", "Gflop", "Tflop", "Pflop"};
  int k = 0;
  while (n >= 1000 && k < 5) n /= 1000, ++k;
  return llvm::formatv("{0:f1}&nbsp;{1}", n, unit[k]).str();
}
std::string seconds(double s) {
  for (auto [unit, size] : {std::pair{"s", 1.0}, {"ms", 1e-3}})
    if (s >= size) return llvm::formatv(s / size < 10 ? "{0:f2}&nbsp;{1}" : "{0:f0}&nbsp;{1}", s / size, unit).str();
  return llvm::formatv("{0:f1}&nbsp;µs", s * 1e6).str();
}
std::string device(int64_t rank) {
  return llvm::formatv("<i class=\"dev c{0}\" data-d=\"{1}\">{1}</i>", rank % 8, rank).str();
}
std::string times(llvm::StringRef formula) {
  std::string out;
  for (char c : escaped(formula)) out += c == '*' ? "·" : std::string(1, c);
  return out;
}

std::string axes_text(llvm::ArrayRef<AxisUse> axes) { return times(joined(axes, "*")); }
std::string chip(llvm::ArrayRef<Dim> dims, const Sharding& sharding) {
  std::string out = "<span class=\"chip\">";
  if (dims.empty()) out += "scalar";
  for (size_t d = 0; d < dims.size(); ++d) {
    if (d) out += "&thinsp;×&thinsp;";
    const std::string extent = times(dims[d].text());
    std::string cut;
    for (const ProductSharding& part : sharding.dims[d].parts)
      for (const FactorSharding& f : part.factors)
        if (!f.axes.empty()) cut += (cut.empty() ? "" : "&nbsp;") + axes_text(f.axes);
    out += cut.empty() ? extent : "<b>" + extent + "&nbsp;÷&nbsp;" + cut + "</b>";
  }
  if (sharding.is_partial())
    out += " <em>partial " + escaped(to_string(sharding.reduce)) + ": " + escaped(llvm::join(sharding.partial, "*")) +
           "</em>";
  return out + "</span>";
}
std::string table_head(llvm::ArrayRef<llvm::StringRef> columns) {
  std::string out = "<thead><tr>";
  for (llvm::StringRef c : columns) {
    const bool n = c.consume_front("#");
    out += std::string("<th scope=\"col\"") + (n ? " class=\"n\"" : "") + ">" + c.str() + "</th>";
  }
  return out + "</tr></thead>";
}
std::string scrolling(llvm::StringRef label, llvm::StringRef table) {
  return "<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"" + escaped(label) + "\">" + table.str() +
         "</div>";
}
}  // namespace optp::page
