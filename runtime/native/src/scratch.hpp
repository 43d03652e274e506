// Hands out pieces of a worker's scratch memory, each beginning at a cache line.

#pragma once

#include <cstddef>

namespace {

constexpr size_t line_floats = 16;  // 64 bytes

inline size_t whole_lines(size_t floats) { return (floats + line_floats - 1) / line_floats * line_floats; }

// Distance between buffers that are walked side by side: an odd number of cache lines, so that they fall into different
// sets of the cache.
inline size_t odd_lines(size_t floats) { return whole_lines(floats) | line_floats; }

// With `memory` null nothing is handed out and only `used` is of interest: how much would be needed.
struct Scratch {
    float* memory;
    size_t used = 0;

    float* take(size_t floats) {
        float* piece = memory == nullptr ? nullptr : memory + used;
        used += whole_lines(floats);
        return piece;
    }
};

}  // namespace
