// The last layers in one: `L4_Dec` (3x3x3, 16 to 16) and `Model_Outputs` (1x1x1, 16 to 4) have nothing between them and
// are one 3x3x3 convolution from 16 channels to 4 classes. Labels, or probabilities, leave from here; the 16 channels
// and the logits of the volume never exist.
//
// Along depth tap by tap, all three taps at once: each input slice is multiplied by a 16 x 12 matrix (tap, class), and
// three neighbouring slices' results are added. That fills a vector that four classes alone would leave mostly empty.

#pragma once

#include <cmath>

#include "convolution.hpp"

namespace {

using eenet::classes;
using eenet::Head;
using eenet::HeadCall;

constexpr int head_channels = 16;
constexpr int head_columns = 16;  // 3 taps x 4 classes, and four columns of zeros

struct HeadBuffers {
    size_t slices;       // depth rounded up: whole vectors of (slice, class)
    float* transformed;  // [36][depth + 2][16]
    size_t transformed_stride;
    float* taps_apart;  // [depth + 2][16] of one frequency
    float* products;    // [36][slices][4]
    size_t products_stride;
    float* logits;  // [16][slices][4]
};

inline HeadBuffers lay_out(const Head& layer, Scratch& scratch) {
    HeadBuffers buffers;
    const size_t rows = static_cast<size_t>(layer.depth) + 2;
    buffers.slices = whole_lines(static_cast<size_t>(layer.depth) * classes) / classes;
    buffers.transformed_stride = odd_lines(rows * head_channels);
    buffers.products_stride = odd_lines(buffers.slices * classes);
    buffers.transformed = scratch.take(frequencies * buffers.transformed_stride);
    buffers.taps_apart = scratch.take(rows * head_columns);
    buffers.products = scratch.take(frequencies * buffers.products_stride);
    buffers.logits = scratch.take(static_cast<size_t>(tile) * tile * buffers.slices * classes);
    return buffers;
}

inline size_t head_scratch(const Head& layer) {
    Scratch scratch{nullptr};
    lay_out(layer, scratch);
    return scratch.used;
}

// out[slice][class] = in[slice][tap 0][class] + in[slice + 1][tap 1][class] + in[slice + 2][tap 2][class].
inline void add_taps(const float* in, int slices, float* out) {
    for (int d = 0; d < slices; ++d, in += head_columns, out += classes)
        for (int k = 0; k < classes; ++k)
            out[k] = (in[k] + in[head_columns + classes + k]) + in[2 * head_columns + 2 * classes + k];
}

// The first of the largest, as NumPy's argmax.
inline uint8_t label(const float* logits) {
    int best = 0;
    for (int k = 1; k < classes; ++k)
        if (logits[k] > logits[best]) best = k;
    return static_cast<uint8_t>(best);
}

// The same for a column, without a branch.
inline void store_labels(const float* logits, int slices, uint8_t* out) {
    for (int d = 0; d < slices; ++d) {
        const float* at = logits + classes * d;
        const int first = at[1] > at[0] ? 1 : 0, second = at[3] > at[2] ? 3 : 2;
        out[d] = static_cast<uint8_t>(at[second] > at[first] ? second : first);
    }
}

inline void store_probabilities(const float* logits, float* out, size_t class_stride) {
    const float largest = logits[label(logits)];
    float exponentials[classes], total = 0.0f;
    for (int k = 0; k < classes; ++k) total += exponentials[k] = expf(logits[k] - largest);
    for (int k = 0; k < classes; ++k) out[k * class_stride] = exponentials[k] / total;
}

inline bool all_zero(Vec values) {
    float lanes[Vec::lanes];
    values.store(lanes);
    bool zero = true;
    for (int n = 0; n < Vec::lanes; ++n) zero &= lanes[n] == 0.0f;
    return zero;
}

inline void head(const Head& layer, const HeadCall& call, int item, float* memory) {
    const int groups = layer.width / plane_tile;
    const int row = item / groups * plane_tile, column = item % groups * plane_tile;
    Scratch scratch{memory};
    const HeadBuffers buffers = lay_out(layer, scratch);
    const int depth = layer.depth;

    const float* columns[frequencies];
    window_columns(call.input, layer.height, layer.width, static_cast<size_t>(depth) * head_channels, row, column,
                   columns);
    for (int f = 0; f < frequencies; ++f) {
        float* plane = buffers.transformed + f * buffers.transformed_stride;
        memset(plane, 0, sizeof(float) * head_channels);
        memset(plane + (depth + 1) * head_channels, 0, sizeof(float) * head_channels);
    }
    transform_window(columns, {nullptr, nullptr}, {1, depth, 0}, head_channels, buffers.transformed + head_channels,
                     buffers.transformed_stride);

    const size_t padding = (buffers.slices - depth) * classes;
    for (int f = 0; f < frequencies; ++f) {
        float* products = buffers.products + f * buffers.products_stride;
        multiply_sixteen<head_channels>(1, depth + 2, buffers.transformed + f * buffers.transformed_stride,
                                        layer.weights + f * head_channels * head_columns, buffers.taps_apart);
        add_taps(buffers.taps_apart, depth, products);
        memset(products + depth * classes, 0, sizeof(float) * padding);
    }

    const size_t plane_floats = buffers.slices * classes;
    Vec nothing = Vec::zero();  // 0 x logit: NaN where one is not finite
    for (size_t at = 0; at < plane_floats; at += Vec::lanes) {
        Vec out[tile][tile];
        transform_tile(buffers.products + at, buffers.products_stride, out);
        float bias[Vec::lanes];
        for (int n = 0; n < Vec::lanes; ++n) bias[n] = layer.bias[n % classes];
        const Vec offset = Vec::load(bias);
        EENET_UNROLL
        for (int n = 0; n < tile * tile; ++n) {
            const Vec logits = out[n / tile][n % tile] + offset;
            nothing = fma(Vec::zero(), logits, nothing);
            logits.store(buffers.logits + n * plane_floats + at);
        }
    }
    call.finite[item] = all_zero(nothing) ? 1 : 0;

    const size_t volume = static_cast<size_t>(layer.height) * layer.width * depth;
    for (int n = 0; n < tile * tile; ++n) {
        const size_t h = static_cast<size_t>(row + n / tile), w = static_cast<size_t>(column + n % tile);
        const size_t at = (h * layer.width + w) * depth;
        const float* logits = buffers.logits + n * plane_floats;
        if (call.labels != nullptr) {
            store_labels(logits, depth, call.labels + at);
            continue;
        }
        for (int d = 0; d < depth; ++d, logits += classes)
            store_probabilities(logits, call.probabilities + at + d, volume);
    }
}

}  // namespace
