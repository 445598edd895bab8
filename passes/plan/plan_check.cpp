#include "passes/plan/plan_check.h"

#include <set>

#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/STLExtras.h"

namespace optp {
namespace {
using Names = std::set<std::string, std::less<>>;

std::string at(const std::string& list, size_t k) { return list + "[" + std::to_string(k) + "]"; }

// The dims whose extent and ends are numbers, of each shard. The others are checked when they are bound.
llvm::SmallVector<size_t, 4> dims_of_numbers(const Plan::Layout& layout) {
  auto is_number = [](const SymbolicInterval& i) {
    return i.start.constant() && i.stop.constant() && llvm::all_of(i.repeats, [](const SymbolicInterval::Repeat& r) {
             return r.count.constant() && r.stride.constant();
           });
  };
  llvm::SmallVector<size_t, 4> out;
  for (size_t d = 0; d < layout.dims.size(); ++d)
    if (layout.dims[d].constant() &&
        llvm::all_of(layout.shards, [&](const auto& s) { return llvm::all_of(s.shard.dims[d], is_number); }))
      out.push_back(d);
  return out;
}
// All indices of each dim are on some rank.
llvm::Error check_layout(const std::string& place, const Plan::Layout& layout) {
  if (layout.sharding.is_partial())
    return error(Code::bad_plan)
        .what(place)
        .what("sharding")
        .expected("no partial one of what a rank holds")
        .found(to_string(layout.sharding));
  const llvm::SmallVector<size_t, 4> dims = dims_of_numbers(layout);
  std::vector<Shard> shards;
  Extents whole;
  for (size_t d : dims) whole.push_back(*layout.dims[d].constant());
  for (size_t k = 0; k < layout.shards.size(); ++k) {
    SymbolicShard numbers;
    for (size_t d : dims)
      numbers.whole.push_back(layout.dims[d]), numbers.dims.push_back(layout.shards[k].shard.dims[d]);
    auto shard = numbers.bind({});
    if (!shard) return within({words(place), words(at("shards", k)), words("ranges")}, shard.takeError());
    shards.push_back(std::move(*shard));
  }
  if (auto lost = held_by_none(whole, shards)) {
    std::string index;
    for (size_t k = 0; k < dims.size(); ++k)
      index += (k ? ", dim " : "dim ") + std::to_string(dims[k]) + " index " + std::to_string((*lost)[k]);
    return error(Code::bad_plan).what(place).what("shards").expected("each index on a rank").found(index + " on none");
  }
  return llvm::Error::success();
}
llvm::Error check_data(const std::string& place, const Plan::Constant& t) {
  if (!llvm::all_of(t.dims, [](Dim d) { return d.constant().has_value(); }))
    return error(Code::bad_plan)
        .what(place)
        .what("shape")
        .expected("integers")
        .found(to_string(llvm::ArrayRef<Dim>(t.dims)));
  if (!product(t.dims).is(t.elements))
    return error(Code::bad_plan)
        .what(place)
        .what("elements")
        .expected(product(t.dims).text() + " of the shape")
        .found(t.elements);
  return llvm::Error::success();
}
// What is found by its name is there once.
llvm::Error check_names(const std::string& list, const auto& all, auto name_of) {
  Names names;
  for (size_t k = 0; k < all.size(); ++k)
    if (const std::string& name = name_of(all[k]); name.empty() || !names.insert(name).second)
      return error(Code::bad_plan)
          .what(at(list, k))
          .what("name")
          .expected("one that no other has")
          .found(name.empty() ? "an empty one" : quoted(name) + " twice");
  return llvm::Error::success();
}
llvm::Error check_axes(const std::string& place, llvm::ArrayRef<AxisUse> axes, const Mesh& mesh) {
  for (const AxisUse& use : axes)
    if (!mesh.find(use.axis))
      return error(Code::bad_plan).what(place).what("axes").expected("axes of the mesh").found(quoted(to_string(use)));
  return llvm::Error::success();
}
llvm::Error check_tensor(const std::string& place, const Plan::Tensor& t, const Plan& plan) {
  for (Dim d : t.dims)
    for (Dim name : named_dims_of(d))
      if (!plan.dims.contains(name_of(name)->str()))
        return error(Code::bad_plan)
            .what(place)
            .what("shape")
            .expected("names that stand in dims")
            .found(quoted(*name_of(name)));
  return check_axes(place + ": sharding", t.sharding.axes(), plan.mesh);
}
llvm::Error check_dims(const Plan& plan) {
  for (const auto& [name, dim] : plan.dims)
    if (dim.min < 0 || dim.example < dim.min)
      return error(Code::bad_plan)
          .what("dims." + name)
          .what("example")
          .expected("at least min, " + llvm::Twine(std::max<int64_t>(dim.min, 0)))
          .found(dim.example);
  return llvm::Error::success();
}
llvm::Error check_collective(const std::string& place, const Plan::CollectiveUse& m, const Mesh& mesh) {
  if (auto e = check_axes(place, AxisUses(m.call.axes.begin(), m.call.axes.end()), mesh)) return e;
  if (m.groups.empty()) return error(Code::bad_plan).what(place).what("groups").expected("one at least").found("none");
  const auto ndim = int64_t(m.call.dims.size());
  if (m.call.cut_axis >= ndim || m.call.join_axis >= ndim)
    return error(Code::bad_plan).what(place).what("axis").expected("one of the shape's " + llvm::Twine(ndim));
  std::vector<bool> grouped(size_t(mesh.devices()), false);
  for (const auto& group : m.groups)
    for (int64_t rank : group) {
      if (size_t(rank) >= grouped.size() || grouped[size_t(rank)])
        return error(Code::bad_plan).what(place).what("groups").expected("each rank at most once").found(rank);
      grouped[size_t(rank)] = true;
    }
  return llvm::Error::success();
}
llvm::Error check_flow(const Plan& plan) {
  Names ids;
  for (const Plan::CollectiveUse& m : plan.collectives) ids.insert(m.call.id);
  for (size_t k = 0; k < plan.flow.size(); ++k) {
    const Plan::FlowEntry& e = plan.flow[k];
    if (e.is_collective() && !ids.contains(e.collective))
      return error(Code::bad_plan)
          .what(at("flow", k))
          .what("collective")
          .expected("the id of a collective")
          .found(quoted(e.collective));
    for (int64_t from : e.after)
      if (size_t(from) >= k)
        return error(Code::bad_plan).what(at("flow", k)).what("after").expected("positions before it");
  }
  return llvm::Error::success();
}
llvm::Error check_devices(const Plan& plan) {
  const int64_t devices = plan.mesh.devices();
  if (int64_t(plan.devices.size()) != devices)
    return error(Code::bad_plan).what("devices").expected(devices).found(plan.devices.size());
  for (int64_t r = 0; r < devices; ++r) {
    const Plan::Device& d = plan.devices[size_t(r)];
    const std::string here = at("devices", size_t(r));
    if (d.rank != r) return error(Code::bad_plan).what(here).what("rank").expected(r).found(d.rank);
    const std::string file = "rank" + std::to_string(r) + "/model.onnx";
    if (d.file != file)
      return error(Code::bad_plan).what(here).what("file").expected("'" + file + "'").found(quoted(d.file));
    for (const MeshAxis& axis : plan.mesh.axes) {
      const int64_t expected = plan.mesh.coordinate(axis.name, r);
      const auto found = d.coordinates.find(axis.name);
      if (found == d.coordinates.end() || found->second != expected)
        return error(Code::bad_plan)
            .what(here + ".coordinates." + axis.name)
            .expected(expected)
            .found((found == d.coordinates.end() ? std::string("none") : std::to_string(found->second)));
    }
  }
  return llvm::Error::success();
}
std::string type_text(const Plan::Tensor& t) { return to_string(Type{t.dtype, t.dims}) + " " + to_string(t.sharding); }
// What is given back to an input has its dtype and placement.
llvm::Error check_pairs(const Plan& plan) {
  auto pair = [&](const std::string& here, const std::string& input, const std::string& output) -> llvm::Error {
    auto named = [](const std::string& name) { return [&](const Plan::Port& p) { return p.name == name; }; };
    const auto in = llvm::find_if(plan.inputs, named(input)), out = llvm::find_if(plan.outputs, named(output));
    if (in == plan.inputs.end())
      return error(Code::bad_plan).what(here).what("input").expected("the name of an input").found(quoted(input));
    if (out == plan.outputs.end())
      return error(Code::bad_plan).what(here).what("output").expected("the name of an output").found(quoted(output));
    if (in->dtype != out->dtype || in->dims.size() != out->dims.size() || !same_placement(in->sharding, out->sharding))
      return error(Code::bad_plan)
          .what(here)
          .what("output " + quoted(output))
          .expected(type_text(*in) + ", as input " + quoted(input))
          .found(type_text(*out));
    return llvm::Error::success();
  };
  for (size_t k = 0; k < plan.state.size(); ++k) {
    const Plan::State& s = plan.state[k];
    if (auto e = pair(at("state", k), s.input, s.output)) return e;
    const auto in = llvm::find_if(plan.inputs, [&](const Plan::Port& p) { return p.name == s.input; });
    if (s.axis < 0 || size_t(s.axis) >= in->dims.size())
      return error(Code::bad_plan)
          .what(at("state", k))
          .what("axis")
          .expected("a dim of " + quoted(s.input) + ", which has " + std::to_string(in->dims.size()))
          .found(s.axis);
  }
  for (size_t k = 0; k < plan.updates.size(); ++k)
    if (auto e = pair(at("updates", k), plan.updates[k].input, plan.updates[k].output)) return e;
  return llvm::Error::success();
}
llvm::Error check_training(const Plan& plan) {
  if (!plan.training) return llvm::Error::success();
  if (auto outside = outside_domain(*plan.training))
    return error(Code::bad_plan)
        .what("training")
        .what(outside->member)
        .expected(outside->expected)
        .found(outside->found);
  if (plan.training->accumulate < 1)
    return error(Code::bad_plan)
        .what("training")
        .what("accumulate")
        .expected("at least 1")
        .found(plan.training->accumulate);
  return llvm::Error::success();
}
llvm::Error check(const Plan& plan) {
  std::set<const Plan::Layout*> checked;
  auto layout_of = [&](const std::string& list, size_t k, const Plan::PlacedTensor& t) -> llvm::Error {
    if (!checked.insert(t.layout.get()).second) return llvm::Error::success();
    return check_layout(at(list, k) + " (" + quoted(t.name) + "): layout", *t.layout);
  };
  auto check_all = [&](const std::string& list, const auto& tensors) -> llvm::Error {
    if (auto e = check_names(list, tensors, [](const Plan::Tensor& t) -> const std::string& { return t.name; }))
      return e;
    for (size_t k = 0; k < tensors.size(); ++k) {
      if (auto e = check_tensor(at(list, k) + " (" + quoted(tensors[k].name) + ")", tensors[k], plan)) return e;
      if constexpr (requires { tensors[k].layout; })
        if (auto e = layout_of(list, k, tensors[k])) return e;
      if constexpr (requires { tensors[k].elements; })
        if (auto e = check_data(at(list, k) + " (" + quoted(tensors[k].name) + ")", tensors[k])) return e;
    }
    return llvm::Error::success();
  };
  if (auto e = check_dims(plan)) return e;
  if (auto e = check_all("inputs", plan.inputs)) return e;
  if (auto e = check_all("outputs", plan.outputs)) return e;
  if (auto e = check_all("parameters", plan.parameters)) return e;
  if (auto e = check_all("constants", plan.constants)) return e;
  if (auto e = check_all("values", plan.values)) return e;
  if (auto e = check_names("collectives", plan.collectives,
                           [](const Plan::CollectiveUse& c) -> const std::string& { return c.call.id; }))
    return e;
  for (size_t k = 0; k < plan.collectives.size(); ++k)
    if (auto e = check_collective(at("collectives", k), plan.collectives[k], plan.mesh)) return e;
  if (auto e = check_flow(plan)) return e;
  if (auto e = check_devices(plan)) return e;
  if (auto e = check_pairs(plan)) return e;
  return check_training(plan);
}
}  // namespace

llvm::Error check_mesh(llvm::StringRef name, const Mesh& mesh, int64_t devices) {
  if (devices < 1 || devices > most_devices)
    return error(Code::bad_plan)
        .in_file(name)
        .what("mesh.devices")
        .expected("from 1 to " + llvm::Twine(most_devices))
        .found(devices);
  int64_t product = 1;
  Names names;
  for (const MeshAxis& axis : mesh.axes) {
    if (axis.size < 1 || axis.size > most_devices)
      return error(Code::bad_plan)
          .in_file(name)
          .what("mesh.axes")
          .what("size")
          .expected("from 1 to " + llvm::Twine(most_devices))
          .found(axis.size);
    if (!names.insert(axis.name).second)
      return error(Code::bad_plan)
          .in_file(name)
          .what("mesh.axes")
          .what("name")
          .expected("distinct ones")
          .found(quoted(axis.name) + " twice");
    product = std::min(product * axis.size, most_devices + 1);
  }
  if (product != devices)
    return error(Code::bad_plan)
        .in_file(name)
        .what("mesh.devices")
        .expected("the product of the axes' sizes")
        .found(devices);
  return llvm::Error::success();
}

llvm::Error check_plan(llvm::StringRef name, const Plan& plan) {
  auto e = check(plan);
  return e ? within(file_place(name), std::move(e)) : llvm::Error::success();
}
}  // namespace optp
