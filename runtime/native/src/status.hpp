// How the C interface reports: exceptions become numbers and a text.

#pragma once

#include <cstdio>
#include <exception>
#include <new>
#include <stdexcept>
#include <system_error>

#define EENET_API extern "C" __attribute__((visibility("default")))

namespace eenet {

// What a function of the interface returns; eenet_native/_library.py has the same numbers.
enum Status { ok = 0, invalid = 1, no_memory = 2, not_finite = 3, no_threads = 4, bug = 5 };

template <typename Function>
int guarded(char* message, size_t size, Function function) {
    const auto failed = [&](Status status, const char* text) {
        if (size > 0) std::snprintf(message, size, "%s", text);
        return status;
    };
    try {
        function();
        return ok;
    } catch (const std::invalid_argument& error) {
        return failed(invalid, error.what());
    } catch (const std::domain_error& error) {
        return failed(not_finite, error.what());
    } catch (const std::bad_alloc&) {
        return failed(no_memory, "not enough memory");
    } catch (const std::system_error& error) {
        return failed(no_threads, error.what());
    } catch (const std::exception& error) {
        return failed(bug, error.what());
    }
}

}  // namespace eenet
