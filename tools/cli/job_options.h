// The options that verbs share which take a model file, as flags of the command line. A check's description is "": the
// help would show it behind the flag's type.
#pragma once
#include <CLI/CLI.hpp>

#include "passes/plan/job.h"

namespace optp {

extern const std::initializer_list<const char*> device_words;  // what other programs call --devices
// --dim and --input-shapes.
void add_dims(CLI::App& command, AskedDims& dims,
              const char* help = "NAME=NUMBER: the value of a named dim (several between commas, or repeatable)");
CLI::Option* add_mesh_option(CLI::App& command, std::optional<Mesh>& mesh, const char* help);
void add_job_options(CLI::App& command, JobOptions& options);
// Of the verbs alone where it can hold: generate needs whole logits, and a training step has no caches.
void add_outputs_option(CLI::App& command, JobOptions& options);
void add_kv_cache_option(CLI::App& command, JobOptions& options);
// The optimizer's. Where a verb trains only with a flag, they need that flag: without it they would say nothing.
void add_training_options(CLI::App& command, JobOptions& options, CLI::Option* train = nullptr);
void report_progress(JobOptions& options);  // as one line on stderr; with the above

}  // namespace optp
