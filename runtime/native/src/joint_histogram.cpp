#include "joint_histogram.hpp"

#include <algorithm>
#include <array>
#include <stdexcept>

namespace eenet {

namespace {

// Samples at a time. Each step is a loop of its own over so many, without branches, so that compilers make vectors of
// the arithmetic; what goes from one step to the next stays in the first cache.
constexpr int block = 256;
// One bin more for moving values: the neighbour of the last one is always there to add nothing to.
constexpr int row = histogram_bins + 1;

template <typename T>
using Block = std::array<T, block>;

struct Work {
    alignas(64) Block<float> u, v, w;   // a sample's place between its voxel and the upper neighbours
    alignas(64) Block<int32_t> corner;  // its voxel
    alignas(64) Block<int32_t> weight;  // histogram_one, or 0 outside the moving image
    alignas(
        64) std::array<Block<uint16_t>, 4> edges;  // the voxel and its upper neighbours, in pairs along the last axis
    alignas(64) Block<int32_t> cell, upper;        // where it counts, and how much of it in the next cell
};

struct Lattice {
    float last_x, last_y, last_z;
    int next_x, next_y;
};

// Where the samples fall in the moving image.
void place(const float* x, const float* y, const float* z, int count, const float* m, const Lattice& moving,
           Work& work) {
    for (int i = 0; i < count; ++i) {
        float u = m[0] * x[i] + m[1] * y[i] + m[2] * z[i] + m[3];
        float v = m[4] * x[i] + m[5] * y[i] + m[6] * z[i] + m[7];
        float w = m[8] * x[i] + m[9] * y[i] + m[10] * z[i] + m[11];
        // Written so that NaN is outside, too. What is outside reads the first voxel and counts for nothing.
        const bool inside =
            (u >= 0) & (v >= 0) & (w >= 0) & (u < moving.last_x) & (v < moving.last_y) & (w < moving.last_z);
        u = inside ? u : 0.0f;
        v = inside ? v : 0.0f;
        w = inside ? w : 0.0f;
        const auto a = static_cast<int32_t>(u), b = static_cast<int32_t>(v), c = static_cast<int32_t>(w);
        work.corner[i] = a * moving.next_x + b * moving.next_y + c;
        work.weight[i] = inside ? histogram_one : 0;
        work.u[i] = u - static_cast<float>(a);
        work.v[i] = v - static_cast<float>(b);
        work.w[i] = w - static_cast<float>(c);
    }
}

void fetch(const uint8_t* voxels, const Lattice& moving, int count, Work& work) {
    const auto pair = [](const uint8_t* p) { return static_cast<uint16_t>(p[0] | (p[1] << 8)); };
    for (int i = 0; i < count; ++i) {
        const uint8_t* corner = voxels + work.corner[i];
        work.edges[0][i] = pair(corner);
        work.edges[1][i] = pair(corner + moving.next_y);
        work.edges[2][i] = pair(corner + moving.next_x);
        work.edges[3][i] = pair(corner + moving.next_x + moving.next_y);
    }
}

float between(float a, float b, float share) { return a + share * (b - a); }

// Trilinear interpolation, and between which bins the value falls.
void interpolate(const uint8_t* bins, int count, Work& work) {
    constexpr float to_bins = (histogram_bins - 1) / 255.0f;
    for (int i = 0; i < count; ++i) {
        const auto along = [&](int edge) {
            const int values = work.edges[edge][i];
            return between(static_cast<float>(values & 255), static_cast<float>(values >> 8), work.w[i]);
        };
        const float value = to_bins * between(between(along(0), along(1), work.v[i]),
                                              between(along(2), along(3), work.v[i]), work.u[i]);
        const auto lower = static_cast<int32_t>(value);
        const float share = value - static_cast<float>(lower);
        const auto upper = static_cast<int32_t>(share * static_cast<float>(histogram_one) + 0.5f);
        work.cell[i] = (bins[i] & (histogram_bins - 1)) * row + lower;
        work.upper[i] = work.weight[i] == 0 ? 0 : upper;
    }
}

// Two tables in turn: in the air sample after sample counts in one cell, and would wait for the one before.
using Table = std::array<uint32_t, histogram_bins * row>;

void add(const Work& work, int count, std::array<Table, 2>& tables) {
    for (int i = 0; i < count; ++i) {
        uint32_t* cell = tables[i & 1].data() + work.cell[i];
        cell[0] += static_cast<uint32_t>(work.weight[i] - work.upper[i]);
        cell[1] += static_cast<uint32_t>(work.upper[i]);
    }
}

}  // namespace

uint64_t count_joint_histogram(const HistogramSamples& samples, const HistogramVolume& moving, const float* to_voxels,
                               uint32_t* counts) {
    if (samples.count > most_histogram_samples) throw std::invalid_argument("too many samples for sums of 32 bits");
    int64_t voxels = 1;
    for (int axis = 0; axis < 3; ++axis) {
        if (moving.shape[axis] < 2)
            throw std::invalid_argument("a moving volume has at least two voxels along each axis");
        voxels *= moving.shape[axis];
        if (voxels > INT32_MAX) throw std::invalid_argument("a moving volume has fewer than 2**31 voxels");
    }
    const auto last = [&](int axis) { return static_cast<float>(moving.shape[axis] - 1); };
    const Lattice lattice{last(0), last(1), last(2), moving.shape[1] * moving.shape[2], moving.shape[2]};

    std::array<Table, 2> tables{};
    int64_t weight = 0;
    Work work;
    for (size_t begin = 0; begin < samples.count; begin += block) {
        const int count = static_cast<int>(std::min<size_t>(block, samples.count - begin));
        place(samples.x + begin, samples.y + begin, samples.z + begin, count, to_voxels, lattice, work);
        fetch(moving.voxels, lattice, count, work);
        interpolate(samples.bin + begin, count, work);
        add(work, count, tables);
        for (int i = 0; i < count; ++i) weight += work.weight[i];
    }
    for (int fixed = 0; fixed < histogram_bins; ++fixed)
        for (int value = 0; value < histogram_bins; ++value)
            counts[fixed * histogram_bins + value] = tables[0][fixed * row + value] + tables[1][fixed * row + value];
    return static_cast<uint64_t>(weight) / histogram_one;
}

}  // namespace eenet
