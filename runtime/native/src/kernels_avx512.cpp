// All kernels, compiled for: avx512.

#define EENET_AVX512
#include "kernel_table.hpp"

namespace eenet {

const Kernels avx512_kernels = kernel_table("avx512");

}  // namespace eenet
