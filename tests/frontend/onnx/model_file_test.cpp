// A folder in a model's place.
#include "frontend/onnx/model_file.h"

#include "tests/frontend/io/scratch_folder.h"
#include "tests/must.h"

using namespace optp;

TEST_CASE("a folder stands for its one model, for model.onnx among several, or for that of its folder onnx") {
  const ScratchFolder folder;
  const auto in = [&](const std::string& name) { return must(model_file(folder / name)); };
  const auto put = [&](const std::string& name) {
    std::filesystem::create_directories(std::filesystem::path(folder / name).parent_path());
    folder.put(name, "x");
  };
  for (const char* name : {"one/net.onnx", "one/net.onnx.data", "optimum/config.json", "optimum/model.onnx",
                           "optimum/model_quantized.onnx", "hub/config.json", "hub/onnx/model.onnx",
                           "pair/encoder_model.onnx", "pair/decoder_model.onnx", "none/readme.md"})
    put(name);
  CHECK(in("one") == folder / "one/net.onnx");
  CHECK(in("one/net.onnx") == folder / "one/net.onnx");
  CHECK(in("optimum") == folder / "optimum/model.onnx");
  CHECK(in("hub") == folder / "hub/onnx/model.onnx");
  CHECK(in("nothing/there.onnx") == folder / "nothing/there.onnx");  // the reader says that it is not there
  auto pair = model_file(folder / "pair"), none = model_file(folder / "none");
  REQUIRE(!pair);
  CHECK(llvm::toString(pair.takeError()) ==
        folder / "pair" +
            ": models: expected one, or a model.onnx, found decoder_model.onnx, encoder_model.onnx; give " +
            "the file, as " + (folder / "pair/decoder_model.onnx"));
  REQUIRE(!none);
  CHECK(llvm::toString(none.takeError()) == folder / "none" + ": the folder has no .onnx file");
}
