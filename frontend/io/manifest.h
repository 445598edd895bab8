// manifest.json: which files an output has, and the bytes of each.
#pragma once
#include <cstdint>
#include <map>
#include <set>
#include <string>

#include "frontend/io/limits.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/ADT/Twine.h"
#include "llvm/Support/BLAKE3.h"
#include "llvm/Support/Error.h"

namespace optp {

constexpr const char* manifest_name = "manifest.json";
struct ManifestRow {
  int64_t size_bytes = 0;
  std::string blake3;
};
using Manifest = std::map<std::string, ManifestRow>;  // sorted: the same outputs give the same bytes

// "plan.json", "rank0/model.onnx": one or two names of [a-z0-9._-]+, none of which starts with a dot.
bool is_output_name(llvm::StringRef name);
// `absent`: files that the output refers to but that were deliberately not written.
std::string manifest_json(const Manifest& files, const std::set<std::string>& absent);
llvm::Expected<Manifest> read_manifest(int folder, const llvm::Twine& shown_folder, const Limits& limits,
                                       std::set<std::string>* absent = nullptr);

// An output folder is whole if each file of its manifest is there with its size (and its hash: reads every byte), and
// no other file is (unless `others` may be). `is_hashed`: of which files the hash is compared; null: of all.
llvm::Error verify_manifest(llvm::StringRef folder, bool hashes = false, const Limits& limits = {}, bool others = false,
                            llvm::function_ref<bool(llvm::StringRef file)> is_hashed = nullptr);

std::string hex_digest(llvm::BLAKE3& hash);  // 64 digits

}  // namespace optp
