#include "storage/posix_queue.h"

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>

namespace tailrace::storage {

namespace {

class PosixQueue final : public IoQueue {
 public:
  void write(File& file, uint64_t offset, ByteSpan bytes, uint64_t token) override {
    requests_.push_back({token, [&file, offset, bytes]() -> Result<size_t> {
                           TAILRACE_RETURN_IF_ERROR(file.write_at(offset, bytes));
                           return bytes.size();
                         }});
  }
  void write_synced(File& file, uint64_t offset, ByteSpan bytes, uint64_t token) override {
    requests_.push_back({token, [&file, offset, bytes]() -> Result<size_t> {
                           TAILRACE_RETURN_IF_ERROR(file.write_at(offset, bytes));
                           TAILRACE_RETURN_IF_ERROR(file.sync());
                           return bytes.size();
                         }});
  }
  void read(File& file, uint64_t offset, MutableByteSpan into, uint64_t token) override {
    requests_.push_back({token, [&file, offset, into] { return file.read_at(offset, into); }});
  }
  void sync(File& file, uint64_t token) override {
    requests_.push_back({token, [&file]() -> Result<size_t> {
                           TAILRACE_RETURN_IF_ERROR(file.sync());
                           return size_t{0};
                         }});
  }

  size_t in_flight() const override { return requests_.size(); }

  Result<size_t> wait(std::vector<Completion>& completions,
                      std::chrono::nanoseconds timeout) override {
    if (requests_.empty()) {
      std::unique_lock lock(mutex_);
      woken_signal_.wait_for(lock, timeout, [&] { return woken_; });
    }
    {
      const std::lock_guard lock(mutex_);
      woken_ = false;
    }
    const size_t count = requests_.size();
    for (auto& request : requests_) {
      completions.push_back(Completion{request.token, request.run()});
    }
    requests_.clear();
    return count;
  }

  void wake() override {
    {
      const std::lock_guard lock(mutex_);
      woken_ = true;
    }
    woken_signal_.notify_one();
  }

 private:
  struct Request {
    uint64_t token;
    std::function<Result<size_t>()> run;
  };
  std::deque<Request> requests_;  // the owner's thread
  std::mutex mutex_;
  std::condition_variable woken_signal_;
  bool woken_ = false;  // guarded by mutex_
};

}  // namespace

Result<std::unique_ptr<IoQueue>> make_posix_queue() {
  return std::make_unique<PosixQueue>();
}

}  // namespace tailrace::storage
