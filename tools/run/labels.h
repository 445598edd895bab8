// Labels of a training step, judged before it runs: what is neither a class nor ignored would train on a logit that
// there is not, and a step without any label has no mean.
#pragma once
#include "frontend/io/npy.h"
#include "frontend/ir/diagnostic.h"
#include "frontend/ir/dim.h"
#include "tools/run/ports.h"

namespace optp {

// Every label is a class of the model's logits or ignored_label. `place` stands at the start of messages.
llvm::Error check_labels(const Where& place, const HostArray& labels, int64_t classes);
// The same of a plan's labels; a plan that does not tell its classes is of a time before labels were checked.
llvm::Error check_labels(const Where& place, const HostArray& labels, const Port& port, const DimValues& dims);
// How many count: those of a row's first position are shifted out.
int64_t counted_labels(const HostArray& labels);
// The fault of a step none of whose labels count.
llvm::Error no_label_counts();

}  // namespace optp
