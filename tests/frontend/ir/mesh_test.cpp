// Ranks and axes of a mesh.
#include "frontend/ir/mesh.h"

#include <doctest/doctest.h>

#include "frontend/ir/dim.h"

using namespace optp;

TEST_CASE("along an axis that a mesh does not have stands one device") {
  using Names = std::vector<std::string>;
  const Mesh mesh{{{"data", 2}, {"tensor", 3}}};
  CHECK(mesh.axis_size("data") == 2);
  CHECK(mesh.axis_size("expert") == 1);
  CHECK(mesh.size_of(Names{"tensor", "expert"}) == 3);
  CHECK(mesh.coordinate("expert", 4) == 0);
  CHECK(mesh.group(Names{"expert"}, 4) == llvm::SmallVector<int64_t, 8>{4});
  CHECK(mesh.group(Names{"expert", "tensor"}, 4) == mesh.group(Names{"tensor"}, 4));
  CHECK(bind_rank(Dim::part(Dim(7), {"expert"}), mesh, 4) == Dim(7));
}
