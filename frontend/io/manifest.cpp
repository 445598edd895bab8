#include "frontend/io/manifest.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <climits>
#include <optional>
#include <thread>
#include <vector>

#include "frontend/io/files.h"
#include "frontend/io/folder_tree.h"
#include "frontend/io/json.h"
#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/StringExtras.h"

namespace optp {
using llvm::Error;
using llvm::Expected;
using llvm::StringRef;
using llvm::Twine;

namespace {
constexpr const char* manifest_format = "opt-partition manifest";
constexpr int manifest_version = 1;
}  // namespace

std::string manifest_json(const Manifest& files, const std::set<std::string>& absent) {
  std::string text = "{\"format\":\"" + std::string(manifest_format) +
                     "\",\"version\":" + std::to_string(manifest_version) + ",\"files\":[";
  const char* separator = "\n";
  for (const auto& [name, row] : files) {
    text += separator;
    text += "{\"name\":\"" + name + "\",\"size_bytes\":" + std::to_string(row.size_bytes) + ",\"blake3\":\"" +
            row.blake3 + "\"}";
    separator = ",\n";
  }
  text += "\n]";
  separator = ",\"absent\":[\n";
  for (const std::string& name : absent) {
    text += separator;
    text += "\"" + name + "\"";
    separator = ",\n";
  }
  return text + (absent.empty() ? "}\n" : "\n]}\n");
}

bool is_output_name(StringRef name) {
  const auto [folder, file] = name.split('/');
  const auto good = [](StringRef part) {
    return !part.empty() && part[0] != '.' && part.size() <= NAME_MAX &&
           part.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789._-") == StringRef::npos;
  };
  return name.contains('/') ? good(folder) && good(file) : good(name);
}

std::string hex_digest(llvm::BLAKE3& hash) {
  const auto digest = hash.final();
  return llvm::toHex(llvm::ArrayRef<uint8_t>(digest.data(), digest.size()), /*LowerCase=*/true);
}

namespace {
Error cannot_open(const Twine& path) {
  return error(errno == ENOENT ? Code::file_not_found : Code::unreadable).in_file(path).what(reason(errno));
}
Expected<std::string> read_all(int file, const Twine& shown, int64_t max_bytes) {
  std::string text;
  std::array<char, 16384> block;
  while (true) {
    const ssize_t n = ::read(file, block.data(), block.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return error(Code::unreadable).in_file(shown).what("cannot be read").what(reason(errno));
    if (n == 0) return text;
    if (int64_t(text.size()) + n > max_bytes)
      return error(Code::too_large)
          .in_file(shown)
          .what("size")
          .expected("at most " + Twine(max_bytes) + " bytes")
          .found("more");
    text.append(block.data(), size_t(n));
  }
}
}  // namespace

Expected<Manifest> read_manifest(int folder, const Twine& shown_folder, const Limits& limits,
                                 std::set<std::string>* absent) {
  const std::string shown = (shown_folder + "/" + manifest_name).str();
  Descriptor file(::openat(folder, manifest_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  if (!file) return cannot_open(shown);
  struct stat status;
  if (::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode))
    return error(Code::not_a_file).in_file(shown).expected("a regular file").found(kind_of(status));
  Expected<std::string> text = read_all(file.get(), shown, limits.max_manifest_bytes);
  if (!text) return text.takeError();
  Expected<llvm::json::Value> json = parse_json(shown, *text, limits);
  if (!json) return json.takeError();
  const llvm::json::Object* top = json->getAsObject();
  if (!top || top->getString("format") != StringRef(manifest_format))
    return error(Code::not_this_format)
        .in_file(shown)
        .what("format")
        .expected("\"" + llvm::Twine(manifest_format) + "\"")
        .found("something else");
  if (top->getInteger("version") != manifest_version)
    return error(Code::unsupported_version).in_file(shown).what("version").expected(manifest_version).found("another");
  const llvm::json::Array* rows = top->getArray("files");
  if (!rows) return error(Code::malformed).in_file(shown).what("files").expected("a list").found("none");
  Manifest manifest;
  for (const llvm::json::Value& value : *rows) {
    const llvm::json::Object* row = value.getAsObject();
    const auto name = row ? row->getString("name") : std::nullopt;
    const int64_t size = row ? row->getInteger("size_bytes").value_or(-1) : -1;
    const auto hash = row ? row->getString("blake3") : std::nullopt;
    if (!name || !is_output_name(*name) || *name == manifest_name || size < 0 || !hash || hash->size() != 64)
      return error(Code::malformed)
          .in_file(shown)
          .what("files")
          .expected("rows of name, size_bytes and blake3")
          .found("another row");
    if (!manifest.try_emplace(name->str(), ManifestRow{size, hash->str()}).second)
      return error(Code::duplicate)
          .in_file(shown)
          .what("files")
          .expected("each name once")
          .found(quoted(*name) + " twice");
  }
  if (const llvm::json::Array* names = absent ? top->getArray("absent") : nullptr)
    for (const llvm::json::Value& name : *names)
      if (const auto text = name.getAsString()) absent->insert(text->str());
  return manifest;
}

namespace {
Error verify_file(int folder, const std::string& path, const std::string& name, const ManifestRow& row, bool hashes) {
  const std::string shown = path + "/" + name;
  Descriptor file = open_beneath(folder, name, O_RDONLY | O_NONBLOCK | O_NOCTTY, Symlinks::none);
  if (!file)
    return error(Code::malformed)
        .in_file(shown)
        .expected("a file that is in the manifest")
        .found("none: " + reason(errno));
  struct stat status;
  if (::fstat(file.get(), &status) != 0)
    return error(Code::unreadable).in_file(shown).what("cannot be read").what(reason(errno));
  if (!S_ISREG(status.st_mode))
    return error(Code::not_a_file).in_file(shown).expected("a regular file").found(kind_of(status));
  if (status.st_size != row.size_bytes)
    return error(Code::size_mismatch)
        .in_file(shown)
        .what("size")
        .expected(Twine(row.size_bytes) + " bytes as in the manifest")
        .found(status.st_size);
  if (!hashes) return Error::success();
  llvm::BLAKE3 hash;  // read, not mapped: a file that shrinks now gives a wrong hash, not a signal
  std::vector<char> block(size_t{256} << 10);
  while (true) {
    const ssize_t n = ::read(file.get(), block.data(), block.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return error(Code::unreadable).in_file(shown).what("cannot be read").what(reason(errno));
    if (n == 0) break;
    hash.update(StringRef(block.data(), size_t(n)));
  }
  const std::string found = hex_digest(hash);
  if (found == row.blake3) return Error::success();
  return error(Code::hash_mismatch)
      .in_file(shown)
      .what("BLAKE3")
      .expected(quoted(row.blake3) + " as in the manifest")
      .found(quoted(found));
}
}  // namespace

Error verify_manifest(StringRef path, bool hashes, const Limits& limits, bool others,
                      llvm::function_ref<bool(StringRef)> is_hashed) {
  Descriptor folder(::open(path.str().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder) return cannot_open(path);
  std::set<std::string> absent;
  Expected<Manifest> manifest = read_manifest(folder.get(), path, limits, &absent);
  if (!manifest) return manifest.takeError();
  // Files are hashed side by side; the first bad one by name is reported.
  std::vector<std::pair<const std::string*, const ManifestRow*>> rows;
  for (const auto& [name, row] : *manifest) rows.emplace_back(&name, &row);
  std::vector<std::optional<Diagnostic>> faults(rows.size());
  std::atomic<size_t> next{0};
  const auto work = [&] {
    for (size_t k = next++; k < rows.size(); k = next++)
      if (Error e = verify_file(folder.get(), path.str(), *rows[k].first, *rows[k].second,
                                hashes && (!is_hashed || is_hashed(*rows[k].first))))
        faults[k] = take_diagnostic(std::move(e));
  };
  {
    std::vector<std::jthread> threads;
    const size_t most = hashes ? std::min<size_t>(rows.size(), std::thread::hardware_concurrency()) : 1;
    for (size_t k = 1; k < most; ++k) threads.emplace_back(work);
    work();
  }
  for (std::optional<Diagnostic>& fault : faults)
    if (fault) return *fault;
  if (others) return Error::success();
  std::string foreign;
  const bool complete = visit_tree(folder.get(), [&](const std::string& name, const struct stat& found) {
    if (!S_ISDIR(found.st_mode) && name != manifest_name && !manifest->count(name) && !absent.count(name) &&
        (foreign.empty() || name < foreign))
      foreign = name;
  });
  if (!complete) return error(Code::unreadable).in_file(path).what("the folder cannot be read to its end");
  if (!foreign.empty())
    return error(Code::malformed).in_file(path).expected("only files of the manifest").found(quoted(foreign));
  return Error::success();
}

}  // namespace optp
