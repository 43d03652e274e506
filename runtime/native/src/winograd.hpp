// Winograd's minimal filtering. F(4, 3): four outputs of a three-tap filter from six products instead of twelve; along
// depth also F(6, 3): six outputs from eight products instead of eighteen.
//
//     y = A^T [(G g) * (B^T d)]        d: 6 inputs, g: 3 taps, y: 4 outputs, *: element by element
//
// S. Winograd, Arithmetic Complexity of Computations, 1980; for convolutional networks A. Lavin and S. Gray, "Fast
// algorithms for convolutional neural networks", CVPR 2016, arXiv:1509.09308. The matrices are Toom-Cook's: polynomials
// evaluated at five points (F(6, 3): seven) and infinity. Along H, W and D they turn 27 products for each output into
// 3.4, or 3.0 with F(6, 3) along D.
//
// The points of F(4, 3) are 0, +-c, +-1/c with c = 1/sqrt(2), not the usual 0, +-1, +-2. In that form terms of B^T
// cancel (S. A. Alam, A. Anderson, B. Barabasz, D. Gregg, "Winograd convolution for deep neural networks: efficient
// point selection", ACM TECS 2022, arXiv:2201.10369). Here it decides whether three dimensions can be had at all: on
// the demo model's layers in FP32 the RMS error, relative to the outputs' standard deviation, is 5e-7 with these points
// and 16e-7 with the usual ones; the usual ones in two dimensions only give 5e-7 as well.

#pragma once

#include "simd.hpp"

namespace {

constexpr int tile = 4;  // outputs of one transform along one axis
constexpr int taps = 3;
constexpr int window = tile + taps - 1;  // its inputs, and its products

constexpr float point = 0.70710678118654752f;  // c; c^2 = 1/2 and 1/c^2 = 2 appear as such
constexpr float inverse_point = 1.4142135623730951f;
constexpr float point_cubed = 0.35355339059327376f;
constexpr float inverse_point_cubed = 2.8284271247461903f;

// out = B^T in. The rows are the coefficients of prod (x - q) over all points q but the row's own:
//     0:     x^4 - 2.5 x^2 + 1            +-c:  (x^4 - 2 x^2) +- c (x^3 - 2 x)
//     inf:   x^5 - 2.5 x^3 + x          +-1/c:  (x^4 - x^2 / 2) +- (x^3 - x / 2) / c
EENET_INLINE void transform_input(const Vec in[window], Vec out[window]) {
    const Vec two = Vec::broadcast(2.0f), half = Vec::broadcast(0.5f), sum = Vec::broadcast(2.5f);
    const Vec c = Vec::broadcast(point), inverse = Vec::broadcast(inverse_point);

    out[0] = fnma(sum, in[2], in[4]) + in[0];
    const Vec even = fnma(two, in[2], in[4]), odd = fnma(two, in[1], in[3]);
    out[1] = fma(c, odd, even);
    out[2] = fnma(c, odd, even);
    const Vec even2 = fnma(half, in[2], in[4]), odd2 = fnma(half, in[1], in[3]);
    out[3] = fma(inverse, odd2, even2);
    out[4] = fnma(inverse, odd2, even2);
    out[5] = fnma(sum, in[3], in[5]) + in[1];
}

// out = A^T in: the powers 0 to 3 of the points, and for infinity only the highest.
EENET_INLINE void transform_output(const Vec in[window], Vec out[tile]) {
    const Vec c = Vec::broadcast(point), inverse = Vec::broadcast(inverse_point);
    const Vec half = Vec::broadcast(0.5f), two = Vec::broadcast(2.0f);
    const Vec c3 = Vec::broadcast(point_cubed), inverse3 = Vec::broadcast(inverse_point_cubed);

    const Vec even = in[1] + in[2], odd = in[1] - in[2];
    const Vec even2 = in[3] + in[4], odd2 = in[3] - in[4];
    out[0] = (in[0] + even) + even2;
    out[1] = fma(inverse, odd2, c * odd);
    out[2] = fma(two, even2, half * even);
    out[3] = fma(inverse3, odd2, fma(c3, odd, in[5]));
}

// F(4, 3) as the depth stage takes it.
struct Winograd4 {
    static constexpr int outputs = tile, products = window;
    static EENET_INLINE void input(const Vec in[products], Vec out[products]) { transform_input(in, out); }
    static EENET_INLINE void output(const Vec in[products], Vec out[outputs]) { transform_output(in, out); }
};

// F(6, 3) with the points 0, +-1, +-2, +-1/2: its constants are exact in FP32, and a search found no points that err by
// 3 % less. In one dimension the RMS error is 4.6e-7 where F(4, 3) has 2.2e-7, so it is used along one axis only.
struct Winograd6 {
    static constexpr int outputs = 6, products = 8;

