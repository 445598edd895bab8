// consumer MODEL.onnx DEVICES [FOLDER]: says what the model takes and gives, then prints its plan; into a folder it
// writes plan and graphs.
#include <opt_partition.h>

#include <cstdio>
#include <exception>

int main(int argc, char** argv) {
  if (argc != 3 && argc != 4) return std::fputs("usage: consumer MODEL.onnx DEVICES [FOLDER]\n", stderr), 2;
  try {
    const opt_partition::Model model = opt_partition::read_model(argv[1]);
    for (const auto& [kind, tensors] : {std::pair{"takes", &model.inputs}, {"gives", &model.outputs}})
      for (const opt_partition::Tensor& t : *tensors) {
        std::fprintf(stderr, "%s %s: %s [", kind, t.name.c_str(), t.dtype.c_str());
        for (size_t d = 0; d < t.dims.size(); ++d) std::fprintf(stderr, "%s%s", d ? ", " : "", t.dims[d].c_str());
        std::fputs("]\n", stderr);
      }
    const opt_partition::PlanOptions options{.model = argv[1], .mesh = argv[2]};
    const std::string plan =
        argc == 3 ? opt_partition::make_plan(options) : opt_partition::write_partition(options, {.folder = argv[3]});
    std::fputs(plan.c_str(), stdout);
  } catch (const opt_partition::Error& e) {
    std::fprintf(stderr, "consumer: %s (%s)\n", e.what(), e.code.c_str());
    return e.exit_code;
  }
}
