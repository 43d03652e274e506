#include "joint_histogram.hpp"

#include <algorithm>
#include <array>
#include <stdexcept>

namespace eenet {

namespace {

constexpr size_t block = 256;  // samples at a time: their places in voxels stay in the first cache
// One bin more for moving values: the neighbour of the last one is always there to add nothing to.
constexpr int row = histogram_bins + 1;

struct Places {
    alignas(64) std::array<float, block> u, v, w;
};

float between(float a, float b, float share) { return a + share * (b - a); }

// Trilinear interpolation between a voxel and its upper neighbours.
float interpolated(const uint8_t* corner, ptrdiff_t next_x, ptrdiff_t next_y, float x, float y, float z) {
    const auto along_z = [z](const uint8_t* p) {
        return between(static_cast<float>(p[0]), static_cast<float>(p[1]), z);
    };
    const auto along_y = [&](const uint8_t* p) { return between(along_z(p), along_z(p + next_y), y); };
    return between(along_y(corner), along_y(corner + next_x), x);
}

// A loop of its own, without branches, so that it runs in vectors.
void place(const HistogramSamples& samples, size_t begin, size_t count, const float* m, Places& places) {
    const float *x = samples.x + begin, *y = samples.y + begin, *z = samples.z + begin;
    for (size_t i = 0; i < count; ++i) {
        places.u[i] = m[0] * x[i] + m[1] * y[i] + m[2] * z[i] + m[3];
        places.v[i] = m[4] * x[i] + m[5] * y[i] + m[6] * z[i] + m[7];
        places.w[i] = m[8] * x[i] + m[9] * y[i] + m[10] * z[i] + m[11];
    }
}

}  // namespace

uint64_t count_joint_histogram(const HistogramSamples& samples, const HistogramVolume& moving, const float* to_voxels,
                               uint32_t* counts) {
    if (samples.count > most_histogram_samples) throw std::invalid_argument("too many samples for sums of 32 bits");
    if (std::any_of(moving.shape, moving.shape + 3, [](int size) { return size < 2; }))
        throw std::invalid_argument("a moving volume has at least two voxels along each axis");
    const ptrdiff_t next_y = moving.shape[2];
    const ptrdiff_t next_x = next_y * moving.shape[1];
    const float last_x = static_cast<float>(moving.shape[0] - 1);
    const float last_y = static_cast<float>(moving.shape[1] - 1);
    const float last_z = static_cast<float>(moving.shape[2] - 1);
    constexpr float to_bins = (histogram_bins - 1) / 255.0f;

    std::array<uint32_t, histogram_bins * row> sums{};
    uint64_t inside = 0;
    Places places;
    for (size_t begin = 0; begin < samples.count; begin += block) {
        const size_t count = std::min(block, samples.count - begin);
        place(samples, begin, count, to_voxels, places);
        for (size_t i = 0; i < count; ++i) {
            const float u = places.u[i], v = places.v[i], w = places.w[i];
            // Written so that NaN is outside, too.
            if (!(u >= 0 && v >= 0 && w >= 0 && u < last_x && v < last_y && w < last_z)) continue;
            const int a = static_cast<int>(u), b = static_cast<int>(v), c = static_cast<int>(w);
            const uint8_t* corner = moving.voxels + a * next_x + b * next_y + c;
            const float value = to_bins * interpolated(corner, next_x, next_y, u - static_cast<float>(a),
                                                       v - static_cast<float>(b), w - static_cast<float>(c));
            const int lower = static_cast<int>(value);
            const auto upper_share =
                static_cast<uint32_t>((value - static_cast<float>(lower)) * static_cast<float>(histogram_one) + 0.5f);
            uint32_t* pair = sums.data() + (samples.bin[begin + i] & (histogram_bins - 1)) * row + lower;
            pair[0] += histogram_one - upper_share;
            pair[1] += upper_share;
            ++inside;
        }
    }
    for (int fixed = 0; fixed < histogram_bins; ++fixed)
        std::copy_n(sums.data() + fixed * row, histogram_bins, counts + fixed * histogram_bins);
    return inside;
}

}  // namespace eenet
