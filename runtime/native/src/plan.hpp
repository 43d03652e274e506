// How much of a layer one item computes.

#pragma once

#include "kernels.hpp"

namespace eenet {

// How a convolution's depth axis is best computed.
DepthMethod depth_method(int depth_out, int stride);

// Sets `tiles` and `chunk` of a convolution whose shape and method are set.
void plan_items(Convolution& layer);

}  // namespace eenet
