// The middle of a convolution: for each of the 36 plane frequencies, the product over channels and depth taps.
//
// Stride 1: Winograd along depth as well; a *strip* of four or six output slices from six or eight products with a
// channels x channels matrix. With a stride, where windows hardly overlap: three taps side by side form one row of
// 3 x channels, and the plane transform has already laid them out so.

#pragma once

#include <cstring>

#include "gemm.hpp"
#include "kernels.hpp"
#include "scratch.hpp"
#include "winograd.hpp"

namespace {

using eenet::Convolution;
using eenet::depth_matrices;
using eenet::DepthMethod;
using eenet::strip_slices;

// The depth extent of one item.
struct DepthExtent {
    int strips;    // winograd: groups of four or six output slices, the last one perhaps half empty
    int rows_in;   // transformed slices of a tile
    int rows_out;  // output slices that a tile makes, whole strips or the item's own number
    int products;  // rows of the matrix product that a tile contributes
};

inline DepthExtent depth_extent(const Convolution& layer, int slices) {
    if (layer.method == DepthMethod::direct) return {0, slices * taps, slices, slices};
    const int strip = strip_slices(layer.method);
    const int strips = (slices + strip - 1) / strip;
    return {strips, strips * strip + taps - 1, strips * strip, strips};
}

// Packed rows and their products are [strip][slots][channels]: distances that the compiler knows.
constexpr int slots = 8;

// Floats of the packed rows and of their products, for all tiles of an item.
inline size_t packed_floats(const Convolution& layer, const DepthExtent& extent) {
    return static_cast<size_t>(layer.tiles) * extent.strips * slots * layer.in_channels;
}
inline size_t product_floats(const Convolution& layer, const DepthExtent& extent) {
    const size_t rows = static_cast<size_t>(layer.tiles) * extent.products;
    return rows * (layer.method == DepthMethod::direct ? 1 : slots) * layer.out_channels;
}

// The room of one tile: products take their input's place, which saves the caches as much again.
inline size_t tile_floats(const Convolution& layer, const DepthExtent& extent) {
    const size_t in = static_cast<size_t>(extent.rows_in) * layer.in_channels;
    const size_t out = static_cast<size_t>(extent.rows_out) * layer.out_channels;
    return in > out ? in : out;
}

// packed[strip][f][channel] = B^T in[strip ...][channel], for one tile.
template <typename Transform, int Channels>
void pack_strips(const float* in, int strips, float* packed) {
    for (int strip = 0; strip < strips; ++strip, in += Transform::outputs * Channels, packed += slots * Channels) {
        for (int channel = 0; channel < Channels; channel += Vec::lanes) {
            Vec slices[Transform::products], transformed[Transform::products];
            EENET_UNROLL
            for (int d = 0; d < Transform::products; ++d) slices[d] = Vec::load(in + d * Channels + channel);
            Transform::input(slices, transformed);
            EENET_UNROLL
            for (int f = 0; f < Transform::products; ++f) transformed[f].store(packed + f * Channels + channel);
        }
    }
}

// out[strip ...][channel] = A^T products[strip][f][channel], for one tile.
template <typename Transform, int Channels>
void unpack_strips(const float* products, int strips, float* out) {
    for (int strip = 0; strip < strips; ++strip, out += Transform::outputs * Channels, products += slots * Channels) {
        for (int channel = 0; channel < Channels; channel += Vec::lanes) {
            Vec frequency[Transform::products], slices[Transform::outputs];
            EENET_UNROLL
            for (int f = 0; f < Transform::products; ++f) frequency[f] = Vec::load(products + f * Channels + channel);
            Transform::output(frequency, slices);
            EENET_UNROLL
            for (int d = 0; d < Transform::outputs; ++d) slices[d].store(out + d * Channels + channel);
        }
    }
}

// One plane frequency of one item, in place: [rows_in][In] of each tile becomes [rows_out][Out].
template <typename Transform, int In, int Out>
void multiply_strips(const Convolution& layer, const DepthExtent& extent, float* plane, const float* weights,
                     float* packed, float* products) {
    const int rows = layer.tiles * extent.strips;
    const size_t room = tile_floats(layer, extent);
    for (int t = 0; t < layer.tiles; ++t)
        pack_strips<Transform, In>(plane + t * room, extent.strips, packed + t * extent.strips * slots * In);
    if (In == 16 && Out == 16) {
        multiply_sixteen<slots * 16>(Transform::products, rows, packed, weights, products);
    } else {
        for (int f = 0; f < Transform::products; ++f)
            multiply<slots * In>(rows, In, Out, packed + f * In, slots * In, weights + f * In * Out, products + f * Out,
                                 slots * Out);
    }
    for (int t = 0; t < layer.tiles; ++t)
        unpack_strips<Transform, Out>(products + t * extent.strips * slots * Out, extent.strips, plane + t * room);
}

template <typename Transform, int In>
void multiply_strips(const Convolution& layer, const DepthExtent& extent, float* plane, const float* weights,
                     float* packed, float* products) {
    if (layer.out_channels == 16)
        multiply_strips<Transform, In, 16>(layer, extent, plane, weights, packed, products);
    else if (layer.out_channels == 32)
        multiply_strips<Transform, In, 32>(layer, extent, plane, weights, packed, products);
    else
        multiply_strips<Transform, In, 64>(layer, extent, plane, weights, packed, products);
}

template <typename Transform>
void multiply_strips(const Convolution& layer, const DepthExtent& extent, float* plane, const float* weights,
                     float* packed, float* products) {
    if (layer.in_channels == 16)
        multiply_strips<Transform, 16>(layer, extent, plane, weights, packed, products);
    else if (layer.in_channels == 32)
        multiply_strips<Transform, 32>(layer, extent, plane, weights, packed, products);
    else
        multiply_strips<Transform, 64>(layer, extent, plane, weights, packed, products);
}

// Rows of three taps side by side.
inline void multiply_taps(int rows, int in_channels, int out_channels, const float* a, const float* weights, float* c) {
    const int inner = taps * in_channels;
    if (in_channels == 16)
        multiply<taps * 16>(rows, inner, out_channels, a, inner, weights, c, out_channels);
    else if (in_channels == 32)
        multiply<taps * 32>(rows, inner, out_channels, a, inner, weights, c, out_channels);
    else
        multiply<taps * 64>(rows, inner, out_channels, a, inner, weights, c, out_channels);
}

// The same for any layer.
inline void multiply_depth(const Convolution& layer, const DepthExtent& extent, float* plane, const float* weights,
                           float* packed, float* products) {
    if (layer.method == DepthMethod::winograd4) {
        multiply_strips<Winograd4>(layer, extent, plane, weights, packed, products);
    } else if (layer.method == DepthMethod::winograd6) {
        multiply_strips<Winograd6>(layer, extent, plane, weights, packed, products);
    } else {
        const int in_channels = layer.in_channels, out_channels = layer.out_channels, rows = extent.products;
        const size_t room = tile_floats(layer, extent), made = static_cast<size_t>(rows) * out_channels;
        // Tiles whose rows follow each other without a gap are one product.
        const int together = room == static_cast<size_t>(extent.rows_in) * in_channels ? layer.tiles : 1;
        for (int t = 0; t < layer.tiles; t += together)
            multiply_taps(together * rows, in_channels, out_channels, plane + t * room, weights, products + t * made);
        for (int t = 0; t < layer.tiles; ++t) memcpy(plane + t * room, products + t * made, sizeof(float) * made);
    }
}

}  // namespace
