// A 3x3x3 convolution with everything around it: group norm and ReLU of its input on load, the 1x1x1 shortcut of its
// block added on store, and the sums that the next group norm needs.

#pragma once

#include <cstring>

#include "depth_stage.hpp"
#include "plane_transform.hpp"

namespace {

using eenet::ConvolutionCall;
using eenet::plane_tile;

constexpr int max_channels = 64;

// Scratch memory of one item.
struct ConvolutionBuffers {
    float* planes;        // [36][tiles][rows_in][in]; afterwards the products, [36][tiles][rows_out][out]
    size_t tile_floats;   // the distance of two tiles, enough for either
    size_t plane_stride;  // and of two of the 36 frequencies
    float* packed;
    float* packed_products;
    float* shortcut;  // [16][slices][out] of one tile
};

inline ConvolutionBuffers lay_out(const Convolution& layer, const DepthExtent& extent, Scratch& scratch) {
    ConvolutionBuffers buffers;
    buffers.tile_floats = tile_floats(layer, extent);
    buffers.plane_stride = odd_lines(static_cast<size_t>(layer.tiles) * buffers.tile_floats);
    buffers.planes = scratch.take(frequencies * buffers.plane_stride);
    buffers.packed = scratch.take(packed_floats(layer, extent));
    buffers.packed_products = scratch.take(product_floats(layer, extent));
    buffers.shortcut = layer.shortcut == nullptr
                           ? nullptr
                           : scratch.take(static_cast<size_t>(tile) * tile * layer.chunk * layer.out_channels);
    return buffers;
}

inline size_t convolution_scratch(const Convolution& layer) {
    Scratch scratch{nullptr};
    lay_out(layer, depth_extent(layer, layer.chunk), scratch);
    return scratch.used;
}

// Transform `slices` of a tile's columns, of which the first lies `first_slice` slices deep and some outside the
// volume: those are zero.
inline void load_slices(const Convolution& layer, const ConvolutionCall& call, const float* const* columns,
                        Slices slices, int first_slice, float* out, size_t out_stride) {
    const int channels = layer.in_channels;
    const int before = first_slice < 0 ? -first_slice : 0;
    const int beyond = first_slice + (slices.groups - 1) * slices.step + slices.rows - layer.depth_in;
    const int after = beyond > 0 ? beyond : 0;
    const int inside = slices.groups * slices.rows - before - after;
    const float* inner[frequencies];
    for (int f = 0; f < frequencies; ++f) {
        inner[f] = columns[f] == nullptr ? nullptr : columns[f] + (first_slice + before) * channels;
        float* plane = out + f * out_stride;
        if (before > 0) memset(plane, 0, sizeof(float) * before * channels);
        if (after > 0) memset(plane + (before + inside) * channels, 0, sizeof(float) * after * channels);
    }
    if (before + after > 0) slices = {1, inside, 0};
    transform_window(inner, {call.scale, call.shift}, slices, channels, out + before * channels, out_stride);
}

// Fill the transformed input of one tile, for output slices `first` to `first + count`.
inline void load_tile(const Convolution& layer, const ConvolutionCall& call, const DepthExtent& extent, int row,
                      int column, int first, int count, float* out, size_t out_stride) {
    const float* columns[frequencies];
    window_columns(call.input, layer.height, layer.width, static_cast<size_t>(layer.depth_in) * layer.in_channels, row,
                   column, columns);
    const int first_slice = first * layer.stride - layer.pad;
    if (layer.method != DepthMethod::direct) {
        load_slices(layer, call, columns, {1, extent.rows_in, 0}, first_slice, out, out_stride);
        return;
    }
    // Only the last output slice can reach beyond the volume, and only with a stride of 2.
    const bool hangs_over = first_slice + (count - 1) * layer.stride + taps > layer.depth_in;
    const int whole = hangs_over ? count - 1 : count;
    if (whole > 0) load_slices(layer, call, columns, {whole, taps, layer.stride}, first_slice, out, out_stride);
    if (hangs_over)
        load_slices(layer, call, columns, {1, taps, 0}, first_slice + whole * layer.stride,
                    out + whole * taps * layer.in_channels, out_stride);
}

// The block's shortcut at the 16 columns of one tile: out[column][slice][channel].
inline void compute_shortcut(const Convolution& layer, const float* const* columns, int slices, float* out) {
    const int channels = layer.out_channels;
    const int floats = slices * channels;
    for (int n = 0; n < tile * tile; ++n) {
        if (n + 1 < tile * tile)
            for (int at = 0; at < floats; at += static_cast<int>(line_floats))
                __builtin_prefetch(columns[n + 1] + at, 1, 3);
        if (channels == 16)
            multiply_sixteen<16>(1, slices, columns[n], layer.shortcut, out + n * floats);
        else if (channels == 32)
            multiply<32>(slices, 32, 32, columns[n], 32, layer.shortcut, out + n * floats, 32);
        else
            multiply<64>(slices, 64, 64, columns[n], 64, layer.shortcut, out + n * floats, 64);
    }
}

// Add a vector of channels to an item's sums, and its squares, `channels` further on, to those of the squares.
EENET_INLINE void add_to_sums(const DoubleVec& sum, const DoubleVec& squares, double* sums, int channels) {
    double lanes[Vec::lanes];
    sum.store(lanes);
    for (int n = 0; n < Vec::lanes; ++n) sums[n] += lanes[n];
    squares.store(lanes);
    for (int n = 0; n < Vec::lanes; ++n) sums[channels + n] += lanes[n];
}

// Transform one tile back, add bias and shortcut, store, and add to the sums: sums[0][channel] and sums[1][channel].
// Sixteen values are summed in FP32, everything above in FP64. Without a shortcut the output goes past the caches,
// where whole cache lines can be written: nothing of it is needed soon, and its old contents need not be read.
template <bool Shortcut>
void store_tile(const float* in, size_t in_stride, const float* bias, const float* shortcut, int slices, int channels,
                float* const* columns, double* sums) {
    for (int channel = 0; channel < channels; channel += Vec::lanes) {
        const Vec offset = Vec::load(bias + channel);
        DoubleVec sum, squares;
        for (int d = 0; d < slices; ++d) {
            const ptrdiff_t at = static_cast<ptrdiff_t>(d) * channels + channel;
            Vec out[tile][tile];
            transform_tile(in + at, in_stride, out);
            Vec tile_sum = Vec::zero(), tile_squares = Vec::zero();
            EENET_UNROLL
            for (int i = 0; i < tile; ++i) {
                EENET_UNROLL
                for (int j = 0; j < tile; ++j) {
                    Vec value = out[i][j] + offset;
                    const int n = i * tile + j;
                    if (Shortcut) value = value + Vec::load(shortcut + n * slices * channels + at);
                    if (Shortcut || !Vec::whole_cache_line)
                        value.store(columns[n] + at);
                    else
                        value.stream(columns[n] + at);
                    tile_sum = tile_sum + value;
                    tile_squares = fma(value, value, tile_squares);
                }
            }
            sum.add(tile_sum);
            squares.add(tile_squares);
        }
        add_to_sums(sum, squares, sums + channel, channels);
    }
}

inline void convolution(const Convolution& layer, const ConvolutionCall& call, int item, float* memory) {
    const int chunk = item % layer.chunks(), group = item / layer.chunks() % layer.groups();
    const int row = item / layer.chunks() / layer.groups() * plane_tile;
    const int first = chunk * layer.chunk;
    const int slices = layer.depth_out - first < layer.chunk ? layer.depth_out - first : layer.chunk;
    const int in_channels = layer.in_channels, out_channels = layer.out_channels;

    const DepthExtent extent = depth_extent(layer, slices);
    Scratch scratch{memory};
    const ConvolutionBuffers buffers = lay_out(layer, extent, scratch);

    for (int t = 0; t < layer.tiles; ++t)
        load_tile(layer, call, extent, row, (group * layer.tiles + t) * plane_tile, first, slices,
                  buffers.planes + t * buffers.tile_floats, buffers.plane_stride);

    const int matrices = eenet::depth_matrices(layer.method);
    for (int f = 0; f < frequencies; ++f)
        multiply_depth(layer, extent, buffers.planes + f * buffers.plane_stride,
                       layer.weights + static_cast<size_t>(f) * matrices * in_channels * out_channels, buffers.packed,
                       buffers.packed_products);

    double sums[2 * max_channels] = {};
    for (int t = 0; t < layer.tiles; ++t) {
        const float* in = buffers.planes + t * buffers.tile_floats;
        float* columns[tile * tile];
        const float* shortcut_columns[tile * tile];
        for (int n = 0; n < tile * tile; ++n) {
            const size_t h = static_cast<size_t>(row + n / tile);
            const size_t w = static_cast<size_t>((group * layer.tiles + t) * plane_tile + n % tile);
            const size_t at = ((h * layer.width + w) * layer.depth_out + first) * out_channels;
            columns[n] = call.output + at;
            shortcut_columns[n] = layer.shortcut == nullptr ? nullptr : call.shortcut_input + at;
        }
        if (layer.shortcut != nullptr) {
            compute_shortcut(layer, shortcut_columns, slices, buffers.shortcut);
            store_tile<true>(in, buffers.plane_stride, layer.bias, buffers.shortcut, slices, out_channels, columns,
                             sums);
        } else {
            store_tile<false>(in, buffers.plane_stride, layer.bias, nullptr, slices, out_channels, columns, sums);
        }
    }
    finish_streams();
    if (call.sums != nullptr)
        memcpy(call.sums + static_cast<size_t>(item) * 2 * out_channels, sums, sizeof(double) * 2 * out_channels);
}

}  // namespace
