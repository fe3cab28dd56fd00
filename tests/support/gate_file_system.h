#pragma once
// A file system that writes down what is done to it, and can hold chosen fsyncs, or what its queues
// have done, until it is let go: so a test can stand still between two steps of the disk.

#include <algorithm>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/mutex.h"
#include "storage/file_system.h"

namespace tailrace::testing {

class GateFileSystem final : public storage::FileSystem {
 public:
  explicit GateFileSystem(storage::FileSystem& below) : below_(below) {}
  ~GateFileSystem() override { let_go(); }

  // ---- The test's side. Any thread. -----------------------------------------------------------
  /// From now on the fsync of a file whose path contains `part` waits.
  void hold(std::string part) {
    const MutexLock lock(mutex_);
    held_ = std::move(part);
  }
  /// From now on what queues have done is not handed out.
  void hold_queues() {
    const MutexLock lock(mutex_);
    queues_held_ = true;
  }
  void let_go() {
    const MutexLock lock(mutex_);
    held_.clear();
    queues_held_ = false;
    moved_.notify_all();
  }
  /// The disk has no more than `bytes` for all files together whose path contains `part`.
  void limit(std::string part, uint64_t bytes) {
    const MutexLock lock(mutex_);
    limited_ = std::move(part);
    limit_bytes_ = bytes;
  }
  /// Returns when a fsync waits at the gate; false when none comes.
  bool wait_held() {
    MutexLock lock(mutex_);
    return moved_.wait_for(lock, std::chrono::seconds(30),
                           [&]() TAILRACE_REQUIRES(mutex_) { return waiting_ > 0; });
  }
  /// "sync PATH", "rename PATH" (the new name; also of an exchange), "remove PATH", "sync_directory
  /// PATH", in order.
  std::vector<std::string> trace() const {
    const MutexLock lock(mutex_);
    return trace_;
  }
  void forget_trace() {
    const MutexLock lock(mutex_);
    trace_.clear();
  }

  // ---- storage::FileSystem --------------------------------------------------------------------
  Result<std::unique_ptr<storage::File>> open(const storage::Path& path,
                                              const storage::OpenOptions& options) override {
    auto file = below_.open(path, options);
    if (!file) return file;
    return std::make_unique<GateFile>(*this, std::move(*file));
  }
  Result<std::unique_ptr<storage::IoQueue>> make_queue(size_t depth) override {
    TAILRACE_ASSIGN_OR_RETURN(auto queue, below_.make_queue(depth));
    return std::make_unique<GateQueue>(*this, std::move(queue));
  }
  Result<bool> exists(const storage::Path& path) override { return below_.exists(path); }
  Result<std::vector<std::string>> list(const storage::Path& directory) override {
    return below_.list(directory);
  }
  Result<> make_directory(const storage::Path& directory) override {
    return below_.make_directory(directory);
  }
  Result<> rename(const storage::Path& from, const storage::Path& to) override {
    note("rename " + to.string());
    return below_.rename(from, to);
  }
  Result<> exchange(const storage::Path& one, const storage::Path& other) override {
    note("rename " + other.string());
    return below_.exchange(one, other);
  }
  Result<> remove(const storage::Path& path) override {
    note("remove " + path.string());
    {
      const MutexLock lock(mutex_);
      allocated_.erase(path.string());
    }
    return below_.remove(path);
  }
  Result<> remove_directory(const storage::Path& directory) override {
    note("remove " + directory.string());
    return below_.remove_directory(directory);
  }
  Result<> sync_directory(const storage::Path& directory) override {
    note("sync_directory " + directory.string());
    return below_.sync_directory(directory);
  }
  Result<std::unique_ptr<storage::DirectoryLock>> lock(const storage::Path& directory) override {
    return below_.lock(directory);
  }
  Result<> check_unlocked(const storage::Path& directory) override {
    return below_.check_unlocked(directory);
  }
  Result<storage::SpaceInfo> space(const storage::Path& directory) override {
    return below_.space(directory);
  }

