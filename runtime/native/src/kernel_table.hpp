// Brings the kernels of one instruction set together; included by kernels_*.cpp only.

#pragma once

#include "convolution.hpp"
#include "head.hpp"
#include "input_convolution.hpp"
#include "squeeze.hpp"
#include "upsample_add.hpp"

namespace {

constexpr eenet::Kernels kernel_table(const char* name) {
    return {
        name,          max_panel,         convolution_scratch,
        input_scratch, head_scratch,      upsample_scratch,
        convolution,   input_convolution, head,
        upsample_add,  squeeze,
    };
}

}  // namespace
