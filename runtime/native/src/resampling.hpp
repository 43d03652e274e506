// Linear interpolation of a volume on another grid, in any position: every coordinate is a whole number of 2^-32
// voxels, so that rows may be cut and shared out in any way and give the same bits.

#pragma once

#include <cstddef>
#include <cstdint>

namespace eenet {

// A volume to read from: any order in memory, strides in elements.
struct ResamplingSource {
    int64_t shape[3];
    int64_t strides[3];
};

// Where a target voxel (i, j, k) looks: for each of `samples` places s, bases[3 s + axis] + i steps[3 axis] +
// j steps[3 axis + 1] + k steps[3 axis + 2], in units of 2^-32 source voxels. The voxel is the mean of its places.
struct ResamplingPlaces {
    int samples;
    const int64_t* bases;
    const int64_t* steps;
};

// Places beyond the faces of the outermost voxels count as 0; within them the outermost half voxel repeats the edge.
// `target` has its first axis fastest.
template <typename T>
void resample(const T* values, const ResamplingSource& source, const ResamplingPlaces& places, float* target,
              const int64_t* target_shape, int threads);

// The class with the largest mean, the lower of equals; places beyond the faces count as class 0 with certainty.
// `values` holds the first class, the next ones lie `class_stride` elements on. `labels` has its first axis fastest.
void resample_labels(const float* values, const ResamplingSource& source, int64_t class_stride, int classes,
                     const ResamplingPlaces& places, uint8_t* labels, const int64_t* target_shape, int threads);

}  // namespace eenet
