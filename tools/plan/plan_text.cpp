#include "tools/plan/plan_text.h"

#include <algorithm>

#include "frontend/ir/collective.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

namespace optp {
std::string grouped(int64_t n) {
  std::string digits = std::to_string(n), out;
  for (size_t k = 0; k < digits.size(); ++k) {
    if (k && (digits.size() - k) % 3 == 0) out += ',';
    out += digits[k];
  }
  return out;
}
std::string shape_text(const llvm::json::Array& shape) {
  std::string out = "[";
  for (size_t k = 0; k < shape.size(); ++k) {
    if (k) out += ", ";
    if (auto n = shape[k].getAsInteger())
      out += std::to_string(*n);
    else if (auto s = shape[k].getAsString())
      out += s->str();
  }
  return out + "]";
}
std::string ranges_text(const llvm::json::Array& ranges) {
  std::string out;
  for (size_t d = 0; d < ranges.size(); ++d) {
    if (d) out += " × ";
    const llvm::json::Array& intervals = *ranges[d].getAsArray();
    for (size_t k = 0; k < intervals.size() && k < 3; ++k) {
      if (k) out += ",";
      const llvm::json::Array& i = *intervals[k].getAsArray();
      auto part = [&](size_t n) {
        return i[n].getAsInteger() ? std::to_string(*i[n].getAsInteger()) : i[n].getAsString().value_or("?").str();
      };
      out += part(0) + ":" + part(1);
    }
    if (intervals.size() > 3) out += ",… (" + std::to_string(intervals.size()) + ")";
  }
  return out;
}
std::string folded(llvm::StringRef name) {
  std::string out;
  for (size_t k = 0; k < name.size(); ++k) {
    const bool boundary = k == 0 || name[k - 1] == '.' || name[k - 1] == '/' || name[k - 1] == '_';
    if (llvm::isDigit(name[k]) && boundary) {
      size_t end = k;
      while (end < name.size() && llvm::isDigit(name[end])) ++end;
      if (end == name.size() || name[end] == '.' || name[end] == '/' || name[end] == '_') {
        out += '*';
        k = end - 1;
        continue;
      }
    }
    out += name[k];
  }
  return out;
}
std::string common_start(llvm::ArrayRef<std::string> names) {
  if (names.size() < 2) return "";
  llvm::StringRef start = names[0];
  for (llvm::StringRef name : names) {
    size_t n = 0;
    while (n < start.size() && n < name.size() && start[n] == name[n]) ++n;
    start = start.take_front(n);
  }
  return start.take_front(start.find_last_of("./") + 1).str();  // npos + 1 is 0
}
std::optional<std::string> joined(llvm::ArrayRef<std::string> names) {
  size_t from = 0, back = 0;
  const std::string& first = names[0];
  auto all = [&](auto&& same) { return llvm::all_of(names, same); };
  while (from < first.size() && all([&](const std::string& n) { return from < n.size() && n[from] == first[from]; }))
    ++from;
  while (back < first.size() && all([&](const std::string& n) {
           return back + from < n.size() && n[n.size() - 1 - back] == first[first.size() - 1 - back];
         }))
    ++back;
  std::string out = first.substr(0, from) + "{";
  for (const std::string& n : names) {
    const std::string middle = n.substr(from, n.size() - from - back);
    if (middle.empty() || middle.size() > 10 || middle.find_first_of("./") != std::string::npos) return std::nullopt;
    out += (&n == names.begin() ? "" : ",") + middle;
  }
  return out + "}" + first.substr(first.size() - back);
}
std::string local_text(const llvm::json::Array& ranks) {
  std::vector<std::vector<std::string>> dims;
  for (const auto& rank : ranks) {
    const llvm::json::Array& shape = *rank.getAsObject()->getArray("shape");
    dims.resize(shape.size());
    for (size_t d = 0; d < shape.size(); ++d) {
      const std::string extent = shape[d].getAsInteger() ? std::to_string(*shape[d].getAsInteger())
                                                         : shape[d].getAsString().value_or("?").str();
      if (!llvm::is_contained(dims[d], extent)) dims[d].push_back(extent);
    }
  }
  std::string out = "[";
  for (size_t d = 0; d < dims.size(); ++d) out += (d ? ", " : "") + llvm::join(dims[d], "|");
  return out + "]";
}
std::string kind_text(llvm::StringRef kind, int64_t n) {
  std::string out = kind.str();
  std::replace(out.begin(), out.end(), '_', '-');
  return n == 1 ? out : out == "all-to-all" ? "all-to-alls" : out + "s";
}

std::string collectives_text(const llvm::json::Object& totals) {
  std::string out;
  if (const llvm::json::Object* counts = totals.getObject("collectives"))
    for (Collective kind : collective_ops)
      if (const int64_t n = counts->getInteger(to_string(kind)).value_or(0))
        out += (out.empty() ? "" : ", ") + std::to_string(n) + " " + kind_text(to_string(kind), n);
  return out.empty() ? "nothing" : out;
}

const llvm::json::Object* find_tensor(const llvm::json::Object& plan, llvm::StringRef name) {
  for (const char* list : {"parameters", "constants", "inputs", "outputs", "values"})
    for (const auto& entry : *plan.getArray(list)) {
      const llvm::json::Object& o = *entry.getAsObject();
      if (o.getString("name") == name) return &o;
      if (const llvm::json::Array* aliases = o.getArray("aliases"))
        for (const auto& a : *aliases)
          if (a.getAsString() == name) return &o;
    }
  return nullptr;
}
}  // namespace optp
