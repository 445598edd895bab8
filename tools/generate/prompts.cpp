#include "tools/generate/prompts.h"

#include "frontend/io/npy.h"
#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/STLExtras.h"

namespace optp {
llvm::Expected<Prompt> parse_ids(llvm::StringRef flag, llvm::StringRef text) {
  Prompt out;
  llvm::SmallVector<llvm::StringRef, 16> words;
  text.trim("[]() ").split(words, ',');
  for (llvm::StringRef word : words) {
    int64_t id = 0;
    if (word.trim().getAsInteger(10, id) || id < 0)
      return error(Code::bad_value)
          .flag(flag, quoted(text))
          .expected("ids between commas, such as 2,100,19")
          .found(quoted(word.trim()));
    out.push_back(id);
  }
  return out;
}

static llvm::Expected<std::vector<Prompt>> read_file(llvm::StringRef path, std::optional<int64_t> pad) {
  auto array = read_npy(path);
  if (!array) return array.takeError();
  if (is_float(array->dtype) || array->dims.empty() || array->dims.size() > 2)
    return error(Code::shape_mismatch)
        .in_file(path)
        .what("prompts")
        .expected("integers, [n] or [rows, n]")
        .found(long_name(array->dtype) + " of " + llvm::Twine(array->dims.size()) + " dims");
  const Array ids = to_array(*array);
  const size_t rows = array->dims.size() == 2 ? size_t(array->dims[0]) : 1, n = size_t(array->dims.back());
  std::vector<Prompt> out;
  for (size_t r = 0; r < rows; ++r) {
    llvm::ArrayRef<int64_t> row = llvm::ArrayRef<int64_t>(ids.i).slice(r * n, n);
    while (pad && !row.empty() && row.front() == *pad) row = row.drop_front();
    while (pad && !row.empty() && row.back() == *pad) row = row.drop_back();
    out.emplace_back(row.begin(), row.end());
    if (row.empty() || llvm::any_of(row, [](int64_t id) { return id < 0; }))
      return error(Code::bad_value)
          .in_file(path)
          .what("row " + llvm::Twine(r))
          .expected("at least one id, and none below 0")
          .found(row.empty() ? "none" : "an id below 0");
  }
  return out;
}
llvm::Expected<std::vector<Prompt>> read_prompts(const std::vector<std::string>& lists, llvm::StringRef file,
                                                 std::optional<int64_t> pad) {
  std::vector<Prompt> out;
  for (const std::string& list : lists) {
    auto prompt = parse_ids("--prompt-ids", list);
    if (!prompt) return prompt.takeError();
    out.push_back(std::move(*prompt));
  }
  if (!file.empty()) {
    auto rows = read_file(file, pad);
    if (!rows) return rows.takeError();
    llvm::append_range(out, std::move(*rows));
  }
  if (out.empty())
    return error(Code::missing)
        .what("a prompt")
        .expected("--prompt-ids or --prompt-file")
        .found("neither")
        .about({.flag = "--prompt-ids"});
  return out;
}
}  // namespace optp
