// gather: rows of a table by index; scatter_add, its transpose; index_copy, which replaces rows; gather_elements and
// scatter_add_elements, where each element has an index of its own. With "row_start" they leave out the rows that other
// ranks hold.
#include "frontend/ir/diagnostic.h"
#include "frontend/ir/file_pages.h"
#include "frontend/ir/half.h"
#include "runtime/kernel.h"
#include "runtime/kernels/strided.h"

namespace optp::kernels {
namespace {

// Which rows an index means, of those that this rank has of the whole table's.
struct Lookup {
  int64_t rows, start, total, outer, count;
  bool masked;  // a row that another rank has is left out; without a mask all are here

  Lookup(const Node& node, const TensorSpec& table, const TensorSpec& index) {
    const size_t axis = size_t(node.integer("axis"));
    rows = table.dims[axis], start = node.dim("row_start").constant().value_or(0);
    total = node.dim("rows", rows).constant().value_or(rows);
    outer = count_of(llvm::ArrayRef<int64_t>(table.dims).take_front(axis));
    count = index.elements();
    masked = node.find<Dim>("row_start") != nullptr;
  }
  int64_t row(int64_t wanted) const { return (wanted < 0 ? wanted + total : wanted) - start; }
  bool is_here(int64_t row) const { return row >= 0 && row < rows; }
  // An index is the user's data: checked before anything is read or written.
  template <class Index>
  llvm::Error check(const Node& node, const Index* index) const {
    for (int64_t k = 0; k < count; ++k) {
      const int64_t here = row(int64_t(index[k])), whole = here + start;
      if (whole < 0 || whole >= total || (!masked && !is_here(here)))
        return error(Code::out_of_range)
            .at(node)
            .what("index " + llvm::Twine(int64_t(index[k])) + " of operand 1 " + quoted(node.operand(1).name) +
                  " is outside " + llvm::Twine(total) + " rows of " + quoted(node.operand(0).name))
            .about({.tensor = node.operand(1).name,
                    .expected = "from " + std::to_string(-total) + " to " + std::to_string(total - 1),
                    .found = std::to_string(int64_t(index[k]))});
    }
    return llvm::Error::success();
  }
};

// make(Index()) for the dtype of the index, operand 1; and make(Element(), Index()) for sums of operand 0's elements.
template <class Make>
llvm::Expected<Kernel> by_index(const Work& work, const Make& make) {
  return work.operands[1].dtype == DType::i64 ? make(int64_t()) : make(int32_t());
}
const std::vector<DType> summed = {DType::f32, DType::f64, DType::i32, DType::i64};
template <class Make>
llvm::Expected<Kernel> by_sum(const Work& work, const Make& make) {
  return by_index(work, [&](auto index) -> llvm::Expected<Kernel> {
    switch (work.operands[0].dtype) {
      case DType::f32:
        return make(float(), index);
      case DType::f64:
        return make(double(), index);
      case DType::i32:
        return make(uint32_t(), index);  // sums wrap around
      case DType::i64:
        return make(uint64_t(), index);
      default:
        return Kernel{};
    }
  });
}

// A row of float32, which may lie anywhere, to half precision.
template <class Half>
void round_row(const char* from, char* to, int64_t elements) {
  for (int64_t k = 0; k < elements; ++k) {
    float wide;
    std::memcpy(&wide, from + 4 * k, 4);
    const uint16_t half = Half::store(wide);
    std::memcpy(to + 2 * k, &half, 2);
  }
}
using RoundRow = void (*)(const char* from, char* to, int64_t elements);
RoundRow rounding_of(const TensorSpec& table) {
  if (!table.is_wide) return nullptr;
  return table.dtype == DType::bf16 ? round_row<Bf16> : round_row<F16>;
}

template <class Index>
llvm::Expected<Kernel> gather_by(const Work& work, const KernelContext& context) {
  const Node& node = *work.node;
  const TensorSpec& table = work.operands[0];
  const Lookup at(node, table, work.operands[1]);
  const int64_t run = count_of(llvm::ArrayRef<int64_t>(table.dims).drop_front(size_t(node.integer("axis")) + 1)) *
                      size_bytes(table.dtype);
  Kernel kernel;
  const int64_t rows = at.outer * at.count;
  const RoundRow round = rounding_of(table);
  const int64_t run_in_table = round ? 2 * run : run, table_bytes = round ? 2 * table.bytes() : table.bytes();
  const void* in_file = table_bytes >= large_table_bytes ? table.in_file : nullptr;
  kernel.run = [=, &node, bytes = size_t(table_bytes),
                threads = context.threads](const KernelCall& call) -> llvm::Error {
    const Index* index = static_cast<const Index*>(call.in[1]);
    if (auto e = at.check(node, index)) return e;
    const char* from = static_cast<const char*>(call.in[0]);
    char* to = static_cast<char*>(call.out[0]);
    if (run == 0) return llvm::Error::success();
    auto copy = [&](int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k) {
        const int64_t row = at.row(int64_t(index[k % at.count]));
        const char* in_table = from + ((k / at.count) * at.rows + row) * run_in_table;
        if (!at.is_here(row))
          std::memset(to + k * run, 0, size_t(run));
        else if (round)
          round(in_table, to + k * run, run / 2);
        else
          std::memcpy(to + k * run, in_table, size_t(run));
      }
    };
    // A row that is read of a file takes its neighbours into memory, up to 2 MiB: of a large table all would be there
    // in time, beside what the same weights were packed into for a product. So they are let go of after each.
    const bool lets_go = in_file && from == in_file;
    const int64_t step = lets_go ? 1 : rows;
    for (int64_t first = 0; first < rows; first += step) {
      const int64_t count = std::min(step, rows - first);
      parallel_for(threads, count, std::max<int64_t>(1, (1 << 15) / run),
                   [&](int64_t begin, int64_t end) { copy(first + begin, first + end); });
      if (lets_go) let_go({from, bytes});
    }
    return llvm::Error::success();
  };
  return kernel;
}
llvm::Expected<Kernel> gather(const Work& work, const KernelContext& context) {
  return by_index(work, [&](auto index) { return gather_by<decltype(index)>(work, context); });
}
const RegisteredKernel gather_kernel{{.op = "gather", .dtypes = {}, .compile = gather}};

// index_copy. Where operand and result are one buffer, as a cache that a step extends, only the new rows are written.
template <class Index>
llvm::Expected<Kernel> index_copy_by(const Work& work, const KernelContext& context) {
  const Node& node = *work.node;
  const TensorSpec& data = work.operands[0];
  const Lookup at(node, data, work.operands[1]);
  const int64_t run = count_of(llvm::ArrayRef<int64_t>(data.dims).drop_front(size_t(node.integer("axis")) + 1)) *
                      size_bytes(data.dtype);
  Kernel kernel;
  kernel.in_place = 1;
  kernel.run = [=, &node, bytes = data.bytes(), threads = context.threads](const KernelCall& call) -> llvm::Error {
    const Index* index = static_cast<const Index*>(call.in[1]);
    if (auto e = at.check(node, index)) return e;
    const char* from = static_cast<const char*>(call.in[2]);
    char* to = static_cast<char*>(call.out[0]);
    if (run == 0) return llvm::Error::success();
    if (to != call.in[0])
      parallel_for(threads, bytes, 1 << 16, [&](int64_t begin, int64_t end) {
        std::memcpy(to + begin, static_cast<const char*>(call.in[0]) + begin, size_t(end - begin));
      });
    // By blocks of rows, so that of two equal indices the last one counts.
    parallel_for(threads, at.outer, std::max<int64_t>(1, (1 << 15) / (run * std::max<int64_t>(at.count, 1))),
                 [&](int64_t begin, int64_t end) {
                   for (int64_t o = begin; o < end; ++o)
                     for (int64_t k = 0; k < at.count; ++k)
                       std::memcpy(to + (o * at.rows + at.row(int64_t(index[k]))) * run,
                                   from + (o * at.count + k) * run, size_t(run));
                 });
    return llvm::Error::success();
  };
  return kernel;
}
llvm::Expected<Kernel> index_copy(const Work& work, const KernelContext& context) {
  return by_index(work, [&](auto index) { return index_copy_by<decltype(index)>(work, context); });
}
const RegisteredKernel index_copy_kernel{{.op = "index_copy", .dtypes = {}, .compile = index_copy}};

// scatter_add: each thread owns a range of the columns, so that rows are added in the order of the indices.
template <class Element, class Index>
llvm::Expected<Kernel> scatter_add_by(const Work& work, const KernelContext& context) {
  const Node& node = *work.node;
  const TensorSpec& table = work.results[0];
  const Lookup at(node, table, work.operands[1]);
  const int64_t inner = count_of(llvm::ArrayRef<int64_t>(table.dims).drop_front(size_t(node.integer("axis")) + 1));
  Kernel kernel;
  kernel.run = [=, &node, threads = context.threads](const KernelCall& call) -> llvm::Error {
    const Index* index = static_cast<const Index*>(call.in[1]);
    if (auto e = at.check(node, index)) return e;
    const Element* from = static_cast<const Element*>(call.in[0]);
    Element* to = static_cast<Element*>(call.out[0]);
    const int64_t rows = at.outer * at.rows;
    parallel_for(threads, rows, std::max<int64_t>(1, (1 << 14) / std::max<int64_t>(inner, 1)),
                 [&](int64_t begin, int64_t end) {
                   if (inner > 0 && end > begin)
                     std::memset(to + begin * inner, 0, size_t((end - begin) * inner) * sizeof(Element));
                 });
    parallel_for(threads, inner, std::max<int64_t>(16, (1 << 14) / std::max<int64_t>(at.count, 1)),
                 [&](int64_t begin, int64_t end) {
                   for (int64_t o = 0; o < at.outer; ++o)
                     for (int64_t k = 0; k < at.count; ++k) {
                       const int64_t row = at.row(int64_t(index[k]));
                       if (!at.is_here(row)) continue;
                       const Element* add = from + (o * at.count + k) * inner;
                       Element* sum = to + (o * at.rows + row) * inner;
                       for (int64_t i = begin; i < end; ++i) sum[i] += add[i];
                     }
                 });
    return llvm::Error::success();
  };
  return kernel;
}
llvm::Expected<Kernel> scatter_add(const Work& work, const KernelContext& context) {
  return by_sum(work, [&](auto element, auto index) {
    return scatter_add_by<decltype(element), decltype(index)>(work, context);
  });
}
const RegisteredKernel scatter_add_kernel{{.op = "scatter_add", .dtypes = summed, .compile = scatter_add}};

// Of elements the index has the table's dims but one: [outer, count, inner] beside [outer, rows, inner].
struct ElementLookup : Lookup {
  int64_t along, inner;  // indices along the axis
  ElementLookup(const Node& node, const TensorSpec& table, const TensorSpec& index) : Lookup(node, table, index) {
    const size_t axis = size_t(node.integer("axis"));
    along = index.dims[axis];
    inner = count_of(llvm::ArrayRef<int64_t>(index.dims).drop_front(axis + 1));
  }
};
template <class Element, class Index>
llvm::Expected<Kernel> gather_elements_by(const Work& work, const KernelContext& context) {
  const Node& node = *work.node;
  const ElementLookup at(node, work.operands[0], work.operands[1]);
  Kernel kernel;
  kernel.run = [=, &node, threads = context.threads](const KernelCall& call) -> llvm::Error {
    const Index* index = static_cast<const Index*>(call.in[1]);
    if (auto e = at.check(node, index)) return e;
    const Element* from = static_cast<const Element*>(call.in[0]);
    Element* to = static_cast<Element*>(call.out[0]);
    const int64_t grain = std::max<int64_t>(1, (1 << 14) / std::max<int64_t>(at.inner, 1));
    parallel_for(threads, at.outer * at.along, grain, [&](int64_t begin, int64_t end) {
      int64_t o = begin / at.along, left = (o + 1) * at.along - begin;
      for (int64_t k = begin; k < end; ++k, --left) {
        if (left == 0) ++o, left = at.along;
        const Element* table = from + o * at.rows * at.inner;
        for (int64_t i = 0; i < at.inner; ++i) {
          const int64_t row = at.row(int64_t(index[k * at.inner + i]));
          to[k * at.inner + i] = at.is_here(row) ? table[row * at.inner + i] : Element(0);
        }
      }
    });
    return llvm::Error::success();
  };
  return kernel;
}
template <class Element>
llvm::Expected<Kernel> gather_elements_of(const Work& work, const KernelContext& context) {
  return by_index(work, [&](auto index) { return gather_elements_by<Element, decltype(index)>(work, context); });
}
llvm::Expected<Kernel> gather_elements(const Work& work, const KernelContext& context) {
  switch (size_bytes(work.operands[0].dtype)) {  // elements are moved as they are
    case 1:
      return gather_elements_of<uint8_t>(work, context);
    case 2:
      return gather_elements_of<uint16_t>(work, context);
    case 4:
      return gather_elements_of<uint32_t>(work, context);
    case 8:
      return gather_elements_of<uint64_t>(work, context);
    default:
      return Kernel{};
  }
}
const RegisteredKernel gather_elements_kernel{{.op = "gather_elements", .dtypes = {}, .compile = gather_elements}};

// Each thread owns a range of columns, [outer, inner] of them, and adds in the order of the indices.
template <class Element, class Index>
llvm::Expected<Kernel> scatter_add_elements_by(const Work& work, const KernelContext& context) {
  const Node& node = *work.node;
  const ElementLookup at(node, work.results[0], work.operands[1]);
  Kernel kernel;
  kernel.run = [=, &node, threads = context.threads](const KernelCall& call) -> llvm::Error {
    const Index* index = static_cast<const Index*>(call.in[1]);
    if (auto e = at.check(node, index)) return e;
    const Element* from = static_cast<const Element*>(call.in[0]);
    Element* to = static_cast<Element*>(call.out[0]);
    std::memset(to, 0, size_t(at.outer * at.rows * at.inner) * sizeof(Element));
    const int64_t grain = std::max<int64_t>(1, (1 << 14) / std::max<int64_t>(at.along, 1));
    parallel_for(threads, at.outer * at.inner, grain, [&](int64_t begin, int64_t end) {
      for (int64_t column = begin; column < end;) {
        const int64_t o = column / at.inner, first = column % at.inner;
        const int64_t last = std::min(at.inner, first + end - column);
        for (int64_t k = o * at.along; k < (o + 1) * at.along; ++k)
          for (int64_t i = first; i < last; ++i) {
            const int64_t row = at.row(int64_t(index[k * at.inner + i]));
            if (at.is_here(row)) to[(o * at.rows + row) * at.inner + i] += from[k * at.inner + i];
          }
        column += last - first;
      }
    });
    return llvm::Error::success();
  };
  return kernel;
}
llvm::Expected<Kernel> scatter_add_elements(const Work& work, const KernelContext& context) {
  return by_sum(work, [&](auto element, auto index) {
    return scatter_add_elements_by<decltype(element), decltype(index)>(work, context);
  });
}
const RegisteredKernel scatter_add_elements_kernel{
    {.op = "scatter_add_elements", .dtypes = summed, .compile = scatter_add_elements}};
}  // namespace
}  // namespace optp::kernels
