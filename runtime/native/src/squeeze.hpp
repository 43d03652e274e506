// The encoder's last layer: 64 channels to one and ReLU. Three slices of one channel are the 2D network's three
// colours.

#pragma once

#include "kernels.hpp"
#include "simd.hpp"

namespace {

inline void squeeze(const eenet::Squeeze& layer, const float* input, float* plane, int item) {
    const int slices = layer.width * layer.depth;
    input += static_cast<size_t>(item) * slices * layer.channels;
    plane += static_cast<size_t>(item) * slices;
    for (int n = 0; n < slices; ++n, input += layer.channels) {
        Vec sum = Vec::zero();
        for (int channel = 0; channel < layer.channels; channel += Vec::lanes)
            sum = fma(Vec::load(input + channel), Vec::load(layer.weights + channel), sum);
        float lanes[Vec::lanes];
        sum.store(lanes);
        for (int half = Vec::lanes / 2; half > 0; half /= 2)
            for (int k = 0; k < half; ++k) lanes[k] += lanes[k + half];
        const float value = lanes[0] + layer.bias;
        plane[n] = value < 0.0f ? 0.0f : value;  // NaN stays NaN
    }
}

}  // namespace
