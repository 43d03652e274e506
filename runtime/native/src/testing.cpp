// Single layers for the tests, by eenet_native/_testing.py: a kernel, its packing and its plan, without an engine.
// Every array is in the order that the kernel documents; the caller has checked the sizes.

#include <cstring>
#include <memory>

#include "cpu.hpp"
#include "engine.hpp"
#include "plan.hpp"
#include "status.hpp"

namespace eenet {
namespace {

// Sums of all items, in their order: [2][channels].
void reduce(const Buffer<double>& by_item, int items, int channels, double* sums) {
    std::memset(sums, 0, sizeof(double) * 2 * static_cast<size_t>(channels));
    for (int item = 0; item < items; ++item)
        for (int c = 0; c < 2 * channels; ++c) sums[c] += by_item[static_cast<size_t>(item) * 2 * channels + c];
}

// The caller's array for the time of a call, aligned as the engine's activations are: kernels rely on that.
class Aligned {
  public:
    Aligned(float* values, size_t count) : values_(values), buffer_(count) {
        std::memcpy(buffer_.data(), values, buffer_.bytes());
    }
    ~Aligned() { std::memcpy(values_, buffer_.data(), buffer_.bytes()); }
    Aligned(const Aligned&) = delete;
    Aligned& operator=(const Aligned&) = delete;
    float* data() const { return buffer_.data(); }

  private:
    float* values_;
    Buffer<float> buffer_;
};

}  // namespace
}  // namespace eenet

using namespace eenet;

// Bytes of all buffers that exist in this process.
EENET_API size_t eenet_test_live_buffer_bytes() { return live_buffer_bytes; }

// sizes: H, W, D in, D out, channels in, channels out, stride, zeros before, tiles, chunk (0: planned).
EENET_API int eenet_test_convolution(const char* instructions, const int* sizes, const float* input,
                                     const float* kernel, const float* bias, const float* scale, const float* shift,
                                     const float* shortcut_kernel, float* output, double* sums, char* message,
                                     size_t message_size) {
    return guarded(message, message_size, [&] {
        const Kernels& kernels = choose_kernels(instructions);
        Convolution layer{};
        layer.height = sizes[0];
        layer.width = sizes[1];
        layer.depth_in = sizes[2];
        layer.depth_out = sizes[3];
        layer.in_channels = sizes[4];
        layer.out_channels = sizes[5];
        layer.stride = sizes[6];
        layer.pad = sizes[7];
        layer.method = depth_method(layer.depth_out, layer.stride);
        plan_items(layer);
        layer.tiles = sizes[8];
        if (sizes[9] > 0) layer.chunk = sizes[9];
        const Buffer<float> weights =
            pack_convolution(kernel, layer.in_channels, layer.out_channels, layer.method, kernels.max_panel);
        const Aligned aligned(output,
                              static_cast<size_t>(layer.height) * layer.width * layer.depth_out * layer.out_channels);
        Buffer<float> shortcut;
        layer.weights = weights.data();
        layer.bias = bias;
        ConvolutionCall call{input, aligned.data(), scale, shift};
        if (shortcut_kernel != nullptr) {
            shortcut = pack_pointwise(shortcut_kernel, layer.out_channels, layer.out_channels, kernels.max_panel);
            layer.shortcut = shortcut.data();
            call.shortcut_input = aligned.data();  // in place, as in the engine
        }
        const Buffer<double> by_item(static_cast<size_t>(layer.items()) * 2 * layer.out_channels);
        const Buffer<float> scratch(kernels.convolution_scratch(layer));
        call.sums = by_item.data();
        for (int item = 0; item < layer.items(); ++item) kernels.convolution(layer, call, item, scratch.data());
        reduce(by_item, layer.items(), layer.out_channels, sums);
    });
}

