// Weights in the layouts that kernels chose for them. Executables of one rank that have the same weights, for a text's
// first tokens and for the next ones, share them.
#pragma once
#include <dnnl.hpp>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace optp {

// Not for several threads at once. `form`: of which matrix of which tensor, in words that are the same for the same
// elements.
class PackedWeights {
 public:
  // The library's, in each layout that was asked for.
  std::vector<dnnl::memory>& in_library_layouts(const std::string& form) { return library_[form]; }
  // Our own panels, of one layout.
  std::shared_ptr<float[]>& panels(const std::string& form) { return panels_[form]; }
  int64_t bytes() const;  // of the library's layouts

 private:
  std::map<std::string, std::vector<dnnl::memory>> library_;
  std::map<std::string, std::shared_ptr<float[]>> panels_;
};

inline int64_t PackedWeights::bytes() const {
  int64_t out = 0;
  for (const auto& [form, layouts] : library_)
    for (const dnnl::memory& m : layouts) out += int64_t(m.get_desc().get_size());
  return out;
}

}  // namespace optp
