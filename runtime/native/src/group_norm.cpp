#include "group_norm.hpp"

#include <cmath>
#include <stdexcept>

namespace eenet {

void scale_and_shift(const GroupNorm& norm, const double* sums, int items, int channels, double voxels, float* scale,
                     float* shift) {
    constexpr int max_channels = 64;
    double sum[max_channels] = {}, squares[max_channels] = {};
    for (int item = 0; item < items; ++item, sums += 2 * channels) {
        for (int c = 0; c < channels; ++c) sum[c] += sums[c];
        for (int c = 0; c < channels; ++c) squares[c] += sums[channels + c];
    }
    const int size = channels / norm_groups;
    const double count = voxels * size;
    for (int group = 0; group < norm_groups; ++group) {
        double mean = 0.0, square = 0.0;
        for (int c = group * size; c < (group + 1) * size; ++c) {
            mean += sum[c];
            square += squares[c];
        }
        mean /= count;
        const double variance = std::fmax(square / count - mean * mean, 0.0);
        if (!std::isfinite(mean) || !std::isfinite(square))
            throw std::domain_error("the values before " + norm.name +
                                    " are not finite: the network overflows on this volume");
        const double deviation = std::sqrt(variance + norm_epsilon);
        for (int c = group * size; c < (group + 1) * size; ++c) {
            const double factor = static_cast<double>(norm.gamma[c]) / deviation;
            scale[c] = static_cast<float>(factor);
            shift[c] = static_cast<float>(static_cast<double>(norm.beta[c]) - mean * factor);
        }
    }
}

}  // namespace eenet
