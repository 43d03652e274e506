#include "cpu.hpp"

#include <stdexcept>

#if defined(EENET_X86)
#include <cpuid.h>
#endif

namespace eenet {

#if defined(EENET_X86)

// By the processor's own instructions and not by __builtin_cpu_supports: that reads a table which not every compiler's
// run-time library fills (zig c++ finds nothing at all), and then the engine is slow without a word.
// Bits: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, CPUID and XGETBV.
CpuFeatures cpu_features() {
    unsigned eax, ebx, ecx, edx;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx)) return {false, false, false};
    const bool fma = (ecx >> 12 & 1) != 0;
    const bool system_saves_state = (ecx >> 27 & 1) != 0;
    if (!system_saves_state) return {false, false, false};
    unsigned saved, high;
    __asm__ volatile("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
    const bool ymm = (saved & 0x06) == 0x06, zmm = (saved & 0xe6) == 0xe6;
    if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) return {false, fma && ymm, false};
    return {ymm && (ebx >> 5 & 1) != 0, ymm && fma, zmm && (ebx >> 16 & 1) != 0};
}

#else

CpuFeatures cpu_features() { return {false, false, false}; }

#endif

std::vector<const Kernels*> available_kernels() {
    std::vector<const Kernels*> kernels;
#if defined(EENET_X86)
    const CpuFeatures features = cpu_features();
    if (features.avx512f && features.avx2 && features.fma) kernels.push_back(&avx512_kernels);
    if (features.avx2 && features.fma) kernels.push_back(&avx2_kernels);
#endif
    kernels.push_back(&scalar_kernels);
    return kernels;
}

const Kernels& choose_kernels(const std::string& name) {
    const std::vector<const Kernels*> available = available_kernels();
    std::string names;
    for (const Kernels* kernels : available) {
        if (name == "auto" || name == kernels->name) return *kernels;
        names += (names.empty() ? "" : ", ") + std::string(kernels->name);
    }
    throw std::invalid_argument("instructions: " + name +
                                " found, expected auto or what this processor can run: " + names);
}

}  // namespace eenet
