// What training is fed with: tokens, their order, the learning rate of a step; and the picture of what came out.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <set>

#include "tests/tools/program.h"
#include "tools/learning_rate.h"
#include "tools/loss_plot.h"
#include "tools/tokens.h"

using namespace optp;

TEST_CASE("the learning rate's factor is that of transformers' schedules") {
  // Values of get_{constant,linear,cosine}_schedule_with_warmup for 4 steps of warm-up and 12 in all, computed by hand from
  // their definitions: 1 - 2/8, (1 + cos(pi * 2 / 8)) / 2 …
  struct Row {
    Schedule schedule;
    int64_t step;
    double factor;
  };
  for (const Row& row : std::initializer_list<Row>{{Schedule::constant, 0, 0}, {Schedule::constant, 3, 0.75}, {Schedule::constant, 4, 1}, {Schedule::constant, 99, 1},
                                                   {Schedule::linear, 2, 0.5}, {Schedule::linear, 4, 1}, {Schedule::linear, 6, 0.75}, {Schedule::linear, 12, 0}, {Schedule::linear, 13, 0},
                                                   {Schedule::cosine, 1, 0.25}, {Schedule::cosine, 4, 1}, {Schedule::cosine, 6, 0.8535533905932737}, {Schedule::cosine, 8, 0.5}, {Schedule::cosine, 12, 0}}) {
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
