// What is read of a file does not stay in memory.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <sstream>

#include "tests/runtime/kernel_case.h"

namespace optp {
namespace {
// Of the mapping that begins there, as Linux counts it.
int64_t resident_bytes(const void* begin) {
  std::ostringstream at;
  at << std::hex << reinterpret_cast<uintptr_t>(begin) << "-";
  std::ifstream maps("/proc/self/smaps");
  std::string line;
  while (std::getline(maps, line) && line.find(at.str()) != 0) continue;
  int64_t kibibytes = -1;
  while (kibibytes < 0 && std::getline(maps, line)) std::sscanf(line.c_str(), "Rss: %ld", &kibibytes);
  REQUIRE(kibibytes >= 0);
  return kibibytes << 10;
}
}  // namespace

TEST_CASE("of a large table in a file the rows that were looked up do not stay in memory") {
  constexpr int64_t rows = 6000, columns = 512, bytes = rows * columns * 4;
  std::FILE* file = std::tmpfile();
  REQUIRE(file);
  std::vector<float> row(columns);
  for (int64_t r = 0; r < rows; ++r) {
    std::fill(row.begin(), row.end(), float(r));
    REQUIRE(std::fwrite(row.data(), sizeof(float), columns, file) == columns);
  }
  REQUIRE(std::fflush(file) == 0);
  void* mapped = ::mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, ::fileno(file), 0);
  REQUIRE(mapped != MAP_FAILED);

  Graph graph;
  Builder build(graph);
  auto table = std::make_shared<Tensor>();
  table->dtype = DType::f32, table->dims = {rows, columns}, table->in_file = true;
  table->bytes = {static_cast<const char*>(mapped), bytes};
  Value& ids = graph.add_input("ids", {DType::i64, {24}});
  auto found = build.create("gather", {&graph.add_data("table", table), &ids}, {{"axis", int64_t(0)}}, "found");
  REQUIRE(bool(found));
  graph.outputs.push_back({"found", *found});
  auto executable = Executable::compile(graph);
  REQUIRE(bool(executable));
  Array wanted;
  wanted.resize(/*floating=*/false, {24});
  for (size_t k = 0; k < 24; ++k) wanted.i[k] = int64_t(k * 1237) % rows;
  const HostArray input = host_array(wanted, DType::i64);
  HostArrays outputs;
  REQUIRE(text((*executable)->run({{"ids", &input}}, outputs)) == "");
  CHECK(resident_bytes(mapped) == 0);
  const Array got = to_array(outputs.at("found"));
  for (size_t k = 0; k < 24; ++k) {
    CHECK(got.f[k * columns] == double(wanted.i[k]));
    CHECK(got.f[(k + 1) * columns - 1] == double(wanted.i[k]));
  }
  ::munmap(mapped, bytes);
  std::fclose(file);
}
}  // namespace optp
