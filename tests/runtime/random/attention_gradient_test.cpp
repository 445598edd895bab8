// The gradient of attention as one step computes what its nodes mean one by one, as training makes them: in any form
// that exporters leave. Whatever the number of threads, it computes the same bits.
#include "passes/training.h"
#include "tests/runtime/random/attention_forms.h"

namespace optp {
namespace {
// The forward pass and the gradient of each parameter.
void build_training(Case& c, const Form& f) {
  Value* y = build(c, f);
  c.output(y);
  llvm::SmallVector<int64_t, 4> dims;
  for (Dim d : y->type.dims) dims.push_back(*d.constant());
  auto gradients = differentiate(c.graph, *y, *c.input(DType::f32, dims));
  REQUIRE_MESSAGE(bool(gradients), text(gradients.takeError()));
  for (const ParameterGradient& g : *gradients) c.output(g.gradient);
}
bool has_gradient_step(const Case& c) {
  return llvm::any_of(c.steps, [](const std::string& s) {
    return s.find("contract") != std::string::npos && s.find("reduce_sum") != std::string::npos;
  });
}

// Largest errors of each output against the reference in float64.
struct Errors {
  std::map<std::string, double> error, largest;
};
Errors errors_of(const HostArrays& found, const NamedArrays& exact) {
  Errors out;
  for (const auto& [name, array] : found) {
    const Array got = to_array(array), &want = exact.find(name)->second;
    for (int64_t k = 0; k < want.elements(); ++k) {
      const double a = want.number(k), b = got.number(k);
      double& error = out.error[name];
      error = std::isnan(a) == std::isnan(b) ? std::max(error, std::isnan(a) ? 0 : std::fabs(a - b)) : INFINITY;
      if (!std::isnan(a)) out.largest[name] = std::max(out.largest[name], std::fabs(a));
    }
  }
  return out;
}
// As exact as the nodes one by one in float32, but for the order of sums: 16 times their error, and some roundings.
bool agrees(Case& c, const Form& f) {
  const Errors plain = [&] {
    auto exact = run_reference({&c.graph}, {c.arrays});
    REQUIRE_MESSAGE(bool(exact), text(exact.takeError()));
    const HostArrays one_by_one = c.run({.threads = 1, .fuse = false});
    const Errors apart = errors_of(one_by_one, (*exact)[0]);
    const HostArrays fused = c.run({.threads = int(f.threads), .whole_mask_bytes = f.whole_mask_bytes});
    Errors together = errors_of(fused, (*exact)[0]);
    for (auto& [name, error] : together.error) {
      const double allowed = 16 * apart.error.at(name) + 64 * 0x1p-24 * together.largest[name];
      if (error > allowed)
        std::printf("%s: error %.3g, allowed %.3g, largest %.3g\n", name.c_str(), error, allowed,
                    together.largest[name]);
      error = error > allowed ? 1 : 0;
    }
    return together;
  }();
  return llvm::none_of(plain.error, [](const auto& e) { return e.second != 0; });
}
}  // namespace

TEST_CASE("the gradient of attention as one step computes what its nodes mean") {
  int64_t fused = 0, all = 0;
  check_property("any form, mask and extents", [&] {
    Form f = any_form();
    f.trains = true;
    Random random;
    random.engine.seed(f.seed);
    Case c(random);
    build_training(c, f);
    RC_ASSERT(agrees(c, f));
    ++all, fused += has_gradient_step(c);
    if (f.queries > 1 && f.keys > 1 && f.depth > 1 && f.width > 1 && f.mask != Mask::plain)
      RC_ASSERT(has_gradient_step(c));
    const HostArrays alone = c.run({.threads = 1, .whole_mask_bytes = 0}),
                     several = c.run({.threads = 4, .whole_mask_bytes = 1 << 20});
    for (const auto& [name, array] : alone) RC_ASSERT(array.bytes == several.find(name)->second.bytes);
  });
  CHECK(fused > all / 2);
}

TEST_CASE("a training step's memory does not grow with the square of the sequence, nor does its mask's") {
  int64_t bytes[2] = {};
  for (int64_t k : {0, 1}) {
    const int64_t n = k ? 4096 : 1024;
    Random random;
    Case c(random);
    build_training(
        c, {.heads = 2, .queries = n, .keys = n, .depth = 16, .width = 16, .mask = Mask::padding, .trains = true});
    auto memory = Executable::plan_memory_of(c.graph);
    REQUIRE(bool(memory));
    bytes[k] = memory->arena_actual_bytes;
  }
  CHECK(bytes[1] < 4 * bytes[0] + (bytes[0] / 4));
  CHECK(bytes[1] < 4096 * 4096);  // a byte for each pair
}
}  // namespace optp
