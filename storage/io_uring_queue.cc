#include "storage/io_uring_queue.h"

#include <atomic>
#include <cerrno>
#include <fstream>
#include <string>
#include <thread>
#include <unordered_map>

#include <liburing.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/check.h"
#include "core/clock.h"
#include "storage/patience.h"
#include "storage/posix_file.h"

namespace tailrace::storage {

namespace {

enum class Kind { kWrite, kWriteSynced, kRead, kSync };

/// A request until its completion is handed out. A part that the kernel did goes on from there.
struct Request {
  Kind kind;
  const PosixFile* file;
  uint64_t offset;
  std::byte* memory;
  size_t length;
  size_t done;
  uint64_t token;
  SteadyTime short_since{};  // when the system first lacked something for it; never: 0
};

// Not the number of any request: those count from 1.
constexpr uint64_t kWakeData = 0;

// The kernel may give a new ring the addresses of one that another thread has just given up. That
// is in order, but a thread sanitizer, which sees no system call of liburing's, must be told.
std::atomic<uint64_t> rings_given_up{0};

std::string_view call_of(Kind kind) {
  switch (kind) {
    case Kind::kWrite:
      return "write";
    case Kind::kWriteSynced:
      return "write and sync";
    case Kind::kRead:
      return "read";
    case Kind::kSync:
      return "fdatasync";
  }
  return "request";
}

/// What io_uring_setup's error means, and what to do about it.
std::string why_none(int result) {
  std::ifstream setting("/proc/sys/kernel/io_uring_disabled");
  int disabled = 0;
  if (setting >> disabled && disabled != 0)
    return "io_uring is switched off: the setting kernel.io_uring_disabled is " +
           std::to_string(disabled) + "; set it to 0 by sysctl";
  if (result == -ENOSYS)
    return "the kernel has no io_uring (it came with Linux 5.1), or a seccomp filter, as of a "
           "container, says so; allow io_uring_setup, io_uring_enter and io_uring_register there";
  if (result == -ENOMEM)
    return "io_uring may not lock enough memory; raise the limit (ulimit -l, LimitMEMLOCK)";
  return "io_uring is not permitted: a seccomp filter, as of a container, or a security module "
         "refuses it; allow io_uring_setup, io_uring_enter and io_uring_register there";
}

class IoUringQueue final : public IoQueue {
 public:
  explicit IoUringQueue(int event) : event_(event) {}

  ~IoUringQueue() override {
    // The kernel still writes into the buffers of what is in flight, so wait for it.
    std::vector<Completion> ignored;
    while (in_flight_ > 0) {
      if (!wait(ignored, std::chrono::milliseconds(100))) break;
    }
    rings_given_up.fetch_add(1, std::memory_order_acq_rel);
    if (ring_made_) ::io_uring_queue_exit(&ring_);
    ::close(event_);
  }

  IoUringQueue(const IoUringQueue&) = delete;
  IoUringQueue& operator=(const IoUringQueue&) = delete;

  int start(size_t depth) {
    const int result = ::io_uring_queue_init(static_cast<unsigned>(depth) + 1, &ring_, 0);
    (void)rings_given_up.load(std::memory_order_acquire);
    ring_made_ = result == 0;
    return result;
  }

  void write(File& file, uint64_t offset, ByteSpan bytes, uint64_t token) override {
    add({Kind::kWrite, &posix(file), offset, const_cast<std::byte*>(bytes.data()), bytes.size(), 0,
         token});
  }
  void write_synced(File& file, uint64_t offset, ByteSpan bytes, uint64_t token) override {
    add({Kind::kWriteSynced, &posix(file), offset, const_cast<std::byte*>(bytes.data()),
         bytes.size(), 0, token});
  }
  void read(File& file, uint64_t offset, MutableByteSpan into, uint64_t token) override {
    add({Kind::kRead, &posix(file), offset, into.data(), into.size(), 0, token});
  }
  void sync(File& file, uint64_t token) override {
    add({Kind::kSync, &posix(file), 0, nullptr, 0, 0, token});
  }

  size_t in_flight() const override { return in_flight_; }

  Result<size_t> wait(std::vector<Completion>& completions,
                      std::chrono::nanoseconds timeout) override {
    watch_event();
    const size_t before = completions.size();
    collect(completions);
    const bool must_wait =
        completions.size() == before && !woken_ && timeout > std::chrono::nanoseconds::zero();
    int result = 0;
    if (must_wait) {
      __kernel_timespec limit{};
      limit.tv_sec = std::chrono::duration_cast<std::chrono::seconds>(timeout).count();
      limit.tv_nsec = (timeout % std::chrono::seconds(1)).count();
      io_uring_cqe* completion = nullptr;
      result = ::io_uring_submit_and_wait_timeout(&ring_, &completion, 1, &limit, nullptr);
    } else {
      result = ::io_uring_submit(&ring_);
    }
    if (result < 0 && result != -ETIME && result != -EINTR && result != -EBUSY &&
        !may_try_again(result, short_since_)) {
      return tl::unexpected(io_error("io_uring_enter", "the I/O queue", result));
    }
    if (result >= 0) short_since_ = SteadyTime{};
    collect(completions);
    woken_ = false;
    return completions.size() - before;
  }

  void wake() override {
    const uint64_t one = 1;
    const ssize_t put = ::write(event_, &one, sizeof one);
    (void)put;  // EAGAIN: the counter is full, so the wake is there already
  }

  int descriptor() const override { return ring_.ring_fd; }
  bool must_submit() const override { return ::io_uring_sq_ready(&ring_) > 0; }

