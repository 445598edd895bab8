// train, run as users run it: on a small model and tokens that can be learned.
#pragma once
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "tests/tools/program.h"
#include "tools/train/checkpoint.h"

namespace optp {
inline const std::string opt_tiny = export_of("opt-tiny") + "/model.onnx";

// 600 tokens of a small language that can be learned: mostly each id says the next. 257 is opt-tiny's vocabulary.
inline std::string corpus(size_t count = 600) {
  std::vector<uint16_t> ids{1};
  uint64_t state = 12345;
  while (ids.size() < count) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    ids.push_back(state >> 60 == 0 ? uint16_t(state >> 33) % 61 : uint16_t((ids.back() * 7 + 3) % 61));
  }
  return {reinterpret_cast<const char*>(ids.data()), ids.size() * 2};
}
struct Trainer {
  Sandbox box;
  Trainer() { write_text(box / "t.bin", corpus()); }
  std::vector<std::string> words(const std::vector<std::string>& more, const std::string& model = opt_tiny,
                                 int devices = 2) const {
    std::vector<std::string> out{"train", model,    "--devices", std::to_string(devices), "--threads-per-device",
                                 "1",     "--data", "t.bin"};
    out.insert(out.end(), more.begin(), more.end());
    return out;
  }
  Result train(const std::vector<std::string>& more, const std::string& model = opt_tiny, int devices = 2) const {
    return box.run(words(more, model, devices));
  }
  Checkpoint checkpoint(const std::string& folder) const { return llvm::cantFail(Checkpoint::open(box / folder)); }
  bool equal(const std::string& a, const std::string& b) const {
    for (const auto& entry : fs::directory_iterator(box / a))
      if (contents(entry.path()) != contents(box / b + "/" + entry.path().filename().string())) return false;
    return true;
  }
  size_t log_lines() const {
    const std::string text = contents(box / "log");
    return size_t(std::count(text.begin(), text.end(), '\n'));
  }
  void wait_for_steps(size_t n) const {
    for (int k = 0; k < 20000 && log_lines() < n; ++k) ::usleep(1000);
  }
};
inline const std::vector<std::string> small{"--batch", "8", "--sequence", "16", "--epochs", "4", "--lr", "0.01"};
}  // namespace optp
