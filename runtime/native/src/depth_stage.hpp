// The middle of a convolution: for each of the 36 plane frequencies, the product over channels and depth taps.
//
// Stride 1: F(4, 3) along depth as well; four output slices (a *quad*) from six products with a channels x channels
// matrix. With a stride, where windows hardly overlap: three taps side by side form one row of 3 x channels, and the
// plane transform has already laid them out so.

#pragma once

#include "gemm.hpp"
#include "kernels.hpp"
#include "scratch.hpp"
#include "winograd.hpp"

namespace {

using eenet::Convolution;
using eenet::depth_frequencies;
using eenet::DepthMethod;

// The depth extent of one item.
struct DepthExtent {
    int quads;     // winograd: groups of four output slices, the last one perhaps half empty
    int rows_in;   // transformed slices of a tile
    int rows_out;  // output slices that a tile makes, `quads * 4` or the item's own number
    int products;  // rows of the matrix product that a tile contributes
};

inline DepthExtent depth_extent(const Convolution& layer, int slices) {
    if (layer.method == DepthMethod::winograd) {
        const int quads = (slices + tile - 1) / tile;
        return {quads, quads * tile + taps - 1, quads * tile, quads};
    }
    return {0, slices * taps, slices, slices};
}

// Floats of the packed rows and of their products, for all tiles of an item.
inline size_t packed_floats(const Convolution& layer, const DepthExtent& extent) {
    return static_cast<size_t>(depth_frequencies) * layer.tiles * extent.quads * layer.in_channels;
}
inline size_t product_floats(const Convolution& layer, const DepthExtent& extent) {
    return static_cast<size_t>(depth_frequencies) * layer.tiles * extent.quads * layer.out_channels;
}

// packed[f][quad][channel] = B^T in[4 quad ...][channel], for one tile.
inline void pack_quads(const float* in, int quads, int channels, float* packed, size_t frequency_stride) {
    float* to[window];
    for (int f = 0; f < window; ++f) to[f] = packed + f * frequency_stride;
    ptrdiff_t at = 0;
    for (int quad = 0; quad < quads; ++quad, in += (tile - 1) * channels) {
        for (int channel = 0; channel < channels; channel += Vec::lanes, in += Vec::lanes, at += Vec::lanes) {
            Vec slices[window], transformed[window];
            EENET_UNROLL
            for (int d = 0; d < window; ++d) slices[d] = Vec::load(in + d * channels);
            transform_input(slices, transformed);
            EENET_UNROLL
            for (int f = 0; f < window; ++f) transformed[f].store(to[f] + at);
        }
    }
}

// out[4 quad ...][channel] = A^T products[f][quad][channel], for one tile.
inline void unpack_quads(const float* products, size_t frequency_stride, int quads, int channels, float* out) {
    const float* from[window];
    for (int f = 0; f < window; ++f) from[f] = products + f * frequency_stride;
    ptrdiff_t at = 0;
    for (int quad = 0; quad < quads; ++quad, out += (tile - 1) * channels) {
        for (int channel = 0; channel < channels; channel += Vec::lanes, out += Vec::lanes, at += Vec::lanes) {
            Vec frequency[window], slices[tile];
            EENET_UNROLL
            for (int f = 0; f < window; ++f) frequency[f] = Vec::load(from[f] + at);
            transform_output(frequency, slices);
            EENET_UNROLL
            for (int d = 0; d < tile; ++d) slices[d].store(out + d * channels);
        }
    }
}

// One plane frequency of one item. in: [tiles][rows_in][in_channels], out: [tiles][rows_out][out_channels].
inline void multiply_depth(const Convolution& layer, const DepthExtent& extent, const float* in, const float* weights,
                           float* out, float* packed, float* products) {
    const int in_channels = layer.in_channels, out_channels = layer.out_channels;
    const int rows = layer.tiles * extent.products;
    if (layer.method == DepthMethod::direct) {
        multiply(rows, taps * in_channels, out_channels, in, taps * in_channels, weights, out, out_channels);
        return;
    }
    const size_t packed_stride = static_cast<size_t>(rows) * in_channels;
    const size_t product_stride = static_cast<size_t>(rows) * out_channels;
    for (int t = 0; t < layer.tiles; ++t)
        pack_quads(in + t * extent.rows_in * in_channels, extent.quads, in_channels,
                   packed + t * extent.quads * in_channels, packed_stride);
    for (int f = 0; f < depth_frequencies; ++f)
        multiply(rows, in_channels, out_channels, packed + f * packed_stride, in_channels,
                 weights + f * in_channels * out_channels, products + f * product_stride, out_channels);
    for (int t = 0; t < layer.tiles; ++t)
        unpack_quads(products + t * extent.quads * out_channels, product_stride, extent.quads, out_channels,
                     out + t * extent.rows_out * out_channels);
}

}  // namespace
