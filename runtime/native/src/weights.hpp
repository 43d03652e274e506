// The weights of the 3D layers: what they are called, and how kernels want them.

#pragma once

#include <array>
#include <string>
#include <vector>

#include "kernels.hpp"
#include "memory.hpp"

namespace eenet {

// One tensor of a bundle's weights file, in ONNX' layout: a convolution's kernel is [out][in][H][W][D].
struct TensorSpec {
    std::string name;
    std::vector<int> shape;

    size_t size() const;
};

// Every tensor of the 3D network, in a fixed order. Shapes do not depend on the geometry.
const std::vector<TensorSpec>& tensor_specs();

// Shape by name.
const std::vector<int>& tensor_shape(const std::string& name);

// Tensors by name.
class Weights {
  public:
    // `data[n]` is the tensor `tensor_specs()[n]`; the numbers are not copied and must outlive this object.
    // Throws std::invalid_argument if a value is not finite.
    explicit Weights(const float* const* data);

    const float* operator[](const std::string& name) const;

  private:
    const float* const* data_;
};

// The matrices G of F(4, 3) and F(6, 3), see winograd.hpp: taps -> frequencies.
extern const std::array<std::array<double, 3>, 6> filter_transform;
extern const std::array<std::array<double, 3>, 8> long_filter_transform;

// Kernel [out][in][3][3][3] -> [36 plane frequencies][depth frequencies or taps][in][out], out in panels, for gemm.hpp.
Buffer<float> pack_convolution(const float* kernel, int in_channels, int out_channels, DepthMethod method,
                               int max_panel);

// Kernel [16][4][3][3][3] -> [36][4][3 taps][16].
Buffer<float> pack_input_convolution(const float* kernel);

// Kernel [16][16][3][3][3] followed by [4][16] -> [36][16][3 taps x 4 classes, 4 zeros].
Buffer<float> pack_head(const float* kernel, const float* head);
// The bias [16] that the head sees as [4], added to its own.
Buffer<float> fold_head_bias(const float* bias, const float* head, const float* head_bias);

// Kernel [out][in] -> [in][out], out in panels.
Buffer<float> pack_pointwise(const float* kernel, int in_channels, int out_channels, int max_panel);

}  // namespace eenet
