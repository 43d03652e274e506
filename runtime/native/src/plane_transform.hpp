// The Winograd transforms over the plane (H, W): windows of 6 x 6 columns in, tiles of 4 x 4 columns out. A column is
// what lies at one (h, w): depth x channels floats in a row. All slices and channels are transformed alike.

#pragma once

#include "kernels.hpp"
#include "scratch.hpp"
#include "winograd.hpp"

namespace {

using eenet::frequencies;

// How far ahead a column is fetched while it is transformed. The processor follows a few streams by itself, not 36.
constexpr ptrdiff_t floats_ahead = 3 * line_floats;

// Scale, shift and ReLU of the preceding group norm, by channel; null: none.
struct Activation {
    const float* scale;
    const float* shift;
};

// The slices that are transformed: `groups` times `rows` that follow each other, the groups `step` slices apart. They
// lie one after the other in the result.
struct Slices {
    int groups, rows, step;
};

// B^T d B: out[f][n][channel] = transform of in[f][slice n][channel], f over the window's 36 columns. `in[f]` is null
// where the window hangs over the volume's border: those columns are zero, after the ReLU.
template <bool Activate, bool Interior, int Channels>
void transform_window(const float* const* in, Activation activation, Slices slices, int any_channels, float* out,
                      size_t out_stride) {
    const int channels = Channels > 0 ? Channels : any_channels;
    const int count = slices.groups * slices.rows;
    for (int n = 0, group = 0, row = 0; n < count; ++n, out += channels) {
        const ptrdiff_t slice = (static_cast<ptrdiff_t>(group) * slices.step + row) * channels;
        if (++row == slices.rows) {
            row = 0;
            ++group;
        }
        for (int channel = 0; channel < channels; channel += Vec::lanes) {
            Vec scale, shift;
            if (Activate) {
                scale = Vec::load(activation.scale + channel);
                shift = Vec::load(activation.shift + channel);
            }
            const ptrdiff_t at = slice + channel;
            float* target = out + channel;
            Vec half_done[window][window];
            EENET_UNROLL
            for (int j = 0; j < window; ++j) {
                Vec column[window], transformed[window];
                EENET_UNROLL
                for (int i = 0; i < window; ++i) {
                    const float* source = in[i * window + j];
                    if (!Interior && source == nullptr) {
                        column[i] = Vec::zero();
                        continue;
                    }
                    column[i] = Vec::load(source + at);
                    __builtin_prefetch(source + at + floats_ahead, 0, 3);
                    if (Activate) column[i] = positive(fma(column[i], scale, shift));
                }
                transform_input(column, transformed);
                EENET_UNROLL
                for (int i = 0; i < window; ++i) half_done[i][j] = transformed[i];
            }
            EENET_UNROLL
            for (int i = 0; i < window; ++i) {
                Vec transformed[window];
                transform_input(half_done[i], transformed);
                EENET_UNROLL
                for (int j = 0; j < window; ++j) transformed[j].store(target + (i * window + j) * out_stride);
            }
        }
    }
}

template <int Channels>
void transform_window(const float* const* in, Activation activation, Slices slices, int channels, float* out,
                      size_t out_stride) {
    bool interior = true;
    for (int f = 0; f < frequencies; ++f) interior &= in[f] != nullptr;
    if (activation.scale != nullptr) {
        if (interior)
            transform_window<true, true, Channels>(in, activation, slices, channels, out, out_stride);
        else
            transform_window<true, false, Channels>(in, activation, slices, channels, out, out_stride);
    } else {
        if (interior)
            transform_window<false, true, Channels>(in, activation, slices, channels, out, out_stride);
        else
            transform_window<false, false, Channels>(in, activation, slices, channels, out, out_stride);
    }
}

// With 16 channels, scale and shift stay in registers.
inline void transform_window(const float* const* in, Activation activation, Slices slices, int channels, float* out,
                             size_t out_stride) {
    if (channels == 16)
        transform_window<16>(in, activation, slices, channels, out, out_stride);
    else
        transform_window<0>(in, activation, slices, channels, out, out_stride);
}

// A^T m A of one vector: in[f * in_stride] for 36 frequencies, out for 4 x 4 columns.
EENET_INLINE void transform_tile(const float* in, size_t in_stride, Vec out[tile][tile]) {
    Vec half_done[tile][window];
    EENET_UNROLL
    for (int j = 0; j < window; ++j) {
        Vec column[window], transformed[tile];
        EENET_UNROLL
        for (int i = 0; i < window; ++i) column[i] = Vec::load(in + (i * window + j) * in_stride);
        transform_output(column, transformed);
        EENET_UNROLL
        for (int i = 0; i < tile; ++i) half_done[i][j] = transformed[i];
    }
    EENET_UNROLL
    for (int i = 0; i < tile; ++i) transform_output(half_done[i], out[i]);
}

// Pointers to the columns of the window whose tile begins at (row, column); null outside the plane.
inline void window_columns(const float* input, int height, int width, size_t column_floats, int row, int column,
                           const float* columns[frequencies]) {
    EENET_UNROLL
    for (int i = 0; i < window; ++i) {
        EENET_UNROLL
        for (int j = 0; j < window; ++j) {
            const int h = row + i - 1, w = column + j - 1;
            const bool inside = h >= 0 && h < height && w >= 0 && w < width;
            columns[i * window + j] = inside ? input + (static_cast<size_t>(h) * width + w) * column_floats : nullptr;
        }
    }
}

}  // namespace
