// The 3D half of EENet, twice: the encoder down to three slices, and the decoder back up to labels.

#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "group_norm.hpp"
#include "kernels.hpp"
#include "memory.hpp"
#include "thread_pool.hpp"
#include "weights.hpp"

namespace eenet {

constexpr std::array<int, 4> level_channels{16, 32, 64, 64};  // at full depth and after each stride

struct Geometry {
    int height, width, depth;
    std::array<int, 3> strides;

    // The same; throws std::invalid_argument, with the reason, for a geometry that cannot work.
    static Geometry checked(const Geometry& geometry);
};

// A 3x3x3 convolution with its own copy of the weights.
struct ConvolutionLayer {
    Convolution layer;
    Buffer<float> weights, bias, shortcut;
};

// norm, ReLU, convolution, norm, ReLU, convolution, plus a 1x1x1 convolution of the input.
struct Block {
    std::array<Buffer<float>, 4> norm_weights;  // gamma and beta of either norm
    std::array<GroupNorm, 2> norms;
    std::array<ConvolutionLayer, 2> convolutions;
};

struct UpsampleLayer {
    UpsampleAdd layer;
    Buffer<float> weights, bias;
};

class Engine {
  public:
    // Weights are copied. Throws std::invalid_argument for a geometry or number of threads that cannot be, and
    // std::bad_alloc.
    Engine(const Geometry& geometry, const Weights& weights, int threads, const Kernels& kernels);

    // volume [4][H][W][D] -> plane [H][W][3]; keeps the skips. Throws std::domain_error if a value of the volume, or
    // anything that the network makes of it, is not finite.
    void encode(const float* volume, float* plane);

    // plane [H][W][3] -> labels [H][W][D] or probabilities [4][H][W][D]; the other one is null. Uses the skips up, so
    // it follows an `encode`. Throws std::domain_error as above.
    void decode(const float* plane, uint8_t* labels, float* probabilities);

    // Everything that the engine holds in buffers, for its life.
    size_t memory_bytes() const;
    int threads() const { return pool_.threads(); }
    const Kernels& kernels() const { return kernels_; }

  private:
    void make_layers(const Weights& weights);
    ConvolutionLayer make_convolution(const Weights& weights, const std::string& name, int depth_in, int stride) const;
    Block make_block(const Weights& weights, const std::string& name, int depth) const;
    UpsampleLayer make_upsample(const Weights& weights, const std::string& name, int low_depth, int factor) const;
    void allocate();

    // f(const Block&), and f(const ConvolutionLayer&) for the 17 inside blocks and between them.
    template <typename F>
    void for_each_block(F f) const {
        for (const Block& block : encoder_blocks_) f(block);
        for (const Block& block : decoder_blocks_) f(block);
    }
    template <typename F>
    void for_each_convolution(F f) const {
        for (const ConvolutionLayer& convolution : strided_) f(convolution);
        for_each_block([&](const Block& block) {
            for (const ConvolutionLayer& convolution : block.convolutions) f(convolution);
        });
    }

    void check_finite(const float* values, size_t count, const char* what);
    void run_convolution(const ConvolutionLayer& convolution, const ConvolutionCall& call);
    void run_block(const Block& block, float* activation, int sum_items);
    void run_upsample(const UpsampleLayer& upsample, const float* low, float* skip);
    float* scratch(int worker) const { return scratch_.data() + static_cast<size_t>(worker) * scratch_floats_; }

    Geometry geometry_;
    const Kernels& kernels_;
    std::array<int, 4> depths_;  // at full depth and after each stride; the last is 3

    InputConvolution input_;
    Buffer<float> input_weights_, input_bias_;
    std::array<Block, 4> encoder_blocks_;
    std::array<ConvolutionLayer, 3> strided_;
    Squeeze squeeze_;
    Buffer<float> squeeze_weights_;
    std::array<UpsampleLayer, 3> upsamples_;  // deepest first
    std::array<Block, 3> decoder_blocks_;
    Head head_;
    Buffer<float> head_weights_, head_bias_;

    // Activations, each [H][W][depth][channels]. A block works in place: its first convolution goes from here to
    // `work_`, its second one back, and the shortcut reads what the second overwrites. What an encoder level leaves
    // in place is the skip of its decoder level, which adds to it and goes on in the same memory.
    std::array<Buffer<float>, 4> levels_;
    Buffer<float> work_;
    Buffer<double> sums_;
    Buffer<uint8_t> finite_;
    std::array<float, level_channels.back()> scale_{}, shift_{};
    size_t scratch_floats_ = 0;
    Buffer<float> scratch_;

    ThreadPool pool_;
};

}  // namespace eenet
