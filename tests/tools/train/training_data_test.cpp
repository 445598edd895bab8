// What training is fed with: tokens, their order, the learning rate of a step; and the picture of what came out.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <set>

#include "tests/tools/program.h"
#include "tools/train/learning_rate.h"
#include "tools/train/loss_plot.h"
#include "tools/train/tokens.h"

using namespace optp;

TEST_CASE("the learning rate's factor is that of transformers' schedules") {
  // Values of get_{constant,linear,cosine}_schedule_with_warmup for 4 steps of warm-up and 12 in all, computed by hand
  // from their definitions: 1 - 2/8, (1 + cos(pi * 2 / 8)) / 2 …
  struct Row {
    Schedule schedule;
    int64_t step;
    double factor;
  };
  for (const Row& row : std::initializer_list<Row>{{Schedule::constant, 0, 0},
                                                   {Schedule::constant, 3, 0.75},
                                                   {Schedule::constant, 4, 1},
                                                   {Schedule::constant, 99, 1},
                                                   {Schedule::linear, 2, 0.5},
                                                   {Schedule::linear, 4, 1},
                                                   {Schedule::linear, 6, 0.75},
                                                   {Schedule::linear, 12, 0},
                                                   {Schedule::linear, 13, 0},
                                                   {Schedule::cosine, 1, 0.25},
                                                   {Schedule::cosine, 4, 1},
                                                   {Schedule::cosine, 6, 0.8535533905932737},
                                                   {Schedule::cosine, 8, 0.5},
                                                   {Schedule::cosine, 12, 0}}) {
    CAPTURE(row.step);
    CHECK(schedule_factor(row.schedule, row.step, 4, 12) == doctest::Approx(row.factor).epsilon(1e-15));
  }
  CHECK(schedule_factor(Schedule::constant, 0, 0, 5) == 1);  // without warm-up the first step is a whole one
}

TEST_CASE("each epoch has every sequence once, in an order that the seed and the epoch say") {
  const Sandbox box;
  write_text(box / "t.bin", std::string(2 * 43, '\0'));
  auto tokens = llvm::cantFail(TokenFile::open(box / "t.bin", "uint16"));
  const Sequences sequences(tokens, 4);
  CHECK(sequences.count() == 11);  // ten of 4 tokens, one of 3
  std::set<std::vector<int64_t>> orders;
  for (int64_t epoch = 0; epoch < 20; ++epoch) {
    std::vector<int64_t> order = shuffled(sequences.count(), 7, epoch);
    CHECK(order == shuffled(11, 7, epoch));
    CHECK(order != shuffled(11, 8, epoch));
    orders.insert(order);
    std::sort(order.begin(), order.end());
    for (int64_t k = 0; k < 11; ++k) CHECK(order[size_t(k)] == k);
  }
  CHECK(orders.size() == 20);
}

namespace {
template <typename T>
std::string raw(const std::vector<int64_t>& ids) {
  std::string out;
  for (int64_t id : ids) {
    const T x = T(id);
    out.append(reinterpret_cast<const char*>(&x), sizeof x);
  }
  return out;
}
std::vector<int64_t> some_ids(size_t count, int64_t vocabulary) {
  std::vector<int64_t> out;
  for (size_t k = 0; k < count; ++k) out.push_back((int64_t(k) * 7919 + 31) % vocabulary);
  return out;
}
}  // namespace

TEST_CASE("ids are read in the type they were written in, and a file of a wider one is noticed") {
  const Sandbox box;
  const std::map<std::string, std::string (*)(const std::vector<int64_t>&)> types{{"uint8", raw<uint8_t>},
                                                                                  {"uint16", raw<uint16_t>},
                                                                                  {"uint32", raw<uint32_t>},
                                                                                  {"int32", raw<int32_t>},
                                                                                  {"int64", raw<int64_t>}};
  auto width = [](const std::string& type) {
    return type == "int64" ? 8 : type.find("32") != std::string::npos ? 4 : type == "uint16" ? 2 : 1;
  };
  // Of the last vocabulary ids of 32 bits have an upper half that is 0 or 1.
  for (int64_t vocabulary : {101, 50257, 128256})
    for (const auto& [written, write] : types) {
      if (vocabulary > (width(written) >= 4 ? INT64_MAX : int64_t(1) << 8 * width(written))) continue;
      const auto ids = some_ids(200, vocabulary);
      write_text(box / "t.bin", write(ids));
      for (const auto& [read, ignored] : types) {
        CAPTURE(vocabulary);
        CAPTURE(written);
        CAPTURE(read);
        const TokenFile tokens = llvm::cantFail(TokenFile::open(box / "t.bin", read));
        const std::string fault = llvm::toString(tokens.check_width(vocabulary)),
                          beyond = llvm::toString(tokens.check_vocabulary(vocabulary));
        if (width(read) == width(written)) {
          CHECK(fault == "");
          CHECK(beyond == "");
          REQUIRE(tokens.size() == 200);
          for (int64_t k = 0; k < 200; ++k) CHECK(tokens[k] == ids[size_t(k)]);
        } else if (width(read) > width(written)) {
          CHECK(fault == "");
          CHECK(beyond != "");
        } else if (width(read) > 1 || vocabulary == 101) {
          CHECK(fault.find("t.bin: expected ids of " + read + ", found what reads as ids of ") != std::string::npos);
          CHECK(fault.find(width(written) == 8   ? "--token-type int64"
                           : width(written) == 4 ? "--token-type uint32"
                                                 : "--token-type uint16") != std::string::npos);
        }
      }
    }
}

