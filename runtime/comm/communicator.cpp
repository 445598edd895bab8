#include "runtime/comm/communicator.h"

namespace optp {

Communicator::~Communicator() = default;

}  // namespace optp
