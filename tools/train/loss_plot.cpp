#include "tools/train/loss_plot.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "frontend/ir/diagnostic.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/raw_ostream.h"

namespace optp {
namespace {
constexpr double width = 720, height = 400, left = 64, right = 20, top = 44, bottom = 52;
constexpr size_t most_columns = 600;

// 1, 2 or 5 times a power of ten, so that about `wanted` ticks fit.
double tick_step(double range, int wanted) {
  const double rough = std::max(range, 1e-12) / wanted, power = std::pow(10, std::floor(std::log10(rough)));
  for (double m : {1.0, 2.0, 5.0})
    if (m * power >= rough) return m * power;
  return 10 * power;
}
std::string tick_text(double x, double step) {
  const int digits = std::clamp(int(std::ceil(-std::log10(step) - 1e-9)), 0, 12);
  std::string out;
  llvm::raw_string_ostream(out) << llvm::format("%.*f", digits, x);
  return out;
}
std::string escaped(llvm::StringRef text) {
  std::string out;
  for (char c : printable(text)) out += c == '&' ? "&amp;" : c == '<' ? "&lt;" : c == '>' ? "&gt;" : std::string(1, c);
  return out;
}
struct Column {
  double step, mean, low, high;
};
std::vector<Column> columns_of(llvm::ArrayRef<double> losses) {
  std::vector<Column> out;
  const size_t columns = std::min(losses.size(), most_columns);
  for (size_t c = 0; c < columns; ++c) {
    const size_t begin = c * losses.size() / columns, end = (c + 1) * losses.size() / columns;
    Column column{double(begin + 1 + end) / 2, 0, losses[begin], losses[begin]};
    for (size_t k = begin; k < end; ++k) {
      column.mean += losses[k] / double(end - begin);
      column.low = std::min(column.low, losses[k]), column.high = std::max(column.high, losses[k]);
    }
    out.push_back(column);
  }
  return out;
}
}  // namespace

std::string loss_plot(llvm::ArrayRef<double> losses, llvm::StringRef title) {
  const std::vector<Column> columns = columns_of(losses);
  double low = columns.empty() ? 0 : columns[0].low, high = columns.empty() ? 1 : columns[0].high;
  for (const Column& c : columns) low = std::min(low, c.low), high = std::max(high, c.high);
  const double y_step = tick_step(std::max(high - low, 1e-6 * std::max(1.0, std::abs(high))), 5);
  low = std::floor(low / y_step) * y_step, high = std::max(std::ceil(high / y_step) * y_step, low + y_step);
  const double last = std::max<double>(double(losses.size()), 2), x_step = std::max(1.0, tick_step(last - 1, 6));
  auto x = [&](double step) { return left + (step - 1) / (last - 1) * (width - left - right); };
  auto y = [&](double loss) { return height - bottom - (loss - low) / (high - low) * (height - top - bottom); };

  std::string text;
  llvm::raw_string_ostream out(text);
  out << llvm::formatv(
             R"(<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {0} {1}" width="{0}" height="{1}" role="img" font-family="system-ui, sans-serif" font-size="12">)",
             width, height)
      << "\n<title>" << escaped(title) << R"(</title>
<style>
.page{fill:#fff}.text{fill:#333}.axis{stroke:#888}.grid{stroke:#e4e4e4}.line{stroke:#0b62a8}.range,.dot{fill:#0b62a8}
@media(prefers-color-scheme:dark){.page{fill:#16181c}.text{fill:#d8d8d8}.axis{stroke:#999}.grid{stroke:#30343a}.line{stroke:#62b0f0}.range,.dot{fill:#62b0f0}}
</style>
)" << llvm::formatv("<rect class=\"page\" width=\"{0}\" height=\"{1}\"/>\n", width, height)
      << llvm::formatv("<text class=\"text\" x=\"{0}\" y=\"24\" font-size=\"15\" font-weight=\"600\">{1}</text>\n",
                       left, escaped(title));
  auto line = [&](const char* kind, double x1, double y1, double x2, double y2) {
    out << llvm::formatv("<line class=\"{0}\" x1=\"{1:f1}\" y1=\"{2:f1}\" x2=\"{3:f1}\" y2=\"{4:f1}\"/>\n", kind, x1,
                         y1, x2, y2);
  };
  auto label = [&](double at_x, double at_y, const char* anchor, const std::string& what, const char* more = "") {
    out << llvm::formatv("<text class=\"text\" x=\"{0:f1}\" y=\"{1:f1}\" text-anchor=\"{2}\"{3}>{4}</text>\n", at_x,
                         at_y, anchor, more, what);
  };
  for (int k = 0; low + k * y_step <= high + y_step / 2; ++k) {
    const double v = low + k * y_step;
    line("grid", left, y(v), width - right, y(v));
    label(left - 8, y(v) + 4, "end", tick_text(v, y_step));
  }
  auto step_tick = [&](double step) {
    line("axis", x(step), height - bottom, x(step), height - bottom + 5);
    label(x(step), height - bottom + 19, "middle", tick_text(step, 1));
  };
  step_tick(1);
  for (double step = x_step; step <= last + 1e-9; step += x_step)
    if (step - 1 > 0.4 * x_step) step_tick(step);
  line("axis", left, height - bottom, width - right, height - bottom);
  line("axis", left, top, left, height - bottom);
  label((left + width - right) / 2, height - 12, "middle", "step");
  label(18, (top + height - bottom) / 2, "middle", "loss",
        llvm::formatv(" transform=\"rotate(-90 18 {0:f1})\"", (top + height - bottom) / 2).str().c_str());

  auto point = [&](double step, double loss) { return llvm::formatv("{0:f1},{1:f1} ", x(step), y(loss)).str(); };
  if (losses.size() > columns.size()) {
    out << "<polygon class=\"range\" opacity=\"0.2\" points=\"";
    for (const Column& c : columns) out << point(c.step, c.high);
    for (auto c = columns.rbegin(); c != columns.rend(); ++c) out << point(c->step, c->low);
    out << "\"/>\n";
  }
  out << "<polyline class=\"line\" fill=\"none\" stroke-width=\"1.8\" stroke-linejoin=\"round\" points=\"";
  for (const Column& c : columns) out << point(c.step, c.mean);
  out << "\"/>\n";
  if (columns.size() <= 40)
    for (const Column& c : columns)
      out << llvm::formatv("<circle class=\"dot\" cx=\"{0:f1}\" cy=\"{1:f1}\" r=\"2.5\"/>\n", x(c.step), y(c.mean));
  out << "</svg>\n";
  return text;
}
}  // namespace optp
