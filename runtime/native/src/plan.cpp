#include "plan.hpp"

#include <algorithm>

namespace eenet {
namespace {

// An item's transformed input and products should stay in the second-level cache while its matrices, which every item
// reads anew, pass through.
constexpr size_t item_floats = 256 * 1024 / sizeof(float);
// Rows of a matrix product below which loading the matrix costs more than multiplying by it.
constexpr int enough_rows = 8;

int divide_up(int a, int b) { return (a + b - 1) / b; }

size_t floats_of(const Convolution& layer, int tiles, int chunk) {
    const int rows_in = layer.method == DepthMethod::direct ? chunk * 3 : chunk + 2;
    return static_cast<size_t>(frequencies) * tiles * std::max(rows_in * layer.in_channels, chunk * layer.out_channels);
}

}  // namespace

DepthMethod depth_method(int depth_out, int stride) {
    if (stride > 1) return DepthMethod::direct;
    const auto products = [&](DepthMethod method) {
        return divide_up(depth_out, strip_slices(method)) * depth_matrices(method);
    };
    return products(DepthMethod::winograd6) < products(DepthMethod::winograd4) ? DepthMethod::winograd6
                                                                               : DepthMethod::winograd4;
}

void plan_items(Convolution& layer) {
    const int step = strip_slices(layer.method);
    const int steps = divide_up(layer.depth_out, step);
    // Equal chunks, as few as fit.
    int chunks = 1;
    while (chunks < steps && floats_of(layer, 1, divide_up(steps, chunks) * step) > item_floats) ++chunks;
    layer.chunk = divide_up(steps, chunks) * step;
    // Tiles side by side until there are rows enough for a matrix.
    layer.tiles = 1;
    while (layer.tiles < 8 && layer.tiles * layer.chunk / step < enough_rows) layer.tiles *= 2;
}

}  // namespace eenet
