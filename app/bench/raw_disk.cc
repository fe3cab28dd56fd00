#include "app/bench/raw_disk.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "app/bench/measuring.h"
#include "core/random.h"
#include "storage/aligned_buffer.h"

namespace tailrace::app {

namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kDepth = 8;
constexpr uint64_t kPieceBytes = 1u << 20;
constexpr uint64_t kSyncBytes = 8u << 20;
constexpr uint64_t kFileBytes = 1u << 30;
constexpr size_t kMemoryBytes = 256u << 20;

}  // namespace

class RawDisk::Impl {
 public:
  Impl(storage::FileSystem& file_system, storage::Path path)
      : file_system_(file_system), path_(std::move(path)) {}
  ~Impl() {
    file_.reset();
    (void)file_system_.remove(path_);
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  Result<> create(size_t queue_depth) {
    TAILRACE_ASSIGN_OR_RETURN(
        file_, file_system_.open(path_, {storage::OpenMode::kCreateReadWrite, true}));
    TAILRACE_RETURN_IF_ERROR(file_->allocate(kFileBytes));
    TAILRACE_RETURN_IF_ERROR(file_->sync());
    TAILRACE_ASSIGN_OR_RETURN(queue_, file_system_.make_queue(queue_depth));
    TAILRACE_ASSIGN_OR_RETURN(memory_, storage::AlignedBuffer::allocate(kDepth * kPieceBytes));
    // Not zeros: some devices take those for free.
    for (size_t i = 0; i < memory_.size(); ++i)
      memory_.data()[i] = static_cast<std::byte>(i * 2654435761u >> 13);
    return {};
  }

  Result<double> write(double seconds, bool once) {
    const Clock::time_point began = Clock::now();
    uint64_t bytes = 0;
    while (once ? bytes < kFileBytes : seconds_since(began) < seconds) {
      TAILRACE_RETURN_IF_ERROR(eight([&](size_t i) {
        const uint64_t offset = (write_at_ + i * kPieceBytes) % kFileBytes;
        queue_->write(*file_, offset,
                      ByteSpan(memory_.span()).subspan(i * kPieceBytes, kPieceBytes), i);
      }));
      bytes += kSyncBytes;
      write_at_ = (write_at_ + kSyncBytes) % kFileBytes;
      queue_->sync(*file_, 0);
      TAILRACE_RETURN_IF_ERROR(drain());
    }
    return static_cast<double>(bytes) / seconds_since(began);
  }

  Result<double> read(double seconds) {
    const Clock::time_point began = Clock::now();
    uint64_t bytes = 0;
    while (seconds_since(began) < seconds) {
      TAILRACE_RETURN_IF_ERROR(eight([&](size_t i) {
        const uint64_t offset = (bytes + i * kPieceBytes) % kFileBytes;
        queue_->read(*file_, offset, memory_.span().subspan(i * kPieceBytes, kPieceBytes), i);
      }));
      bytes += kDepth * kPieceBytes;
    }
    return static_cast<double>(bytes) / seconds_since(began);
  }

  /// Single blocks at random places, `depth` in flight all the time.
  Result<double> random_reads_per_s(size_t depth, double seconds) {
    TAILRACE_ASSIGN_OR_RETURN(auto memory,
                              storage::AlignedBuffer::allocate(depth * storage::kBlockBytes));
    Random random(1);
    const auto submit = [&](uint64_t slot) {
      queue_->read(*file_, random.below(kFileBytes / storage::kBlockBytes) * storage::kBlockBytes,
                   memory.span().subspan(slot * storage::kBlockBytes, storage::kBlockBytes), slot);
    };
    for (uint64_t slot = 0; slot < depth; ++slot)
      submit(slot);
    uint64_t reads = 0;
    std::vector<storage::Completion> completions;
    const Clock::time_point began = Clock::now();
    while (seconds_since(began) < seconds) {
      completions.clear();
      TAILRACE_RETURN_IF_ERROR(queue_->wait(completions, std::chrono::seconds(10)));
      for (const storage::Completion& completion : completions) {
        TAILRACE_RETURN_IF_ERROR(completion.bytes);
        submit(completion.token);
        ++reads;
      }
    }
    const double rate = static_cast<double>(reads) / seconds_since(began);
    TAILRACE_RETURN_IF_ERROR(drain());
    return rate;
  }

  Result<> commit(size_t times, std::vector<double>& took_us) {
    for (size_t i = 0; i < times; ++i) {
      const Clock::time_point start = Clock::now();
      TAILRACE_RETURN_IF_ERROR(
          file_->write_at(commit_at_, ByteSpan(memory_.span()).first(storage::kBlockBytes)));
      TAILRACE_RETURN_IF_ERROR(file_->sync());
      took_us.push_back(seconds_since(start) * 1e6);
      commit_at_ = (commit_at_ + storage::kBlockBytes) % kFileBytes;
    }
    return {};
  }

 private:
  template <typename Submit>
  Result<> eight(Submit submit) {
    for (size_t i = 0; i < kDepth; ++i)
      submit(i);
    return drain();
  }
  Result<> drain() {
    std::vector<storage::Completion> completions;
    while (queue_->in_flight() > 0) {
      completions.clear();
      TAILRACE_RETURN_IF_ERROR(queue_->wait(completions, std::chrono::seconds(10)));
      for (const storage::Completion& completion : completions) {
        TAILRACE_RETURN_IF_ERROR(completion.bytes);
      }
    }
    return {};
  }

  storage::FileSystem& file_system_;
  const storage::Path path_;
  std::unique_ptr<storage::File> file_;
  uint64_t write_at_ = 0, commit_at_ = 0;
  storage::AlignedBuffer memory_;
  std::unique_ptr<storage::IoQueue> queue_;
};

Result<RawDisk> RawDisk::create(storage::FileSystem& file_system, const storage::Path& directory,
                                size_t most_depth) {
  RawDisk raw(std::make_unique<Impl>(file_system, directory / "raw.tmp"));
  TAILRACE_RETURN_IF_ERROR(raw.impl_->create(std::max(most_depth, 2 * kDepth)));
  TAILRACE_ASSIGN_OR_RETURN(raw.fresh_write_bytes_per_s_, raw.impl_->write(0, true));
  return raw;
}

RawDisk::RawDisk(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
RawDisk::RawDisk(RawDisk&&) noexcept = default;
RawDisk::~RawDisk() = default;

Result<double> RawDisk::write_bytes_per_s(double seconds) {
  return impl_->write(seconds, false);
}
Result<double> RawDisk::read_bytes_per_s(double seconds) {
  return impl_->read(seconds);
}
Result<double> RawDisk::random_reads_per_s(size_t depth, double seconds) {
  return impl_->random_reads_per_s(depth, seconds);
}
Result<> RawDisk::commit(size_t times, std::vector<double>& took_us) {
  return impl_->commit(times, took_us);
}

Result<double> memcpy_bytes_per_s(double seconds) {
  TAILRACE_ASSIGN_OR_RETURN(auto from, storage::AlignedBuffer::allocate(kMemoryBytes, true));
  TAILRACE_ASSIGN_OR_RETURN(auto to, storage::AlignedBuffer::allocate(kMemoryBytes, true));
  std::memset(from.data(), 1, kMemoryBytes);
  std::memset(to.data(), 2, kMemoryBytes);
  const Clock::time_point began = Clock::now();
  uint64_t bytes = 0;
  while (seconds_since(began) < seconds) {
    std::memcpy(to.data(), from.data(), kMemoryBytes);
    // The copy must not be thought away.
    asm volatile("" : : "r"(to.data()) : "memory");
    bytes += kMemoryBytes;
  }
  return static_cast<double>(bytes) / seconds_since(began);
}

}  // namespace tailrace::app
