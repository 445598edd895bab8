// Elementwise nodes that run as one step: the same bits as one by one, whatever is between them, whoever else reads
// what they make, and whether or not a new value is written where the old one was read.
#include "tests/properties.h"
#include "tests/runtime/kernel_case.h"

namespace optp {
namespace {
struct Form {
  std::vector<int64_t> dims;
  int64_t nodes = 8, threads = 1;
  uint32_t seed = 0;
};
Form any_form() {
  auto below = [](int64_t n) { return *rc::gen::inRange<int64_t>(0, n); };
  static constexpr int64_t extents[] = {1, 2, 3, 7, 40, 1000, 1025, 5000};
  Form f;
  for (int64_t d = below(3); d >= 0; --d) f.dims.push_back(extents[below(d ? 5 : std::size(extents))]);
  f.nodes = 1 + below(24), f.threads = 1 + below(3), f.seed = uint32_t(below(1 << 20));
  return f;
}

// A graph of mostly elementwise nodes on values of one shape, on others broadcast to it, and on what was made of both;
// what some of them give are new values of inputs.
class Maker {
 public:
  Maker(Case& c, const Form& f) : c_(c), f_(f) {}

  void build() {
    for (int k = 0; k < 3; ++k) whole_.push_back(c_.input(DType::f32, f_.dims));
    for (int64_t k = 0; k < f_.nodes; ++k) whole_.push_back(next());
    for (size_t k = 0; k < 3; ++k) {
      c_.output(whole_[whole_.size() - 1 - size_t(below(std::min<int64_t>(f_.nodes, 5)))]);
      c_.graph.updates.push_back({c_.graph.inputs[k]->name, c_.graph.outputs[k].name, "p", {UpdateKind::parameter}});
    }
  }

 private:
  Case& c_;
  const Form& f_;
  std::vector<Value*> whole_;

