#include "frontend/io/npy.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>
#include <string>

#include "frontend/io/input_folder.h"
#include "frontend/io/output_transaction.h"
#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/Twine.h"

namespace optp {
using llvm::ArrayRef;
using llvm::Error;
using llvm::Expected;
using llvm::StringRef;
using llvm::Twine;

static_assert(std::endian::native == std::endian::little, "arrays are copied as they are");

namespace {
constexpr StringRef magic("\x93NUMPY", 6);

struct Row {
  const char* text;  // after the byte order
  DType dtype;
};
constexpr Row rows[] = {
    {"b1", DType::boolean}, {"i1", DType::i8},  {"i2", DType::i16}, {"i4", DType::i32},
    {"i8", DType::i64},     {"u1", DType::u8},  {"u2", DType::u16}, {"u4", DType::u32},
    {"u8", DType::u64},     {"f2", DType::f16}, {"f4", DType::f32}, {"f8", DType::f64},
};

struct Header {
  std::optional<std::string> descr;
  std::optional<bool> fortran_order;
  std::optional<llvm::SmallVector<int64_t, 4>> shape;
};

// The part of Python's syntax that numpy writes: {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }
class HeaderParser {
 public:
  HeaderParser(StringRef text, const Limits& limits) : rest_(text), limits_(limits) {}

  std::optional<Header> parse() {
    Header header;
    if (!take("{")) return std::nullopt;
    while (!take("}")) {
      const std::optional<StringRef> key = string();
      if (!key || !take(":")) return std::nullopt;
      bool good = false;
      if (*key == "descr" && !header.descr) {
        if (const auto text = string()) header.descr = text->str();
        good = header.descr.has_value();
      } else if (*key == "fortran_order" && !header.fortran_order) {
        if (take("True"))
          header.fortran_order = true;
        else if (take("False"))
          header.fortran_order = false;
        good = header.fortran_order.has_value();
      } else if (*key == "shape" && !header.shape) {
        header.shape = tuple();
        good = header.shape.has_value();
      }
      if (!good) return std::nullopt;
      if (!take(",")) {
        if (!take("}")) return std::nullopt;
        break;
      }
    }
    // numpy pads with spaces and ends with a newline
    if (!rest_.trim(" \n").empty() || !header.descr || !header.fortran_order || !header.shape) return std::nullopt;
    return header;
  }

 private:
  bool take(StringRef token) {
    rest_ = rest_.ltrim(' ');
    return rest_.consume_front(token);
  }
  std::optional<StringRef> string() {
    rest_ = rest_.ltrim(' ');
    if (rest_.empty() || (rest_[0] != '\'' && rest_[0] != '"')) return std::nullopt;
    const size_t end = rest_.find(rest_[0], 1);
    if (end == StringRef::npos) return std::nullopt;
    const StringRef text = rest_.slice(1, end);
    rest_ = rest_.drop_front(end + 1);
    if (text.contains('\\')) return std::nullopt;  // no escapes: no value we know needs one
    return text;
  }
  std::optional<llvm::SmallVector<int64_t, 4>> tuple() {
    llvm::SmallVector<int64_t, 4> dims;
    if (!take("(")) return std::nullopt;
    bool comma = true;  // (3) is a number in Python, (3,) a tuple
    while (!take(")")) {
      if (!comma || int64_t(dims.size()) >= limits_.max_ndim) return std::nullopt;
      rest_ = rest_.ltrim(' ');
      const StringRef digits = rest_.take_while(llvm::isDigit);
      int64_t dim;
      if (digits.empty() || digits.getAsInteger(10, dim)) return std::nullopt;
      rest_ = rest_.drop_front(digits.size());
      dims.push_back(dim);
      comma = take(",");
    }
    if (dims.size() == 1 && !comma) return std::nullopt;
    return dims;
  }

