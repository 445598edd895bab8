// docs: the man page, completions and the page of error codes, from the program itself; the build calls it. Hidden.
#include "frontend/ir/diagnostic.h"
#include "llvm/Support/raw_ostream.h"
#include "tools/cli/command.h"
#include "tools/cli/interface.h"

namespace optp {
Command add_docs(CLI::App& app) {
  auto what = std::make_shared<std::string>();
  CLI::App* c = app.add_subcommand("docs", "man, bash, zsh, fish or errors")->group("");
  c->add_option("what", *what, "what to write to stdout")->required();
  return {c, [&app, what]() -> llvm::Error {
            if (*what == "man")
              llvm::outs() << man_page(interface_of(app), OPTP_VERSION);
            else if (*what == "bash")
              llvm::outs() << bash_completion(interface_of(app));
            else if (*what == "zsh")
              llvm::outs() << zsh_completion(interface_of(app));
            else if (*what == "fish")
              llvm::outs() << fish_completion(interface_of(app));
            else if (*what == "errors")
              llvm::outs() << errors_markdown();
            else
              return error(Code::bad_value).what(quoted(*what)).expected("man, bash, zsh, fish or errors");
            return llvm::Error::success();
          }};
}
}  // namespace optp
