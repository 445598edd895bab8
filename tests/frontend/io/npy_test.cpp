#include "frontend/io/npy.h"

#include <cstring>

#include "tests/frontend/io/scratch_folder.h"

namespace optp {
namespace {
template <class T>
std::vector<char> bytes_of(const std::vector<T>& values) {
  std::vector<char> bytes(values.size() * sizeof(T));
  if (!bytes.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}
std::string npy(const std::string& dict, const std::string& data, int version = 1) {
  std::string text = "\x93NUMPY";
  text += char(version);
  text += '\0';
  const std::string header = dict + "\n";
  for (int i = 0; i < (version == 1 ? 2 : 4); ++i) text += char(header.size() >> (8 * i) & 0xff);
  return text + header + data;
}
llvm::Expected<HostArray> parse(const std::string& file) {
  return parse_npy("a.npy", llvm::ArrayRef<char>(file.data(), file.size()));
}
std::string message(const std::string& file) { return failure(parse(file)).message; }
}  // namespace

TEST_CASE("every dtype and shape comes back as it was written") {
  const ScratchFolder scratch;
  for (const DType dtype : {DType::boolean, DType::i8, DType::i16, DType::i32, DType::i64, DType::u8, DType::u16,
                            DType::u32, DType::u64, DType::f16, DType::f32, DType::f64})
    for (const llvm::SmallVector<int64_t, 4>& dims : std::initializer_list<llvm::SmallVector<int64_t, 4>>{
             {}, {1}, {7}, {2, 3}, {0}, {3, 0, 2}, {1, 2, 1, 3, 1, 2, 1, 2}}) {
      CAPTURE(to_string(dtype).str());
      HostArray array{dtype, dims, {}};
      for (int64_t i = 0; i < *size_bytes(dtype, dims); ++i)
        array.bytes.push_back(char(dtype == DType::boolean ? i % 2 : i * 37));  // also NaNs: bytes, not values
      good(write_npy(scratch / "a.npy", array));
      CHECK(contents(scratch / "a.npy").size() % 64 == array.bytes.size() % 64);
      const HostArray back = get(read_npy(scratch / "a.npy"));
      CHECK(back.dtype == dtype);
      CHECK(back.dims == dims);
      CHECK(back.bytes == array.bytes);
    }
}

TEST_CASE("what is written is what numpy writes, byte for byte") {
  const ScratchFolder scratch;
  const auto header = [&](DType dtype, llvm::SmallVector<int64_t, 4> dims) {
    good(write_npy(scratch / "a.npy", {dtype, dims, std::vector<char>(size_t(*size_bytes(dtype, dims)))}));
    const std::string text = contents(scratch / "a.npy");
    return text.substr(10, text.find('\n') - 10);
  };
  const auto padded = [](std::string dict) { return dict.append(128 - 11 - dict.size(), ' '); };
  CHECK(header(DType::f32, {3, 4}) == padded("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }"));
  CHECK(header(DType::i64, {3}) == padded("{'descr': '<i8', 'fortran_order': False, 'shape': (3,), }"));
  CHECK(header(DType::boolean, {}) == padded("{'descr': '|b1', 'fortran_order': False, 'shape': (), }"));
  CHECK(contents(scratch / "a.npy").substr(0, 10) == std::string("\x93NUMPY\x01\x00\x76\x00", 10));
}

TEST_CASE("bfloat16 is written as the same numbers in float32") {
  const ScratchFolder scratch;
  good(write_npy(scratch / "a.npy", {DType::bf16, {2}, bytes_of<uint16_t>({0x3f80, 0xc049})}));
  const HostArray back = get(read_npy(scratch / "a.npy"));
  CHECK(back.dtype == DType::f32);
  CHECK(back.bytes == bytes_of<float>({1.0f, -3.140625f}));
}

TEST_CASE("Fortran order becomes C order, in all versions of the format") {
  for (const int version : {1, 2, 3}) {
    // [[0, 1, 2], [3, 4, 5]], columns first
    const auto columns = bytes_of<int16_t>({0, 3, 1, 4, 2, 5});
    const HostArray array = get(parse(npy("{\"shape\": (2,3), 'descr':'<i2','fortran_order': True}",
                                          std::string(columns.begin(), columns.end()), version)));
    CHECK(array.bytes == bytes_of<int16_t>({0, 1, 2, 3, 4, 5}));
  }
  const HostArray cube = get(
      parse(npy("{'descr': '|u1', 'fortran_order': True, 'shape': (2, 2, 2), }", std::string("\0\4\2\6\1\5\3\7", 8))));
  CHECK(cube.bytes == bytes_of<uint8_t>({0, 1, 2, 3, 4, 5, 6, 7}));
  CHECK(get(parse(npy("{'descr': '<f8', 'fortran_order': True, 'shape': (2, 0), }", ""))).bytes.empty());
}

TEST_CASE("a malformed file is refused for what is wrong with it") {
  const std::string fine = npy("{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }", "ab");
  CHECK(message(fine) == "(success)");
  for (size_t cut = 0; cut < fine.size(); ++cut) CHECK(message(fine.substr(0, cut)) != "(success)");
  CHECK(message(fine + "c") == "a.npy: data: expected 2 bytes for its shape and dtype, found 3");
  CHECK(message("PK\3\4") == "a.npy: expected a .npy file, found another format");
  CHECK(message("") == "a.npy: expected a .npy file, found another format");
  CHECK(message(npy("{}", "", 4)) == "a.npy: version: expected 1.0, 2.0 or 3.0, found 4.0");
  CHECK(has(message(npy("{" + std::string(70'000, ' ') + "}", "", 2)),
            "header length: expected at most 65536 bytes, found 70003"));
  CHECK(has(message(std::string("\x93NUMPY\2\0\xff\xff\xff\xff", 12)),
            "header length: expected at most 0 bytes, found 4294967295"));
  for (const char* dict : {"",
                           "{",
                           "{}",
                           "[]",
                           "{'descr': '|u1', 'fortran_order': False}",
                           "{'descr': '|u1', 'fortran_order': False, 'shape': (2), }",
                           "{'descr': '|u1', 'fortran_order': False, 'shape': (2,,), }",
                           "{'descr': '|u1', 'fortran_order': False, 'shape': (,), }",
                           "{'descr': '|u1', 'fortran_order': False, 'shape': (2 3), }",
                           "{'descr': '|u1', 'fortran_order': False, 'shape': (-2,), }",
                           "{'descr': '|u1', 'fortran_order': False, 'shape': (2L,), }",
                           "{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999999999,), }",
                           "{'descr': '|u1', 'fortran_order': False, 'shape': (1+1,), }",
                           "{'descr': '|u1', 'fortran_order': False, 'shape': (0x2,), }",
                           "{'descr': '|u1', 'fortran_order': 0, 'shape': (2,), }",
                           "{'descr': [('a', '|u1')], 'fortran_order': False, 'shape': (2,), }",
                           "{'descr': '|u1', 'descr': '|u1', 'fortran_order': False, 'shape': (2,), }",
                           "{'descr': '|u1', 'fortran_order': False, 'shape': (2,), 'x': (1,)}",
                           "{'descr': '|u1', 'fortran_order': False, 'shape': (2,)} x",
                           "{'descr': '|u1 'fortran_order': False, 'shape': (2,)}",
                           "{'descr': '|u1', 'fortran_order': False, 'shape': (2,",
                           "__import__('os').system('true')"}) {
    CAPTURE(dict);
    CHECK(has(message(npy(dict, "ab")), "a.npy: header: expected {'descr': …"));
  }
  CHECK(has(message(npy(
                "{'descr': '|u1', 'fortran_order': False, 'shape': (" +
                    [] {
                      std::string ones;
                      for (int i = 0; i < 65; ++i) ones += "1,";
                      return ones;
                    }() +
                    "), }",
                "a")),
            "a.npy: header: expected"));
  for (const char* descr :
       {"", ">f4", "<f16", "<c8", "|O", "<U3", "|S2", "|V2", "<M8[ns]", "f4", "|f4", "=f4", "<", "<f4x"}) {
    CAPTURE(descr);
    CHECK(has(message(npy(std::string("{'descr': '") + descr + "', 'fortran_order': False, 'shape': (1,), }", "abcd")),
              "a.npy: dtype: expected a little-endian bool, integer or float, found "));
  }
  for (const char* shape : {"4294967296, 4294967296", "4294967296, 2147483647", "1000000000000000,"})
    CHECK(has(message(npy(std::string("{'descr': '<f8', 'fortran_order': False, 'shape': (") + shape + "), }", "")),
              "a.npy: shape: expected at most"));
  CHECK(message(npy("{'descr': '<f8', 'fortran_order': True, 'shape': (1000000, 1000000), }", "x")) ==
        "a.npy: data: expected 8000000000000 bytes for its shape and dtype, found 1");  // before it is allocated
  CHECK(message(npy("{'descr': '|b1', 'fortran_order': False, 'shape': (3,), }", std::string("\1\0\2", 3))) ==
        "a.npy: element 2: expected a bool of 0 or 1, found 2");
}

TEST_CASE("reading and writing arrays fail like any file") {
  const ScratchFolder scratch;
  CHECK(failure(read_npy(scratch / "none.npy")).fault == Fault::not_found);
  CHECK(failure(read_npy(scratch.path)).fault == Fault::bad_input);
  CHECK(failure(write_npy(scratch / "none/a.npy", {DType::u8, {1}, {0}})).fault == Fault::cannot_write);
  CHECK(failure(write_npy(scratch / "a.npy", {DType::string, {0}, {}})).fault == Fault::bad_input);
  CHECK(failure(write_npy(scratch / "a.npy", {DType::u8, {2}, {0}})).fault == Fault::internal);
  CHECK(scratch.names().empty());
}
}  // namespace optp