 private:
  class GateFile final : public storage::File {
   public:
    GateFile(GateFileSystem& gate, std::unique_ptr<storage::File> below)
        : gate_(gate), below_(std::move(below)) {}
    const storage::Path& path() const override { return below_->path(); }
    Result<uint64_t> size() const override { return below_->size(); }
    Result<size_t> read_at(uint64_t offset, MutableByteSpan into) override {
      return below_->read_at(offset, into);
    }
    Result<> write_at(uint64_t offset, ByteSpan bytes) override {
      return below_->write_at(offset, bytes);
    }
    Result<> sync() override {
      gate_.pass(path().string());
      return below_->sync();
    }
    Result<> allocate(uint64_t bytes) override {
      TAILRACE_RETURN_IF_ERROR(gate_.take(path().string(), bytes));
      return below_->allocate(bytes);
    }
    Result<> truncate(uint64_t bytes) override { return below_->truncate(bytes); }

   private:
    GateFileSystem& gate_;
    const std::unique_ptr<storage::File> below_;
  };

  class GateQueue final : public storage::IoQueue {
   public:
    GateQueue(GateFileSystem& gate, std::unique_ptr<storage::IoQueue> below)
        : gate_(gate), below_(std::move(below)) {}
    void write(storage::File& file, uint64_t offset, ByteSpan bytes, uint64_t token) override {
      below_->write(file, offset, bytes, token);
    }
    void write_synced(storage::File& file, uint64_t offset, ByteSpan bytes,
                      uint64_t token) override {
      below_->write_synced(file, offset, bytes, token);
    }
    void read(storage::File& file, uint64_t offset, MutableByteSpan into, uint64_t token) override {
      below_->read(file, offset, into, token);
    }
    void sync(storage::File& file, uint64_t token) override { below_->sync(file, token); }
    size_t in_flight() const override { return below_->in_flight() + done_.size(); }
    Result<size_t> wait(std::vector<storage::Completion>& completions,
                        std::chrono::nanoseconds timeout) override {
      // Short, for nobody wakes it when the gate opens.
      const auto most = done_.empty() ? timeout : std::chrono::milliseconds(1);
      TAILRACE_RETURN_IF_ERROR(
          below_->wait(done_, std::min<std::chrono::nanoseconds>(timeout, most)));
      if (gate_.queues_held()) return size_t{0};
      const size_t count = done_.size();
      std::move(done_.begin(), done_.end(), std::back_inserter(completions));
      done_.clear();
      return count;
    }
    void wake() override { below_->wake(); }

   private:
    GateFileSystem& gate_;
    const std::unique_ptr<storage::IoQueue> below_;
    std::vector<storage::Completion> done_;
  };

  bool queues_held() const {
    const MutexLock lock(mutex_);
    return queues_held_;
  }
  Result<> take(const std::string& path, uint64_t bytes) {
    const MutexLock lock(mutex_);
    if (limited_.empty() || path.find(limited_) == std::string::npos) return {};
    uint64_t others = 0;
    for (const auto& [other, allocated] : allocated_)
      if (other != path) others += allocated;
    if (others + bytes > limit_bytes_)
      return make_error(ErrorCode::kResourceExhausted, "no space left for " + path);
    allocated_[path] = std::max(allocated_[path], bytes);
    return {};
  }
  void note(std::string what) {
    const MutexLock lock(mutex_);
    trace_.push_back(std::move(what));
  }
  void pass(const std::string& path) {
    {
      MutexLock lock(mutex_);
      const auto closed = [&]() TAILRACE_REQUIRES(mutex_) {
        return !held_.empty() && path.find(held_) != std::string::npos;
      };
      if (closed()) {
        ++waiting_;
        moved_.notify_all();
        moved_.wait(lock, [&]() TAILRACE_REQUIRES(mutex_) { return !closed(); });
        --waiting_;
      }
    }
    note("sync " + path);
  }

  storage::FileSystem& below_;
  mutable Mutex mutex_;
  Condition moved_;
  std::string held_ TAILRACE_GUARDED_BY(mutex_);
  std::string limited_ TAILRACE_GUARDED_BY(mutex_);
  uint64_t limit_bytes_ TAILRACE_GUARDED_BY(mutex_) = 0;
  /// Of the files limited_ names.
  std::map<std::string, uint64_t> allocated_ TAILRACE_GUARDED_BY(mutex_);
  bool queues_held_ TAILRACE_GUARDED_BY(mutex_) = false;
  int waiting_ TAILRACE_GUARDED_BY(mutex_) = 0;
  std::vector<std::string> trace_ TAILRACE_GUARDED_BY(mutex_);
};

}  // namespace tailrace::testing
