#include "tools/train/training_data.h"

#include <filesystem>

#include "frontend/ir/diagnostic.h"
#include "llvm/Support/FileSystem.h"
#include "passes/plan/job.h"
#include "tools/run/labels.h"
#include "tools/run/lookups.h"
#include "tools/run/run.h"
#include "tools/run/tensor_folder.h"

namespace optp {
namespace {
// What is asked for, else as the checkpoint has it, else as the model is fixed, else a default; a fixed model allows no
// other.
llvm::Expected<int64_t> choose(const char* flag, const DataOptions::Extent& extent, std::optional<int64_t> fixed,
                               int64_t otherwise) {
  const int64_t asked = extent.asked ? *extent.asked : extent.before.value_or(fixed.value_or(otherwise));
  if (fixed && asked != *fixed)
    return error(Code::bad_value).flag(flag, asked).expected(llvm::Twine(*fixed) + ", which the model is fixed to");
  return asked;
}
// Most messages name the file; those of extents that disagree do not.
llvm::Error in_folder(const std::string& folder, llvm::Error fault) {
  return llvm::handleErrors(std::move(fault), [&](Diagnostic& d) -> llvm::Error {
    if (!llvm::StringRef(d.parts().file).starts_with(folder)) d.within(file_place(folder));
    return d;
  });
}
}  // namespace

llvm::Expected<TrainingData> TrainingData::open(const DataOptions& options, std::vector<Port> ports,
                                                llvm::ArrayRef<size_t> ranks) {
  TrainingData out;
  out.seed_ = options.seed;
  if (auto e = options.folders.empty() ? out.open_tokens(options, std::move(ports), ranks)
                                       : out.open_folders(options, std::move(ports), ranks))
    return e;
  return out;
}

llvm::Error TrainingData::open_tokens(const DataOptions& o, std::vector<Port> ports, llvm::ArrayRef<size_t> ranks) {
  auto maker = BatchMaker::create(o.model, std::move(ports), o.dims, ranks);
  if (!maker) return maker.takeError();
  auto batch = choose("--batch", o.batch, maker->fixed_batch(), 8);
  if (!batch) return batch.takeError();
  auto length = choose("--sequence", o.length, maker->fixed_sequence(), 128);
  if (!length) return length.takeError();
  if (*length < 2) return error(Code::bad_value).flag("--sequence", *length).expected("at least 2");
  auto tokens = TokenFile::open(o.tokens, o.token_type);
  if (!tokens) return tokens.takeError();
  if (auto e = tokens->check_width(maker->vocabulary())) return e;
  if (auto e = tokens->check_vocabulary(maker->vocabulary())) return e;
  batch_ = *batch, length_ = *length;
  path_ = std::filesystem::absolute(o.tokens).string(), blake3_ = tokens->blake3(), files_ = {tokens->id()};
  tokens_ = std::make_unique<TokenFile>(std::move(*tokens));
  sequences_.emplace(*tokens_, length_);
  maker_.emplace(std::move(*maker));
  if (count() == 0)
    return error(Code::malformed).in_file(o.tokens).what("tokens").expected("at least 2").found(tokens_->size());
  return llvm::Error::success();
}
llvm::Error TrainingData::check_length(const Graph& graph) const {
  if (!tokens_) return llvm::Error::success();
  // Positions are those of any other sequence.
  auto whole = maker_->make_whole(*sequences_, {0}, batch_);
  if (!whole) return whole.takeError();
  if (auto e = check_lookups(graph, whole->arrays, whole->dims))
    return within(flag_place("--sequence", std::to_string(length_)), std::move(e));
  return llvm::Error::success();
}

llvm::Error TrainingData::open_folders(const DataOptions& o, std::vector<Port> ports, llvm::ArrayRef<size_t> ranks) {
  for (auto [flag, extent] : {std::pair{"--batch", &o.batch}, {"--sequence", &o.length}})
    if (extent->asked)
      return error(Code::bad_value)
          .flag(flag, *extent->asked)
          .what("needs --data")
          .hint("the arrays of --inputs-dir have a batch and a length of their own");
  ports_ = std::move(ports), dims_ = o.dims, ranks_ = ranks.vec();
  path_ = std::filesystem::absolute(o.folders).string();
  std::error_code code;
  std::vector<std::string> names;
  for (std::filesystem::directory_iterator it(o.folders, code), end; !code && it != end; it.increment(code)) {
    std::error_code ignored;
    if (it->is_directory(ignored)) names.push_back(it->path().filename().string());
  }
  if (code)
    return error(code == std::errc::no_such_file_or_directory ? Code::file_not_found : Code::unreadable)
        .in_file(o.folders)
        .what("cannot be read")
        .what(code.message());
  if (names.empty())
    return error(Code::malformed)
        .in_file(o.folders)
        .expected("a folder for each batch, with an array for each input and labels.npy")
        .found("none");
  llvm::sort(names);
  std::string all;
  for (const std::string& name : names) {
    Folder folder{(std::filesystem::path(o.folders) / name).string(), ""};
    auto hash = hash_of(folder.path, &files_);
    if (!hash) return hash.takeError();
    folder.blake3 = *hash;
    all += name + '\0' + *hash + '\n';
    auto batch = read_whole(folder);
    if (!batch) return batch.takeError();
    if (o.graph)
      if (auto e = check_lookups(*o.graph, batch->arrays, batch->dims))
        return within(file_place(folder.path), std::move(e));
    folders_.push_back(std::move(folder));
  }
  blake3_ = blake3_of(llvm::ArrayRef<char>(all.data(), all.size()));
  return llvm::Error::success();
}

// Of the files that are read of it: what else lies there is no part of the data.
llvm::Expected<std::string> TrainingData::hash_of(const std::string& folder, std::vector<FileId>* files) const {
  std::string text;
  auto arrays = TensorFolder::open(folder, TensorFolder::Kind::inputs);
  if (!arrays) return arrays.takeError();
  for (size_t k = 0; k < ports_.size(); ++k) {
    const Port& p = ports_[k];
    const auto path = arrays->file_of(p.name, k);
    if (!path) return arrays->none_of(p.name);
    auto file = open_input_file(*path);
    if (!file) return file.takeError();
    const auto bytes = (*file)->bytes();
    text += p.name + '\0' + blake3_of(bytes) + '\n';
    if (files) files->push_back((*file)->id());
  }
  return blake3_of(llvm::ArrayRef<char>(text.data(), text.size()));
}

llvm::Expected<Batch> TrainingData::read_whole(const Folder& folder) const {
  auto batch = read_batch({}, dims_, folder.path, ports_);
  if (!batch) return in_folder(folder.path, batch.takeError());
  return batch;
}

llvm::Expected<TrainingBatch> TrainingData::read(const Folder& folder) const {
  auto batch = read_whole(folder);
  if (!batch) return batch.takeError();
  auto shards = take_shards(*batch, ports_, ranks_);
  if (!shards) return shards.takeError();
  TrainingBatch out{.ranks = std::move(*shards), .dims = batch->dims};
  for (const Port& p : ports_)
    if (p.role == Plan::Role::labels) {
      const HostArray& labels = batch->arrays.find(p.name)->second;
      out.counted = counted_labels(labels), out.tokens = 1;
      for (int64_t d : labels.dims) out.tokens *= d;
    }
  return out;
}

std::string TrainingData::names(llvm::ArrayRef<int64_t> pieces) const {
  constexpr size_t most = 3;
  std::string out;
  for (int64_t k : pieces.take_front(most)) out += (out.empty() ? "" : ", ") + folders_[size_t(k)].path;
  if (pieces.size() > most) out += " and " + std::to_string(pieces.size() - most) + " more";
  return out;
}

llvm::Expected<TrainingBatch> TrainingData::make(llvm::ArrayRef<int64_t> pieces) const {
  if (sequences_) return maker_->make(*sequences_, pieces, batch_);
  const Folder& folder = folders_[size_t(pieces[0])];
  auto hash = hash_of(folder.path, /*files=*/nullptr);
  if (!hash) return hash.takeError();
  if (*hash != folder.blake3) return error(Code::changed).in_file(folder.path).what("changed while in use");
  return read(folder);
}
}  // namespace optp
