// The C interface of registration, which eenet_native/_joint_histogram.py calls. As in api.cpp, the caller has checked
// the sizes of its arrays.

#include "joint_histogram.hpp"
#include "status.hpp"

// points [3][samples] in millimetres, bins [samples], of which [begin, end) are counted; moving [nx][ny][nz];
// to_voxels [3][4]; counts [32][32] of 1/256 of a sample each; inside: samples that fell into the moving volume.
EENET_API int eenet_joint_histogram(const float* points, const uint8_t* bins, size_t samples, size_t begin, size_t end,
                                    const uint8_t* moving, const int* shape, const float* to_voxels, uint32_t* counts,
                                    uint64_t* inside, char* message, size_t message_size) {
    return eenet::guarded(message, message_size, [&] {
        const float *x = points, *y = x + samples, *z = y + samples;
        *inside = eenet::count_joint_histogram({x + begin, y + begin, z + begin, bins + begin, end - begin},
                                               {moving, shape}, to_voxels, counts);
    });
}
