// The C interface that eenet_native/_library.py calls. Plain types only; nothing throws across it. The caller has
// checked the sizes of its arrays: here they are only pointers.

#include "cpu.hpp"
#include "engine.hpp"
#include "status.hpp"

// Bits: 1 AVX2, 2 FMA, 4 AVX-512F.
EENET_API int eenet_cpu_features() {
    const eenet::CpuFeatures features = eenet::cpu_features();
    return (features.avx2 ? 1 : 0) | (features.fma ? 2 : 0) | (features.avx512f ? 4 : 0);
}

// The n-th instruction set that this processor can run, best first; null after the last.
EENET_API const char* eenet_instruction_set(int n) {
    const auto available = eenet::available_kernels();
    return n >= 0 && n < static_cast<int>(available.size()) ? available[static_cast<size_t>(n)]->name : nullptr;
}

// Name of the n-th weight, null after the last; writes its shape (up to 5 axes) and the number of axes.
EENET_API const char* eenet_weight(int n, int* shape, int* axes) {
    const auto& specs = eenet::tensor_specs();
    if (n < 0 || n >= static_cast<int>(specs.size())) return nullptr;
    const eenet::TensorSpec& spec = specs[static_cast<size_t>(n)];
    *axes = static_cast<int>(spec.shape.size());
    for (size_t axis = 0; axis < spec.shape.size(); ++axis) shape[axis] = spec.shape[axis];
    return spec.name.c_str();
}

// geometry: H, W, D and three strides. weights: in the order of eenet_weight, each of its full size.
EENET_API int eenet_engine_new(const int* geometry, const float* const* weights, int threads, const char* instructions,
                               eenet::Engine** engine, char* message, size_t message_size) {
    return eenet::guarded(message, message_size, [&] {
        const eenet::Geometry asked{geometry[0], geometry[1], geometry[2], {geometry[3], geometry[4], geometry[5]}};
        *engine = new eenet::Engine(asked, eenet::Weights(weights), threads, eenet::choose_kernels(instructions));
    });
}

EENET_API void eenet_engine_delete(eenet::Engine* engine) { delete engine; }

EENET_API size_t eenet_engine_memory(const eenet::Engine* engine) { return engine->memory_bytes(); }

EENET_API const char* eenet_engine_instructions(const eenet::Engine* engine) { return engine->kernels().name; }

// volume [4][H][W][D], plane [H][W][3].
EENET_API int eenet_encode(eenet::Engine* engine, const float* volume, float* plane, char* message,
                           size_t message_size) {
    return eenet::guarded(message, message_size, [&] { engine->encode(volume, plane); });
}

// plane [H][W][3], labels [H][W][D] or probabilities [4][H][W][D], the other one null.
EENET_API int eenet_decode(eenet::Engine* engine, const float* plane, uint8_t* labels, float* probabilities,
                           char* message, size_t message_size) {
    return eenet::guarded(message, message_size, [&] { engine->decode(plane, labels, probabilities); });
}
