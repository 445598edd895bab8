#include "tools/run/ports.h"

#include "frontend/ir/diagnostic.h"

namespace optp {

llvm::Expected<Shard> shard_of(const Port& port, size_t rank, const DimValues& dims) {
  auto shard = (*port.layout)[rank].shard.bind(dims);
  if (!shard) return within(file_place("plan.json"), within(tensor_place("ranges of", port.name), shard.takeError()));
  return shard;
}

bool is_copy(const Port& port, size_t rank) { return size_t((*port.layout)[rank].ranks[0]) != rank; }

llvm::Expected<HostArray> join(const Port& port, const DimValues& dims,
                               llvm::function_ref<const HostArray*(size_t rank)> part) {
  std::vector<Shard> shards;
  for (const Plan::RankShard& held : port.layout->shards) {
    auto shard = shard_of(port, size_t(held.ranks[0]), dims);
    if (!shard) return shard.takeError();
    shards.push_back(std::move(*shard));
  }
  auto whole = join(port.dtype, shards[0].whole, shards, [&](size_t k) -> llvm::Expected<llvm::ArrayRef<char>> {
    const int64_t r = port.layout->shards[k].ranks[0];
    const HostArray* own = part(size_t(r));
    if (!own || own->dims != shards[k].shape() || own->dtype != port.dtype)
      return error(Code::shape_mismatch).what("that of rank " + llvm::Twine(r) + " is not of the plan's shape");
    return own->bytes;
  });
  if (!whole) return within(tensor_place("output", port.name), whole.takeError());
  return whole;
}

llvm::Expected<Shard> data_shard(const Plan& plan, llvm::StringRef name, size_t rank) {
  const FoundTensor found = find_tensor(plan, name);
  if (!found.data || found.tensor->name != name)
    return error(Code::bad_plan)
        .in_file("plan.json")
        .what("it lists no tensor " + quoted(name))
        .about({.tensor = name.str()});
  auto shard = (*found.data->layout)[rank].shard.bind({});
  if (!shard) return within(file_place("plan.json"), within(tensor_place("ranges of", name), shard.takeError()));
  return shard;
}
}  // namespace optp
