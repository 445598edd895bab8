// export NAME.safetensors: the parameters of the model's source, by its names and in its layout.
#include "tools/train/safetensors.h"

#include "frontend/ir/host_array.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/JSON.h"
#include "tests/must.h"
#include "tests/tools/program.h"

using namespace optp;

namespace {
struct File {
  std::map<std::string, std::string> metadata, shape, bytes;
};
// By the format's own words; every byte of the file is the length's, the header's or one array's.
File read(const std::string& path) {
  const std::string all = contents(path);
  const uint64_t length = llvm::support::endian::read64le(all.data());
  REQUIRE(length % 8 == 0);
  const auto header = llvm::cantFail(llvm::json::parse(llvm::StringRef(all).substr(8, length)));
  File out;
  size_t end = 8 + length;
  for (const auto& [key, value] : *header.getAsObject()) {
    const auto& o = *value.getAsObject();
    if (key == "__metadata__") {
      for (const auto& [name, text] : o) out.metadata[name.str()] = text.getAsString()->str();
      continue;
    }
    CHECK(o.getString("dtype") == llvm::StringRef("F32"));
    int64_t elements = 1;
    for (const auto& d : *o.getArray("shape")) {
      elements *= *d.getAsInteger();
      out.shape[key.str()] += std::to_string(*d.getAsInteger()) + " ";
    }
    const auto& offsets = *o.getArray("data_offsets");
    const int64_t begin = *offsets[0].getAsInteger(), stop = *offsets[1].getAsInteger();
    CHECK(stop - begin == 4 * elements);
    end = std::max(end, 8 + length + size_t(stop));
    out.bytes[key.str()] = all.substr(8 + length + size_t(begin), size_t(stop - begin));
  }
  CHECK(end == all.size());
  return out;
}
}  // namespace

TEST_CASE("exports of two exporters, trained alike, are the same safetensors: names and layout are the source's") {
  const Sandbox box;
  tokens_into(box / "t.bin");
  File files[2];
  for (const auto& [file, name] : {std::pair{&files[0], "opt-tiny"}, {&files[1], "opt-tiny-dynamo18"}}) {
    const std::string run = std::string("run-") + name;
    // A learning rate of 0 leaves the weights as they are.
    REQUIRE(box.run({"train", export_of(name) + "/model.onnx", "--devices", "3", "--data", "t.bin", "--batch", "2",
                     "--sequence", "8", "--optimizer", "sgd", "--lr", "0", "--max-steps", "1", "--save", run})
                .code == 0);
    const Result r = box.run({"export", run, "-o", "w.safetensors"});
    REQUIRE(r.code == 0);
    CHECK(r.out.find("36 tensors in float32, 8 of them transposed") != std::string::npos);
    const File raw = read(box / "w.safetensors");
    CHECK(raw.metadata.at("step") == "1");
    // The exporters differ in a prefix, and in which name of the tied table they keep.
    for (const auto& [key, bytes] : raw.bytes) {
      std::string plain = key.starts_with("m.") ? key.substr(2) : key;
      if (plain == "lm_head.weight") plain = "model.decoder.embed_tokens.weight";
      file->bytes[plain] = bytes;
      file->shape[plain] = raw.shape.at(key);
    }
  }
  CHECK(files[0].shape == files[1].shape);
  CHECK(files[0].bytes == files[1].bytes);
  CHECK(files[0].shape.at("model.decoder.layers.0.fc1.weight") == "192 48 ");
}

