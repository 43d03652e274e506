#include "resampling.hpp"

#include <algorithm>

#include "memory.hpp"
#include "thread_pool.hpp"

namespace eenet {
namespace {

constexpr int fraction_bits = 32;
constexpr int64_t voxel = int64_t{1} << fraction_bits;
constexpr int64_t rows_at_a_time = 8;

int64_t floor_divide(int64_t value, int64_t by) {
    const int64_t quotient = value / by;
    return quotient - ((value % by != 0) && ((value < 0) != (by < 0)));
}

// Consecutive indices of a row.
struct Range {
    int64_t first, stop;
};

// Of the indices in `within`, those whose coordinate start + index * step lies in [lower, upper].
Range where_between(int64_t start, int64_t step, int64_t lower, int64_t upper, Range within) {
    if (step == 0) return start >= lower && start <= upper ? within : Range{within.first, within.first};
    // Smallest and largest index, rounded into the interval.
    const int64_t from = step > 0 ? lower - start : upper - start, to = step > 0 ? upper - start : lower - start;
    const int64_t first = std::min(within.stop, std::max(within.first, -floor_divide(-from, step)));
    return {first, std::max(first, std::min(within.stop, floor_divide(to, step) + 1))};
}

// One row of a target: the coordinates of its first voxel for one of the places, and where on it there is something.
struct Row {
    int64_t start[3], step[3];
    Range inside;    // between the source's outermost faces
    Range interior;  // between its outermost centres, so that both neighbours along every axis exist
};

Row row_of(const ResamplingSource& source, const ResamplingPlaces& places, int sample, int64_t j, int64_t k,
           int64_t length) {
    Row row{};
    row.inside = row.interior = {0, length};
    for (int axis = 0; axis < 3; ++axis) {
        const int64_t* steps = places.steps + 3 * axis;
        row.step[axis] = steps[0];
        row.start[axis] = places.bases[3 * sample + axis] + j * steps[1] + k * steps[2];
        const int64_t last = (source.shape[axis] - 1) * voxel;
        row.inside = where_between(row.start[axis], steps[0], -voxel / 2, last + voxel / 2, row.inside);
        row.interior = where_between(row.start[axis], steps[0], 0, last - 1, row.interior);
    }
    if (row.interior.first >= row.interior.stop) row.interior = {row.inside.stop, row.inside.stop};
    return row;
}

float fraction_of(int64_t coordinate) {
    // 24 bits, as many as a float holds exactly.
    return static_cast<float>(static_cast<int32_t>(static_cast<uint32_t>(coordinate) >> 8)) * 0x1p-24f;
}

template <typename T>
float lerp_all(const T* p, int64_t x, int64_t y, int64_t z, float fx, float fy, float fz) {
    const auto at = [p](int64_t offset) { return static_cast<float>(p[offset]); };
    const auto between = [](float lower, float upper, float fraction) { return lower + fraction * (upper - lower); };
    const float near_near = between(at(0), at(x), fx), far_near = between(at(y), at(y + x), fx);
    const float near_far = between(at(z), at(z + x), fx), far_far = between(at(z + y), at(z + y + x), fx);
    return between(between(near_near, far_near, fy), between(near_far, far_far, fy), fz);
}

// Call take(index, offset of the lower neighbour, distances to the upper ones, three fractions) for a row's places.
template <typename Take>
void walk(const ResamplingSource& source, const Row& row, const Take& take) {
    const auto at_the_edge = [&](Range range) {
        for (int64_t i = range.first; i < range.stop; ++i) {
            int64_t offset = 0, distance[3];
            float fraction[3];
            for (int axis = 0; axis < 3; ++axis) {
                const int64_t last = source.shape[axis] - 1;
                const int64_t place = std::clamp<int64_t>(row.start[axis] + i * row.step[axis], 0, last * voxel);
                const int64_t lower = place >> fraction_bits;
                offset += lower * source.strides[axis];
                distance[axis] = lower < last ? source.strides[axis] : 0;
                fraction[axis] = fraction_of(place);
            }
            take(i, offset, distance[0], distance[1], distance[2], fraction[0], fraction[1], fraction[2]);
        }
    };
    at_the_edge({row.inside.first, row.interior.first});
    const int64_t sx = source.strides[0], sy = source.strides[1], sz = source.strides[2];
    int64_t x = row.start[0] + row.interior.first * row.step[0];
    int64_t y = row.start[1] + row.interior.first * row.step[1];
    int64_t z = row.start[2] + row.interior.first * row.step[2];
    for (int64_t i = row.interior.first; i < row.interior.stop; ++i) {
        const int64_t offset = (x >> fraction_bits) * sx + (y >> fraction_bits) * sy + (z >> fraction_bits) * sz;
        take(i, offset, sx, sy, sz, fraction_of(x), fraction_of(y), fraction_of(z));
        x += row.step[0];
        y += row.step[1];
        z += row.step[2];
    }
    at_the_edge({row.interior.stop, row.inside.stop});
}

// Call work(j, k, worker) for every row of a target, a few neighbouring rows at a time.
template <typename Work>
void for_all_rows(const int64_t* shape, ThreadPool& pool, const Work& work) {
    const int64_t groups = (shape[1] + rows_at_a_time - 1) / rows_at_a_time;
    pool.run(static_cast<int>(groups * shape[2]), [&](int item, int worker) {
        const int64_t k = item / groups, first = item % groups * rows_at_a_time;
        for (int64_t j = first; j < std::min(first + rows_at_a_time, shape[1]); ++j) work(j, k, worker);
    });
}

}  // namespace

template <typename T>
void resample(const T* values, const ResamplingSource& source, const ResamplingPlaces& places, float* target,
              const int64_t* target_shape, int threads) {
    const int64_t length = target_shape[0];
    const float share = 1.0f / static_cast<float>(places.samples);
    ThreadPool pool(threads);
    for_all_rows(target_shape, pool, [&](int64_t j, int64_t k, int) {
        float* out = target + (k * target_shape[1] + j) * length;
        std::fill(out, out + length, 0.0f);
        for (int sample = 0; sample < places.samples; ++sample)
            walk(source, row_of(source, places, sample, j, k, length),
                 [=](int64_t i, int64_t offset, int64_t x, int64_t y, int64_t z, float fx, float fy, float fz) {
                     out[i] += lerp_all(values + offset, x, y, z, fx, fy, fz);
                 });
        if (places.samples > 1)
            for (int64_t i = 0; i < length; ++i) out[i] *= share;
    });
}

void resample_labels(const float* values, const ResamplingSource& source, int64_t class_stride, int classes,
                     const ResamplingPlaces& places, uint8_t* labels, const int64_t* target_shape, int threads) {
    const int64_t length = target_shape[0];
    ThreadPool pool(threads);
    const Buffer<float> scratch(static_cast<size_t>(pool.threads()) * classes * length);
    for_all_rows(target_shape, pool, [&](int64_t j, int64_t k, int worker) {
        float* sums = scratch.data() + static_cast<int64_t>(worker) * classes * length;
        std::fill(sums, sums + classes * length, 0.0f);
        for (int sample = 0; sample < places.samples; ++sample) {
            const Row row = row_of(source, places, sample, j, k, length);
            walk(source, row,
                 [=](int64_t i, int64_t offset, int64_t x, int64_t y, int64_t z, float fx, float fy, float fz) {
                     for (int c = 0; c < classes; ++c)
                         sums[c * length + i] += lerp_all(values + offset + c * class_stride, x, y, z, fx, fy, fz);
                 });
            for (int64_t i = 0; i < row.inside.first; ++i) sums[i] += 1.0f;
            for (int64_t i = row.inside.stop; i < length; ++i) sums[i] += 1.0f;
        }
        uint8_t* out = labels + (k * target_shape[1] + j) * length;
        for (int64_t i = 0; i < length; ++i) {
            int winner = 0;
            for (int c = 1; c < classes; ++c)
                if (sums[c * length + i] > sums[winner * length + i]) winner = c;
            out[i] = static_cast<uint8_t>(winner);
        }
    });
}

template void resample(const uint8_t*, const ResamplingSource&, const ResamplingPlaces&, float*, const int64_t*, int);
template void resample(const int16_t*, const ResamplingSource&, const ResamplingPlaces&, float*, const int64_t*, int);
template void resample(const uint16_t*, const ResamplingSource&, const ResamplingPlaces&, float*, const int64_t*, int);
template void resample(const float*, const ResamplingSource&, const ResamplingPlaces&, float*, const int64_t*, int);
template void resample(const double*, const ResamplingSource&, const ResamplingPlaces&, float*, const int64_t*, int);

}  // namespace eenet
