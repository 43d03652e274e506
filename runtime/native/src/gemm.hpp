// C = A B on small matrices: the only place where multiplications are counted.
//
// A micro-kernel keeps `Rows` x `Columns` vectors of C in registers and walks down the inner dimension: one load of B
// for each column vector, one broadcast of A for each row. B is packed in panels, so that its loads are consecutive.

#pragma once

#include <utility>

#include "simd.hpp"

namespace {

// Vectors of C in registers; with B's and a broadcast they must fit in 32 (AVX-512) or 16 registers.
#if defined(EENET_AVX512)
constexpr int max_rows = 14;
constexpr int max_panel = 32;
#elif defined(EENET_AVX2)
constexpr int max_rows = 6;
constexpr int max_panel = 16;
#else
constexpr int max_rows = 4;
constexpr int max_panel = 16;
#endif

// Columns of one panel of B where C has `columns`: a multiple of 16.
constexpr int panel_width(int columns) { return columns < max_panel ? columns : max_panel; }

// One step down the inner dimension: sum[row] += a[row] * b. `a` points at the step's column, `b` at its row.
template <int Rows, int Columns>
EENET_INLINE void multiply_step(const float* a, ptrdiff_t a_stride, const float* b, Vec sum[Rows][Columns]) {
    Vec row_of_b[Columns];
    EENET_UNROLL
    for (int n = 0; n < Columns; ++n) row_of_b[n] = Vec::load(b + n * Vec::lanes);
    EENET_UNROLL
    for (int r = 0; r < Rows; ++r) {
        const Vec x = Vec::broadcast(a[r * a_stride]);
        EENET_UNROLL
        for (int n = 0; n < Columns; ++n) sum[r][n] = fma(x, row_of_b[n], sum[r][n]);
    }
}

// How a block walks down: all 16 steps written out; step by step; or so and bringing the next panel, which follows
// this one in memory, meanwhile: matrices that are larger than the first-level cache would otherwise be waited for.
enum class Walk { sixteen, plain, fetching };

// `Stride`: the distance of a's rows where it is known here, so that addresses need no registers; 0: `a_stride`.
template <int Rows, int Columns, int Stride, Walk How>
EENET_INLINE void multiply_block(int inner, const float* a, ptrdiff_t a_stride, const float* b, float* c,
                                 ptrdiff_t c_stride) {
    constexpr int width = Columns * Vec::lanes;
    const ptrdiff_t stride = Stride > 0 ? Stride : a_stride;
    Vec sum[Rows][Columns];
    EENET_UNROLL
    for (int r = 0; r < Rows; ++r) {
        EENET_UNROLL
        for (int n = 0; n < Columns; ++n) sum[r][n] = Vec::zero();
    }
    if constexpr (How == Walk::sixteen) {
        EENET_UNROLL
        for (int k = 0; k < 16; ++k) multiply_step<Rows, Columns>(a + k, stride, b + k * width, sum);
    } else {
        for (int k = 0; k < inner; ++k, b += width) {
            if constexpr (How == Walk::fetching) {
                for (int n = 0; n < width; n += 16) __builtin_prefetch(b + inner * width + n, 0, 3);
            }
            multiply_step<Rows, Columns>(a + k, stride, b, sum);
        }
    }
    EENET_UNROLL
    for (int r = 0; r < Rows; ++r) {
        EENET_UNROLL
        for (int n = 0; n < Columns; ++n) sum[r][n].store(c + r * c_stride + n * Vec::lanes);
    }
}

// The micro-kernel for each number of rows that a block can have: `of[rows - 1]`. A plain array, for std::array's
// operator[] is an inline function.
using MultiplyBlock = void (*)(int inner, const float* a, ptrdiff_t a_stride, const float* b, float* c,
                               ptrdiff_t c_stride);
template <int Columns, int Stride, Walk How, typename = std::make_integer_sequence<int, max_rows>>
struct BlocksByRows;
template <int Columns, int Stride, Walk How, int... N>
struct BlocksByRows<Columns, Stride, How, std::integer_sequence<int, N...>> {
    static constexpr MultiplyBlock of[] = {multiply_block<N + 1, Columns, Stride, How>...};
};

// c[rows][columns] = a[rows][inner] b, with b packed as [columns / width][inner][width], width = panel_width(columns).
// `columns` is 16, 32 or 64. Rows go in blocks of nearly equal size, so that no block is left with one or two.
template <int Stride = 0>
void multiply(int rows, int inner, int columns, const float* a, ptrdiff_t a_stride, const float* b, float* c,
              ptrdiff_t c_stride) {
    constexpr int narrow = 16 / Vec::lanes, wide = max_panel / Vec::lanes;
    const int width = panel_width(columns);
    const int blocks = (rows + max_rows - 1) / max_rows;
    const auto& plain =
        width < max_panel ? BlocksByRows<narrow, Stride, Walk::plain>::of : BlocksByRows<wide, Stride, Walk::plain>::of;
    const auto& fetching = width < max_panel ? BlocksByRows<narrow, Stride, Walk::fetching>::of
                                             : BlocksByRows<wide, Stride, Walk::fetching>::of;
    // Once for each panel is enough.
    const auto& first = inner * columns > 16 * 16 ? fetching : plain;
    for (int n = 0; n < columns; n += width, b += inner * width) {
        for (int block = 0, row = 0; block < blocks; ++block) {
            const int count = (rows - row) / (blocks - block);
            const float* a_block = a + row * (Stride > 0 ? Stride : a_stride);
            (block == 0 ? first : plain)[count - 1](inner, a_block, a_stride, b, c + row * c_stride + n, c_stride);
            row += count;
        }
    }
}

// `matrices` products of 16 columns and 16 rows at once, with one decision for all: a decision costs a quarter of such
// a product. a and c are [rows][Stride / 16][16], of which matrix n has [rows][n][16]; b is [matrices][16][16].
template <int Stride, int Rows>
void multiply_sixteen_rows(int matrices, const float* a, const float* b, float* c) {
    for (int n = 0; n < matrices; ++n, a += 16, b += 16 * 16, c += 16)
        multiply_block<Rows, 16 / Vec::lanes, Stride, Walk::sixteen>(16, a, Stride, b, c, Stride);
}

// The same by rows, as above.
using MultiplySixteen = void (*)(int matrices, const float* a, const float* b, float* c);
template <int Stride, typename = std::make_integer_sequence<int, max_rows>>
struct SixteensByRows;
template <int Stride, int... N>
struct SixteensByRows<Stride, std::integer_sequence<int, N...>> {
    static constexpr MultiplySixteen of[] = {multiply_sixteen_rows<Stride, N + 1>...};
};

template <int Stride>
void multiply_sixteen(int matrices, int rows, const float* a, const float* b, float* c) {
    const int blocks = (rows + max_rows - 1) / max_rows;
    for (int block = 0, row = 0; block < blocks; ++block) {
        const int count = (rows - row) / (blocks - block);
        SixteensByRows<Stride>::of[count - 1](matrices, a + row * Stride, b, c + row * Stride);
        row += count;
    }
}

}  // namespace
