// Runs every kernel on awkward shapes and a whole engine on a small volume, for the sanitizers: they look for reads and
// writes outside buffers, undefined behaviour and data races, so the values do not matter here. The tests in Python
// judge those. Buffers are exactly as large as documented.

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <vector>

#include "cpu.hpp"
#include "engine.hpp"
#include "joint_histogram.hpp"
#include "plan.hpp"

using namespace eenet;

namespace {

std::mt19937 generator(0);

Buffer<float> noise(size_t count) {
    Buffer<float> values(count);
    std::uniform_real_distribution<float> distribution(-1.0f, 1.0f);
    for (size_t n = 0; n < count; ++n) values[n] = distribution(generator);
    return values;
}

int pick(std::initializer_list<int> choices) { return choices.begin()[generator() % choices.size()]; }

void run_convolution(const Kernels& kernels) {
    Convolution layer{};
    layer.height = pick({4, 8, 12});
    layer.width = pick({4, 8, 16});
    layer.stride = pick({1, 1, 2, 3, 4, 5});
    layer.pad = layer.stride == 1 ? 1 : 0;
    layer.method = DepthMethod::direct;
    if (layer.stride == 1) layer.method = generator() % 2 == 0 ? DepthMethod::winograd4 : DepthMethod::winograd6;
    layer.depth_out = 1 + static_cast<int>(generator() % 13);
    layer.depth_in = layer.depth_out * layer.stride;
    layer.in_channels = pick({16, 32, 64});
    layer.out_channels = pick({16, 32, 64});
    plan_items(layer);
    layer.tiles = layer.width / plane_tile / pick({1, layer.width / plane_tile});
    layer.chunk = pick({4, 6, 8, layer.chunk});

    const size_t plane = static_cast<size_t>(layer.height) * layer.width;
    const size_t matrix = static_cast<size_t>(layer.in_channels) * layer.out_channels;
    const Buffer<float> kernel = noise(27 * matrix);
    const Buffer<float> weights =
        pack_convolution(kernel.data(), layer.in_channels, layer.out_channels, layer.method, kernels.max_panel);
    const Buffer<float> bias = noise(static_cast<size_t>(layer.out_channels));
    const Buffer<float> scale = noise(static_cast<size_t>(layer.in_channels));
    const Buffer<float> shift = noise(static_cast<size_t>(layer.in_channels));
    const Buffer<float> pointwise = noise(static_cast<size_t>(layer.out_channels) * layer.out_channels);
    const Buffer<float> shortcut =
        pack_pointwise(pointwise.data(), layer.out_channels, layer.out_channels, kernels.max_panel);
    const Buffer<float> input = noise(plane * layer.depth_in * layer.in_channels);
    const Buffer<float> output = noise(plane * layer.depth_out * layer.out_channels);
    const Buffer<double> sums(static_cast<size_t>(layer.items()) * 2 * layer.out_channels);
    const bool shortened = generator() % 2 == 0;
    layer.weights = weights.data();
    layer.bias = bias.data();
    layer.shortcut = shortened ? shortcut.data() : nullptr;
    ConvolutionCall call{input.data(), output.data()};
    if (generator() % 2 == 0) {
        call.scale = scale.data();
        call.shift = shift.data();
    }
    call.shortcut_input = shortened ? output.data() : nullptr;
    call.sums = generator() % 2 == 0 ? sums.data() : nullptr;
    const Buffer<float> scratch(kernels.convolution_scratch(layer));
    for (int item = 0; item < layer.items(); ++item) kernels.convolution(layer, call, item, scratch.data());
}

void run_ends(const Kernels& kernels) {
    const int height = pick({4, 8}), width = pick({4, 12}), depth = 1 + static_cast<int>(generator() % 37);
    const size_t voxels = static_cast<size_t>(height) * width * depth;
    const Buffer<float> volume = noise(modalities * voxels), activation = noise(16 * voxels), bias = noise(16);
    const Buffer<float> first = noise(16 * 4 * 27), last = noise(16 * 16 * 27), pointwise = noise(4 * 16);

    const Buffer<float> input_weights = pack_input_convolution(first.data());
    const InputConvolution input{height, width, depth, input_weights.data(), bias.data()};
    const Buffer<double> sums(static_cast<size_t>(input.items()) * 2 * 16);
    const Buffer<float> input_scratch(kernels.input_scratch(input));
    for (int item = 0; item < input.items(); ++item)
        kernels.input_convolution(input, volume.data(), activation.data(), sums.data(), item, input_scratch.data());

    const Buffer<float> head_weights = pack_head(last.data(), pointwise.data());
    const Buffer<float> head_bias = fold_head_bias(bias.data(), pointwise.data(), bias.data());
    const Head head{height, width, depth, head_weights.data(), head_bias.data()};
    const Buffer<uint8_t> labels(voxels), finite(static_cast<size_t>(head.items()));
    const Buffer<float> probabilities(classes * voxels), head_scratch(kernels.head_scratch(head));
    for (int item = 0; item < head.items(); ++item) {
        kernels.head(head, {activation.data(), labels.data(), nullptr, finite.data()}, item, head_scratch.data());
        kernels.head(head, {activation.data(), nullptr, probabilities.data(), finite.data()}, item,
                     head_scratch.data());
    }
}

void run_upsample_and_squeeze(const Kernels& kernels) {
    const int height = pick({4, 8}), width = pick({4, 12}), low_depth = 1 + static_cast<int>(generator() % 15);
    const int factor = pick({1, 2, 3, 5}), in = pick({1, 32, 64}), out = pick({16, 32, 64});
    const size_t columns = static_cast<size_t>(height) * width;
    const Buffer<float> kernel = noise(static_cast<size_t>(in) * out), bias = noise(static_cast<size_t>(out));
    const Buffer<float> weights = pack_pointwise(kernel.data(), in, out, kernels.max_panel);
    const Buffer<float> low = noise(columns * low_depth * in), skip = noise(columns * low_depth * factor * out);
    const UpsampleAdd layer{height, width, low_depth, factor, in, out, weights.data(), bias.data()};
    const Buffer<double> sums(static_cast<size_t>(layer.items()) * 2 * out);
    const Buffer<float> scratch(kernels.upsample_scratch(layer));
    for (int item = 0; item < layer.items(); ++item)
        kernels.upsample_add(layer, low.data(), skip.data(), sums.data(), item, scratch.data());

    const Buffer<float> plane(columns * low_depth * factor);
    const Squeeze squeeze{height, width, low_depth * factor, out, bias.data(), 0.5f};
    for (int item = 0; item < squeeze.items(); ++item) kernels.squeeze(squeeze, skip.data(), plane.data(), item);
}

void run_engine(const Kernels& kernels, const Geometry& geometry, int threads) {
    std::vector<Buffer<float>> tensors;
    std::vector<const float*> pointers;
    for (const TensorSpec& spec : tensor_specs()) {
        tensors.push_back(noise(spec.size()));
        pointers.push_back(tensors.back().data());
    }
    Engine engine(geometry, Weights(pointers.data()), threads, kernels);
    const size_t plane_size = static_cast<size_t>(geometry.height) * geometry.width * 3;
    const size_t voxels = static_cast<size_t>(geometry.height) * geometry.width * geometry.depth;
    const Buffer<float> volume = noise(modalities * voxels), plane(plane_size), probabilities(classes * voxels);
    const Buffer<uint8_t> labels(voxels);
    for (int repeat = 0; repeat < 2; ++repeat) {
        engine.encode(volume.data(), plane.data());
        engine.decode(plane.data(), labels.data(), nullptr);
        engine.encode(volume.data(), plane.data());
        engine.decode(plane.data(), nullptr, probabilities.data());
    }
}

void run_joint_histogram() {
    const int shape[3] = {pick({2, 3, 9}), pick({2, 5}), pick({2, 7})};
    const size_t count = generator() % 700, voxels = static_cast<size_t>(shape[0]) * shape[1] * shape[2];
    const Buffer<float> places = noise(3 * count);
    const Buffer<uint8_t> bins(count), moving(voxels);
    const Buffer<uint32_t> counts(histogram_bins * histogram_bins);
    for (size_t n = 0; n < count; ++n) bins[n] = static_cast<uint8_t>(generator());
    for (size_t n = 0; n < voxels; ++n) moving[n] = static_cast<uint8_t>(generator());
    const float scale = static_cast<float>(pick({1, 4, 1000}));
    const float to_voxels[12] = {scale, 0, 0, 1, 0, scale, 0, 1, 0, 0, scale, 1};
    const float *x = places.data(), *y = x + count, *z = y + count;
    count_joint_histogram({x, y, z, bins.data(), count}, {moving.data(), shape}, to_voxels, counts.data());
}

}  // namespace

int main(int count, char** arguments) {
    const int repeats = count > 1 ? std::atoi(arguments[1]) : 20;
    for (int repeat = 0; repeat < repeats; ++repeat) run_joint_histogram();
    for (const Kernels* kernels : available_kernels()) {
        for (int repeat = 0; repeat < repeats; ++repeat) {
            run_convolution(*kernels);
            run_ends(*kernels);
            run_upsample_and_squeeze(*kernels);
        }
        run_engine(*kernels, {32, 64, 6, {2, 1, 1}}, 3);
        std::printf("%s: clean\n", kernels->name);
        std::fflush(stdout);
    }
    return 0;
}
