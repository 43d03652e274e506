// C = A B on small matrices: the only place where multiplications are counted.
//
// A micro-kernel keeps `Rows` x `Columns` vectors of C in registers and walks down the inner dimension: one load of B
// for each column vector, one broadcast of A for each row. B is packed in panels, so that its loads are consecutive.

#pragma once

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
inline void multiply_step(const float* a, ptrdiff_t a_stride, const float* b, Vec sum[Rows][Columns]) {
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

template <int Rows, int Columns, Walk How>
void multiply_block(int inner, const float* a, ptrdiff_t a_stride, const float* b, float* c, ptrdiff_t c_stride) {
    constexpr int width = Columns * Vec::lanes;
    Vec sum[Rows][Columns];
    EENET_UNROLL
    for (int r = 0; r < Rows; ++r) {
        EENET_UNROLL
        for (int n = 0; n < Columns; ++n) sum[r][n] = Vec::zero();
    }
    if (How == Walk::sixteen) {
        EENET_UNROLL
        for (int k = 0; k < 16; ++k) multiply_step<Rows, Columns>(a + k, a_stride, b + k * width, sum);
    } else {
        for (int k = 0; k < inner; ++k, b += width) {
            if (How == Walk::fetching)
                for (int n = 0; n < width; n += 16) __builtin_prefetch(b + inner * width + n, 0, 3);
            multiply_step<Rows, Columns>(a + k, a_stride, b, sum);
        }
    }
    EENET_UNROLL
    for (int r = 0; r < Rows; ++r) {
        EENET_UNROLL
        for (int n = 0; n < Columns; ++n) sum[r][n].store(c + r * c_stride + n * Vec::lanes);
    }
}

template <int Columns, Walk How>
void multiply_rows(int rows, int inner, const float* a, ptrdiff_t a_stride, const float* b, float* c,
                   ptrdiff_t c_stride) {
#define EENET_ROWS(n)                                                              \
    case n:                                                                        \
        return multiply_block<n, Columns, How>(inner, a, a_stride, b, c, c_stride)
    switch (rows) {
#if defined(EENET_AVX512)
        EENET_ROWS(14);
        EENET_ROWS(13);
        EENET_ROWS(12);
        EENET_ROWS(11);
        EENET_ROWS(10);
        EENET_ROWS(9);
        EENET_ROWS(8);
        EENET_ROWS(7);
#endif
#if defined(EENET_AVX512) || defined(EENET_AVX2)
        EENET_ROWS(6);
        EENET_ROWS(5);
#endif
        EENET_ROWS(4);
        EENET_ROWS(3);
        EENET_ROWS(2);
        EENET_ROWS(1);
        default:
            return;
    }
#undef EENET_ROWS
}

// c[rows][columns] = a[rows][inner] b, with b packed as [columns / width][inner][width], width = panel_width(columns).
// `columns` is 16, 32 or 64. Rows go in blocks of nearly equal size, so that no block is left with one or two.
inline void multiply(int rows, int inner, int columns, const float* a, ptrdiff_t a_stride, const float* b, float* c,
                     ptrdiff_t c_stride) {
    const int width = panel_width(columns);
    const int blocks = (rows + max_rows - 1) / max_rows;
    const bool large = inner * columns > 16 * 16;
    for (int n = 0; n < columns; n += width, b += inner * width) {
        for (int block = 0, row = 0; block < blocks; ++block) {
            const int count = (rows - row) / (blocks - block);
            const float* a_block = a + row * a_stride;
            float* c_block = c + row * c_stride + n;
            constexpr int narrow = 16 / Vec::lanes, wide = max_panel / Vec::lanes;
            if (width < max_panel || narrow == wide) {
                if (inner == 16 && !large)
                    multiply_rows<narrow, Walk::sixteen>(count, inner, a_block, a_stride, b, c_block, c_stride);
                else if (large && block == 0)
                    multiply_rows<narrow, Walk::fetching>(count, inner, a_block, a_stride, b, c_block, c_stride);
                else
                    multiply_rows<narrow, Walk::plain>(count, inner, a_block, a_stride, b, c_block, c_stride);
            } else if (block == 0) {
                multiply_rows<wide, Walk::fetching>(count, inner, a_block, a_stride, b, c_block, c_stride);
            } else {
                multiply_rows<wide, Walk::plain>(count, inner, a_block, a_stride, b, c_block, c_stride);
            }
            row += count;
        }
    }
}

}  // namespace
