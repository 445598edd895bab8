// reshard: a checkpoint for other devices than it was trained on.
#include "tools/cli/command.h"
#include "tools/cli/job_options.h"
#include "tools/cli/suggestions.h"
#include "tools/train/train_options.h"

namespace optp {
// The model and all of how it is trained are the checkpoint's; the layout is the command line's.
Command add_reshard(CLI::App& app, WorldMaker make_world) {
  auto o = std::make_shared<TrainOptions>();
  CLI::App* c = app.add_subcommand("reshard", "write a checkpoint of train anew, for other devices");
  report_progress(o->job);
  c->add_option("checkpoint", o->resume, "folder written by train")->required()->type_name("DIR");
  also_called(c->add_option("--devices,--tp", o->job.devices,
                            "number of devices, all along the mesh axis tensor; 2 where no --mesh is given"),
              device_words);
  also_called(add_mesh_option(*c, o->job.mesh, "named axes, e.g. data=2,tensor=4"), {"device-mesh", "topology"});
  also_called(
      c->add_option("--zero", o->job.training.zero,
                    "the devices along the mesh axis data each keep a part of 1: the optimizer state; 2: gradients, "
                    "too; 3: parameters, too; 0: of nothing")
          ->type_name("0|1|2|3")
          ->check(CLI::Range(0, 3).description("")),
      {"zero-stage", "fsdp"});
  c->add_option("--strategy", o->job.strategy, "what is split; default: as it was")->type_name("NAME");
  c->add_option("--sharding", o->job.sharding_file, "file of constraints: PATTERN SHARDING, one per line")
      ->type_name("FILE");
  c->add_option("--model", o->job.model, "the model that was trained, if it is elsewhere now")->type_name("FILE");
  also_called(c->add_option("-o,--output", o->save, "folder to write")->required()->type_name("DIR"),
              {"out", "out-dir", "output-dir", "save", "dest"});
  also_called(c->add_flag("--overwrite", o->overwrite, "replace the folder whatever it holds"), {"force", "replace"});
  o->given = [c](const char* flag) { return c->get_option_no_throw(flag) && c->count(flag) > 0; };
  return {
      .app = c, .run = [o, make_world = std::move(make_world)] { return reshard(*o, make_world); }, .runs_ranks = true};
}
}  // namespace optp
