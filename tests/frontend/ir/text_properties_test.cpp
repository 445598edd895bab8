// What is printed of names, numbers, dims, meshes and shardings reads as the same.
#include "frontend/ir/attribute_text.h"
#include "frontend/ir/dim_text.h"
#include "frontend/ir/mesh.h"
#include "frontend/ir/sharding_text.h"
#include "frontend/ir/tensor_text.h"
#include "tests/properties.h"

using namespace optp;

namespace {
const char* axis_names[] = {"data", "tensor", "x1"};

// One of the names may be 0.
const DimBounds& bounds() {
  static const DimBounds all = [] {
    DimBounds b;
    b.may_be_zero.insert("past");
    return b;
  }();
  return all;
}
Dim random_name() {
  const auto name = *rc::gen::nonEmpty(rc::gen::weightedOneOf<std::string>(
      {{3, rc::gen::element<std::string>("a", "b", "batch-size", "past")}, {1, rc::gen::arbitrary<std::string>()}}));
  return bounds().symbol(name);
}
AxisUse random_use(const char* axis) {
  const auto group =
      *rc::gen::weightedOneOf<int64_t>({{3, rc::gen::just<int64_t>(1)}, {1, rc::gen::inRange<int64_t>(2, 64)}});
  return {axis, group, group > 1 && *rc::gen::arbitrary<bool>()};
}
Dim random_dim(int depth = 3) {
  const int kind = *rc::gen::inRange(0, depth > 0 ? 9 : 3);
  if (kind == 0) return Dim(*rc::gen::oneOf(rc::gen::arbitrary<int64_t>(), rc::gen::element(INT64_MIN, INT64_MAX)));
  if (kind == 1) return Dim(*rc::gen::inRange<int64_t>(0, 13));
  if (kind == 2) return random_name();
  const Dim a = random_dim(depth - 1);
  if (kind == 3 || kind == 4) {
    const auto count = size_t(*rc::gen::inRange(1, 4));
    AxisUses axes;
    for (size_t k = 0; k < count; ++k) axes.push_back(random_use(axis_names[k]));
    if (a.is_overflow()) return a;
    return kind == 3 ? Dim::part(a, axes) : Dim::start(a, axes);
  }
  const Dim b = random_dim(depth - 1);
  if (kind == 5) return a + b;
  if (kind == 6) return a * b;
  if (kind == 7) return b.is(0) ? a - b : floor_div(a, b);
  return minimum(a, b);
}
Dim representable_dim(int depth = 3) {
  const Dim d = random_dim(depth);
  return d.is_overflow() ? Dim(7) : d;
}
AxisUses random_axes(llvm::ArrayRef<const char*> names) {
  AxisUses out;
  for (const char* name : names)
    if (*rc::gen::arbitrary<bool>()) out.push_back(random_use(name));
  return out;
}
ProductSharding random_product() {
  ProductSharding out;
  for (int k = *rc::gen::inRange(1, 4); k-- > 0;)
    out.factors.push_back({representable_dim(1), random_axes({axis_names[k % 3]})});
  return out;
}
DimSharding random_dim_sharding(Dim global) {
  DimSharding out;
  const int factors = *rc::gen::inRange(0, 6);
  if (factors > 3) {
    for (int k = factors; k-- > 2;) out.parts.push_back(random_product());
    return out;
  }
  if (factors == 1) out.factors().push_back({global, random_axes(axis_names)});
  if (factors > 1)
    for (int k = 0; k < factors; ++k) out.factors().push_back({representable_dim(1), random_axes({axis_names[k % 3]})});
  return out;
}
std::string read_name(const std::string& text) {
  TextCursor in(text, "text", 1);
  std::string out = in.name("a name");
  RC_ASSERT(!in.take_error());
  return out;
}
}  // namespace

