#include "weights.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>

namespace eenet {
namespace {

void add_block(std::vector<TensorSpec>& specs, const std::string& name, int channels) {
    specs.push_back({"Res_" + name + "/kernel", {channels, channels, 1, 1, 1}});
    specs.push_back({"Res_" + name + "/bias", {channels}});
    for (const char* step : {"1", "2"}) {
        const std::string norm = std::string("GroupNorm_") + step + "_" + name;
        const std::string convolution = std::string("Conv3D_") + step + "_" + name;
        specs.push_back({norm + "/gamma", {channels}});
        specs.push_back({norm + "/beta", {channels}});
        specs.push_back({convolution + "/kernel", {channels, channels, 3, 3, 3}});
        specs.push_back({convolution + "/bias", {channels}});
    }
}

void add_convolution(std::vector<TensorSpec>& specs, const std::string& name, int in, int out, int size) {
    specs.push_back({name + "/kernel", {out, in, size, size, size}});
    specs.push_back({name + "/bias", {out}});
}

std::vector<TensorSpec> list_tensors() {
    std::vector<TensorSpec> specs;
    add_convolution(specs, "Input_L1", modalities, 16, 3);
    add_block(specs, "L1", 16);
    add_convolution(specs, "Post_L1", 16, 32, 3);
    add_block(specs, "L2", 32);
    add_convolution(specs, "Post_L2", 32, 64, 3);
    add_block(specs, "L3", 64);
    add_convolution(specs, "Post_L3", 64, 64, 3);
    add_block(specs, "L4", 64);
    add_convolution(specs, "Enc_DownSample_128", 64, 1, 1);
    add_convolution(specs, "L1_Dec", 1, 64, 1);
    add_block(specs, "Post_L1_Dec", 64);
    add_convolution(specs, "L2_Dec", 64, 32, 1);
    add_block(specs, "Post_L2_Dec", 32);
    add_convolution(specs, "L3_Dec", 32, 16, 1);
    add_block(specs, "Post_L3_Dec", 16);
    add_convolution(specs, "L4_Dec", 16, 16, 3);
    add_convolution(specs, "Model_Outputs", 16, classes, 1);
    return specs;
}

size_t tensor_index(const std::string& name) {
    const std::vector<TensorSpec>& specs = tensor_specs();
    for (size_t n = 0; n < specs.size(); ++n)
        if (specs[n].name == name) return n;
    throw std::logic_error("no weight is called " + name);
}

constexpr double root = 1.4142135623730950488;  // sqrt(2), the point 1/c

// G . G^T over the plane of one 3x3 slice of taps: frequency (i, j) of `kernel[h][w][tap]`.
double plane_frequency(const double kernel[3][3][3], int i, int j, int tap) {
    double sum = 0.0;
    for (int h = 0; h < 3; ++h)
        for (int w = 0; w < 3; ++w) sum += filter_transform[i][h] * filter_transform[j][w] * kernel[h][w][tap];
    return sum;
}

// The taps of one pair of channels, in double.
struct Taps {
    double at[3][3][3];