  int64_t below(int64_t n) { return c_.random.below(n); }
  Value* any() { return whole_[size_t(below(int64_t(whole_.size())))]; }
  Value* other() {
    switch (below(6)) {
      case 0:
        return &c_.build.scalar(DType::f32, 0.75);
      case 1: {
        std::vector<int64_t> dims = f_.dims;
        for (int64_t& d : dims) d = below(2) ? d : 1;
        return c_.input(DType::f32, dims);
      }
      case 2:
        return c_.data(DType::f32, f_.dims);
      default:
        return any();
    }
  }
  Value* cast(Value* v, DType to) { return c_.node("cast", {v}, {{"to", int64_t(to)}}); }
  Value* next() {
    Value* x = any();
    const auto last = int64_t(f_.dims.size()) - 1;
    switch (below(12)) {
      case 0:
        return c_.node("where", {c_.node("greater", {x, other()}), x, other()});
      case 1:
        return c_.node("sqrt", {c_.node("abs", {x})});
      case 2:
        return cast(cast(x, below(2) ? DType::bf16 : DType::f16), DType::f32);
      case 3:
        return c_.node("tanh", {x});
      case 4:  // not elementwise
        return c_.node("softmax", {x}, {{"axis", last}});
      case 5:
        return c_.node("sub", {x, c_.node("reduce_max", {x},
                                          {{"axes", llvm::SmallVector<int64_t, 4>{last}}, {"keepdims", int64_t(1)}})});
      case 6:
        return c_.node("div", {x, c_.node("add", {c_.node("abs", {other()}), &c_.build.scalar(DType::f32, 1)})});
      default:
        return c_.node(below(2) ? "mul" : below(2) ? "sub" : "add", {x, other()});
    }
  }
};

// As in training: where the executable allows it, one array is a new value and the old one.
HostArrays run_in_place(Case& c, const ExecutableOptions& options, size_t& shared) {
  auto executable = Executable::compile(c.graph, options);
  REQUIRE_MESSAGE(bool(executable), text(executable.takeError()));
  HostArrays arrays, outputs;
  for (const Value* v : c.graph.inputs) arrays[v->name] = host_array(c.arrays.find(v->name)->second, v->type.dtype);
  HostInputs inputs = inputs_of(arrays);
  for (const Update& u : c.graph.updates)
    if ((*executable)->updates_in_place(u.input, u.output)) {
      outputs[u.output] = std::move(arrays[u.input]);
      inputs[u.input] = &outputs[u.output];
      ++shared;
    }
  const std::string e = text((*executable)->run(inputs, outputs));
  REQUIRE(e == "");
  return outputs;
}
}  // namespace

TEST_CASE("elementwise nodes as one step compute the bits of each by itself, in place, too") {
  size_t steps = 0, fewer = 0, shared = 0;
  check_property("any graph", [&] {
    const Form f = any_form();
    Random random;
    random.engine.seed(f.seed);
    Case c(random);
    Maker(c, f).build();
    const HostArrays plain = c.run({.threads = 1, .fuse = false});
    steps += c.steps.size();
    const HostArrays grouped = c.run({.threads = int(f.threads)});
    fewer += c.steps.size();
    const HostArrays in_place = run_in_place(c, {.threads = int(f.threads)}, shared);
    for (const auto& [name, array] : plain) {
      RC_ASSERT(array.bytes == grouped.find(name)->second.bytes);
      RC_ASSERT(array.bytes == in_place.find(name)->second.bytes);
    }
  });
  CHECK(fewer < steps * 2 / 3);
  CHECK(shared > 100);
}

TEST_CASE("an optimizer's update of a parameter is one step, written where it was read") {
  Random random;
  for (int threads : {1, 3}) {
    Case c(random);
    auto scalar = [&](double x) { return &c.build.scalar(DType::f32, x); };
    Value *p = c.input(DType::f32, {37, 129}), *m = c.input(DType::f32, {37, 129}),
          *v = c.input(DType::f32, {37, 129}, 0), *g = c.input(DType::f32, {37, 129}), *rate = c.input(DType::f32, {});
    Value* new_m = c.node("add", {m, c.node("mul", {c.node("sub", {g, m}), scalar(0.1)})});
    Value* new_v =
        c.node("add", {c.node("mul", {v, scalar(0.99)}), c.node("mul", {c.node("mul", {g, g}), scalar(0.01)})});
    Value* by = c.node("add", {c.node("sqrt", {new_v}), scalar(1e-3)});
    Value* new_p = c.node("sub", {c.node("mul", {p, scalar(0.9)}), c.node("mul", {c.node("div", {new_m, by}), rate})});
    for (Value* o : {new_p, new_m, new_v}) c.output(o);
    for (size_t k = 0; k < 3; ++k)
      c.graph.updates.push_back({c.graph.inputs[k]->name, c.graph.outputs[k].name, "p", {UpdateKind::parameter}});
    c.compare({.threads = threads});
    CHECK(c.steps.size() == 1);
    size_t shared = 0;
    const HostArrays apart = c.run({.threads = threads}), in_place = run_in_place(c, {.threads = threads}, shared);
    CHECK(shared == 3);
    for (const auto& [name, array] : apart) CHECK(array.bytes == in_place.find(name)->second.bytes);
  }
}

TEST_CASE("a value that is read again after its update keeps its own memory") {
  Random random;
  Case c(random);
  Value *p = c.input(DType::f32, {4000}), *g = c.input(DType::f32, {4000});
  Value* updated = c.node("sub", {p, g});
  c.output(updated);
  c.output(c.node("mul", {c.node("abs", {p}), updated}));
  c.graph.updates.push_back({"in0", "out0", "p", {UpdateKind::parameter}});
  size_t shared = 0;
  const HostArrays apart = c.run({}), in_place = run_in_place(c, {}, shared);
  CHECK(c.steps.size() == 1);
  for (const auto& [name, array] : apart) CHECK(array.bytes == in_place.find(name)->second.bytes);
}
}  // namespace optp
