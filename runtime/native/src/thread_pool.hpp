// Threads that wait, asleep, for items to work on.

#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace eenet {

class ThreadPool {
  public:
    // `threads` counts the caller of `run`, who works too.
    explicit ThreadPool(int threads);
    ~ThreadPool();
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    int threads() const { return static_cast<int>(workers_.size()) + 1; }

    // Call task(item, worker) for every item in [0, items), on any thread and in any order; worker is in [0,
    // threads()). Returns when all are done. `task` must not throw. One caller at a time.
    void run(int items, const std::function<void(int item, int worker)>& task);

  private:
    void wait_and_work(int worker);
    void take_items(int worker);

    std::vector<std::thread> workers_;
    std::mutex mutex_;
    std::condition_variable begin_, end_;
    const std::function<void(int, int)>* task_ = nullptr;
    int items_ = 0;
    std::atomic<int> next_{0};
    unsigned long generation_ = 0;  // grows with every run: how a worker knows that there is something new
    int busy_ = 0;
    bool stop_ = false;
};

}  // namespace eenet
