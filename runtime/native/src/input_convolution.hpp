// The first layer: four modalities, each a volume of its own, to 16 channels last. Winograd over the plane; along depth
// tap by tap, because four channels are too few to pay for a third transform.

#pragma once

#include <cstring>

#include "convolution.hpp"

namespace {

using eenet::InputConvolution;
using eenet::modalities;

constexpr int first_channels = 16;
constexpr int input_products = modalities * taps;

struct InputBuffers {
    int slices;          // depth, rounded up to whole vectors, and two more
    float* columns;      // [36][slices] of one modality, with a zero slice at either end
    float* transformed;  // [36][4][slices]
    float* products;     // [36][depth][16]
    size_t products_stride;
};

inline InputBuffers lay_out(const InputConvolution& layer, Scratch& scratch) {
    InputBuffers buffers;
    buffers.slices = static_cast<int>(whole_lines(static_cast<size_t>(layer.depth) + 2));
    buffers.products_stride = odd_lines(static_cast<size_t>(layer.depth) * first_channels);
    buffers.columns = scratch.take(static_cast<size_t>(frequencies) * buffers.slices);
    buffers.transformed = scratch.take(static_cast<size_t>(frequencies) * modalities * buffers.slices);
    buffers.products = scratch.take(frequencies * buffers.products_stride);
    return buffers;
}

inline size_t input_scratch(const InputConvolution& layer) {
    Scratch scratch{nullptr};
    lay_out(layer, scratch);
    return scratch.used;
}

// out[slice][16] = sum over modality and tap of in[modality][slice + tap] weights[modality][tap][16], `Rows` slices.
// Neighbouring slices are neighbours in memory, so a row of this product is not a row in memory: not gemm.hpp's case.
template <int Rows>
void multiply_slices(const float* in, int modality_stride, const float* weights, float* out) {
    constexpr int columns = first_channels / Vec::lanes;
    Vec sum[Rows][columns];
    EENET_UNROLL
    for (int r = 0; r < Rows; ++r) {
        EENET_UNROLL
        for (int n = 0; n < columns; ++n) sum[r][n] = Vec::zero();
    }
    for (int m = 0; m < modalities; ++m) {
        for (int tap = 0; tap < taps; ++tap, weights += first_channels) {
            const float* slices = in + m * modality_stride + tap;
            Vec weight[columns];
            EENET_UNROLL
            for (int n = 0; n < columns; ++n) weight[n] = Vec::load(weights + n * Vec::lanes);
            EENET_UNROLL
            for (int r = 0; r < Rows; ++r) {
                const Vec x = Vec::broadcast(slices[r]);
                EENET_UNROLL
                for (int n = 0; n < columns; ++n) sum[r][n] = fma(x, weight[n], sum[r][n]);
            }
        }
    }
    EENET_UNROLL
    for (int r = 0; r < Rows; ++r) {
        EENET_UNROLL
        for (int n = 0; n < columns; ++n) sum[r][n].store(out + r * first_channels + n * Vec::lanes);
    }
}

inline void input_convolution(const InputConvolution& layer, const float* volume, float* output, double* item_sums,
                              int item, float* memory) {
    const int groups = layer.width / plane_tile;
    const int row = item / groups * plane_tile, column = item % groups * plane_tile;
    Scratch scratch{memory};
    const InputBuffers buffers = lay_out(layer, scratch);
    const size_t modality_floats = static_cast<size_t>(layer.height) * layer.width * layer.depth;

    for (int m = 0; m < modalities; ++m) {
        const float* columns[frequencies];
        window_columns(volume + m * modality_floats, layer.height, layer.width, static_cast<size_t>(layer.depth), row,
                       column, columns);
        for (int f = 0; f < frequencies; ++f) {
            if (columns[f] == nullptr) continue;
            float* padded = buffers.columns + static_cast<size_t>(f) * buffers.slices;
            padded[0] = 0.0f;
            memcpy(padded + 1, columns[f], sizeof(float) * layer.depth);
            for (int d = layer.depth + 1; d < buffers.slices; ++d) padded[d] = 0.0f;
            columns[f] = padded;
        }
        // Here depth takes the place of the channels.
        transform_window(columns, {nullptr, nullptr}, {1, 1, 0}, buffers.slices,
                         buffers.transformed + m * buffers.slices, static_cast<size_t>(modalities) * buffers.slices);
    }

    for (int f = 0; f < frequencies; ++f) {
        const float* in = buffers.transformed + static_cast<size_t>(f) * modalities * buffers.slices;
        const float* weights = layer.weights + static_cast<size_t>(f) * input_products * first_channels;
        float* out = buffers.products + f * buffers.products_stride;
        int d = 0;
        for (; d + max_rows <= layer.depth; d += max_rows)
            multiply_slices<max_rows>(in + d, buffers.slices, weights, out + d * first_channels);
        for (; d < layer.depth; ++d) multiply_slices<1>(in + d, buffers.slices, weights, out + d * first_channels);
    }

    float* columns[tile * tile];
    EENET_UNROLL
    for (int n = 0; n < tile * tile; ++n) {
        const size_t h = static_cast<size_t>(row + n / tile), w = static_cast<size_t>(column + n % tile);
        columns[n] = output + (h * layer.width + w) * layer.depth * first_channels;
    }
    double sums[2 * first_channels] = {};
    store_tile<false>(buffers.products, buffers.products_stride, layer.bias, nullptr, layer.depth, first_channels,
                      columns, sums);
    finish_streams();
    memcpy(item_sums + static_cast<size_t>(item) * 2 * first_channels, sums, sizeof(sums));
}

}  // namespace
