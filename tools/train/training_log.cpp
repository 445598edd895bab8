#include "tools/train/training_log.h"

#include <sys/stat.h>

#include "frontend/io/input_folder.h"
#include "frontend/io/output_transaction.h"
#include "frontend/ir/diagnostic.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/JSON.h"

namespace optp {
llvm::Expected<TrainingLog> TrainingLog::open(llvm::StringRef path, int64_t step) {
  TrainingLog out;
  if (path.empty()) return out;
  out.path_ = path.str();
  std::string kept;
  struct stat status;
  if (step > 0 && ::stat(out.path_.c_str(), &status) == 0) {
    auto before = open_input_file(path);
    if (!before) return before.takeError();
    for (llvm::StringRef rest = (*before)->text(), line; !rest.empty();) {
      std::tie(line, rest) = rest.split('\n');
      // Not parse_json: a line of another kind is no error here, and is not kept. Ours are not nested.
      auto json = line.size() < 4096 && line.count('{') == 1 && line.count('[') == 0
                      ? llvm::json::parse(line)
                      : llvm::Expected<llvm::json::Value>(nullptr);
      if (!json) {
        llvm::consumeError(json.takeError());
        continue;
      }
      const auto* object = json->getAsObject();
      const auto n = object ? object->getInteger("step") : std::nullopt;
      if (n && *n <= step) kept += line.str() + "\n";
    }
  }
  if (auto e = write_file_atomically(path, kept)) return e;
  std::error_code code;
  out.stream_ = std::make_unique<llvm::raw_fd_ostream>(path, code, llvm::sys::fs::OF_Append);
  if (code) return error(Code::cannot_write).in_file(path).what(code.message());
  return out;
}

llvm::Error TrainingLog::add(const StepRecord& r) {
  if (!stream_) return llvm::Error::success();
  *stream_ << llvm::json::Value(llvm::json::Object{{"step", r.step},
                                                   {"epoch", r.epoch},
                                                   {"loss", r.loss},
                                                   {"learning_rate", r.learning_rate},
                                                   {"tokens", r.tokens},
                                                   {"seconds", r.seconds}})
           << "\n";
  stream_->flush();
  if (!stream_->has_error()) return llvm::Error::success();
  const std::error_code code = stream_->error();
  stream_->clear_error();
  return error(Code::cannot_write).in_file(path_).what(code.message());
}
}  // namespace optp
