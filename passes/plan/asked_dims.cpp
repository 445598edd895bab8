#include "passes/plan/asked_dims.h"

#include "frontend/ir/diagnostic.h"
#include "frontend/ir/graph.h"
#include "llvm/ADT/StringExtras.h"
#include "passes/passes.h"

namespace optp {
namespace {
bool parse_shape(llvm::StringRef text, llvm::SmallVector<int64_t, 4>& shape) {
  llvm::SmallVector<llvm::StringRef, 4> extents;
  text.split(extents, 'x');
  shape.clear();
  for (llvm::StringRef extent : extents)
    if (int64_t n = 0; extent.getAsInteger(10, n) || n < 0)
      return false;
    else
      shape.push_back(n);
  return true;
}
llvm::Error is_an_input(const Graph& graph, const std::string& name) {
  std::string known;
  for (const Value* v : graph.inputs) {
    if (v->name == name) return llvm::Error::success();
    known += (known.empty() ? "" : ", ") + v->name;
  }
  return error(Code::unknown_input)
      .flag("--input-shapes")
      .what("the model has no input " + quoted(name))
      .about({.tensor = name})
      .hint("it has " + known);
}
}  // namespace

// A name may hold both signs: a number ends each.
llvm::Expected<DimValues> parse_dims(llvm::ArrayRef<std::string> dims) {
  DimValues out;
  for (const std::string& text : dims) {
    llvm::SmallVector<llvm::StringRef, 4> parts;
    llvm::StringRef(text).split(parts, ',');
    std::string one;
    for (size_t k = 0; k < parts.size(); ++k) {
      one += (one.empty() ? "" : ",") + parts[k].str();
      const auto [name, number] = llvm::StringRef(one).rsplit('=');
      if (int64_t n = 0; !name.empty() && !number.getAsInteger(10, n) && n >= 0)
        out[name.str()] = n, one.clear();
      else if (k + 1 == parts.size())
        return error(Code::bad_value).flag("--dim", quoted(text)).expected("NAME=NUMBER, or several between commas");
    }
  }
  return out;
}
// A name may hold colons and commas: a shape ends each.
llvm::Expected<InputShapes> parse_input_shapes(llvm::ArrayRef<std::string> texts) {
  InputShapes out;
  for (const std::string& text : texts) {
    llvm::SmallVector<llvm::StringRef, 4> parts;
    llvm::StringRef(text).split(parts, ',');
    std::string one;
    for (llvm::StringRef part : parts) {
      one += (one.empty() ? "" : ",") + part.str();
      const auto [name, extents] = llvm::StringRef(one).rsplit(':');
      if (llvm::SmallVector<int64_t, 4> shape; !name.empty() && parse_shape(extents, shape))
        out[name.str()] = std::move(shape), one.clear();
    }
    if (!one.empty())
      return error(Code::bad_value)
          .flag("--input-shapes", quoted(one))
          .expected("NAME:1x128, or several between commas");
  }
  return out;
}
llvm::Expected<DimValues> asked_dims(const Graph& graph, const AskedDims& asked) {
  for (const auto& [name, extent] : asked.values)
    if (extent < 0) return error(Code::bad_value).flag("--dim", quoted(name)).expected("0 at least").found(extent);
  for (const auto& [name, shape] : asked.shapes)
    if (auto e = is_an_input(graph, name)) return e;
  auto bound = bind_input_dims(graph, asked.shapes, asked.values);
  if (!bound && !asked.shapes.empty()) return within(flag_place("--input-shapes"), bound.takeError());
  return bound;
}
llvm::Error check_asked_names(llvm::StringRef what, llvm::ArrayRef<std::string> known, const DimValues& asked) {
  for (const auto& [name, extent] : asked)
    if (!llvm::is_contained(known, name))
      return error(Code::bad_value)
          .flag("--dim", quoted(name + "=" + std::to_string(extent)))
          .what("the " + what + " has no such dim")
          .hint("it has " + (known.empty() ? "none" : llvm::join(known, ", ")));
  return llvm::Error::success();
}
}  // namespace optp
