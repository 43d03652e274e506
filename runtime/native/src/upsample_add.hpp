// A decoder step up: 1x1x1 convolution at low depth, each slice repeated along depth, added to the encoder's skip in
// place. The repeated tensor never exists; the next group norm's sums are taken on the way.

#pragma once

#include <cstring>

#include "convolution.hpp"

namespace {

using eenet::UpsampleAdd;

inline size_t upsample_scratch(const UpsampleAdd& layer) {
    return whole_lines(static_cast<size_t>(layer.low_depth) * layer.channels);
}

inline void upsample_add(const UpsampleAdd& layer, const float* low, float* skip, double* item_sums, int item,
                         float* memory) {
    const int channels = layer.channels;
    double sums[2 * max_channels] = {};
    for (int w = 0; w < layer.width; ++w) {
        const size_t column = static_cast<size_t>(item) * layer.width + w;
        const float* low_column = low + column * layer.low_depth * layer.low_channels;
        float* skip_column = skip + column * layer.low_depth * layer.factor * channels;
        multiply(layer.low_depth, layer.low_channels, channels, low_column, layer.low_channels, layer.weights, memory,
                 channels);
        for (int channel = 0; channel < channels; channel += Vec::lanes) {
            const Vec bias = Vec::load(layer.bias + channel);
            DoubleVec sum, squares;
            for (int d = 0; d < layer.low_depth; ++d) {
                const Vec value = Vec::load(memory + d * channels + channel) + bias;
                Vec slice_sum = Vec::zero(), slice_squares = Vec::zero();
                for (int repeat = 0; repeat < layer.factor; ++repeat) {
                    float* target = skip_column + (d * layer.factor + repeat) * channels + channel;
                    const Vec added = value + Vec::load(target);
                    added.store(target);
                    slice_sum = slice_sum + added;
                    slice_squares = fma(added, added, slice_squares);
                }
                sum.add(slice_sum);
                squares.add(slice_squares);
            }
            add_to_sums(sum, squares, sums + channel, channels);
        }
    }
    memcpy(item_sums + static_cast<size_t>(item) * 2 * channels, sums, sizeof(double) * 2 * channels);
}

}  // namespace
