// A subcommand: its CLI and what runs when it was parsed.
#pragma once
#include <CLI/CLI.hpp>
#include <functional>

#include "llvm/Support/Error.h"
#include "runtime/comm/world.h"

namespace optp {
struct Command {
  CLI::App* app;
  std::function<llvm::Error()> run;
  bool runs_ranks = false;  // it has --timeout, and is shared among the processes that a launcher starts
};
Command add_partition(CLI::App& app);
Command add_inspect(CLI::App& app);
Command add_diff(CLI::App& app);
Command add_run(CLI::App& app, WorldMaker make_world);
Command add_train(CLI::App& app, WorldMaker make_world);
Command add_export(CLI::App& app);
Command add_reshard(CLI::App& app, WorldMaker make_world);
Command add_check(CLI::App& app, WorldMaker make_world);
Command add_bench(CLI::App& app, WorldMaker make_world);
Command add_generate(CLI::App& app, WorldMaker make_world);
Command add_build(CLI::App& app);
Command add_ops(CLI::App& app);
Command add_passes(CLI::App& app);
Command add_docs(CLI::App& app);
std::string version_text();
std::string version_json();
}  // namespace optp