    //     0:  x^6 - 5.25 x^4 + 5.25 x^2 - 1           +-2:  (x^6 - 1.25 x^4 + x^2 / 4) +- 2 (x^5 - 1.25 x^3 + x / 4)
    //   +-1:  (x^6 - 4.25 x^4 + x^2) +- (x^5 - 4.25 x^3 + x)
    // +-1/2:  (x^6 - 5 x^4 + 4 x^2) +- (x^5 - 5 x^3 + 4 x) / 2
    //   inf:  x^7 - 5.25 x^5 + 5.25 x^3 - x
    static EENET_INLINE void input(const Vec in[products], Vec out[products]) {
        const Vec sum = Vec::broadcast(5.25f), one = Vec::broadcast(4.25f), two = Vec::broadcast(1.25f);
        const Vec quarter = Vec::broadcast(0.25f), half = Vec::broadcast(0.5f), five = Vec::broadcast(5.0f);
        const Vec twice = Vec::broadcast(2.0f), four = Vec::broadcast(4.0f);

        out[0] = fma(sum, in[2] - in[4], in[6] - in[0]);
        const Vec even = fnma(one, in[4], in[2] + in[6]), odd = fnma(one, in[3], in[1] + in[5]);
        out[1] = even + odd;
        out[2] = even - odd;
        const Vec even2 = fma(quarter, in[2], fnma(two, in[4], in[6]));
        const Vec odd2 = fma(quarter, in[1], fnma(two, in[3], in[5]));
        out[3] = fma(twice, odd2, even2);
        out[4] = fnma(twice, odd2, even2);
        const Vec even3 = fma(four, in[2], fnma(five, in[4], in[6]));
        const Vec odd3 = fma(four, in[1], fnma(five, in[3], in[5]));
        out[5] = fma(half, odd3, even3);
        out[6] = fnma(half, odd3, even3);
        out[7] = fma(sum, in[3] - in[5], in[7] - in[1]);
    }

    static EENET_INLINE void output(const Vec in[products], Vec out[outputs]) {
        const Vec even = in[1] + in[2], odd = in[1] - in[2];
        const Vec even2 = in[3] + in[4], odd2 = in[3] - in[4];
        const Vec even3 = in[5] + in[6], odd3 = in[5] - in[6];
        const auto power = [](float large, Vec a, float small, Vec b, Vec c) {
            return fma(Vec::broadcast(large), a, fma(Vec::broadcast(small), b, c));
        };
        out[0] = (in[0] + even) + (even2 + even3);
        out[1] = power(2.0f, odd2, 1.0f / 2, odd3, odd);
        out[2] = power(4.0f, even2, 1.0f / 4, even3, even);
        out[3] = power(8.0f, odd2, 1.0f / 8, odd3, odd);
        out[4] = power(16.0f, even2, 1.0f / 16, even3, even);
        out[5] = power(32.0f, odd2, 1.0f / 32, odd3, odd) + in[7];
    }
};

}  // namespace
