// All kernels, compiled for: scalar.

#include "kernel_table.hpp"

namespace eenet {

const Kernels scalar_kernels = kernel_table("scalar");

}  // namespace eenet