// sizes: H, W, D.
EENET_API int eenet_test_input_convolution(const char* instructions, const int* sizes, const float* volume,
                                           const float* kernel, const float* bias, float* output, double* sums,
                                           char* message, size_t message_size) {
    return guarded(message, message_size, [&] {
        const Kernels& kernels = choose_kernels(instructions);
        const Buffer<float> weights = pack_input_convolution(kernel);
        const InputConvolution layer{sizes[0], sizes[1], sizes[2], weights.data(), bias};
        const Aligned aligned(output, static_cast<size_t>(layer.height) * layer.width * layer.depth * 16);
        const Buffer<double> by_item(static_cast<size_t>(layer.items()) * 2 * 16);
        const Buffer<float> scratch(kernels.input_scratch(layer));
        for (int item = 0; item < layer.items(); ++item)
            kernels.input_convolution(layer, volume, aligned.data(), by_item.data(), item, scratch.data());
        reduce(by_item, layer.items(), 16, sums);
    });
}

// sizes: H, W, D. labels or probabilities is null. Returns not_finite where a logit is not.
EENET_API int eenet_test_head(const char* instructions, const int* sizes, const float* input, const float* kernel,
                              const float* bias, const float* head_kernel, const float* head_bias, uint8_t* labels,
                              float* probabilities, char* message, size_t message_size) {
    return guarded(message, message_size, [&] {
        const Kernels& kernels = choose_kernels(instructions);
        const Buffer<float> weights = pack_head(kernel, head_kernel);
        const Buffer<float> folded = fold_head_bias(bias, head_kernel, head_bias);
        const Head layer{sizes[0], sizes[1], sizes[2], weights.data(), folded.data()};
        const Buffer<uint8_t> finite(static_cast<size_t>(layer.items()));
        const Buffer<float> scratch(kernels.head_scratch(layer));
        const HeadCall call{input, labels, probabilities, finite.data()};
        bool all = true;
        for (int item = 0; item < layer.items(); ++item) {
            kernels.head(layer, call, item, scratch.data());
            all = all && finite[static_cast<size_t>(item)] != 0;
        }
        if (!all) throw std::domain_error("logits are not finite");
    });
}

// sizes: H, W, low depth, factor, low channels, channels. skip is changed.
EENET_API int eenet_test_upsample_add(const char* instructions, const int* sizes, const float* low, const float* kernel,
                                      const float* bias, float* skip, double* sums, char* message,
                                      size_t message_size) {
    return guarded(message, message_size, [&] {
        const Kernels& kernels = choose_kernels(instructions);
        const Buffer<float> weights = pack_pointwise(kernel, sizes[4], sizes[5], kernels.max_panel);
        const UpsampleAdd layer{sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5], weights.data(), bias};
        const Buffer<double> by_item(static_cast<size_t>(layer.items()) * 2 * layer.channels);
        const Buffer<float> scratch(kernels.upsample_scratch(layer));
        for (int item = 0; item < layer.items(); ++item)
            kernels.upsample_add(layer, low, skip, by_item.data(), item, scratch.data());
        reduce(by_item, layer.items(), layer.channels, sums);
    });
}

// sizes: H, W, D, channels.
EENET_API int eenet_test_squeeze(const char* instructions, const int* sizes, const float* input, const float* weights,
                                 float bias, float* plane, char* message, size_t message_size) {
    return guarded(message, message_size, [&] {
        const Squeeze layer{sizes[0], sizes[1], sizes[2], sizes[3], weights, bias};
        for (int item = 0; item < layer.items(); ++item)
            choose_kernels(instructions).squeeze(layer, input, plane, item);
    });
}

// sums [items][2][channels] -> scale and shift [channels].
EENET_API int eenet_test_group_norm(const double* sums, int items, int channels, double voxels, const float* gamma,
                                    const float* beta, float* scale, float* shift, char* message, size_t message_size) {
    return guarded(message, message_size,
                   [&] { scale_and_shift({"a norm", gamma, beta}, sums, items, channels, voxels, scale, shift); });
}
