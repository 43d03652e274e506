// All kernels, compiled for: avx2.

#define EENET_AVX2
#include "kernel_table.hpp"

namespace eenet {

const Kernels avx2_kernels = kernel_table("avx2");

}  // namespace eenet
