// The domain of our own operators, the collectives: docs/collectives.md.
#pragma once
#include <cstdint>

namespace optp {
constexpr const char* own_domain = "opt_partition";
// 1 had Broadcast, and no AllReduce with an extent. A reader refuses files of another version.
constexpr int64_t own_domain_version = 2;
}  // namespace optp
