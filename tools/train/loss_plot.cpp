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

class LossPlot {
 public:
  LossPlot(llvm::ArrayRef<double> losses, llvm::StringRef title)
      : losses_(losses), title_(escaped(title)), columns_(columns_of(losses)), out_(text_) {
    if (!columns_.empty()) low_ = columns_[0].low, high_ = columns_[0].high;
    for (const Column& c : columns_) low_ = std::min(low_, c.low), high_ = std::max(high_, c.high);
    y_step_ = tick_step(std::max(high_ - low_, 1e-6 * std::max(1.0, std::abs(high_))), 5);
    low_ = std::floor(low_ / y_step_) * y_step_;
    high_ = std::max(std::ceil(high_ / y_step_) * y_step_, low_ + y_step_);
    last_ = std::max<double>(double(losses.size()), 2);
    x_step_ = std::max(1.0, tick_step(last_ - 1, 6));
  }
  std::string draw() {
    draw_page();
    draw_grid();
    draw_axes();
    draw_range();
    draw_means();
    out_ << "</svg>\n";
    return text_;
  }

 private:
  double x(double step) const { return left + (step - 1) / (last_ - 1) * (width - left - right); }
  double y(double loss) const { return height - bottom - (loss - low_) / (high_ - low_) * (height - top - bottom); }
  std::string point(double step, double loss) const { return llvm::formatv("{0:f1},{1:f1} ", x(step), y(loss)).str(); }

  void line(const char* kind, double x1, double y1, double x2, double y2) {
    out_ << llvm::formatv("<line class=\"{0}\" x1=\"{1:f1}\" y1=\"{2:f1}\" x2=\"{3:f1}\" y2=\"{4:f1}\"/>\n", kind, x1,
                          y1, x2, y2);
  }
  void label(double at_x, double at_y, const char* anchor, const std::string& what, const char* more = "") {
    out_ << llvm::formatv("<text class=\"text\" x=\"{0:f1}\" y=\"{1:f1}\" text-anchor=\"{2}\"{3}>{4}</text>\n", at_x,
                          at_y, anchor, more, what);
  }

  void draw_page() {
    out_
        << llvm::formatv(
               R"(<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {0} {1}" width="{0}" height="{1}" role="img" font-family="system-ui, sans-serif" font-size="12">)",
               width, height)
        << "\n<title>" << title_ << R"(</title>
<style>
.page{fill:#fff}.text{fill:#333}.axis{stroke:#888}.grid{stroke:#e4e4e4}.line{stroke:#0b62a8}.range,.dot{fill:#0b62a8}
@media(prefers-color-scheme:dark){.page{fill:#16181c}.text{fill:#d8d8d8}.axis{stroke:#999}.grid{stroke:#30343a}.line{stroke:#62b0f0}.range,.dot{fill:#62b0f0}}
</style>
)" << llvm::formatv("<rect class=\"page\" width=\"{0}\" height=\"{1}\"/>\n", width, height)
        << llvm::formatv("<text class=\"text\" x=\"{0}\" y=\"24\" font-size=\"15\" font-weight=\"600\">{1}</text>\n",
                         left, title_);
  }
  void draw_grid() {
    for (int k = 0; low_ + k * y_step_ <= high_ + y_step_ / 2; ++k) {
      const double v = low_ + k * y_step_;
      line("grid", left, y(v), width - right, y(v));
      label(left - 8, y(v) + 4, "end", tick_text(v, y_step_));
    }
  }
  void draw_axes() {
    draw_step_tick(1);
    for (double step = x_step_; step <= last_ + 1e-9; step += x_step_)
      if (step - 1 > 0.4 * x_step_) draw_step_tick(step);
    line("axis", left, height - bottom, width - right, height - bottom);
    line("axis", left, top, left, height - bottom);
    label((left + width - right) / 2, height - 12, "middle", "step");
    label(18, (top + height - bottom) / 2, "middle", "loss",
          llvm::formatv(" transform=\"rotate(-90 18 {0:f1})\"", (top + height - bottom) / 2).str().c_str());
  }
  void draw_step_tick(double step) {
    line("axis", x(step), height - bottom, x(step), height - bottom + 5);
    label(x(step), height - bottom + 19, "middle", tick_text(step, 1));
  }
  // Between the lowest and the highest loss of each column, where columns stand for several steps.
  void draw_range() {
    if (losses_.size() <= columns_.size()) return;
    out_ << "<polygon class=\"range\" opacity=\"0.2\" points=\"";
    for (const Column& c : columns_) out_ << point(c.step, c.high);
    for (auto c = columns_.rbegin(); c != columns_.rend(); ++c) out_ << point(c->step, c->low);
    out_ << "\"/>\n";
  }
  void draw_means() {
    out_ << "<polyline class=\"line\" fill=\"none\" stroke-width=\"1.8\" stroke-linejoin=\"round\" points=\"";
    for (const Column& c : columns_) out_ << point(c.step, c.mean);
    out_ << "\"/>\n";
    if (columns_.size() > 40) return;
    for (const Column& c : columns_)
      out_ << llvm::formatv("<circle class=\"dot\" cx=\"{0:f1}\" cy=\"{1:f1}\" r=\"2.5\"/>\n", x(c.step), y(c.mean));
  }

  const llvm::ArrayRef<double> losses_;
  const std::string title_;
  const std::vector<Column> columns_;
  double low_ = 0, high_ = 1, y_step_ = 1, last_ = 2, x_step_ = 1;
  std::string text_;
  llvm::raw_string_ostream out_;
};
}  // namespace

std::string loss_plot(llvm::ArrayRef<double> losses, llvm::StringRef title) { return LossPlot(losses, title).draw(); }
}  // namespace optp
