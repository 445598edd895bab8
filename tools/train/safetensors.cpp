#include "tools/train/safetensors.h"

#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/MathExtras.h"
#include "llvm/Support/raw_ostream.h"

namespace optp {
namespace {
std::optional<llvm::StringRef> word_of(DType dtype) {
  constexpr std::pair<DType, const char*> words[] = {
      {DType::f64, "F64"}, {DType::f32, "F32"}, {DType::f16, "F16"}, {DType::bf16, "BF16"}, {DType::boolean, "BOOL"},
      {DType::i64, "I64"}, {DType::i32, "I32"}, {DType::i16, "I16"}, {DType::i8, "I8"},     {DType::u64, "U64"},
      {DType::u32, "U32"}, {DType::u16, "U16"}, {DType::u8, "U8"}};
  const auto* at = llvm::find_if(words, [&](const auto& w) { return w.first == dtype; });
  if (at == std::end(words)) return std::nullopt;
  return llvm::StringRef(at->second);
}
}  // namespace

llvm::Error write_safetensors(const HostArrays& arrays, const Metadata& metadata,
                              llvm::function_ref<llvm::Error(llvm::ArrayRef<llvm::ArrayRef<char>>)> write) {
  for (const auto& [name, array] : arrays)
    if (!word_of(array.dtype))
      return error(Code::bad_value)
          .what("safetensors has no word for " + quoted(name) + "'s " + to_string(array.dtype));
  std::string header;
  llvm::raw_string_ostream text(header);
  llvm::json::OStream json(text);
  std::vector<llvm::ArrayRef<char>> pieces{{}, {}};  // the header's length, the header
  json.objectBegin();
  json.attributeObject("__metadata__", [&] {
    for (const auto& [name, value] : metadata) json.attribute(name, value);
  });
  int64_t offset = 0;
  for (const auto& [name, array] : arrays) {
    const auto bytes = int64_t(array.bytes.size());
    json.attributeObject(name, [&, &array = array] {
      json.attribute("dtype", *word_of(array.dtype));
      json.attributeArray("shape", [&] {
        for (const int64_t d : array.dims) json.value(d);
      });
      json.attributeArray("data_offsets", [&] { json.value(offset), json.value(offset + bytes); });
    });
    offset += bytes;
    pieces.push_back(array.bytes);
  }
  json.objectEnd();
  text.flush();
  header.resize(llvm::alignTo(header.size(), 8), ' ');  // so that arrays lie on multiples of their elements' sizes
  const llvm::support::ulittle64_t length(header.size());
  pieces[0] = {reinterpret_cast<const char*>(&length), sizeof length};
  pieces[1] = {header.data(), header.size()};
  return write(pieces);
}
}  // namespace optp
