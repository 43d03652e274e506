// Group normalisation as what a convolution's load applies: y = scale x + shift, by channel.

#pragma once

#include <string>

#include "memory.hpp"

namespace eenet {

constexpr int norm_groups = 8;
constexpr double norm_epsilon = 1e-3;

// Weights of one norm.
struct GroupNorm {
    std::string name;  // for messages
    const float* gamma;
    const float* beta;
};

// From sums[items][2][channels] (sum, sum of squares) over `voxels` voxels to scale[channels] and shift[channels].
//
// Sums are added in the order of the items, in FP64, so the result does not depend on who computed an item. The
// variance is the mean square less the squared mean: with FP64 sums of values whose spread is a hundredth of their
// mean it keeps four digits more than FP32 has.
//
// Throws std::domain_error if a sum is not finite.
void scale_and_shift(const GroupNorm& norm, const double* sums, int items, int channels, double voxels, float* scale,
                     float* shift);

}  // namespace eenet