  StringRef rest_;
  const Limits& limits_;
};

// Fortran order has the first dim innermost. Walks the result from front to back, so that its pages are written once.
template <class Element>
void to_c_order(ArrayRef<char> from, ArrayRef<int64_t> dims, std::vector<char>& to) {
  const size_t ndim = dims.size();
  llvm::SmallVector<int64_t, 4> stride(ndim), index(ndim, 0);
  int64_t count = 1;
  for (size_t i = 0; i < ndim; ++i) {
    stride[i] = count;
    count *= dims[i];
  }
  int64_t at = 0;
  for (int64_t i = 0; i < count; ++i) {
    std::memcpy(to.data() + size_t(i) * sizeof(Element), from.data() + size_t(at) * sizeof(Element), sizeof(Element));
    for (size_t d = ndim; d-- > 0;) {
      at += stride[d];
      if (++index[d] < dims[d]) break;
      at -= stride[d] * dims[d];
      index[d] = 0;
    }
  }
}
std::vector<char> in_c_order(ArrayRef<char> data, DType dtype, ArrayRef<int64_t> dims) {
  std::vector<char> out(data.size());
  if (data.empty()) return out;
  switch (size_bytes(dtype)) {
    case 1:
      to_c_order<uint8_t>(data, dims, out);
      break;
    case 2:
      to_c_order<uint16_t>(data, dims, out);
      break;
    case 4:
      to_c_order<uint32_t>(data, dims, out);
      break;
    default:
      to_c_order<uint64_t>(data, dims, out);
      break;
  }
  return out;
}

DType dtype_of(StringRef descr) {
  if (descr.empty()) return DType::undefined;
  for (const Row& row : rows)
    // One byte has no order, and numpy writes it as '|'; '<' is also read.
    if (descr.drop_front() == row.text && (descr[0] == '<' || (descr[0] == '|' && size_bytes(row.dtype) == 1)))
      return row.dtype;
  return DType::undefined;
}

// The parts of a file in their order: magic, version, header, data.
class FileParser {
 public:
  FileParser(StringRef name, ArrayRef<char> file, const Limits& limits)
      : name_(name), rest_(file.data(), file.size()), limits_(limits) {}

  Expected<HostArray> parse() {
    if (!rest_.consume_front(magic))
      return error(Code::not_this_format).in_file(name_).expected("a .npy file").found("another format");
    if (Error e = read_version()) return e;
    if (Error e = read_header()) return e;
    if (Error e = read_type()) return e;
    if (Error e = check_data()) return e;
    if (*header_.fortran_order && array_.dims.size() > 1)
      array_.bytes = in_c_order(ArrayRef<char>(rest_.data(), rest_.size()), array_.dtype, array_.dims);
    else
      array_.bytes.assign(rest_.begin(), rest_.end());
    return std::move(array_);
  }

 private:
  Error read_version() {
    if (rest_.size() < 2)
      return error(Code::not_this_format)
          .in_file(name_)
          .what("version")
          .expected("2 bytes")
          .found("the end of the file");
    version_ = uint8_t(rest_[0]);
    if (version_ < 1 || version_ > 3 || rest_[1] != 0)
      return error(Code::unsupported_version)
          .in_file(name_)
          .what("version")
          .expected("1.0, 2.0 or 3.0")
          .found(Twine(version_) + "." + Twine(int(uint8_t(rest_[1]))));
    rest_ = rest_.drop_front(2);
    return Error::success();
  }
  Error read_header() {
    const size_t length_bytes = version_ == 1 ? 2 : 4;
    if (rest_.size() < length_bytes)
      return error(Code::not_this_format)
          .in_file(name_)
          .what("header length")
          .expected(Twine(length_bytes) + " bytes")
          .found("the end of the file");
    int64_t length = 0;
    for (size_t i = 0; i < length_bytes; ++i) length |= int64_t(uint8_t(rest_[i])) << (8 * i);
    rest_ = rest_.drop_front(length_bytes);
    if (length > limits_.max_npy_header_bytes || length > int64_t(rest_.size()))
      return error(Code::too_large)
          .in_file(name_)
          .what("header length")
          .expected("at most " + Twine(std::min(limits_.max_npy_header_bytes, int64_t(rest_.size()))) + " bytes")
          .found(length);
    const StringRef text = rest_.take_front(size_t(length));
    std::optional<Header> header = HeaderParser(text, limits_).parse();
    if (!header)
      return error(Code::not_this_format)
          .in_file(name_)
          .what("header")
          .expected("{'descr': …, 'fortran_order': …, 'shape': (…)}")
          .found(quoted(text.rtrim(" \n")));
    header_ = std::move(*header);
    rest_ = rest_.drop_front(size_t(length));
    return Error::success();
  }
  Error read_type() {
    array_.dtype = dtype_of(*header_.descr);
    if (array_.dtype == DType::undefined)
      return error(Code::dtype_mismatch)
          .in_file(name_)
          .what("dtype")
          .expected("a little-endian bool, integer or float")
          .found(quoted(*header_.descr));
    array_.dims = *header_.shape;
    return Error::success();
  }
  Error check_data() const {
    const std::optional<int64_t> count = element_count(array_.dims), bytes = size_bytes(array_.dtype, array_.dims);
    if (!count || !bytes || *count > limits_.max_elements)
      return error(Code::too_large)
          .in_file(name_)
          .what("shape")
          .expected("at most " + Twine(limits_.max_elements) + " elements")
          .found("more");
    if (*bytes != int64_t(rest_.size()))
      return error(Code::size_mismatch)
          .in_file(name_)
          .what("data")
          .expected(Twine(*bytes) + " bytes for its shape and dtype")
          .found(rest_.size());
    if (array_.dtype == DType::boolean)  // any other byte read as a bool is undefined behaviour
      if (const size_t at = rest_.find_if([](char c) { return uint8_t(c) > 1; }); at != StringRef::npos)
        return error(Code::malformed)
            .in_file(name_)
            .what("element " + Twine(at))
            .expected("a bool of 0 or 1")
            .found(int(uint8_t(rest_[at])));
    return Error::success();
  }

