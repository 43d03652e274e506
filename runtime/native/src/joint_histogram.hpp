// How often a grey value of one image meets a grey value of another: the inner loop of rigid registration.

#pragma once

#include <cstddef>
#include <cstdint>

namespace eenet {

constexpr int histogram_bins = 32;
constexpr int histogram_one = 256;  // what a sample adds in all, shared between two neighbouring bins
// A sum of `histogram_one` for each sample must fit into 32 bits.
constexpr size_t most_histogram_samples = (size_t{1} << 32) / histogram_one - 1;

// Samples of the fixed image: places in millimetres, and the lowest five bits of `bin` the grey value there.
struct HistogramSamples {
    const float* x;
    const float* y;
    const float* z;
    const uint8_t* bin;
    size_t count;
};

// The moving image, [shape[0]][shape[1]][shape[2]], the last axis the fastest, at least two voxels along each.
struct HistogramVolume {
    const uint8_t* voxels;
    const int* shape;
};

// Counts, [bins of the fixed image][bins of the moving one]; returns how many samples fell inside the moving volume.
// `to_voxels` has three rows of four. Sums are integers, so parts of the samples may be counted apart, in any order,
// and added: the result is the same. Throws std::invalid_argument for too many samples or a volume without an inside.
uint64_t count_joint_histogram(const HistogramSamples& samples, const HistogramVolume& moving, const float* to_voxels,
                               uint32_t* counts);

}  // namespace eenet
