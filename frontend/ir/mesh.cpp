#include "frontend/ir/mesh.h"

#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/StringExtras.h"

namespace optp {

int64_t Mesh::devices() const {
  int64_t n = 1;
  for (const MeshAxis& axis : axes) n *= axis.size;
  return n;
}
const MeshAxis* Mesh::find(llvm::StringRef name) const {
  for (const MeshAxis& axis : axes)
    if (axis.name == name) return &axis;
  return nullptr;
}
int64_t Mesh::axis_size(llvm::StringRef name) const {
  const MeshAxis* axis = find(name);
  return axis ? axis->size : 1;
}
int64_t Mesh::size_of(llvm::ArrayRef<std::string> names) const {
  int64_t n = 1;
  for (const std::string& name : names) n *= axis_size(name);
  return n;
}
int64_t Mesh::coordinate(llvm::StringRef axis, int64_t rank) const {
  for (auto it = axes.rbegin(); it != axes.rend(); ++it) {
    if (it->name == axis) return rank % it->size;
    rank /= it->size;
  }
  return 0;
}
llvm::SmallVector<int64_t, 8> Mesh::group(llvm::ArrayRef<std::string> names, int64_t rank) const {
  llvm::SmallVector<int64_t, 8> stride(names.size()), size(names.size());
  int64_t base = rank;
  for (size_t i = 0; i < names.size(); ++i) {
    int64_t s = 1;
    for (auto it = axes.rbegin(); it != axes.rend() && it->name != names[i]; ++it) s *= it->size;
    stride[i] = s;
    size[i] = axis_size(names[i]);
    base -= coordinate(names[i], rank) * s;
  }
  llvm::SmallVector<int64_t, 8> ranks{base};
  for (size_t i = 0; i < names.size(); ++i) {
    llvm::SmallVector<int64_t, 8> next;
    for (int64_t r : ranks)
      for (int64_t c = 0; c < size[i]; ++c) next.push_back(r + c * stride[i]);
    ranks = std::move(next);
  }
  return ranks;
}

std::string to_string(const Mesh& mesh) {
  std::string text;
  for (const MeshAxis& axis : mesh.axes) {
    if (!text.empty()) text += ", ";
    text += axis.name + "=" + std::to_string(axis.size);
  }
  return text;
}

llvm::Expected<Mesh> parse_mesh(llvm::StringRef text) {
  Mesh mesh;
  int64_t devices = 1;
  llvm::SmallVector<llvm::StringRef> parts;
  text.split(parts, ',');
  for (llvm::StringRef part : parts) {
    auto [name, number] = part.trim().split('=');
    if (number.empty() && parts.size() == 1)
      std::tie(name, number) = std::pair<llvm::StringRef, llvm::StringRef>("tensor", name);
    int64_t size = 0;
    if (number.trim().getAsInteger(10, size) || size < 1 || size > most_devices)
      return error(Code::bad_value)
          .what("mesh " + quoted(text))
          .expected("AXIS=SIZE with a size from 1 to " + llvm::Twine(most_devices))
          .found(quoted(part.trim()));
    name = name.trim();
    if (name.empty() || !llvm::all_of(name, [](char c) { return llvm::isAlnum(c) || c == '_'; }) || mesh.find(name))
      return error(Code::bad_value)
          .what("mesh " + quoted(text))
          .what("axis names are distinct words of letters, digits and '_', found " + quoted(name))
          .about({.found = quoted(name)});
    devices *= size;
    if (devices > most_devices)
      return error(Code::bad_value)
          .what("mesh " + quoted(text))
          .what("more than " + llvm::Twine(most_devices) + " devices");
    mesh.axes.push_back({name.str(), size});
  }
  return mesh;
}
}  // namespace optp
