#include "tools/train/saver.h"

#include <filesystem>

#include "frontend/ir/diagnostic.h"

namespace optp {

llvm::Expected<Saver> Saver::open(World& world, std::string folder, const std::string& resume, OutputOptions options) {
  Saver out(world);
  out.folder_ = std::move(folder);
  out.options_ = std::move(options);
  std::error_code ignored;
  out.resumed_ = !resume.empty() && std::filesystem::equivalent(out.folder_, resume, ignored);
  if (!out.resumed_ && !out.options_.overwrite && std::filesystem::is_directory(out.folder_, ignored) &&
      !std::filesystem::is_empty(out.folder_, ignored))
    return error(Code::occupied)
        .in_file(out.folder_)
        .what("the folder is not empty")
        .hint("give --resume " + out.folder_ + " to go on from a checkpoint, --overwrite to lose what is there");
  if (auto e = out.begin()) return e;
  return out;
}

llvm::Error Saver::save(const RunRecord& run, const Graph& whole, llvm::ArrayRef<Port> held, Stepper& stepper) {
  if (auto e = write_checkpoint(
          *transaction_, *world_, run, whole, held,
          [&](size_t r, llvm::StringRef name) -> const HostArray& { return stepper.values(r).find(name)->second; }))
    return e;
  if (auto e = world_->at_root([&] { return transaction_->commit(); })) return e;
  saved_ = run.step;
  return begin();
}

llvm::Error Saver::begin() {
  transaction_.reset();
  if (auto e = world_->at_root([&]() -> llvm::Error {
        auto next = OutputTransaction::begin(folder_, options_);
        if (!next) return next.takeError();
        transaction_.emplace(std::move(*next));
        return llvm::Error::success();
      }))
    return e;
  auto temporary = world_->broadcast(transaction_ ? transaction_->temporary().str() : std::string());
  if (!temporary) return temporary.takeError();
  if (transaction_) return llvm::Error::success();
  auto joined = OutputTransaction::join(folder_, *temporary, options_);
  if (!joined) return joined.takeError();
  transaction_.emplace(std::move(*joined));
  return llvm::Error::success();
}

llvm::Error restore(const Checkpoint& from, llvm::ArrayRef<Port> held, Stepper& stepper) {
  for (const Port& p : held) {
    const CheckpointTensor* tensor = from.find(p.name);
    if (!tensor)
      return error(Code::bad_checkpoint)
          .in_file(from.folder())
          .what("it has no tensor " + quoted(p.name) + ", which this training has")
          .about({.tensor = p.name});
    llvm::SmallVector<int64_t, 4> dims;
    for (Dim d : p.dims) dims.push_back(d.constant().value_or(-1));
    const Where place{file_place(from.folder()), tensor_place("tensor", p.name)};
    if (tensor->dtype != p.dtype)
      return error(Code::dtype_mismatch)
          .at(place)
          .what("dtype")
          .expected(long_name(p.dtype))
          .found(long_name(tensor->dtype));
    if (tensor->dims != dims)
      return error(Code::shape_mismatch).at(place).what("shape").expected(to_string(p.dims)).found("another");
    auto whole = from.whole(*tensor);
    if (!whole) return whole.takeError();
    for (const size_t r : stepper.ranks()) {
      auto shard = shard_of(p, r, {});
      if (!shard) return shard.takeError();
      stepper.values(r)[p.name] = take(*shard, *whole);
    }
  }
  for (const CheckpointTensor& t : from.tensors())
    if (llvm::none_of(held, [&](const Port& p) { return p.name == t.name; }))
      return error(Code::bad_checkpoint)
          .in_file(from.folder())
          .tensor("tensor", t.name)
          .what("this training has none of that name");
  return llvm::Error::success();
}

}  // namespace optp
