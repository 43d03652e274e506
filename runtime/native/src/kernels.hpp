// The border between the engine and its kernels: plain data in, one function for each kind of layer.
//
// There is one table for each instruction set. A kernel computes one *item*, a piece of the layer's output that no
// other item touches. What an item computes does not depend on which thread runs it, or when: sums that a group norm
// needs are left by item and added up afterwards in the order of the items, so results are the same bits for any
// number of threads.
//
// Activations are channels last, [height][width][depth][channels], floats; channels are 16, 32 or 64. They begin at a
// cache line (64 bytes), and so does scratch memory; volumes, planes, labels and probabilities need not.

#pragma once

#include <cstddef>
#include <cstdint>

namespace eenet {

constexpr int plane_tile = 4;    // outputs along H and along W of one Winograd tile
constexpr int frequencies = 36;  // its products in the plane: 6 x 6
constexpr int classes = 4;
constexpr int modalities = 4;

// How the depth axis of a 3x3x3 convolution is computed: by F(4, 3) or F(6, 3), or tap by tap where it has a stride.
enum class DepthMethod { winograd4, winograd6, direct };

// Output slices of one transform along depth, a *strip*; tap by tap every slice is one.
constexpr int strip_slices(DepthMethod method) {
    return method == DepthMethod::winograd4 ? 4 : method == DepthMethod::winograd6 ? 6 : 1;
}
// The matrices of one plane frequency: one for each depth frequency, or for each tap.
constexpr int depth_matrices(DepthMethod method) { return strip_slices(method) + 2; }

// A 3x3x3 convolution. H and W: stride 1, same size, zero padding. Depth: `stride`, `pad` zeros before the first slice.
struct Convolution {
    int height, width, depth_in, depth_out;
    int in_channels, out_channels;
    int stride = 1, pad = 1;
    DepthMethod method = DepthMethod::winograd4;
    int tiles = 1;  // an item is this many tiles side by side along W (a divisor of width / 4) ...
    int chunk = 4;  // ... by this many output slices; whole strips waste nothing

    const float* weights = nullptr;   // packed by pack_convolution
    const float* bias = nullptr;      // [out]; the shortcut's bias included
    const float* shortcut = nullptr;  // 1x1x1 shortcut, packed [in = out][out]; null: none

    int chunks() const { return (depth_out + chunk - 1) / chunk; }
    int groups() const { return width / plane_tile / tiles; }
    int items() const { return height / plane_tile * groups() * chunks(); }
};

// What a convolution works on in one call.
struct ConvolutionCall {
    const float* input;
    float* output;
    const float* scale = nullptr;  // [in]: x -> max(0, scale x + shift) on load; null: as it is
    const float* shift = nullptr;
    const float* shortcut_input = nullptr;  // of the output's shape; may be `output` itself
    double* sums = nullptr;                 // [items][2][out]: sum and sum of squares of each item's outputs
};

// The first layer: 3x3x3, stride 1, from [4][height][width][depth] to 16 channels last.
struct InputConvolution {
    int height, width, depth;
    const float* weights = nullptr;  // packed by pack_input_convolution
    const float* bias = nullptr;

    int items() const { return height / plane_tile * (width / plane_tile); }
};

// The last two layers in one: 3x3x3 to 16 channels and 1x1x1 to 4 classes are one 3x3x3 convolution to 4 classes.
struct Head {
    int height, width, depth;
    const float* weights = nullptr;  // packed by pack_head
    const float* bias = nullptr;     // [4]

    int items() const { return height / plane_tile * (width / plane_tile); }
};

// Output of the head; one of the two is null.
struct HeadCall {
    const float* input;
    uint8_t* labels;       // [height][width][depth]
    float* probabilities;  // [4][height][width][depth]
    uint8_t* finite;       // [items]: 1 where all logits were finite
};

// A 1x1x1 convolution at low depth, repeated along depth and added to a skip in place.
struct UpsampleAdd {
    int height, width, low_depth, factor;
    int low_channels, channels;
    const float* weights = nullptr;  // packed [low_channels][channels]
    const float* bias = nullptr;

    int items() const { return height; }
};

// A 1x1x1 convolution to one channel and ReLU: the slices that the 2D network sees.
struct Squeeze {
    int height, width, depth, channels;
    const float* weights = nullptr;  // [channels]
    float bias = 0.0f;

    int items() const { return height; }
};

struct Kernels {
    const char* name;
    int max_panel;  // columns of a packed panel, see gemm.hpp

    // Floats of scratch memory that one item needs.
    size_t (*convolution_scratch)(const Convolution&);
    size_t (*input_scratch)(const InputConvolution&);
    size_t (*head_scratch)(const Head&);
    size_t (*upsample_scratch)(const UpsampleAdd&);

    void (*convolution)(const Convolution&, const ConvolutionCall&, int item, float* scratch);
    void (*input_convolution)(const InputConvolution&, const float* volume, float* output, double* sums, int item,
                              float* scratch);
    void (*head)(const Head&, const HeadCall&, int item, float* scratch);
    void (*upsample_add)(const UpsampleAdd&, const float* low, float* skip, double* sums, int item, float* scratch);
    void (*squeeze)(const Squeeze&, const float* input, float* plane, int item);
};

extern const Kernels scalar_kernels;
#if defined(EENET_X86)
extern const Kernels avx2_kernels;
extern const Kernels avx512_kernels;
#endif

}  // namespace eenet
