#include "thread_pool.hpp"

namespace eenet {

ThreadPool::ThreadPool(int threads) {
    workers_.reserve(static_cast<size_t>(threads - 1));
    try {
        for (int worker = 1; worker < threads; ++worker)
            workers_.emplace_back([this, worker] { wait_and_work(worker); });
    } catch (...) {
        // The system gave fewer threads than asked for: end those that exist, or their destructor ends the process.
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            stop_ = true;
        }
        begin_.notify_all();
        for (std::thread& thread : workers_) thread.join();
        throw;
    }
}

ThreadPool::~ThreadPool() {
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        stop_ = true;
    }
    begin_.notify_all();
    for (std::thread& thread : workers_) thread.join();
}

void ThreadPool::run(int items, const std::function<void(int, int)>& task) {
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        task_ = &task;
        items_ = items;
        next_.store(0, std::memory_order_relaxed);
        busy_ = static_cast<int>(workers_.size());
        ++generation_;
    }
    begin_.notify_all();
    take_items(0);
    std::unique_lock<std::mutex> lock(mutex_);
    end_.wait(lock, [this] { return busy_ == 0; });
}

void ThreadPool::wait_and_work(int worker) {
    unsigned long seen = 0;
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
        begin_.wait(lock, [&] { return stop_ || generation_ != seen; });
        if (stop_) return;
        seen = generation_;
        lock.unlock();
        take_items(worker);
        lock.lock();
        if (--busy_ == 0) end_.notify_one();
    }
}

void ThreadPool::take_items(int worker) {
    for (;;) {
        const int item = next_.fetch_add(1, std::memory_order_relaxed);
        if (item >= items_) return;
        (*task_)(item, worker);
    }
}

}  // namespace eenet
