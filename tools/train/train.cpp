// train: a partitioned model on a file of tokens or on folders of arrays.
#include "tools/cli/command.h"
#include "tools/cli/job_options.h"
#include "tools/cli/refused.h"
#include "tools/cli/suggestions.h"
#include "tools/run/trace.h"
#include "tools/train/train_options.h"

namespace optp {

Command add_train(CLI::App& app, WorldMaker make_world) {
  auto o = std::make_shared<TrainOptions>();
  CLI::App* c = app.add_subcommand(
      "train", "train a model on a file of tokens or on given arrays, with checkpoints to resume from");
  add_job_options(*c, o->job);
  add_outputs_option(*c, o->job);
  add_training_options(*c, o->job);
  also_called(c->add_option("--data", o->data, "token ids: raw little-endian numbers, .npy, or a file of llm.c")
                  ->type_name("FILE"),
              {"dataset", "train-data", "train-file", "tokens", "corpus"});
  c->add_option("--inputs-dir", o->inputs_dir,
                "instead of --data: folder with one folder per batch, holding NAME.npy or NAME.pb for every "
                "input and labels.npy")
      ->type_name("DIR");
  c->add_option(
       "--token-type", o->token_type,
       "type of raw ids: uint8 (a text file is one: each byte an id), uint16, uint32, int32 or int64; .npy files "
       "and those of llm.c say theirs")
      ->type_name("uint8|uint16|uint32|int32|int64")
      ->capture_default_str();
  also_called(c->add_option("--batch", o->batch,
                            "sequences that a step, with --accumulate a micro-batch, takes from --data (8)"),
              {"batch-size", "per-device-train-batch-size", "train-batch-size", "bs"});
  also_called(c->add_option("--sequence", o->sequence, "tokens in a sequence, of --data (128)"),
              {"seq-len", "seq-length", "sequence-length", "max-seq-len", "context", "context-length", "block-size"});
  also_called(c->add_option("--epochs", o->epochs, "times that all data are seen (1)"),
              {"num-epochs", "num-train-epochs"});
  also_called(c->add_option("--max-steps", o->max_steps, "stop after this step; the schedule still spans all epochs"),
              {"steps", "num-steps", "train-steps", "iterations", "max-iters"});
  c->add_option("--seed", o->seed, "seed for the order of the sequences (0)");
  also_called(c->add_option_function<std::string>(
                   "--schedule", [o](const std::string& text) { o->schedule = value_or_refuse(parse_schedule(text)); },
                   "of the learning rate: constant, linear or cosine (constant)")
                  ->type_name("constant|linear|cosine"),
              {"lr-schedule", "lr-scheduler", "lr-scheduler-type", "decay"});
  also_called(c->add_option("--warmup", o->warmup, "steps in which the learning rate rises from 0"),
              {"warmup-steps", "warm-up", "num-warmup-steps"});
  also_called(c->add_option("--save", o->save, "folder that holds the latest checkpoint")->type_name("DIR"),
              {"output", "out", "output-dir", "save-dir", "checkpoint", "checkpoint-dir"});
  also_called(c->add_option("--save-every", o->save_every, "steps between checkpoints; each epoch also ends with one"),
              {"save-steps", "save-interval", "checkpoint-every"});
  also_called(c->add_option("--resume", o->resume,
                            "go on from this checkpoint, on the same data; what flags of optimizer, schedule and data "
                            "leave open is as it was")
                  ->type_name("DIR"),
              {"resume-from-checkpoint", "resume-from", "from-checkpoint", "load", "restore", "continue"});
  c->add_flag("--rewind", o->rewind, "with --resume: begin with the data's first epoch");
  also_called(c->add_flag("--overwrite", o->overwrite, "replace the folder of --save whatever it holds"),
              {"force", "replace"});
  c->add_option(
       "--profile", o->profile,
       "write the timeline of the first " + std::to_string(Trace::most_runs) + " steps to this file, for Perfetto")
      ->type_name("FILE");
  c->add_option("--log", o->log, "file of JSON lines, one per step")->type_name("FILE");
  c->add_option("--plot", o->plot, "SVG file of the loss curve")->type_name("FILE");
  c->add_option("--threads-per-device", o->threads, "OpenMP threads per device");
  o->given = [c](const char* flag) { return c->count(flag) > 0; };
  return {
      .app = c, .run = [o, make_world = std::move(make_world)] { return train(*o, make_world); }, .runs_ranks = true};
}
}  // namespace optp
