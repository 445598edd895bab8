#include "frontend/io/input_folder.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "tests/frontend/io/scratch_folder.h"

namespace optp {
namespace {
InputFolder folder_with(Resolver resolver) {
  InputFolder::Options options;
  options.resolver = resolver;
  return InputFolder(std::move(options));
}
// Both ways of opening keep the same promises.
constexpr Resolver resolvers[] = {Resolver::kernel, Resolver::walk};

std::string opened(InputFolder& folder, llvm::StringRef location) {
  auto file = folder.open(location);
  return file ? (*file)->text().str() : "error " + failure(file.takeError()).message;
}
}  // namespace

TEST_CASE("a model and its data are read as they are") {
  const ScratchFolder scratch;
  scratch.put("m/model.onnx", "graph");
  scratch.put("m/model.onnx.data", "weights");
  scratch.put("m/sub/deep/w.bin", "deep");
  scratch.put("m/empty", "");
  for (const Resolver resolver : resolvers) {
    InputFolder folder = folder_with(resolver);
    const auto model = get(folder.open_model(scratch / "m/model.onnx"));
    CHECK(model->text() == "graph");
    CHECK(model->name() == scratch / "m/model.onnx");
    const auto data = get(folder.open("model.onnx.data"));
    CHECK(data->text() == "weights");
    CHECK(data->name() == scratch / "m/model.onnx.data");
    CHECK(same_file(scratch / "m/model.onnx.data", data->id().device, data->id().inode));
    CHECK_FALSE(same_file(scratch / "m/model.onnx", data->id().device, data->id().inode));
    CHECK_FALSE(same_file(scratch / "m/nothing", data->id().device, data->id().inode));
    CHECK(get(folder.open("model.onnx.data")).get() == data.get());
    CHECK(opened(folder, "sub/deep/w.bin") == "deep");
    CHECK(opened(folder, "./sub/./deep/w.bin") == "deep");
    CHECK(get(folder.open("empty"))->bytes().empty());
    CHECK(get(get(folder.open("empty"))->range(0, 0)).empty());
  }
}

TEST_CASE("a model in the current folder has data there too") {
  const ScratchFolder scratch;
  scratch.put("model.onnx", "graph");
  scratch.put("w.bin", "weights");
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(scratch.path);
  InputFolder folder;
  CHECK(get(folder.open_model("model.onnx"))->name() == "model.onnx");
  CHECK(get(folder.open("w.bin"))->name() == "w.bin");
  CHECK(get(folder.open("w.bin"))->text() == "weights");
  std::filesystem::current_path(before);
}

TEST_CASE("no spelling of a location leaves the folder") {
  const ScratchFolder scratch;
  scratch.put("secret", "secret");
  scratch.put("m/model.onnx", "graph");
  scratch.put("m/a/x", "x");
  std::vector<std::string> spellings = {"../secret",
                                        "a/../../secret",
                                        "./../secret",
                                        "a/../x",
                                        "..",
                                        "a/..",
                                        "../m/a/x",
                                        scratch / "secret",
                                        "/etc/passwd",
                                        "//etc/passwd",
                                        "C:\\x",
                                        "\\\\srv\\x",
                                        "a\\..\\..\\x",
                                        ".",
                                        "./",
                                        "",
                                        "a/",
                                        "a//x",
                                        "/",
                                        "file:///etc/passwd",
                                        "http://host/x",
                                        std::string("a/x\0", 4),
                                        std::string("\0", 1),
                                        std::string(5000, 'a'),
                                        "*//_ORT_MEM_ADDR_/*"};
  std::vector<std::string> harmless = {"%2e%2e/secret", "~",           "*/_ORT_MEM_ADDR_/*",
                                       "#a/x",          "..%2fsecret", "... /secret"};
  for (const Resolver resolver : resolvers) {
    InputFolder folder = folder_with(resolver);
    get(folder.open_model(scratch / "m/model.onnx"));
    for (const std::string& spelling : spellings) {
      CAPTURE(spelling);
      const Failure f = failure(folder.open(spelling));
      CHECK(f.fault == Fault::bad_input);
      CHECK(has(f.message, "location: expected a path beneath this folder, found "));
    }
    for (const std::string& spelling : harmless) {  // names like any other, of files that are not there
      CAPTURE(spelling);
      CHECK(failure(folder.open(spelling)).fault == Fault::not_found);
    }
  }
}

TEST_CASE("a symbolic link is followed while it stays beneath the folder") {
  const ScratchFolder scratch;
  scratch.put("secret", "secret");
  scratch.put("m/model.onnx", "graph");
  scratch.put("m/a/x", "inside");
  scratch.link("a/x", "m/in");
  scratch.link("../a/x", "m/a2/up-and-in");
  scratch.link(scratch / "m/a/x", "m/absolute-in");
  scratch.link("a", "m/parent-in");
  scratch.link("../m/a/x", "m/out-and-in");
  scratch.link("../secret", "m/out");
  scratch.link(scratch / "secret", "m/absolute-out");
  scratch.link("..", "m/parent-out");
  scratch.link("/", "m/root");
  scratch.link("out", "m/chain-out");
  scratch.link("/proc/self/environ", "m/environ");
  scratch.link("/proc/self/fd/0", "m/stdin");
  scratch.link("/proc/self/root", "m/proc-root");
  scratch.link("loop", "m/loop");
  scratch.link("nothing", "m/dangling");
  for (const Resolver resolver : resolvers) {
    InputFolder folder = folder_with(resolver);
    get(folder.open_model(scratch / "m/model.onnx"));
    for (const char* name : {"in", "a2/up-and-in", "absolute-in", "parent-in/x", "out-and-in"}) {
      CAPTURE(name);
      CHECK(opened(folder, name) == "inside");
    }
    for (const char* name : {"out", "absolute-out", "parent-out/secret", "root/etc/passwd", "chain-out", "environ",
                             "stdin", "proc-root/etc/passwd", "loop"}) {
      CAPTURE(name);
      const Failure f = failure(folder.open(name));
      CHECK(f.fault == Fault::bad_input);
      CHECK(has(f.message, "expected a file beneath the model's folder, found a symbolic link that "));
    }
    CHECK(failure(folder.open("dangling")).fault == Fault::not_found);
  }
}

TEST_CASE("links of the Hugging Face cache lead from snapshots to blobs and no further") {
  const ScratchFolder scratch;
  scratch.put("blobs/1111", "graph");
  scratch.put("blobs/2222", "weights");
  scratch.put("secret", "secret");
  scratch.link("../../blobs/1111", "snapshots/x/model.onnx");
  scratch.link("../../blobs/2222", "snapshots/x/model.onnx.data");
  scratch.link("../../secret", "snapshots/x/out");
  scratch.put("snapshots/x/plain.onnx", "graph");
  for (const Resolver resolver : resolvers) {
    InputFolder folder = folder_with(resolver);
    CHECK(get(folder.open_model(scratch / "snapshots/x/model.onnx"))->text() == "graph");
    const auto data = get(folder.open("model.onnx.data"));
    CHECK(data->text() == "weights");
    good(data->check_unchanged());
    CHECK(opened(folder, "2222") == "weights");  // beside the real model
    CHECK(failure(folder.open("out")).fault == Fault::bad_input);
    // A model that is no link has one root only.
    get(folder.open_model(scratch / "snapshots/x/plain.onnx"));
    CHECK(failure(folder.open("model.onnx.data")).fault == Fault::bad_input);
    CHECK(failure(folder.open("2222")).fault == Fault::not_found);
  }
}

TEST_CASE("data with a second name, or that is the model itself, is refused") {
  const ScratchFolder scratch;
  scratch.put("secret", "secret");
  scratch.put("m/model.onnx", "graph");
  std::filesystem::create_hard_link(scratch / "secret", scratch / "m/w.bin");
  scratch.link("model.onnx", "m/self");
  InputFolder folder;
  get(folder.open_model(scratch / "m/model.onnx"));
  CHECK(has(failure(folder.open("w.bin")).message, "expected a file with one name, found a hard link (2 names)"));
  CHECK(has(failure(folder.open("model.onnx")).message, "found the model itself"));
  CHECK(has(failure(folder.open("self")).message, "found the model itself"));
  std::filesystem::remove(scratch / "secret");
  CHECK(get(folder.open("w.bin"))->text() == "secret");
  std::filesystem::create_hard_link(scratch / "m/model.onnx", scratch / "m/again.onnx");
  CHECK(get(folder.open_model(scratch / "m/again.onnx"))->text() == "graph");  // the user named it
}

TEST_CASE("only regular files are read, and nothing makes us wait") {
  const ScratchFolder scratch;
  scratch.put("m/model.onnx", "graph");
  REQUIRE(::mkfifo((scratch / "m/fifo").c_str(), 0600) == 0);
  std::filesystem::create_directory(scratch / "m/folder");
  const int listener = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, (scratch / "m/socket").c_str(), sizeof address.sun_path - 1);
  REQUIRE(::bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  InputFolder folder;
  get(folder.open_model(scratch / "m/model.onnx"));
  for (const auto& [name, kind] :
       {std::pair<const char*, const char*>{"fifo", "a FIFO"}, {"folder", "a folder"}, {"socket", "a socket"}}) {
    CAPTURE(name);
    InputFolder other;
    for (const Failure& f :
         {failure(folder.open(name)), failure(other.open_model(scratch / ("m/" + std::string(name)))),
          failure(open_input_file(scratch / ("m/" + std::string(name))))}) {
      CHECK(f.fault == Fault::bad_input);
      CHECK(has(f.message, std::string(name) + ": expected a regular file, found " + kind));
    }
  }
  CHECK(failure(open_input_file("/dev/zero")).message == "/dev/zero: expected a regular file, found a device");
  CHECK(failure(InputFolder().open_model("/")).fault == Fault::bad_input);
  CHECK(failure(InputFolder().open_model(scratch / "m/folder/")).fault == Fault::bad_input);
  ::close(listener);
}

TEST_CASE("a missing file is not found, by its path") {
  const ScratchFolder scratch;
  scratch.put("m/model.onnx", "graph");
  InputFolder folder;
  for (const std::string& path : {scratch / "m/none.onnx", scratch / "none/model.onnx", scratch / "m/model.onnx/x"}) {
    const Failure f = failure(folder.open_model(path));
    CHECK(f.fault == Fault::not_found);
    CHECK(f.message == path + ": no such file");
  }
  CHECK(failure(folder.open_model("")).message == "'': no such file");
  CHECK(failure(folder.open_model(llvm::StringRef("a\0b", 3))).fault == Fault::not_found);
  CHECK(failure(open_input_file("")).fault == Fault::not_found);
  get(folder.open_model(scratch / "m/model.onnx"));
  CHECK(failure(folder.open("none")).message == scratch / "m/none: no such file");
  CHECK(failure(folder.open("model.onnx/none")).fault == Fault::not_found);
  CHECK(failure(folder.open("\x1b[31m")).message == scratch / "m/\\x1b[31m: no such file");
}

TEST_CASE("a model is at most as large as protobuf can read") {
  const ScratchFolder scratch;
  for (const int64_t size : {(int64_t{1} << 31) - 1, int64_t{1} << 31, (int64_t{1} << 31) + 1}) {
    std::filesystem::resize_file(scratch.put("model.onnx", ""), uintmax_t(size));  // sparse
    const Failure f = failure(InputFolder().open_model(scratch / "model.onnx"));
    if (size < int64_t{1} << 31)
      CHECK(f.message == "(success)");
    else
      CHECK(has(f.message, "model.onnx: size: expected at most 2147483647 bytes, found " + std::to_string(size)));
  }
}

TEST_CASE("a range is all inside the file or an error, however large its numbers") {
  const ScratchFolder scratch;
  const auto file = get(open_input_file(scratch.put("w", "0123456789")));
  const uint64_t max = UINT64_MAX;
  for (const auto& [offset, length] : {std::pair<uint64_t, uint64_t>{0, 10}, {0, 0}, {10, 0}, {9, 1}, {3, 4}}) {
    const auto part = get(file->range(offset, length));
    CHECK(std::string(part.begin(), part.end()) == std::string("0123456789").substr(offset, length));
  }
  for (const auto& [offset, length] : {std::pair<uint64_t, uint64_t>{0, 11},
                                       {11, 0},
                                       {10, 1},
                                       {1, 10},
                                       {max, 1},
                                       {max, 2},
                                       {1, max},
                                       {max, max},
                                       {2, max - 1},
                                       {max - 4, 8},
                                       {uint64_t{1} << 63, uint64_t{1} << 63}}) {
    const Failure f = failure(file->range(offset, length));
    CHECK(f.fault == Fault::bad_input);
    CHECK(f.message == file->name().str() + ": range: expected bytes within the file's 10, found " +
                           std::to_string(length) + " bytes at offset " + std::to_string(offset));
  }
}

TEST_CASE("a file that is cut while mapped ends the process with its name") {
  const ScratchFolder scratch;
  const std::string path = scratch.put("weights.bin", std::string(1 << 20, 'w'));
  const auto [code, text] = in_child([&] {
    install_mapping_guard();
    install_mapping_guard();
    auto file = open_input_file(path);
    if (!file || ::truncate(path.c_str(), 100) != 0) return 1;
    volatile char sum = 0;
    for (char c : (*file)->bytes()) sum = char(sum + c);
    return 0;
  });
  CHECK(code == 65);
  CHECK(text == path + ": changed while in use\n");
}

TEST_CASE("a bus error that is not ours stays one") {
  const ScratchFolder scratch;
  const std::string path = scratch.put("w", std::string(8192, 'w'));
  const int code = in_child([&] {
                     ::signal(SIGBUS, SIG_DFL);  // a sanitizer's handler is not what is tested
                     install_mapping_guard();
                     {
                       auto gone = open_input_file(path);
                       if (!gone) return 1;
                     }  // its slot is free again
                     const int fd = ::open(path.c_str(), O_RDONLY);
                     auto* bytes = static_cast<volatile char*>(::mmap(nullptr, 8192, PROT_READ, MAP_PRIVATE, fd, 0));
                     if (::truncate(path.c_str(), 0) != 0) return 1;
                     return int(bytes[5000]);
                   }).first;
  CHECK(code == 128 + SIGBUS);
}

TEST_CASE("a file that was cut inside a page, rewritten or replaced is noticed") {
  const ScratchFolder scratch;
  const std::string path = scratch.put("w", "0123456789");
  const auto file = get(open_input_file(path));
  good(file->check_unchanged());
  SUBCASE("cut") { std::filesystem::resize_file(path, 5); }
  SUBCASE("written") {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // a tick of the file system's clock
    scratch.put("w", "9876543210");
  }
  SUBCASE("replaced") { std::filesystem::rename(scratch.put("other", "0123456789"), path); }
  SUBCASE("removed") { std::filesystem::remove(path); }
  const Failure changed = failure(file->check_unchanged());
  CHECK(changed.message == path + ": changed while in use");
  CHECK(changed.code == "bad-input/changed");
}

TEST_CASE("a race between a file and a link to a secret is never won") {
  const ScratchFolder scratch;
  scratch.put("secret", "secret");
  scratch.put("m/model.onnx", "graph");
  scratch.put("m/d/secret", "public");
  std::atomic<bool> stop{false};
  scratch.link("..", "m/l");
  std::thread swapper([&] {  // m/d is the folder, then a link to the folder above, and back
    while (!stop)
      ::renameat2(AT_FDCWD, (scratch / "m/d").c_str(), AT_FDCWD, (scratch / "m/l").c_str(), 2 /* RENAME_EXCHANGE */);
  });
  int won = 0;
  for (const Resolver resolver : resolvers)
    for (int i = 0; i < 2000; ++i) {
      InputFolder folder = folder_with(resolver);
      get(folder.open_model(scratch / "m/model.onnx"));
      auto file = folder.open("d/secret");
      if (!file)
        llvm::consumeError(file.takeError());
      else
        won += (*file)->text() == "secret";
    }
  stop = true;
  swapper.join();
  CHECK(won == 0);
}
}  // namespace optp