TEST_CASE("any name and any text reads as it prints") {
  check_property("a name", [](const std::string& name) { RC_ASSERT(read_name(spelled_name(name)) == name); });
  check_property("a text", [](const std::string& text) { RC_ASSERT(read_name(in_double_quotes(text)) == text); });
  for (const std::string name : {"", "x", "onnx::MatMul_3", "x:", "a b", "größe", "q\"uote", "back\\slash", "\\x41",
                                 "line\nbreak", "\xff", "\xe2\x80\xa8", "%", "a,b", "nul\0"})
    CHECK(read_name(spelled_name(name)) == name);
}
TEST_CASE("any extent reads as it prints") {
  check_property("an extent", [] {
    const Dim d = representable_dim();
    auto again = parse_dim(d.text(), bounds());
    if (!again) RC_FAIL(llvm::toString(again.takeError()));
    RC_ASSERT(*again == d);
  });
}
TEST_CASE("any loops of a product read as they print") {
  check_property("loops", [] {
    auto list = [](const std::vector<std::string>& names) {
      return *rc::gen::container<std::vector<std::string>>(rc::gen::elementOf(names));
    };
    ContractLoops loops{{list({"1", "b", "m0", "k"}), list({"1", "b", "k", "n"})}, {}};
    std::vector<std::string> met{"1"};
    for (const auto& operand : loops.operands) met.insert(met.end(), operand.begin(), operand.end());
    loops.result = list(met);
    const auto again = parse_contract(to_string(loops));
    RC_ASSERT(again.has_value());
    RC_ASSERT(*again == loops);
    // As an attribute of the graph's text, too.
    const std::string text = "loops = " + attribute_text(loops) + "}";
    TextCursor in(text, "text", 1);
    const Attributes attributes = read_attributes(in, get_op("contract"));
    if (auto e = in.take_error()) RC_FAIL(llvm::toString(std::move(e)));
    RC_ASSERT(std::get<ContractLoops>(attributes.at("loops")) == loops);
  });
  for (const char* bad :
       {"", "m k", "m k, k n", "m k -> m", "m k, k n -> m n -> m", "a, b, c -> a", "m k, k n -> m p"}) {
    CAPTURE(bad);
    CHECK_FALSE(parse_contract(bad).has_value());
  }
}
TEST_CASE("any mesh reads as it prints") {
  check_property("a mesh", [] {
    Mesh mesh;
    for (int k = *rc::gen::inRange(1, 4); k-- > 0;)
      mesh.axes.push_back({*rc::gen::suchThat(rc::gen::nonEmpty(rc::gen::container<std::string>(rc::gen::oneOf(
                                                  rc::gen::inRange('a', char('z' + 1)),
                                                  rc::gen::inRange('0', char('9' + 1)), rc::gen::just('_')))),
                                              [&](const std::string& name) { return !mesh.find(name); }),
                           *rc::gen::inRange<int64_t>(1, 17)});
    auto again = parse_mesh(to_string(mesh));
    if (!again) RC_FAIL(llvm::toString(again.takeError()));
    RC_ASSERT(to_string(*again) == to_string(mesh));
    RC_ASSERT(again->axes.size() == mesh.axes.size());
    for (size_t k = 0; k < mesh.axes.size(); ++k) {
      RC_ASSERT(again->axes[k].name == mesh.axes[k].name);
      RC_ASSERT(again->axes[k].size == mesh.axes[k].size);
    }
  });
}
TEST_CASE("any sharding reads as it prints") {
  check_property("a sharding", [] {
    Dims global;
    Sharding sharding;
    for (int d = *rc::gen::inRange(0, 4); d-- > 0;) {
      global.push_back(representable_dim(1));
      sharding.dims.push_back(random_dim_sharding(global.back()));
    }
    for (const char* axis : axis_names)
      if (*rc::gen::arbitrary<bool>()) sharding.partial.push_back(axis);
    if (sharding.is_partial()) sharding.reduce = *rc::gen::element(Reduce::sum, Reduce::max, Reduce::min);
    const std::string text = sharding_text(sharding, global);
    TextCursor in(text, "text", 1, bounds());
    const Sharding again = read_sharding(in, global);
    if (auto e = in.take_error()) RC_FAIL(llvm::toString(std::move(e)));
    RC_ASSERT(again.partial == sharding.partial);
    RC_ASSERT(again.reduce == sharding.reduce);
    RC_ASSERT(again.dims.size() == sharding.dims.size());
    for (size_t d = 0; d < sharding.dims.size(); ++d) {
      RC_ASSERT(again.dims[d].is_split() == sharding.dims[d].is_split());
      if (sharding.dims[d].is_split()) RC_ASSERT(again.dims[d].parts == sharding.dims[d].parts);
    }
  });
}
TEST_CASE("a small tensor's numbers read as they print, bit by bit") {
  check_property("a tensor", [] {
    const DType dtype =
        *rc::gen::element(DType::f32, DType::f64, DType::f16, DType::bf16, DType::i8, DType::i16, DType::i32,
                          DType::i64, DType::u8, DType::u16, DType::u32, DType::u64, DType::boolean);
    const auto elements = *rc::gen::inRange<size_t>(0, 9);
    const auto bytes =
        *rc::gen::container<std::vector<char>>(elements * size_t(size_bytes(dtype)), rc::gen::arbitrary<char>());
    const llvm::SmallVector<int64_t, 2> dims{int64_t(elements)};
    const std::string text = contents_text(*make_tensor(dtype, dims, bytes));
    TextCursor in(text, "text", 1);
    const auto again = read_contents(in, dtype, dims);
    if (auto e = in.take_error()) RC_FAIL(llvm::toString(std::move(e)) + " in " + text);
    RC_ASSERT(std::vector<char>(again->bytes.begin(), again->bytes.end()) == bytes);
  });
}
TEST_CASE("any float of an attribute reads as it prints") {
  check_property("an attribute", [](double number) {
    const std::string text = exact_text(number);
    RC_ASSERT(llvm::StringRef(text).find_first_of(".enif") != llvm::StringRef::npos);
    double again = 0;
    RC_ASSERT(!llvm::StringRef(text).getAsDouble(again));
    RC_ASSERT(again == number);
  });
}
