#include "tools/run/labels.h"

#include "frontend/ir/diagnostic.h"
#include "frontend/ir/tensor.h"
#include "passes/training.h"
#include "tools/run/ports.h"

namespace optp {
llvm::Error check_labels(const Where& place, const HostArray& labels, int64_t classes) {
  const Array values = to_array(labels);
  for (size_t k = 0; k < values.i.size(); ++k)
    if (const int64_t label = values.i[k]; label != ignored_label && (label < 0 || label >= classes))
      return error(Code::out_of_range)
          .at(place)
          .what("index " + index_text(int64_t(k), values.dims))
          .expected("an id from 0 to " + llvm::Twine(classes - 1) + ", the model's classes, or " +
                    llvm::Twine(ignored_label) + ", which does not count")
          .found(label);
  return llvm::Error::success();
}
llvm::Error check_labels(const Where& place, const HostArray& labels, const Port& port, const DimValues& dims) {
  if (!port.classes) return llvm::Error::success();
  auto classes = evaluate(*port.classes, dims);
  if (!classes) return classes.takeError();
  return check_labels(place, labels, *classes);
}

int64_t counted_labels(const HostArray& labels) {
  const Array values = to_array(labels);
  const int64_t length = values.dims.size() == 2 ? values.dims[1] : 0;
  int64_t count = 0;
  for (int64_t k = 0; k < int64_t(values.i.size()); ++k)
    count += length > 0 && k % length != 0 && values.i[size_t(k)] != ignored_label;
  return count;
}
llvm::Error no_label_counts() {
  return error(Code::malformed)
      .what("labels")
      .expected("at least one that counts")
      .found("none: all are " + llvm::Twine(ignored_label) +
             " or at a first position, and the mean of nothing is no loss");
}
}  // namespace optp