 private:
  static const PosixFile& posix(File& file) {
    auto* found = dynamic_cast<PosixFile*>(&file);
    TAILRACE_CHECK(found != nullptr, "a file of another file system: " + file.path().string());
    return *found;
  }

  io_uring_sqe* submission() {
    io_uring_sqe* entry = ::io_uring_get_sqe(&ring_);
    if (entry == nullptr) {
      ::io_uring_submit(&ring_);
      entry = ::io_uring_get_sqe(&ring_);
    }
    TAILRACE_CHECK(entry != nullptr, "the io_uring takes no more submissions");
    return entry;
  }

  void add(const Request& request) {
    const uint64_t number = ++last_number_;
    ++in_flight_;
    prepare(number, requests_.emplace(number, request).first->second);
  }

  /// Whether what failed so is to be tried again: the system lacks something, and has not for long.
  static bool may_try_again(int result, SteadyTime& short_since) {
    if (!is_short_for_now(-result)) return false;
    const SteadyTime now = std::chrono::steady_clock::now();
    if (short_since == SteadyTime{}) short_since = now;
    if (now - short_since > kPatience) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return true;
  }

  void prepare(uint64_t number, const Request& request) {
    io_uring_sqe* entry = submission();
    const int descriptor = request.file->descriptor();
    std::byte* memory = request.memory + request.done;
    const auto length = static_cast<unsigned>(request.length - request.done);
    switch (request.kind) {
      case Kind::kWrite:
        ::io_uring_prep_write(entry, descriptor, memory, length, request.offset + request.done);
        break;
      case Kind::kWriteSynced:
        // The same promise as fdatasync's, of these bytes (pwritev2(2)).
        ::io_uring_prep_write(entry, descriptor, memory, length, request.offset + request.done);
        entry->rw_flags = RWF_DSYNC;
        break;
      case Kind::kRead:
        ::io_uring_prep_read(entry, descriptor, memory, length, request.offset + request.done);
        break;
      case Kind::kSync:
        ::io_uring_prep_fsync(entry, descriptor, IORING_FSYNC_DATASYNC);
        break;
    }
    entry->user_data = number;
  }

  void watch_event() {
    if (event_watched_) return;
    io_uring_sqe* entry = submission();
    ::io_uring_prep_read(entry, event_, &event_value_, sizeof event_value_, 0);
    entry->user_data = kWakeData;
    event_watched_ = true;
  }

  void collect(std::vector<Completion>& completions) {
    io_uring_cqe* completion = nullptr;
    while (::io_uring_peek_cqe(&ring_, &completion) == 0 && completion != nullptr) {
      const uint64_t number = completion->user_data;
      const int result = completion->res;
      ::io_uring_cqe_seen(&ring_, completion);
      if (number == kWakeData) {
        event_watched_ = false;
        woken_ = true;
      } else {
        finish(number, result, completions);
      }
    }
  }

  void finish(uint64_t number, int result, std::vector<Completion>& completions) {
    const auto found = requests_.find(number);
    TAILRACE_CHECK(found != requests_.end(), "a completion without a request");
    Request& request = found->second;
    if (result == -EINTR || result == -EAGAIN) return prepare(number, request);
    // Nothing was done for want of memory. Of a sync any error is final.
    if (result == -ENOMEM && request.kind != Kind::kSync &&
        may_try_again(result, request.short_since))
      return prepare(number, request);
    if (result > 0) {
      request.done += static_cast<size_t>(result);
      // A short transfer goes on. With O_DIRECT a length that is no whole sector is the end.
      const bool at_end =
          request.kind == Kind::kRead && request.file->direct() && request.done % 512 != 0;
      if (request.done < request.length && !at_end) return prepare(number, request);
    }
    const bool writes = request.kind == Kind::kWrite || request.kind == Kind::kWriteSynced;
    if (result == 0 && writes && request.done < request.length) result = -EIO;
    Completion done;
    done.token = request.token;
    if (result < 0) {
      done.bytes =
          tl::unexpected(io_error(call_of(request.kind), request.file->path().native(), result));
    } else {
      done.bytes = request.done;
    }
    completions.push_back(std::move(done));
    requests_.erase(found);
    --in_flight_;
  }

  io_uring ring_{};
  bool ring_made_ = false;
  const int event_;  // written by wake(), read through the ring
  uint64_t event_value_ = 0;
  bool event_watched_ = false;
  bool woken_ = false;
  uint64_t last_number_ = 0;
  size_t in_flight_ = 0;
  SteadyTime short_since_{};  // the kernel takes no requests for want of something
  std::unordered_map<uint64_t, Request> requests_;
};

}  // namespace

Result<std::unique_ptr<IoQueue>> make_io_uring_queue(size_t depth) {
  const int event = with_patience([] { return ::eventfd(0, EFD_CLOEXEC); });
  if (event < 0) return tl::unexpected(io_error("eventfd", "the I/O queue", errno));
  auto queue = std::make_unique<IoUringQueue>(event);
  const int result = with_patience([&] {
    const int started = queue->start(depth);
    // Locked memory does not come back, unlike descriptors.
    errno = started == -ENOMEM ? EPERM : -started;
    return started;
  });
  if (result == -ENOSYS || result == -EPERM || result == -EACCES || result == -ENOMEM)
    return make_error(ErrorCode::kUnsupported, why_none(result));
  if (result < 0) return tl::unexpected(io_error("io_uring_setup", "the I/O queue", result));
  return queue;
}

}  // namespace tailrace::storage
