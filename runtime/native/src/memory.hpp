// Memory that is allocated once, aligned to cache lines, and given back at the end.

#pragma once

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <limits>
#include <new>
#include <utility>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace eenet {

// Bytes of all buffers that exist in this process, for tests: what somebody says to hold can be held against it.
inline std::atomic<size_t> live_buffer_bytes{0};

// `count` values of a plain type. Large buffers are not touched when allocated: the system provides pages as they are
// written. Throws std::bad_alloc.
template <typename T>
class Buffer {
  public:
    Buffer() = default;
    explicit Buffer(size_t count) : count_(count) {
        if (count == 0) return;
        if (count > (std::numeric_limits<size_t>::max() - huge_page) / sizeof(T)) throw std::bad_alloc();
        const size_t alignment = bytes() < huge_page ? cache_line : huge_page;
        // aligned_alloc wants whole multiples of the alignment.
        const size_t size = (bytes() + alignment - 1) / alignment * alignment;
        data_ = static_cast<T*>(std::aligned_alloc(alignment, size));
        if (data_ == nullptr) throw std::bad_alloc();
        live_buffer_bytes += bytes();
#if defined(__linux__) && defined(MADV_HUGEPAGE)
        // Kernels walk dozens of columns that lie in different pages: with small pages looking these up costs as much
        // as a transform. Only advice; where there are no huge pages nothing changes.
        if (alignment == huge_page) madvise(data_, size, MADV_HUGEPAGE);
#endif
    }
    Buffer(Buffer&& other) noexcept : data_(other.data_), count_(other.count_) {
        other.data_ = nullptr;
        other.count_ = 0;
    }
    Buffer& operator=(Buffer&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(count_, other.count_);
        return *this;
    }
    ~Buffer() {
        if (data_ == nullptr) return;
        live_buffer_bytes -= bytes();
        std::free(data_);
    }

    T* data() const { return data_; }
    size_t size() const { return count_; }
    size_t bytes() const { return count_ * sizeof(T); }
    T& operator[](size_t n) const { return data_[n]; }

  private:
    static constexpr size_t cache_line = 64;
    static constexpr size_t huge_page = size_t{2} << 20;
    T* data_ = nullptr;
    size_t count_ = 0;
};

}  // namespace eenet