TEST_CASE("a text, zeros and a few ids are not taken for another width") {
  const Sandbox box;
  auto fault = [&](const std::string& bytes, const char* type, int64_t vocabulary) {
    write_text(box / "t.bin", bytes);
    return llvm::toString(llvm::cantFail(TokenFile::open(box / "t.bin", type)).check_width(vocabulary));
  };
  std::string text;
  for (int k = 0; k < 100; ++k) text += "the harbour at night, and ";
  CHECK(fault(text, "uint8", 256) == "");
  CHECK(fault(text, "uint8", 50257) == "");  // each two letters are an id of GPT-2
  CHECK(fault(std::string(400, '\0'), "uint16", 101) == "");
  CHECK(fault(raw<uint16_t>({5, 0, 7, 0}), "uint16", 101) == "");
  CHECK(fault(raw<uint16_t>({5, 0, 7, 0, 9, 0, 11, 0, 2, 0, 3, 0}), "uint16", 101) != "");
}

TEST_CASE("a file of llm.c says its type and its count") {
  const Sandbox box;
  auto file = [](int32_t magic, int32_t version, int32_t count, const std::string& ids) {
    std::string head = raw<int32_t>({magic, version, count});
    head.resize(1024);
    return head + ids;
  };
  const auto ids = some_ids(50, 101);
  for (const auto& [bytes, type] : {std::pair{file(20240520, 1, 50, raw<uint16_t>(ids)), "uint16"},
                                    {file(20240801, 7, 50, raw<uint32_t>(ids)), "uint32"}})
    for (const char* asked : {type, "uint8", "int64"}) {
      write_text(box / "t.bin", bytes);
      const TokenFile tokens = llvm::cantFail(TokenFile::open(box / "t.bin", asked));
      REQUIRE(tokens.size() == 50);
      for (int64_t k = 0; k < 50; ++k) CHECK(tokens[k] == ids[size_t(k)]);
      CHECK(!tokens.check_width(101));
    }
  write_text(box / "t.bin", file(20240801, 7, 51, raw<uint32_t>(ids)));
  auto cut = TokenFile::open(box / "t.bin", "uint16");
  REQUIRE(!cut);
  CHECK(llvm::toString(cut.takeError())
            .find("t.bin: size: expected 1228 bytes, as its header of llm.c says (51 ids of uint32), found 1224") !=
        std::string::npos);
}

TEST_CASE("a rest shorter than a sequence is filled up without labels; one token alone is no sequence") {
  const Sandbox box;
  auto open = [&](const std::vector<int32_t>& ids) {
    write_text(box / "t.bin", std::string(reinterpret_cast<const char*>(ids.data()), ids.size() * 4));
    return llvm::cantFail(TokenFile::open(box / "t.bin", "int32"));
  };
  auto tokens = open({10, 11, 12, 13, 14, 15});
  const Sequences sequences(tokens, 4);
  CHECK(sequences.count() == 2);
  std::vector<int64_t> ids(4), labels(4);
  sequences.fill(1, ids.data(), labels.data());
  CHECK(ids == std::vector<int64_t>{14, 15, 0, 0});
  CHECK(labels == std::vector<int64_t>{14, 15, -100, -100});
  CHECK(sequences.tokens_of(1) == 2);
  auto five = open({10, 11, 12, 13, 14});
  CHECK(Sequences(five, 4).count() == 1);
}

TEST_CASE("the curve of a loss is drawn for any number of steps, and names its axes") {
  for (size_t n : {0, 1, 2, 39, 700, 5000}) {
    std::vector<double> losses;
    for (size_t k = 0; k < n; ++k) losses.push_back(5 / (1 + double(k) / 100) + 0.1 * std::sin(double(k)));
    const std::string svg = loss_plot(losses, "a<b & c");
    CAPTURE(n);
    CHECK(svg.find(">step</text>") != std::string::npos);
    CHECK(svg.find(">loss</text>") != std::string::npos);
    CHECK(svg.find("a&lt;b &amp; c") != std::string::npos);
    CHECK(svg.find("nan") == std::string::npos);
    CHECK(svg.find("inf") == std::string::npos);
    CHECK(svg.size() < 40000);
    CHECK((svg.find("<polygon") != std::string::npos) == (n > 600));  // the range behind the mean
  }
}
