#include "engine.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>

#include "plan.hpp"
#include "scratch.hpp"

namespace eenet {
namespace {

constexpr int slices = 3;           // what the 2D network sees
constexpr int plane_multiple = 32;  // it halves the plane five times
constexpr int max_size = 4096;      // of one axis
constexpr int64_t max_voxels = 1'000'000'000;
constexpr int max_threads = 1024;

Buffer<float> copy(const float* values, size_t count) {
    Buffer<float> buffer(count);
    std::memcpy(buffer.data(), values, buffer.bytes());
    return buffer;
}

std::string describe(const Geometry& g) {
    return "shape (" + std::to_string(g.height) + ", " + std::to_string(g.width) + ", " + std::to_string(g.depth) +
           "), depth strides (" + std::to_string(g.strides[0]) + ", " + std::to_string(g.strides[1]) + ", " +
           std::to_string(g.strides[2]) + ")";
}

int checked_threads(int threads) {
    if (threads < 1 || threads > max_threads)
        throw std::invalid_argument("threads: " + std::to_string(threads) + " found, expected 1 to " +
                                    std::to_string(max_threads));
    return threads;
}

}  // namespace

Geometry Geometry::checked(const Geometry& geometry) {
    const auto refuse = [&](const std::string& reason) {
        throw std::invalid_argument(describe(geometry) + ": " + reason);
    };
    const std::string up_to_max = ", up to " + std::to_string(max_size);
    for (const int size : {geometry.height, geometry.width})
        if (size < plane_multiple || size > max_size || size % plane_multiple != 0)
            refuse("H and W must be multiples of " + std::to_string(plane_multiple) + up_to_max);
    double product = slices;
    for (const int stride : geometry.strides) {
        if (stride < 1 || stride > max_size) refuse("strides must be positive" + up_to_max);
        product *= stride;
    }
    if (product != geometry.depth || geometry.depth > max_size)
        refuse("D must be " + std::to_string(slices) + " times the product of the strides" + up_to_max);
    if (int64_t{geometry.height} * geometry.width * geometry.depth > max_voxels)
        refuse("more than " + std::to_string(max_voxels) + " voxels");
    return geometry;
}

Engine::Engine(const Geometry& geometry, const Weights& weights, int threads, const Kernels& kernels)
    : geometry_(Geometry::checked(geometry)), kernels_(kernels), pool_(checked_threads(threads)) {
    depths_[0] = geometry.depth;
    for (size_t n = 0; n < 3; ++n) depths_[n + 1] = depths_[n] / geometry.strides[n];
    make_layers(weights);
    allocate();
}

void Engine::make_layers(const Weights& weights) {
    const int height = geometry_.height, width = geometry_.width, depth = geometry_.depth;

    input_weights_ = pack_input_convolution(weights["Input_L1/kernel"]);
    input_bias_ = copy(weights["Input_L1/bias"], level_channels.front());
    input_ = {height, width, depth, input_weights_.data(), input_bias_.data()};

    for (size_t n = 0; n < 4; ++n) encoder_blocks_[n] = make_block(weights, "L" + std::to_string(n + 1), depths_[n]);
    for (size_t n = 0; n < 3; ++n)
        strided_[n] = make_convolution(weights, "Post_L" + std::to_string(n + 1), depths_[n], geometry_.strides[n]);

    constexpr int deepest_channels = level_channels.back();
    squeeze_weights_ = copy(weights["Enc_DownSample_128/kernel"], deepest_channels);
    squeeze_ = {
        height, width, slices, deepest_channels, squeeze_weights_.data(), weights["Enc_DownSample_128/bias"][0]};

    for (size_t n = 0; n < 3; ++n) {
        const std::string name = "L" + std::to_string(n + 1) + "_Dec";
        upsamples_[n] = make_upsample(weights, name, depths_[3 - n], geometry_.strides[2 - n]);
        decoder_blocks_[n] = make_block(weights, "Post_" + name, depths_[2 - n]);
    }

    head_weights_ = pack_head(weights["L4_Dec/kernel"], weights["Model_Outputs/kernel"]);
    head_bias_ = fold_head_bias(weights["L4_Dec/bias"], weights["Model_Outputs/kernel"], weights["Model_Outputs/bias"]);
    head_ = {height, width, depth, head_weights_.data(), head_bias_.data()};
}

ConvolutionLayer Engine::make_convolution(const Weights& weights, const std::string& name, int depth_in,
                                          int stride) const {
    const std::vector<int> shape = tensor_shape(name + "/kernel");
    ConvolutionLayer made;
    Convolution& layer = made.layer;
    layer.height = geometry_.height;
    layer.width = geometry_.width;
    layer.depth_in = depth_in;
    layer.depth_out = depth_in / stride;
    layer.out_channels = shape[0];
    layer.in_channels = shape[1];
    layer.stride = stride;
    // TensorFlow's "same": with a stride of 2 the one zero goes to the end, with 3 or more there is none.
    layer.pad = stride == 1 ? 1 : 0;
    layer.method = depth_method(layer.depth_out, stride);
    plan_items(layer);
    made.weights = pack_convolution(weights[name + "/kernel"], layer.in_channels, layer.out_channels, layer.method,
                                    kernels_.max_panel);
    made.bias = copy(weights[name + "/bias"], static_cast<size_t>(layer.out_channels));
    layer.weights = made.weights.data();
    layer.bias = made.bias.data();
    return made;
}

Block Engine::make_block(const Weights& weights, const std::string& name, int depth) const {
    Block block;
    for (size_t n = 0; n < 2; ++n) {
        const std::string step = std::to_string(n + 1);
        ConvolutionLayer& convolution = block.convolutions[n];
        convolution = make_convolution(weights, "Conv3D_" + step + "_" + name, depth, 1);
        const size_t channels = static_cast<size_t>(convolution.layer.out_channels);
        const std::string norm = "GroupNorm_" + step + "_" + name;
        block.norm_weights[2 * n] = copy(weights[norm + "/gamma"], channels);
        block.norm_weights[2 * n + 1] = copy(weights[norm + "/beta"], channels);
        block.norms[n] = {norm, block.norm_weights[2 * n].data(), block.norm_weights[2 * n + 1].data()};
    }
    ConvolutionLayer& last = block.convolutions[1];
    const int channels = last.layer.out_channels;
    last.shortcut = pack_pointwise(weights["Res_" + name + "/kernel"], channels, channels, kernels_.max_panel);
    last.layer.shortcut = last.shortcut.data();
    const float* shortcut_bias = weights["Res_" + name + "/bias"];
    for (int c = 0; c < channels; ++c) last.bias[static_cast<size_t>(c)] += shortcut_bias[c];
    return block;
}

UpsampleLayer Engine::make_upsample(const Weights& weights, const std::string& name, int low_depth, int factor) const {
    const std::vector<int> shape = tensor_shape(name + "/kernel");
    UpsampleLayer made;
    made.weights = pack_pointwise(weights[name + "/kernel"], shape[1], shape[0], kernels_.max_panel);
    made.bias = copy(weights[name + "/bias"], static_cast<size_t>(shape[0]));
    made.layer = {geometry_.height, geometry_.width, low_depth,           factor,
                  shape[1],         shape[0],        made.weights.data(), made.bias.data()};
    return made;
}

void Engine::allocate() {
    const size_t plane = static_cast<size_t>(geometry_.height) * geometry_.width;
    size_t work = 0;
    for (size_t n = 0; n < 4; ++n) {
        const size_t floats = plane * depths_[n] * level_channels[n];
        levels_[n] = Buffer<float>(floats);
        work = std::max(work, floats);
    }
    work_ = Buffer<float>(work);

    size_t sums = static_cast<size_t>(input_.items()) * level_channels.front();
    scratch_floats_ = std::max(kernels_.input_scratch(input_), kernels_.head_scratch(head_));
    for_each_convolution([&](const ConvolutionLayer& convolution) {
        const Convolution& layer = convolution.layer;
        scratch_floats_ = std::max(scratch_floats_, kernels_.convolution_scratch(layer));
        sums = std::max(sums, static_cast<size_t>(layer.items()) * layer.out_channels);
    });
    for (const UpsampleLayer& upsample : upsamples_) {
        scratch_floats_ = std::max(scratch_floats_, kernels_.upsample_scratch(upsample.layer));
        sums = std::max(sums, static_cast<size_t>(upsample.layer.items()) * upsample.layer.channels);
    }
    sums_ = Buffer<double>(2 * sums);
    finite_ = Buffer<uint8_t>(static_cast<size_t>(std::max(head_.items(), geometry_.height)));
    scratch_floats_ = whole_lines(scratch_floats_);
    scratch_ = Buffer<float>(scratch_floats_ * pool_.threads());
}

size_t Engine::memory_bytes() const {
    size_t bytes = 0;
    const auto add = [&](const auto&... buffers) { bytes += (buffers.bytes() + ...); };
    add(input_weights_, input_bias_, squeeze_weights_, head_weights_, head_bias_);
    add(work_, sums_, finite_, scratch_);
    for (const Buffer<float>& level : levels_) add(level);
    for (const UpsampleLayer& upsample : upsamples_) add(upsample.weights, upsample.bias);
    for_each_convolution([&](const ConvolutionLayer& layer) { add(layer.weights, layer.bias, layer.shortcut); });
    for_each_block([&](const Block& block) {
        for (const Buffer<float>& weights : block.norm_weights) add(weights);
    });
    return bytes;
}

void Engine::encode(const float* volume, float* plane) {
    const size_t voxels = static_cast<size_t>(geometry_.height) * geometry_.width * geometry_.depth;
    check_finite(volume, modalities * voxels, "the volume");

    pool_.run(input_.items(), [&](int item, int worker) {
        kernels_.input_convolution(input_, volume, levels_[0].data(), sums_.data(), item, scratch(worker));
    });
    int items = input_.items();
    for (size_t n = 0; n < 4; ++n) {
        run_block(encoder_blocks_[n], levels_[n].data(), items);
        if (n == 3) break;
        ConvolutionCall call{levels_[n].data(), levels_[n + 1].data()};
        call.sums = sums_.data();
        run_convolution(strided_[n], call);
        items = strided_[n].layer.items();
    }
    pool_.run(squeeze_.items(), [&](int item, int) { kernels_.squeeze(squeeze_, levels_[3].data(), plane, item); });
    check_finite(plane, voxels / geometry_.depth * slices, "what the encoder makes of this volume");
}

void Engine::decode(const float* plane, uint8_t* labels, float* probabilities) {
    check_finite(plane, static_cast<size_t>(geometry_.height) * geometry_.width * slices, "the 2D network's output");
    const float* low = plane;
    for (size_t n = 0; n < 3; ++n) {
        float* skip = levels_[2 - n].data();
        run_upsample(upsamples_[n], low, skip);
        run_block(decoder_blocks_[n], skip, upsamples_[n].layer.items());
        low = skip;
    }
    const HeadCall call{low, labels, probabilities, finite_.data()};
    pool_.run(head_.items(), [&](int item, int worker) { kernels_.head(head_, call, item, scratch(worker)); });
    if (!std::all_of(finite_.data(), finite_.data() + head_.items(), [](uint8_t finite) { return finite != 0; }))
        throw std::domain_error("logits are not finite: the network overflows on this volume");
}

void Engine::check_finite(const float* values, size_t count, const char* what) {
    const int pieces = geometry_.height;  // of equal size in the volume and in the plane
    const size_t size = count / static_cast<size_t>(pieces);
    pool_.run(pieces, [&](int piece, int) {
        const float* begin = values + static_cast<size_t>(piece) * size;
        // Without a branch in the loop the compiler makes vectors of it.
        constexpr float largest = std::numeric_limits<float>::max();
        unsigned bad = 0;
        for (size_t n = 0; n < size; ++n) bad |= static_cast<unsigned>(!(std::fabs(begin[n]) <= largest));
        finite_[static_cast<size_t>(piece)] = bad == 0 ? 1 : 0;
    });
    if (!std::all_of(finite_.data(), finite_.data() + pieces, [](uint8_t finite) { return finite != 0; }))
        throw std::domain_error(std::string(what) + " holds values that are not finite");
}

void Engine::run_convolution(const ConvolutionLayer& convolution, const ConvolutionCall& call) {
    pool_.run(convolution.layer.items(),
              [&](int item, int worker) { kernels_.convolution(convolution.layer, call, item, scratch(worker)); });
}

void Engine::run_block(const Block& block, float* activation, int sum_items) {
    const Convolution& first = block.convolutions[0].layer;
    const int channels = first.out_channels;
    const double voxels = static_cast<double>(first.height) * first.width * first.depth_out;

    scale_and_shift(block.norms[0], sums_.data(), sum_items, channels, voxels, scale_.data(), shift_.data());
    ConvolutionCall call{activation, work_.data(), scale_.data(), shift_.data()};
    call.sums = sums_.data();
    run_convolution(block.convolutions[0], call);

    scale_and_shift(block.norms[1], sums_.data(), first.items(), channels, voxels, scale_.data(), shift_.data());
    call = {work_.data(), activation, scale_.data(), shift_.data(), activation};
    run_convolution(block.convolutions[1], call);
}

void Engine::run_upsample(const UpsampleLayer& upsample, const float* low, float* skip) {
    pool_.run(upsample.layer.items(), [&](int item, int worker) {
        kernels_.upsample_add(upsample.layer, low, skip, sums_.data(), item, scratch(worker));
    });
}

}  // namespace eenet
