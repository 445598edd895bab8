// What oneDNN refuses is an error of ours with the rank's message, wherever it is thrown: compiling, planning, running.
#include <doctest/doctest.h>

#include <dnnl.hpp>

#include "frontend/ir/builder.h"
#include "frontend/ir/diagnostic.h"
#include "runtime/comm/thread_communicator.h"
#include "runtime/kernel.h"
#include "runtime/run_ranks.h"

namespace optp {
namespace {
// An op whose kernel asks oneDNN for what it has not got: "when" is 0 (compile) or 1 (run), "status" oneDNN's.
[[noreturn]] void refuse(const Node& node) {
  throw dnnl::error(dnnl_status_t(node.integer("status")), "no such thing");
}
llvm::Expected<Kernel> compile_refused(const Work& work, const KernelContext&) {
  const Node& node = *work.node;
  if (node.integer("when") == 0) refuse(node);
  Kernel kernel;
  kernel.run = [&node](const KernelCall&) -> llvm::Error { refuse(node); };
  return kernel;
}
const RegisteredOp op{{
    .name = "refused",
    .infer = [](const Node& node) -> llvm::Expected<llvm::SmallVector<Type, 1>> {
      return llvm::SmallVector<Type, 1>{node.operand(0).type};
    },
    .evaluate = [](const Node&, llvm::ArrayRef<const Array*> x) -> llvm::Expected<Arrays> { return Arrays{*x[0]}; },
}};
const RegisteredKernel kernel{{"refused", {}, compile_refused}};

Code code_of(llvm::Error e) {
  Code code = Code::stopped;
  llvm::handleAllErrors(std::move(e), [&](const Diagnostic& d) { code = d.code(); });
  return code;
}
std::unique_ptr<Graph> graph_of(int64_t when, dnnl_status_t status) {
  auto graph = std::make_unique<Graph>();
  Builder build(*graph);
  build.set_fold(false);
  Value& x = graph->add_input("x", {DType::f32, {Dim(2)}});
  Value* y = llvm::cantFail(build.create("refused", {&x}, {{"when", when}, {"status", int64_t(status)}}, "y"));
  graph->outputs.push_back({"y", y});
  return graph;
}
}  // namespace

TEST_CASE("what oneDNN refuses is an error with its own code, and memory that it lacks is memory that ran out") {
  // The first is oneDNN's status for a form that it has no kernel for.
  const std::pair<dnnl_status_t, Code> statuses[] = {{dnnl_unimplemented, Code::onednn},
                                                     {dnnl_invalid_arguments, Code::onednn},
                                                     {dnnl_out_of_memory, Code::out_of_memory}};
  for (auto [status, code] : statuses) {
    const auto compiled = graph_of(0, status);
    auto none = Executable::compile(*compiled, {});
    REQUIRE(!none);
    CHECK(code_of(none.takeError()) == code);
    auto planned = Executable::plan_memory_of(*compiled);
    REQUIRE(!planned);
    CHECK(llvm::toString(planned.takeError()) == "oneDNN: no such thing");

    const auto run = graph_of(1, status);
    ThreadWorld world(2);
    auto ranks = RankThreads::create(world, PerRank<const Graph*>::of_all({run.get(), run.get()}));
    REQUIRE(bool(ranks));
    Array x;
    x.resize(true, {2});
    const HostArrays arrays{{"x", host_array(x, DType::f32)}};
    const auto inputs = PerRank<HostInputs>::of_all({inputs_of(arrays), inputs_of(arrays)});
    PerRank<HostArrays> outputs;
    CHECK(code_of((*ranks)->run(inputs, outputs)) == code);
  }
}
}  // namespace optp
