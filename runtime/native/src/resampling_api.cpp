// The C interface of resampling, for eenet_native/_resampling.py, which has checked sizes, strides and coordinates.

#include "resampling.hpp"
#include "status.hpp"

namespace {

eenet::ResamplingSource source_of(const int64_t* layout) {
    return {{layout[0], layout[1], layout[2]}, {layout[3], layout[4], layout[5]}};
}

}  // namespace

// type: 0 uint8, 1 int16, 2 uint16, 3 float, 4 double. layout: the source's shape and its strides in elements.
// bases [samples][3], steps [3][3]: see ResamplingPlaces. target: its first axis is the fastest.
EENET_API int eenet_resample(const void* values, int type, const int64_t* layout, int samples, const int64_t* bases,
                             const int64_t* steps, float* target, const int64_t* target_shape, int threads,
                             char* message, size_t message_size) {
    return eenet::guarded(message, message_size, [&] {
        const auto resample_as = [&](const auto* typed) {
            eenet::resample(typed, source_of(layout), {samples, bases, steps}, target, target_shape, threads);
        };
        switch (type) {
            case 0:
                return resample_as(static_cast<const uint8_t*>(values));
            case 1:
                return resample_as(static_cast<const int16_t*>(values));
            case 2:
                return resample_as(static_cast<const uint16_t*>(values));
            case 3:
                return resample_as(static_cast<const float*>(values));
            case 4:
                return resample_as(static_cast<const double*>(values));
            default:
                throw std::invalid_argument("no such type of voxels");
        }
    });
}

// As eenet_resample, for `classes` float volumes that lie `class_stride` elements apart; the winner's number comes out.
EENET_API int eenet_resample_labels(const float* values, int64_t class_stride, int classes, const int64_t* layout,
                                    int samples, const int64_t* bases, const int64_t* steps, uint8_t* labels,
                                    const int64_t* target_shape, int threads, char* message, size_t message_size) {
    return eenet::guarded(message, message_size, [&] {
        eenet::resample_labels(values, source_of(layout), class_stride, classes, {samples, bases, steps}, labels,
                               target_shape, threads);
    });
}