// Trained on three devices, for a plan of other devices: what a rank's file has is that rank's part of the whole file.
TEST_CASE("a file a rank holds what the plan gives that rank, in the layout of the model's source") {
  const Sandbox box;
  tokens_into(box / "t.bin");
  const std::string model = export_of("opt-tiny-dynamo18") + "/model.onnx";
  REQUIRE(box.run({"train", model, "--devices", "3", "--data", "t.bin", "--batch", "2", "--sequence", "8",
                   "--max-steps", "1", "--save", "run"})
              .code == 0);
  REQUIRE(box.run({"partition", model, "--mesh", "data=2,tensor=2", "-o", "plan"}).code == 0);
  REQUIRE(box.run({"export", "run", "-o", "w.safetensors"}).code == 0);
  const Result r = box.run({"export", "run", "--plan", "plan", "-o", "w"});
  CHECK(r.out == "w: weights after step 1, a file for each of 4 devices\n");
  const File whole = read(box / "w.safetensors");
  std::map<std::string, std::string> joined;  // by what no part has written
  for (const auto& [name, bytes] : whole.bytes) joined[name] = std::string(bytes.size(), '?');
  for (int rank = 0; rank < 4; ++rank) {
    const File part = read(box / "w/rank" + std::to_string(rank) + ".safetensors");
    CHECK(part.shape.size() == whole.shape.size());
    for (const auto& [name, bytes] : part.bytes) {
      CAPTURE(name);
      if (!part.metadata.count("shard:" + name)) {
        CHECK(bytes == whole.bytes.at(name));
        joined[name] = bytes;
        continue;
      }
      auto shard = parse_shard(part.metadata.at("shard:" + name));
      REQUIRE(bool(shard));
      std::string& to = joined[name];
      put(*shard, llvm::MutableArrayRef<char>(to.data(), to.size()), llvm::ArrayRef<char>(bytes.data(), bytes.size()),
          4);
    }
    CHECK(part.shape.at("m.model.decoder.layers.0.fc1.weight") == "96 48 ");
    CHECK(part.metadata.at("shard:m.model.decoder.layers.0.fc1.weight") ==
          (rank % 2 ? "[96:192, 0:48] of [192, 48]" : "[0:96, 0:48] of [192, 48]"));
  }
  CHECK(joined == whole.bytes);

  REQUIRE(box.run({"partition", export_of("gpt2-tiny") + "/model.onnx", "--devices", "2", "-o", "other"}).code == 0);
  const Result other = box.run({"export", "run", "--plan", "other", "-o", "none"});
  CHECK(other.code == 65);
  CHECK(other.line().starts_with("other: plan.json: it lists no tensor '"));
  CHECK(!fs::exists(box / "none"));
  const Result self = box.run({"export", "run", "--plan", "plan", "-o", "plan", "--overwrite"});
  CHECK(self.code == 73);
}

TEST_CASE("a file without the parameters that were frozen says so") {
  const Sandbox box;
  tokens_into(box / "t.bin");
  REQUIRE(box.run({"train", export_of("opt-tiny") + "/model.onnx", "--data", "t.bin", "--batch", "2", "--sequence", "8",
                   "--max-steps", "1", "--freeze", "q_proj.weight", "--save", "run"})
              .code == 0);
  const Result r = box.run({"export", "run", "-o", "w.safetensors"});
  CHECK(r.out.find("34 tensors") != std::string::npos);
  CHECK(r.out.find("; parameters that were not trained are the model's, and left out\n") != std::string::npos);
}

TEST_CASE("a matrix is transposed element by element, also beyond whole blocks") {
  for (const auto& [rows, columns] : {std::pair{1, 1}, {3, 70}, {33, 32}, {0, 5}}) {
    HostArray a{DType::i32, {rows, columns}, std::vector<char>(size_t(4 * rows * columns))};
    auto* in = reinterpret_cast<int32_t*>(a.bytes.data());
    for (int k = 0; k < rows * columns; ++k) in[k] = k;
    const HostArray b = transposed(a);
    CHECK(b.dims == Extents{columns, rows});
    const auto* out = reinterpret_cast<const int32_t*>(b.bytes.data());
    bool right = true;
    for (int i = 0; i < rows; ++i)
      for (int j = 0; j < columns; ++j) right &= out[j * rows + i] == i * columns + j;
    CHECK(right);
  }
}

TEST_CASE("a dtype that the format has no word for is refused, and nothing is written") {
  bool is_written = false;
  llvm::Error e = write_safetensors({{"words", {DType::string, {1}, {1}}}}, {}, [&](auto) {
    is_written = true;
    return llvm::Error::success();
  });
  CHECK(llvm::toString(std::move(e)).find("'words'") != std::string::npos);
  CHECK(!is_written);
}
