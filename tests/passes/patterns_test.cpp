// What a name pattern matches of a name, and which names are near to one that matches nothing.
#include "passes/patterns.h"

#include <doctest/doctest.h>

#include "tests/must.h"

using namespace optp;

TEST_CASE("a pattern matches a whole name, its last parts, or parts that end before it does") {
  struct Row {
    const char *pattern, *name;
    Fit fit;
  };
  const Row rows[] = {
      {"m.layers.0.fc1.weight", "m.layers.0.fc1.weight", Fit::whole},
      {"*.fc1.weight", "m.layers.0.fc1.weight", Fit::whole},
      {"m.layers.?.fc1.weight", "m.layers.0.fc1.weight", Fit::whole},
      {"fc1.weight", "m.layers.0.fc1.weight", Fit::part},
      {"weight", "m.layers.0.fc1.weight", Fit::part},
      {"fc1", "m.layers.0.fc1.weight", Fit::module},
      {"layers.0", "m.layers.0.fc1.weight", Fit::module},
      {"layers.*.fc1", "m.layers.0.fc1.weight", Fit::module},
      {"layers.*.q_proj", "m.layers.0.self_attn.q_proj.weight", Fit::module},
      {"layers.*.q_proj.weight", "m.layers.0.self_attn.q_proj.weight", Fit::part},
      // Parts are whole words, and stand next to each other.
      {"layers.1", "m.layers.10.fc1.weight", Fit::none},
      {"h.0", "m.enough.0.fc1.weight", Fit::none},
      {"c1", "m.layers.0.fc1.weight", Fit::none},
      {"layers.fc1", "m.layers.0.fc1.weight", Fit::none},
      {"fc1.weight.more", "m.layers.0.fc1.weight", Fit::none},
      // Paths have slashes.
      {"layers.0", "/m/layers.0/fc1/MatMul_output_0", Fit::module},
      {"/layers.0/fc1/MatMul_output_0", "/m/layers.0/fc1/MatMul_output_0", Fit::part},
      {"*q_proj/MatMul", "/m/layers.0/q_proj/MatMul", Fit::whole},
      {"onnx::MatMul_363", "onnx::MatMul_363", Fit::whole},
      {"onnx::MatMul_36", "onnx::MatMul_363", Fit::none},
      {"a[0]", "a[0]", Fit::whole},  // of a class of characters, and as it is
      {"", "a", Fit::none},
      {".", "a.b", Fit::none},
  };
  for (const Row& row : rows) {
    CAPTURE(row.pattern);
    CAPTURE(row.name);
    CHECK(must(NamePattern::parse(row.pattern)).fit(row.name) == row.fit);
  }
  const std::string text = "l.*.b";  // short enough to lie in the string itself
  std::vector<NamePattern> moved;
  for (int k = 0; k < 8; ++k) moved.push_back(must(NamePattern::parse(text)));
  for (const NamePattern& pattern : moved) CHECK(pattern.fit("m.l.0.b.weight") == Fit::module);
  CHECK(must(NamePattern::parse("lm_head")).fit({"embed_tokens.weight", "lm_head.weight"}) == Fit::module);
}

TEST_CASE("what is the whole name of one means that one, unless it has a wildcard") {
  const std::vector<llvm::StringRef> all{"head.weight", "m.head.weight", "m.head.weight.scale"};
  auto among = [&](const char* text) {
    std::string out;
    for (const auto& [name, fit] : must(NamePattern::parse(text)).among<llvm::StringRef>(all, [](const auto& name) {
           return llvm::SmallVector<llvm::StringRef, 4>{name};
         }))
      out += name.str() + " ";
    return out;
  };
  CHECK(among("head.weight") == "head.weight ");
  CHECK(among("head.weigh?") == "head.weight m.head.weight m.head.weight.scale ");
  CHECK(among("m.head") == "m.head.weight m.head.weight.scale ");
  CHECK(among("tail") == "");
}

TEST_CASE("the nearest name is told by as many parts as were written, and whatever the layer's number") {
  const std::vector<llvm::StringRef> names{"m.layers.3.self_attn.q_proj.weight", "m.layers.3.fc1.weight", "logits"};
  const std::pair<const char*, const char*> rows[] = {
      {"q_porj", "m.layers.3.self_attn.q_proj.weight"},
      {"layers.*.q_porj", "m.layers.3.self_attn.q_proj.weight"},
      {"layers.*.self_attn.q_prj", "m.layers.3.self_attn.q_proj.weight"},
      {"fc1.weigth", "m.layers.3.fc1.weight"},
      {"m.layers.3.fc1.weigt", "m.layers.3.fc1.weight"},
      {"logit", "logits"},
      {"layers.3.q_proj", "m.layers.3.self_attn.q_proj.weight"},
      {"layers.7.q_proj.weight", "m.layers.3.self_attn.q_proj.weight"},
      {"layers.7.fc1", "m.layers.3.fc1.weight"},
      {"q_proj.layers", ""},
      {"something.else.entirely", ""},
  };
  for (const auto& [text, near] : rows) {
    CAPTURE(text);
    CHECK(nearest_name(text, names) == near);
  }
}
