// What is read of a file does not stay in memory.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <fstream>
#include <sstream>

#include "runtime/packed_weights.h"
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

TEST_CASE("data of a file may lie at any address: looked up, multiplied, added, given, by two executables") {
  constexpr int64_t rows = 40, columns = 24;
  const auto graph_of = [&](const std::shared_ptr<Tensor>& table, const std::shared_ptr<Tensor>& bias, int64_t count) {
    auto graph = std::make_unique<Graph>();
    Builder build(*graph);
    build.set_fold(false);
    Value &w = graph->add_data("table", table), &b = graph->add_data("bias", bias);
    Value& ids = graph->add_input("ids", {DType::i64, {Dim(count)}});
    const auto make = [&](llvm::StringRef op, llvm::ArrayRef<Value*> operands, Attributes attributes,
                          const char* name) {
      return llvm::cantFail(build.create(op, operands, std::move(attributes), name));
    };
    Value* found = make("gather", {&w, &ids}, {{"axis", int64_t(0)}}, "found");
    Value* sum = make("add", {found, &b}, {}, "sum");
    Value* logits = make("contract", {sum, &w}, {{"loops", contract_loops("m k, n k -> m n")}}, "logits");
    for (Value* v : {found, logits, &b}) graph->outputs.push_back({v->name, v});
    return graph;
  };
  std::vector<char> file((rows + 1) * columns * 4 + 64);
  const auto tensor = [&](std::vector<int64_t> dims, size_t offset, size_t first) {
    auto out = std::make_shared<Tensor>();
    out->dtype = DType::f32, out->dims.assign(dims.begin(), dims.end());
    size_t count = 1;
    for (int64_t d : dims) count *= size_t(d);
    for (size_t k = 0; k < count; ++k) {
      const float value = float(int64_t(first + k * 37) % 61) - 30;
      std::memcpy(file.data() + offset + 4 * k, &value, 4);
    }
    out->bytes = {file.data() + offset, count * 4};
    return out;
  };
  std::map<int64_t, HostArrays> expected;
  for (const size_t odd : {0, 1, 3}) {
    CAPTURE(odd);
    const auto table = tensor({rows, columns}, odd, 5), bias = tensor({columns}, rows * columns * 4 + 8 + odd, 11);
    ExecutableOptions options;
    options.packed = std::make_shared<PackedWeights>();
    for (const int64_t count : {7, 1, 7}) {
      CAPTURE(count);
      const auto graph = graph_of(table, bias, count);
      auto executable = Executable::compile(*graph, options);
      REQUIRE(bool(executable));
      Array ids;
      ids.resize(/*floating=*/false, {count});
      for (int64_t k = 0; k < count; ++k) ids.i[size_t(k)] = k * 29 % rows;
      const HostArray input = host_array(ids, DType::i64);
      HostArrays outputs;
      REQUIRE(text((*executable)->run({{"ids", &input}}, outputs)) == "");
      if (odd == 0) expected.try_emplace(count, outputs);
      for (const auto& [name, array] : outputs) CHECK(array.bytes == expected[count][name].bytes);
    }
  }
  CHECK(expected[7]["logits"].bytes.size() == 7 * rows * 4);
}

namespace {
// The bytes of a tensor in a file, from `offset` on, mapped.
class InFile {
 public:
  explicit InFile(const Tensor& tensor, size_t offset = 0)
      : file_(std::tmpfile()), size_(offset + tensor.bytes.size()) {
    REQUIRE(file_);
    REQUIRE(std::fseek(file_, long(offset), SEEK_SET) == 0);
    REQUIRE(std::fwrite(tensor.bytes.data(), 1, tensor.bytes.size(), file_) == tensor.bytes.size());
    REQUIRE(std::fflush(file_) == 0);
    mapped_ = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, ::fileno(file_), 0);
    REQUIRE(mapped_ != MAP_FAILED);
    tensor_ = std::make_shared<Tensor>();
    tensor_->dtype = tensor.dtype, tensor_->dims = tensor.dims, tensor_->in_file = true;
    tensor_->bytes = {static_cast<const char*>(mapped_) + offset, tensor.bytes.size()};
  }
  ~InFile() { ::munmap(mapped_, size_), std::fclose(file_); }
  InFile(const InFile&) = delete;
  InFile& operator=(const InFile&) = delete;
  std::shared_ptr<const Tensor> tensor() const { return tensor_; }