  StringRef name_, rest_;
  const Limits& limits_;
  int version_ = 0;
  Header header_;
  HostArray array_;
};
}  // namespace

Expected<HostArray> parse_npy(StringRef name, ArrayRef<char> file, const Limits& limits) {
  return FileParser(name, file, limits).parse();
}

Expected<HostArray> read_npy(StringRef path, const Limits& limits) {
  auto file = open_input_file(path);
  if (!file) return file.takeError();
  Expected<HostArray> array = parse_npy(path, (*file)->bytes(), limits);
  if (!array) return array;
  if (Error e = (*file)->check_unchanged()) return e;
  return array;
}

Error write_npy(StringRef path, const HostArray& array) {
  const DType dtype = array.dtype == DType::bf16 ? DType::f32 : array.dtype;
  const Row* row = llvm::find_if(rows, [&](const Row& r) { return r.dtype == dtype; });
  if (row == std::end(rows))
    return error(Code::dtype_mismatch)
        .in_file(path)
        .what("dtype")
        .expected("a bool, integer or float")
        .found(long_name(array.dtype));
  const std::optional<int64_t> bytes = size_bytes(array.dtype, array.dims);
  if (!bytes || *bytes != int64_t(array.bytes.size()))
    return error(Code::bug)
        .in_file(path)
        .what("data")
        .expected("the bytes of its shape and dtype")
        .found(array.bytes.size());

  std::string dict = std::string("{'descr': '") + (size_bytes(dtype) == 1 ? "|" : "<") + row->text +
                     "', 'fortran_order': False, 'shape': (";
  for (int64_t dim : array.dims) dict += std::to_string(dim) + ", ";
  if (array.dims.size() > 1) dict.resize(dict.size() - 2);
  if (array.dims.size() == 1) dict.pop_back();  // "(3,)", byte for byte as numpy
  dict += "), }";
  // The data starts at a multiple of 64, for readers that map it.
  const size_t unpadded = magic.size() + 4 + dict.size() + 1;
  dict += std::string((64 - unpadded % 64) % 64, ' ') + "\n";
  if (dict.size() > 0xffff)
    return error(Code::too_large).in_file(path).what("shape").expected("a header of at most 65535 bytes").found("more");
  std::string head = magic.str() + std::string("\x01\x00", 2);
  head += char(dict.size() & 0xff);
  head += char(dict.size() >> 8);
  head += dict;

  std::vector<char> widened;
  ArrayRef<char> data(array.bytes);
  if (array.dtype == DType::bf16) {
    widened.resize(array.bytes.size() * 2);
    for (size_t i = 0; i < array.bytes.size() / 2; ++i) {
      uint16_t half;
      std::memcpy(&half, array.bytes.data() + 2 * i, 2);
      const float value = bf16_to_f32(half);
      std::memcpy(widened.data() + 4 * i, &value, 4);
    }
    data = widened;
  }
  const ArrayRef<char> pieces[] = {ArrayRef<char>(head.data(), head.size()), data};
  return write_file_atomically(path, pieces);
}

}  // namespace optp
