// What the processor can do, and the kernels made for it.

#pragma once

#include <string>
#include <vector>

#include "kernels.hpp"

namespace eenet {

struct CpuFeatures {
    bool avx2, fma, avx512f;
};

CpuFeatures cpu_features();

// The kernels that this processor can run, best first; the last are the portable ones.
std::vector<const Kernels*> available_kernels();

// By name, or the best for "auto". Throws std::invalid_argument for a name that is unknown or not available here.
const Kernels& choose_kernels(const std::string& name);

}  // namespace eenet
