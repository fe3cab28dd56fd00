#include "kv/log/parts.h"

#include <algorithm>
#include <optional>
#include <system_error>
#include <thread>
#include <vector>

#include "core/bytes.h"
#include "core/mutex.h"
#include "core/thread.h"

namespace tailrace::kv {

namespace {
constexpr uint64_t kLeastBytesOfThread = 4u << 20;
// A part costs its own read-ahead; an error is told when those that were begun before it are done.
constexpr uint64_t kLeastBytesOfPart = 2u << 20;
constexpr uint64_t kMostBytesOfPart = 64u << 20;
// So that threads end at about the same time.
constexpr uint64_t kPartsOfThread = 8;

class Parts {
 public:
  Parts(uint64_t page_bytes, uint64_t part_bytes, LogAddress from, LogAddress until,
        const WorkOnPart& work)
      : page_bytes_(page_bytes),
        part_bytes_(align_up(part_bytes, page_bytes)),
        until_(until),
        work_(work),
        next_(from) {}

  void run(unsigned worker) {
    for (;;) {
      LogAddress from = 0;
      LogAddress to = 0;
      {
        const MutexLock lock(mutex_);
        if (next_ >= until_ || error_) return;
        from = next_;
        to = next_ = std::min(align_down(from, page_bytes_) + part_bytes_, until_);
      }
      auto done = work_(worker, from, to);
      if (done) continue;
      const MutexLock lock(mutex_);
      if (!error_ || from < failed_from_) {
        error_ = std::move(done.error());
        failed_from_ = from;
      }
      return;
    }
  }

  Result<> result() {
    const MutexLock lock(mutex_);
    if (error_) return tl::unexpected(std::move(*error_));
    return {};
  }

 private:
  const uint64_t page_bytes_;
  const uint64_t part_bytes_;
  const LogAddress until_;
  const WorkOnPart& work_;
  Mutex mutex_;
  LogAddress next_ TAILRACE_GUARDED_BY(mutex_);
  std::optional<Error> error_ TAILRACE_GUARDED_BY(mutex_);
  LogAddress failed_from_ TAILRACE_GUARDED_BY(mutex_) = 0;
};

}  // namespace

unsigned threads_for(unsigned threads, uint64_t bytes) {
  return static_cast<unsigned>(
      std::clamp<uint64_t>(bytes / kLeastBytesOfThread, 1, std::max(threads, 1u)));
}

Result<> in_parts(unsigned threads, uint64_t page_bytes, LogAddress from, LogAddress until,
                  const WorkOnPart& work) {
  if (from >= until) return {};
  threads = threads_for(threads, until - from);
  const uint64_t wanted =
      std::clamp((until - from) / (threads * kPartsOfThread), kLeastBytesOfPart, kMostBytesOfPart);
  Parts parts(page_bytes, wanted, from, until, work);
  std::vector<std::thread> others;
  for (unsigned worker = 1; worker < threads; ++worker) {
    try {
      others.push_back(named_thread("kv_recovery", [&parts, worker] { parts.run(worker); }));
    } catch (const std::system_error&) {
      break;  // as many as the system gives: the work is the same
    }
  }
  parts.run(0);
  for (std::thread& other : others)
    other.join();
  return parts.result();
}

}  // namespace tailrace::kv
