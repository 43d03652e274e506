// Winograd's minimal filtering F(4, 3): four outputs of a three-tap filter from six products instead of twelve.
//
//     y = A^T [(G g) * (B^T d)]        d: 6 inputs, g: 3 taps, y: 4 outputs, *: element by element
//
// S. Winograd, Arithmetic Complexity of Computations, 1980; for convolutional networks A. Lavin and S. Gray, "Fast
// algorithms for convolutional neural networks", CVPR 2016, arXiv:1509.09308. The matrices are Toom-Cook's: polynomials
// evaluated at five points and infinity. Applied along H, W and D it turns 27 products for each output into 3.4.
//
// The points are 0, +-c, +-1/c with c = 1/sqrt(2), not the usual 0, +-1, +-2. In that form terms of B^T cancel (S. A.
// Alam, A. Anderson, B. Barabasz, D. Gregg, "Winograd convolution for deep neural networks: efficient point
// selection", ACM TECS 2022, arXiv:2201.10369). Here it decides whether three dimensions can be had at all: on the
// demo model's layers in FP32 the RMS error, relative to the outputs' standard deviation, is 5e-7 with these points
// and 16e-7 with the usual ones; the usual ones in two dimensions only give 5e-7 as well.

#pragma once

#include "simd.hpp"

namespace {

constexpr int tile = 4;          // outputs of one transform along one axis
constexpr int taps = 3;
constexpr int window = tile + taps - 1;  // its inputs, and its products

constexpr float point = 0.70710678118654752f;     // c; c^2 = 1/2 and 1/c^2 = 2 appear as such
constexpr float inverse_point = 1.4142135623730951f;
constexpr float point_cubed = 0.35355339059327376f;
constexpr float inverse_point_cubed = 2.8284271247461903f;

// out = B^T in. The rows are the coefficients of prod (x - q) over all points q but the row's own:
//     0:     x^4 - 2.5 x^2 + 1            +-c:  (x^4 - 2 x^2) +- c (x^3 - 2 x)
//     inf:   x^5 - 2.5 x^3 + x          +-1/c:  (x^4 - x^2 / 2) +- (x^3 - x / 2) / c
inline void transform_input(const Vec in[window], Vec out[window]) {
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
inline void transform_output(const Vec in[window], Vec out[tile]) {
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

}  // namespace