 private:
  std::FILE* file_;
  size_t size_;
  void* mapped_ = nullptr;
  std::shared_ptr<Tensor> tensor_;
};
}  // namespace

TEST_CASE("a table is there at run time however a rank holds it, and whatever else reads it") {
  Random random;
  enum class Cut { none, rows, columns };
  enum class Reader : unsigned { lookup = 1, product = 2, output = 4 };
  const std::vector<int64_t> dims{40, 24};
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16})
    for (const bool is_wide : {false, true})
      for (const bool is_in_file : {false, true})
        for (const Cut cut : {Cut::none, Cut::rows, Cut::columns})
          for (unsigned readers = 1; readers < 8; ++readers) {
            if (is_wide && dtype == DType::f32) continue;
            CAPTURE(to_string(dtype).str());
            CAPTURE(is_wide);
            CAPTURE(is_in_file);
            CAPTURE(int(cut));
            CAPTURE(readers);
            Case c(random);
            const DType stored = is_wide ? DType::f32 : dtype;
            const auto in_memory = to_tensor(c.draw(stored, dims), stored);
            const InFile file(*in_memory);
            auto tensor = is_in_file ? file.tensor() : in_memory;
            if (is_wide) tensor = rounded(tensor, dtype);
            Value& table = c.graph.add_data("table", tensor);
            if (cut != Cut::none) table.shard = Shard::chunk_of(dims, cut == Cut::rows ? 0 : 1, 2, 1);
            const Extents held = table.data_shard().shape();
            table.type.dims.assign(held.begin(), held.end());
            const auto reads = [&](Reader r) { return (readers & unsigned(r)) != 0; };
            if (reads(Reader::lookup))
              c.output(c.node("gather", {&table, c.input(DType::i64, {5})}, {{"axis", int64_t(0)}}));
            if (reads(Reader::product)) {
              Value* w = dtype == DType::f32 ? &table : c.node("cast", {&table}, {{"to", int64_t(DType::f32)}});
              Value* x = c.input(DType::f32, {3, held[1]});
              c.output(c.node("contract", {x, w}, {{"loops", contract_loops("m k, n k -> m n")}}));
            }
            if (reads(Reader::output)) c.output(c.node("neg", {&table}));
            c.compare({}, 24);
          }
}

// PyTorch's exporter writes weights wherever the file has come to: a table of floats may lie where no float may, and
// what reads its elements is given a copy.
TEST_CASE("a large table that lies anywhere in its file is looked up as it is, at ids that are known or not") {
  Random random;
  const std::vector<int64_t> dims{large_table_bytes / 128, 64};
  for (const size_t offset : {0, 2, 3})
    for (const bool is_known : {false, true})
      for (const bool is_read : {false, true}) {
        CAPTURE(offset);
        CAPTURE(is_known);
        CAPTURE(is_read);
        Case c(random);
        const auto in_memory = to_tensor(c.draw(DType::f32, dims), DType::f32);
        const InFile file(*in_memory, offset);
        Value& table = c.graph.add_data("table", file.tensor());
        Array ids;
        ids.resize(/*floating=*/false, {7});
        for (size_t k = 0; k < ids.i.size(); ++k) ids.i[k] = int64_t(k) * (dims[0] - 1) / 6;
        Value* index = is_known ? &c.graph.add_data("ids", to_tensor(ids, DType::i64)) : c.input(DType::i64, {7});
        c.output(c.node("gather", {&table, index}, {{"axis", int64_t(0)}}));
        if (is_read)
          c.output(c.node("slice", {c.node("neg", {&table})},
                          {{"axis", int64_t(0)}, {"start", Dim(5)}, {"size", Dim(2)}, {"step", int64_t(1)}}));
        c.compare();
      }
}
}  // namespace optp
