#include "storage/posix_queue.h"

#include <deque>
#include <functional>

#include "core/mutex.h"

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
      MutexLock lock(mutex_);
      woken_signal_.wait_for(lock, timeout, [&]() TAILRACE_REQUIRES(mutex_) { return woken_; });
    }
    {
      const MutexLock lock(mutex_);
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
      const MutexLock lock(mutex_);
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
  Mutex mutex_;
  Condition woken_signal_;
  bool woken_ TAILRACE_GUARDED_BY(mutex_) = false;
};

}  // namespace

Result<std::unique_ptr<IoQueue>> make_posix_queue() {
  return std::make_unique<PosixQueue>();
}

}  // namespace tailrace::storage
