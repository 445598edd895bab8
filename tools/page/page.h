// A plan as one HTML page: nothing but the plan goes in, and the same plan gives the same bytes.
#pragma once
#include <string>
#include <vector>

#include "llvm/Support/JSON.h"

namespace optp {

// What others know of the plan, a check or a traced run: HTML, already escaped.
struct PageAdditions {
  struct Figure {
    std::string title, value, how;
  };
  struct Section {
    std::string id, title, html;
  };
  std::vector<Figure> figures;
  std::vector<Section> sections;
};

// `plan` has passed check_plan.
std::string plan_page(const llvm::json::Object& plan, const PageAdditions& more = {});

}  // namespace optp
