#include "frontend/io/output_transaction.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>

#include "frontend/io/input_folder.h"
#include "frontend/io/interrupts.h"
#include "frontend/io/manifest.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/BLAKE3.h"
#include "tests/frontend/io/scratch_folder.h"

namespace optp {
namespace {
using Names = std::vector<std::string>;

void add(OutputTransaction& transaction, llvm::StringRef name, llvm::StringRef bytes) {
  auto file = get(transaction.create(name));
  good(file->write(bytes));
  good(file->finish());
}
void emit(const std::string& target, llvm::StringRef plan, OutputOptions options = {}) {
  auto transaction = get(OutputTransaction::begin(target, options));
  add(transaction, "rank0/model.onnx", "graph");
  add(transaction, "plan.json", plan);
  good(transaction.commit());
}
std::string blake3(llvm::StringRef bytes) {
  llvm::BLAKE3 hash;
  hash.update(bytes);
  const auto digest = hash.final();
  return llvm::toHex(llvm::ArrayRef<uint8_t>(digest.data(), digest.size()), true);
}
}  // namespace

TEST_CASE("a committed folder is whole, and nothing else is left beside it") {
  const ScratchFolder scratch;
  emit(scratch / "out", "plan");
  CHECK(scratch.names() == Names{"out"});
  CHECK(contents(scratch / "out/plan.json") == "plan");
  CHECK(contents(scratch / "out/rank0/model.onnx") == "graph");
  CHECK(contents(scratch / "out/manifest.json") ==
        "{\"format\":\"opt-partition manifest\",\"version\":1,\"files\":[\n"
        "{\"name\":\"plan.json\",\"size_bytes\":4,\"blake3\":\"" +
            blake3("plan") +
            "\"},\n"
            "{\"name\":\"rank0/model.onnx\",\"size_bytes\":5,\"blake3\":\"" +
            blake3("graph") + "\"}\n]}\n");
  good(verify_manifest(scratch / "out", true));
  // The hash of the empty input, as BLAKE3's paper gives it: that we hash what we write, and with BLAKE3.
  CHECK(blake3("") == "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262");
}

TEST_CASE("the manifest depends on the files, not on the order of writing") {
  const ScratchFolder scratch;
  const Names names = {"b.json", "a.json", "rank1/model.onnx", "rank0/model.onnx", "rank10/model.onnx"};
  for (const bool reversed : {false, true}) {
    auto transaction = get(OutputTransaction::begin(scratch / (reversed ? "x" : "y")));
    for (size_t i = 0; i < names.size(); ++i) {
      const std::string& name = names[reversed ? names.size() - 1 - i : i];
      add(transaction, name, name);
    }
    good(transaction.commit());
  }
  CHECK(contents(scratch / "x/manifest.json") == contents(scratch / "y/manifest.json"));
  good(verify_manifest(scratch / "x", true));
}

TEST_CASE(
    "another process writes into an output that one has begun: one folder, one manifest, and only that one ends it") {
  const ScratchFolder scratch;
  {
    auto begun = get(OutputTransaction::begin(scratch / "out"));
    {
      auto joined = get(OutputTransaction::join(scratch / "out", begun.temporary()));
      add(joined, "rank1.data", "one");
      CHECK(failure(joined.commit()).fault == Fault::internal);
    }
    add(begun, "rank0.data", "zero");
    begun.add_finished("rank1.data", 3, blake3("one"));
    good(begun.commit());
    good(verify_manifest(scratch / "out", true));
    CHECK(contents(scratch / "out/rank1.data") == "one");
  }
  std::optional<OutputTransaction> begun = get(OutputTransaction::begin(scratch / "other"));
  auto joined = get(OutputTransaction::join(scratch / "other", begun->temporary()));
  CHECK(failure(OutputTransaction::join(scratch / "other", "out").takeError()).fault == Fault::internal);
  begun.reset();
  CHECK(failure(joined.create("late").takeError()).fault == Fault::cannot_write);
}

TEST_CASE("small and large writes and padding give the bytes in order") {
  const ScratchFolder scratch;
  auto transaction = get(OutputTransaction::begin(scratch / "out"));
  auto file = get(transaction.create("data"));
  std::string expected;
  for (const size_t size : {0, 1, 100, 262143, 262144, 262145, 3, 1000000, 5}) {
    std::string bytes(size, '\0');
    for (size_t i = 0; i < size; ++i) bytes[i] = char(i * 31 + size);
    good(file->write(bytes));
    expected += bytes;
    good(file->pad_to(4096));
    expected.resize((expected.size() + 4095) / 4096 * 4096);
    CHECK(file->offset() == int64_t(expected.size()));
  }
  good(file->finish());
  CHECK(file->blake3() == blake3(expected));
  file.reset();
  good(transaction.commit());
  CHECK(contents(scratch / "out/data") == expected);
}

TEST_CASE("without commit nothing appears and nothing remains") {
  const ScratchFolder scratch;
  {
    auto transaction = get(OutputTransaction::begin(scratch / "out/"));
    add(transaction, "rank0/model.onnx", "graph");
    auto unfinished = get(transaction.create("plan.json"));
    good(unfinished->write("pl"));
    CHECK(failure(transaction.commit()).fault == Fault::internal);
    CHECK_FALSE(std::filesystem::exists(scratch / "out"));
  }
  CHECK(scratch.names().empty());
  emit(scratch / "out", "old");
  {
    auto transaction = get(OutputTransaction::begin(scratch / "out"));
    add(transaction, "plan.json", "new");
  }
  CHECK(scratch.names() == Names{"out"});
  CHECK(contents(scratch / "out/plan.json") == "old");
  good(verify_manifest(scratch / "out", true));
}

TEST_CASE("an output of ours or an empty folder is replaced whole") {
  const ScratchFolder scratch;
  std::filesystem::create_directory(scratch / "out");
  std::filesystem::permissions(scratch / "out", std::filesystem::perms(0750));
  emit(scratch / "out", "first");
  CHECK(contents(scratch / "out/plan.json") == "first");
  {
    auto transaction = get(OutputTransaction::begin(scratch / "out"));
    add(transaction, "plan.json", "second");
    good(transaction.commit());
  }
  CHECK(scratch.names() == Names{"out"});
  CHECK(contents(scratch / "out/plan.json") == "second");
  CHECK_FALSE(std::filesystem::exists(scratch / "out/rank0"));  // nothing of the first is left
  CHECK(std::filesystem::status(scratch / "out").permissions() == std::filesystem::perms(0750));
}

TEST_CASE("what is not ours is kept, unless the user says otherwise") {
  const ScratchFolder scratch;
  std::string why;
  SUBCASE("a file") {
    scratch.put("out/thesis.tex", "years");
    why = "not an output of ours";
  }
  SUBCASE("a folder") {
    std::filesystem::create_directories(scratch / "out/photos");
    why = "not an output of ours";
  }
  SUBCASE("another's manifest") {
    scratch.put("out/manifest.json", "{\"name\":\"web app\"}");
    why = "not an output of ours";
  }
  SUBCASE("a manifest that lies about names") {
    scratch.put("out/manifest.json",
                "{\"format\":\"opt-partition manifest\",\"version\":1,\"files\":[{\"name\":\"../x\","
                "\"size_bytes\":1,\"blake3\":\"" +
                    std::string(64, '0') + "\"}]}");
    why = "not an output of ours";
  }
  SUBCASE("a manifest that is a bomb") {
    scratch.put("out/manifest.json", std::string(1 << 20, '['));
    why = "not an output of ours";
  }
  SUBCASE("a file among ours") {
    emit(scratch / "out", "plan");
    scratch.put("out/rank0/notes.txt", "mine");
    why = "holds a file that is not ours, 'rank0/notes.txt'";
  }
  SUBCASE("a folder among ours") {
    emit(scratch / "out", "plan");
    std::filesystem::create_directories(scratch / "out/rank");
    why = "holds a file that is not ours, 'rank'";
  }
  const Failure f = failure(OutputTransaction::begin(scratch / "out"));
  CHECK(f.fault == Fault::cannot_write);
  CHECK(has(f.message, why));
  CHECK(scratch.names() == Names{"out"});
  emit(scratch / "out", "plan", {.overwrite = true});
  CHECK(scratch.names() == Names{"out"});
  good(verify_manifest(scratch / "out", true));
}

TEST_CASE("a folder that became someone's while we wrote is kept") {
  const ScratchFolder scratch;
  {
    auto transaction = get(OutputTransaction::begin(scratch / "out"));
    add(transaction, "plan.json", "plan");
    scratch.put("out/thesis.tex", "years");
    CHECK(failure(transaction.commit()).fault == Fault::cannot_write);
  }
  CHECK(scratch.names() == Names{"out"});
  CHECK(contents(scratch / "out/thesis.tex") == "years");
}

TEST_CASE("a file, a link or no name is no target, with overwrite either") {
  const ScratchFolder scratch;
  scratch.put("file", "mine");
  std::filesystem::create_directory(scratch / "folder");
  scratch.link("folder", "link");
  scratch.link("nothing", "dangling");
  for (const std::string& target :
       {scratch / "file", scratch / "link", scratch / "link/", scratch / "dangling", scratch / "none/out",
        scratch / "file/out", std::string(), std::string("."), std::string(".."), std::string("/"), scratch / "..",
        scratch / std::string(300, 'x'), std::string("a\0b", 3)}) {
    CAPTURE(target);
    CHECK(failure(OutputTransaction::begin(target, {.overwrite = true})).fault == Fault::cannot_write);
  }
  CHECK(failure(OutputTransaction::begin(scratch / "link")).message ==
        scratch / "link: expected a folder or nothing, found a symbolic link");
  CHECK(scratch.names() == Names{"dangling", "file", "folder", "link"});
}

TEST_CASE("an input of the run is never replaced") {
  const ScratchFolder scratch;
  const auto model = get(open_input_file(scratch.put("out/sub/model.onnx", "graph")));
  const OutputOptions options{.overwrite = true, .inputs = {model->id()}};
  const Failure f = failure(OutputTransaction::begin(scratch / "out", options));
  CHECK(f.fault == Fault::cannot_write);
  CHECK(has(f.message, "the folder holds an input of this run, 'sub/model.onnx'"));
  CHECK(contents(scratch / "out/sub/model.onnx") == "graph");
}

TEST_CASE("a second writer to the same target is refused at once, one to another is not") {
  const ScratchFolder scratch;
  scratch.link(".", "here");
  {
    auto first = get(OutputTransaction::begin(scratch / "out"));
    CHECK(failure(OutputTransaction::begin(scratch / "out")).message == scratch / "out: another run is writing to it");
    CHECK(failure(OutputTransaction::begin(scratch / "here/out")).fault == Fault::cannot_write);
    CHECK(in_child([&] {
            return failure(OutputTransaction::begin(scratch / "out")).fault == Fault::cannot_write ? 0 : 1;
          }).first == 0);
    auto other = get(OutputTransaction::begin(scratch / "other"));
    add(first, "plan.json", "plan");  // neither refusal touched it
    good(first.commit());
    emit(scratch / "out", "next");  // committed: free again
  }
  CHECK(scratch.names() == Names{"here", "out"});
}

TEST_CASE("what a killed run leaves is removed by the next one") {
  const ScratchFolder scratch;
  const int code = in_child([&] {
                     auto transaction = OutputTransaction::begin(scratch / "out");
                     if (transaction) (void)transaction->create("rank0/model.onnx");
                     ::raise(SIGKILL);
                     return 0;
                   }).first;
  CHECK(code == 128 + SIGKILL);
  CHECK(scratch.names().size() == 2);  // its lock, held by nobody, and its temporary folder
  emit(scratch / "out", "plan");
  CHECK(scratch.names() == Names{"out"});
}

TEST_CASE("names that could come from a model become no files") {
  const ScratchFolder scratch;
  auto transaction = get(OutputTransaction::begin(scratch / "out"));
  for (const std::string& name :
       Names{"", "..", "../x", "a/../x", "/x", "a/", "/", "a//b", "a/b/c", "A", "a b", ".hidden", "a/.b", "ä",
             std::string("a\0b", 3), "manifest.json", std::string(256, 'a')}) {
    CAPTURE(name);
    CHECK(failure(transaction.create(name)).fault == Fault::internal);
  }
  add(transaction, "a", "x");
  CHECK(failure(transaction.create("a")).fault == Fault::internal);
}

TEST_CASE("a full disk is one error, and then nothing is left") {
  const ScratchFolder scratch;
  emit(scratch / "out", "old");
  const auto [code, text] = in_child([&] {
    ::signal(SIGXFSZ, SIG_IGN);  // as main does: the limit is then an error of write(2)
    rlimit before, limit;
    ::getrlimit(RLIMIT_FSIZE, &before);
    limit = {1 << 20, before.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    auto transaction = OutputTransaction::begin(scratch / "out");
    if (!transaction) return 1;
    auto file = transaction->create("rank0/model.onnx.data");
    if (!file) return 2;
    const std::string block(300'000, 'w');
    llvm::Error e = llvm::Error::success();
    for (int i = 0; i < 10 && !e; ++i) e = (*file)->write(block);
    const Failure f = failure(std::move(e));
    if (f.fault != Fault::cannot_write ||
        f.message != scratch / "out/rank0/model.onnx.data: cannot be written: file too large")
      return 3;
    ::setrlimit(RLIMIT_FSIZE, &before);  // someone made room; what is missing is missing
    if (failure((*file)->write(block)).fault != Fault::cannot_write) return 4;
    if (failure((*file)->finish()).fault != Fault::cannot_write) return 5;
    if (failure(transaction->commit()).message == "(success)") return 6;
    ::setrlimit(RLIMIT_FSIZE, &limit);
    if (failure(write_file_atomically(scratch / "big", std::string(2 << 20, 'x'))).fault != Fault::cannot_write)
      return 7;
    file->reset();
    {
      OutputTransaction gone = std::move(*transaction);
    }
    return 0;
  });
  CHECK(code == 0);
  CHECK(scratch.names() == Names{"out"});
  good(verify_manifest(scratch / "out", true));
}

TEST_CASE("a signal while writing is an error that leaves nothing, and without writing it ends the process") {
  const ScratchFolder scratch;
  for (const int signal : {SIGINT, SIGTERM}) {
    const int code = in_child([&] {
                       abandon_outputs_on_signal();
                       auto transaction = OutputTransaction::begin(scratch / "out");
                       if (!transaction) return 1;
                       auto file = transaction->create("data");
                       if (!file) return 2;
                       ::raise(signal);
                       if (failure((*file)->write(std::string(1 << 20, 'x'))).fault != Fault::interrupted) return 3;
                       if (failure(transaction->create("more")).fault != Fault::interrupted) return 4;
                       if (failure(transaction->commit()).code != "interrupted/signal") return 5;
                       file->reset();
                       {
                         OutputTransaction gone = std::move(*transaction);
                       }
                       ::raise(signal);
                       return 6;
                     }).first;
    CHECK(code == 128 + signal);
    CHECK(scratch.names().empty());
  }
}

TEST_CASE("a source that is cut while it is copied is an error, not a short file") {
  const ScratchFolder scratch;
  const std::string path = scratch.put("w", std::string(1 << 20, 'w'));
  const auto [code, text] = in_child([&] {
    install_mapping_guard();
    auto source = open_input_file(path);
    auto transaction = OutputTransaction::begin(scratch / "out");
    if (!source || !transaction || ::truncate(path.c_str(), 0) != 0) return 1;
    auto file = transaction->create("data");
    if (!file) return 2;
    return failure((*file)->write((*source)->bytes())).fault == Fault::bad_input ? 65 : 3;
  });
  CHECK(code == 65);
  CHECK(has(text, path + ": changed while in use"));
}

TEST_CASE("any damage to an output is found") {
  const ScratchFolder scratch;
  emit(scratch / "out", "plan");
  std::string place, why;
  bool hashes = false;
  SUBCASE("a bit") {
    scratch.put("out/plan.json", "plam");
    place = "/plan.json";
    why = "BLAKE3: expected";
    hashes = true;
  }
  SUBCASE("a byte more") {
    scratch.put("out/plan.json", "plan ");
    place = "/plan.json";
    why = "size: expected 4 bytes as in the manifest, found 5";
  }
  SUBCASE("a file less") {
    std::filesystem::remove(scratch / "out/plan.json");
    place = "/plan.json";
    why = "found none";
  }
  SUBCASE("a file more") {
    scratch.put("out/rank0/x", "");
    why = "expected only files of the manifest, found 'rank0/x'";
  }
  SUBCASE("a link") {
    std::filesystem::rename(scratch / "out/plan.json", scratch / "plan.json");
    scratch.link("../plan.json", "out/plan.json");
    place = "/plan.json";
    why = "expected a file that is in the manifest";
  }
  SUBCASE("a FIFO") {
    std::filesystem::remove(scratch / "out/plan.json");
    REQUIRE(::mkfifo((scratch / "out/plan.json").c_str(), 0600) == 0);
    place = "/plan.json";
    why = "expected a regular file, found a FIFO";
  }
  SUBCASE("its version") {
    std::string text = contents(scratch / "out/manifest.json");
    scratch.put("out/manifest.json", text.replace(text.find("\"version\":1"), 11, "\"version\":2"));
    place = "/manifest.json";
    why = "version: expected 1, found another";
  }
  SUBCASE("its end") {
    const std::string text = contents(scratch / "out/manifest.json");
    scratch.put("out/manifest.json", text.substr(0, text.size() - 3));
    place = "/manifest.json";
    why = "expected JSON";
  }
  const Failure f = failure(verify_manifest(scratch / "out", hashes));
  CHECK(f.fault == Fault::bad_input);
  CHECK(f.message.find(scratch / "out" + place + ": ") == 0);
  CHECK(has(f.message, why));
  CHECK(failure(verify_manifest(scratch / "none")).fault == Fault::not_found);
  CHECK(failure(verify_manifest(scratch.path)).fault == Fault::not_found);
}

TEST_CASE("a single file is replaced whole, and only a file is") {
  const ScratchFolder scratch;
  good(write_file_atomically(scratch / "a", "one"));
  std::filesystem::permissions(scratch / "a", std::filesystem::perms(0640));
  good(write_file_atomically(scratch / "a", "two"));
  CHECK(contents(scratch / "a") == "two");
  CHECK(std::filesystem::status(scratch / "a").permissions() == std::filesystem::perms(0640));
  std::filesystem::create_directory(scratch / "folder");
  scratch.link("a", "link");
  REQUIRE(::mkfifo((scratch / "fifo").c_str(), 0600) == 0);
  for (const std::string& path :
       {scratch / "folder", scratch / "link", scratch / "fifo", scratch / "none/x", scratch / "a/x", scratch / "x/",
        std::string(), std::string("/dev/null"), std::string("/dev/stdout")}) {
    CAPTURE(path);
    CHECK(failure(write_file_atomically(path, "three")).fault == Fault::cannot_write);
  }
  CHECK(scratch.names() == Names{"a", "fifo", "folder", "link"});
  CHECK(contents(scratch / "a") == "two");
}
}  // namespace optp
