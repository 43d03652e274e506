// Vec: one vector register of floats, for the instruction set of this translation unit.
//
// Every kernel header is included once by each kernels_*.cpp, inside an anonymous namespace, and is compiled there with
// that file's instruction set. Kernels therefore call no inline function of the standard library: the linker keeps one
// copy of those, and it might be the one that only a newer processor can run.
//
// `positive` is the ReLU; it passes NaN on (the second operand of x86's max wins), so that a NaN is still seen at the
// end.

#pragma once

#include <cstddef>
#if defined(EENET_AVX512) || defined(EENET_AVX2)
#include <immintrin.h>
#endif

// Before a loop of constant length over an array of Vec: unrolled early, so that the array becomes registers.
#if defined(__clang__)
#define EENET_UNROLL _Pragma("unroll")
#else
#define EENET_UNROLL _Pragma("GCC unroll 16")
#endif

// Before a function that works on arrays of Vec: a call would send them through the stack. Sanitizers watch every
// access and would take minutes to compile what comes of it.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define EENET_INLINE inline
#else
#define EENET_INLINE __attribute__((always_inline)) inline
#endif

namespace {

#if defined(EENET_AVX512)

struct Vec {
    static constexpr int lanes = 16;
    static constexpr bool whole_cache_line = true;
    __m512 v;

    static Vec load(const float* p) { return {_mm512_loadu_ps(p)}; }
    static Vec broadcast(float x) { return {_mm512_set1_ps(x)}; }
    static Vec zero() { return {_mm512_setzero_ps()}; }
    void store(float* p) const { _mm512_storeu_ps(p, v); }
    // Past the caches: for results that are too large to be found there again. `p` is aligned to 64 bytes.
    void stream(float* p) const { _mm512_stream_ps(p, v); }
};
inline Vec operator+(Vec a, Vec b) { return {_mm512_add_ps(a.v, b.v)}; }
inline Vec operator-(Vec a, Vec b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline Vec operator*(Vec a, Vec b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline Vec fma(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }    // a * b + c
inline Vec fnma(Vec a, Vec b, Vec c) { return {_mm512_fnmadd_ps(a.v, b.v, c.v)}; }  // c - a * b
inline Vec positive(Vec a) { return {_mm512_max_ps(_mm512_setzero_ps(), a.v)}; }

// One Vec's worth of double accumulators.
struct DoubleVec {
    __m512d low = _mm512_setzero_pd(), high = _mm512_setzero_pd();

    void add(Vec a) {
        low = _mm512_add_pd(low, _mm512_cvtps_pd(_mm512_castps512_ps256(a.v)));
        high = _mm512_add_pd(high, _mm512_cvtps_pd(_mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(a.v), 1))));
    }
    void store(double* p) const {
        _mm512_storeu_pd(p, low);
        _mm512_storeu_pd(p + 8, high);
    }
};
inline void finish_streams() { _mm_sfence(); }

#elif defined(EENET_AVX2)

struct Vec {
    static constexpr int lanes = 8;
    static constexpr bool whole_cache_line = false;
    __m256 v;

    static Vec load(const float* p) { return {_mm256_loadu_ps(p)}; }
    static Vec broadcast(float x) { return {_mm256_set1_ps(x)}; }
    static Vec zero() { return {_mm256_setzero_ps()}; }
    void store(float* p) const { _mm256_storeu_ps(p, v); }
    void stream(float* p) const { store(p); }
};
inline Vec operator+(Vec a, Vec b) { return {_mm256_add_ps(a.v, b.v)}; }
inline Vec operator-(Vec a, Vec b) { return {_mm256_sub_ps(a.v, b.v)}; }
inline Vec operator*(Vec a, Vec b) { return {_mm256_mul_ps(a.v, b.v)}; }
inline Vec fma(Vec a, Vec b, Vec c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
inline Vec fnma(Vec a, Vec b, Vec c) { return {_mm256_fnmadd_ps(a.v, b.v, c.v)}; }
inline Vec positive(Vec a) { return {_mm256_max_ps(_mm256_setzero_ps(), a.v)}; }

struct DoubleVec {
    __m256d low = _mm256_setzero_pd(), high = _mm256_setzero_pd();

    void add(Vec a) {
        low = _mm256_add_pd(low, _mm256_cvtps_pd(_mm256_castps256_ps128(a.v)));
        high = _mm256_add_pd(high, _mm256_cvtps_pd(_mm256_extractf128_ps(a.v, 1)));
    }
    void store(double* p) const {
        _mm256_storeu_pd(p, low);
        _mm256_storeu_pd(p + 4, high);
    }
};
inline void finish_streams() {}

#else  // Any processor: plain loops, which the compiler turns into whatever the machine has.

struct Vec {
    static constexpr int lanes = 8;
    static constexpr bool whole_cache_line = false;
    float v[lanes];

    static Vec load(const float* p) {
        Vec a;
        for (int n = 0; n < lanes; ++n) a.v[n] = p[n];
        return a;
    }
    static Vec broadcast(float x) {
        Vec a;
        for (int n = 0; n < lanes; ++n) a.v[n] = x;
        return a;
    }
    static Vec zero() { return broadcast(0.0f); }
    void store(float* p) const {
        for (int n = 0; n < lanes; ++n) p[n] = v[n];
    }
    void stream(float* p) const { store(p); }
};
inline Vec operator+(Vec a, Vec b) {
    for (int n = 0; n < Vec::lanes; ++n) a.v[n] += b.v[n];
    return a;
}
inline Vec operator-(Vec a, Vec b) {
    for (int n = 0; n < Vec::lanes; ++n) a.v[n] -= b.v[n];
    return a;
}
inline Vec operator*(Vec a, Vec b) {
    for (int n = 0; n < Vec::lanes; ++n) a.v[n] *= b.v[n];
    return a;
}
inline Vec fma(Vec a, Vec b, Vec c) { return a * b + c; }
inline Vec fnma(Vec a, Vec b, Vec c) { return c - a * b; }
inline Vec positive(Vec a) {
    for (int n = 0; n < Vec::lanes; ++n) a.v[n] = a.v[n] < 0.0f ? 0.0f : a.v[n];
    return a;
}

struct DoubleVec {
    double v[Vec::lanes] = {};

    void add(Vec a) {
        for (int n = 0; n < Vec::lanes; ++n) v[n] += static_cast<double>(a.v[n]);
    }
    void store(double* p) const {
        for (int n = 0; n < Vec::lanes; ++n) p[n] = v[n];
    }
};
inline void finish_streams() {}

#endif

}  // namespace
