#include <sys/stat.h>

#include "frontend/io/files.h"
#include "frontend/io/output_transaction.h"
#include "frontend/ir/diagnostic.h"
#include "frontend/models/graph_writer.h"
#include "frontend/models/opt.h"
#include "frontend/models/random_weights.h"

namespace optp {

llvm::Error build_model(const OptConfig& config, llvm::StringRef path, const BuildOptions& options) {
  if (auto e = validate(config)) return e;
  const auto [folder, name] = split_path(path);
  if (name.empty() || name == "." || name == ".." || path.contains('\0'))
    return error(Code::cannot_write).at(quoted_file_place(path)).expected("the name of a file");
  struct stat status;
  if (::lstat(path.str().c_str(), &status) == 0 && !S_ISREG(status.st_mode))  // said before minutes of drawing
    return error(Code::occupied).in_file(path).expected("a regular file or nothing").found(kind_of(status));

  GraphWriter graph(config.name, name + ".data");
  config.variant == ModelVariant::origin ? add_origin(graph, config) : add_opt(graph, config);

  // Weights first: a graph is never in place before its data.
  const std::string data = (path + ".data").str();
  if (options.with_weights) {
    if (auto e = write_random_weights(data, graph.parameters(), options.seed, options.progress)) return e;
  } else if (::lstat(data.c_str(), &status) == 0) {
    return error(Code::cannot_write)
        .in_file(data)
        .expected("nothing there, as the model is to be without weights")
        .found(kind_of(status))
        .hint("remove it or choose another name");
  }
  return write_file_atomically(path, graph.serialized());
}

}  // namespace optp