    explicit Taps(const float* kernel) {
        for (int n = 0; n < 27; ++n) at[n / 9][n / 3 % 3][n % 3] = static_cast<double>(kernel[n]);
    }
};

// Where element (inner, out) of a matrix lies in panels of `width` columns.
size_t in_panels(int inner, int out, int inner_size, int width) {
    return (static_cast<size_t>(out / width) * inner_size + inner) * width + out % width;
}

}  // namespace

// Row of point p: (1, p, p^2) / prod (p - q) over the other finite points q. Infinity's row picks the last tap.
const std::array<std::array<double, 3>, 6> filter_transform{{
    {1.0, 0.0, 0.0},
    {-1.0 / 1.5, -root / 3.0, -1.0 / 3.0},
    {-1.0 / 1.5, root / 3.0, -1.0 / 3.0},
    {1.0 / 6.0, root / 6.0, 1.0 / 3.0},
    {1.0 / 6.0, -root / 6.0, 1.0 / 3.0},
    {0.0, 0.0, 1.0},
}};
const std::array<std::array<double, 3>, 8> long_filter_transform{{
    {-1.0, 0.0, 0.0},
    {-2.0 / 9.0, -2.0 / 9.0, -2.0 / 9.0},
    {-2.0 / 9.0, 2.0 / 9.0, -2.0 / 9.0},
    {1.0 / 90.0, 2.0 / 90.0, 4.0 / 90.0},
    {1.0 / 90.0, -2.0 / 90.0, 4.0 / 90.0},
    {32.0 / 45.0, 16.0 / 45.0, 8.0 / 45.0},
    {32.0 / 45.0, -16.0 / 45.0, 8.0 / 45.0},
    {0.0, 0.0, 1.0},
}};

size_t TensorSpec::size() const {
    size_t count = 1;
    for (const int axis : shape) count *= static_cast<size_t>(axis);
    return count;
}

const std::vector<TensorSpec>& tensor_specs() {
    static const std::vector<TensorSpec> specs = list_tensors();
    return specs;
}

const std::vector<int>& tensor_shape(const std::string& name) { return tensor_specs()[tensor_index(name)].shape; }

Weights::Weights(const float* const* data) : data_(data) {
    const std::vector<TensorSpec>& specs = tensor_specs();
    for (size_t n = 0; n < specs.size(); ++n) {
        const auto finite = [](float value) { return std::isfinite(value); };
        if (!std::all_of(data[n], data[n] + specs[n].size(), finite))
            throw std::invalid_argument("weight " + specs[n].name + ": a value that is not finite found");
    }
}

const float* Weights::operator[](const std::string& name) const { return data_[tensor_index(name)]; }

Buffer<float> pack_convolution(const float* kernel, int in_channels, int out_channels, DepthMethod method,
                               int max_panel) {
    const int matrices = depth_matrices(method);
    const int width = std::min(out_channels, max_panel);
    const size_t matrix = static_cast<size_t>(in_channels) * out_channels;
    Buffer<float> packed(static_cast<size_t>(frequencies) * matrices * matrix);
    for (int out = 0; out < out_channels; ++out) {
        for (int in = 0; in < in_channels; ++in) {
            const Taps taps(kernel + (static_cast<size_t>(out) * in_channels + in) * 27);
            for (int f = 0; f < frequencies; ++f) {
                double tap[3];
                for (int d = 0; d < 3; ++d) tap[d] = plane_frequency(taps.at, f / 6, f % 6, d);
                float* target = packed.data() + static_cast<size_t>(f) * matrices * matrix;
                if (method == DepthMethod::direct) {
                    // Taps side by side: one matrix with 3 * in_channels rows.
                    for (int d = 0; d < 3; ++d)
                        target[in_panels(d * in_channels + in, out, 3 * in_channels, width)] =
                            static_cast<float>(tap[d]);
                    continue;
                }
                for (size_t g = 0; g < static_cast<size_t>(matrices); ++g) {
                    const auto& row = method == DepthMethod::winograd6 ? long_filter_transform[g] : filter_transform[g];
                    target[g * matrix + in_panels(in, out, in_channels, width)] =
                        static_cast<float>(row[0] * tap[0] + row[1] * tap[1] + row[2] * tap[2]);
                }
            }
        }
    }
    return packed;
}

Buffer<float> pack_input_convolution(const float* kernel) {
    constexpr int out_channels = 16;
    Buffer<float> packed(static_cast<size_t>(frequencies) * modalities * 3 * out_channels);
    for (int out = 0; out < out_channels; ++out) {
        for (int in = 0; in < modalities; ++in) {
            const Taps taps(kernel + (out * modalities + in) * 27);
            for (int f = 0; f < frequencies; ++f)
                for (int d = 0; d < 3; ++d)
                    packed[((static_cast<size_t>(f) * modalities + in) * 3 + d) * out_channels + out] =
                        static_cast<float>(plane_frequency(taps.at, f / 6, f % 6, d));
        }
    }
    return packed;
}

Buffer<float> pack_head(const float* kernel, const float* head) {
    constexpr int channels = 16, columns = 16;
    Buffer<float> packed(static_cast<size_t>(frequencies) * channels * columns);
    std::memset(packed.data(), 0, packed.bytes());
    for (int k = 0; k < classes; ++k) {
        for (int in = 0; in < channels; ++in) {
            double folded[3][3][3] = {};
            for (int middle = 0; middle < channels; ++middle) {
                const Taps taps(kernel + (middle * channels + in) * 27);
                for (int n = 0; n < 27; ++n)
                    folded[n / 9][n / 3 % 3][n % 3] +=
                        static_cast<double>(head[k * channels + middle]) * taps.at[n / 9][n / 3 % 3][n % 3];
            }
            for (int f = 0; f < frequencies; ++f)
                for (int d = 0; d < 3; ++d)
                    packed[(static_cast<size_t>(f) * channels + in) * columns + d * classes + k] =
                        static_cast<float>(plane_frequency(folded, f / 6, f % 6, d));
        }
    }
    return packed;
}

Buffer<float> fold_head_bias(const float* bias, const float* head, const float* head_bias) {
    Buffer<float> folded(classes);
    for (int k = 0; k < classes; ++k) {
        double sum = static_cast<double>(head_bias[k]);
        for (int n = 0; n < 16; ++n) sum += static_cast<double>(head[k * 16 + n]) * static_cast<double>(bias[n]);
        folded[k] = static_cast<float>(sum);
    }
    return folded;
}

Buffer<float> pack_pointwise(const float* kernel, int in_channels, int out_channels, int max_panel) {
    const int width = std::min(out_channels, max_panel);
    Buffer<float> packed(static_cast<size_t>(in_channels) * out_channels);
    for (int out = 0; out < out_channels; ++out)
        for (int in = 0; in < in_channels; ++in)
            packed[in_panels(in, out, in_channels, width)] = kernel[out * in_channels + in];
    return packed;
}

}  // namespace eenet
