#include "app/raw_disk.h"

#include <algorithm>
#include <chrono>
#include <vector>

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

double seconds_since(Clock::time_point began) {
  return std::chrono::duration<double>(Clock::now() - began).count();
}

class RawFile {
 public:
  static Result<RawFile> create(storage::FileSystem& file_system, const storage::Path& path,
                                size_t queue_depth = 2 * kDepth) {
    RawFile raw;
    auto file = file_system.open(path, {storage::OpenMode::kCreateReadWrite, true});
    if (!file) return tl::unexpected(std::move(file).error());
    raw.file_ = std::move(*file);
    TAILRACE_RETURN_IF_ERROR(raw.file_->allocate(kFileBytes));
    TAILRACE_RETURN_IF_ERROR(raw.file_->sync());
    auto queue = file_system.make_queue(queue_depth);
    if (!queue) return tl::unexpected(std::move(queue).error());
    raw.queue_ = std::move(*queue);
    auto memory = storage::AlignedBuffer::allocate(kDepth * kPieceBytes);
    if (!memory) return tl::unexpected(std::move(memory).error());
    raw.memory_ = std::move(*memory);
    // Not zeros: some devices take those for free.
    for (size_t i = 0; i < raw.memory_.size(); ++i)
      raw.memory_.data()[i] = static_cast<std::byte>(i * 2654435761u >> 13);
    return raw;
  }

  /// Sequentially and round and round, until the time is over (and the file was passed once, with
  /// `once`).
  Result<double> write(double seconds, bool once) {
    const Clock::time_point began = Clock::now();
    uint64_t bytes = 0;
    while (once ? bytes < kFileBytes : seconds_since(began) < seconds) {
      TAILRACE_RETURN_IF_ERROR(eight([&](size_t i) {
        const uint64_t offset = (bytes + i * kPieceBytes) % kFileBytes;
        queue_->write(*file_, offset,
                      ByteSpan(memory_.span()).subspan(i * kPieceBytes, kPieceBytes), i);
      }));
      bytes += kSyncBytes;
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
    auto memory = storage::AlignedBuffer::allocate(depth * storage::kBlockBytes);
    if (!memory) return tl::unexpected(std::move(memory).error());
    Random random(1);
    const auto submit = [&](uint64_t slot) {
      queue_->read(*file_, random.below(kFileBytes / storage::kBlockBytes) * storage::kBlockBytes,
                   memory->span().subspan(slot * storage::kBlockBytes, storage::kBlockBytes), slot);
    };
    for (uint64_t slot = 0; slot < depth; ++slot)
      submit(slot);
    uint64_t reads = 0;
    std::vector<storage::Completion> completions;
    const Clock::time_point began = Clock::now();
    while (seconds_since(began) < seconds) {
      completions.clear();
      auto waited = queue_->wait(completions, std::chrono::seconds(10));
      if (!waited) return tl::unexpected(std::move(waited).error());
      for (const storage::Completion& completion : completions) {
        if (!completion.bytes) return tl::unexpected(completion.bytes.error());
        submit(completion.token);
        ++reads;
      }
    }
    const double rate = static_cast<double>(reads) / seconds_since(began);
    TAILRACE_RETURN_IF_ERROR(drain());
    return rate;
  }

  Result<double> commit_p50_us(double seconds) {
    const Clock::time_point began = Clock::now();
    std::vector<double> took;
    uint64_t offset = 0;
    while (seconds_since(began) < seconds) {
      const Clock::time_point start = Clock::now();
      TAILRACE_RETURN_IF_ERROR(
          file_->write_at(offset, ByteSpan(memory_.span()).first(storage::kBlockBytes)));
      TAILRACE_RETURN_IF_ERROR(file_->sync());
      took.push_back(seconds_since(start) * 1e6);
      offset = (offset + storage::kBlockBytes) % kFileBytes;
    }
    std::nth_element(took.begin(), took.begin() + static_cast<ptrdiff_t>(took.size() / 2),
                     took.end());
    return took[took.size() / 2];
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
      auto waited = queue_->wait(completions, std::chrono::seconds(10));
      if (!waited) return tl::unexpected(std::move(waited).error());
      for (const storage::Completion& completion : completions) {
        if (!completion.bytes) return tl::unexpected(completion.bytes.error());
      }
    }
    return {};
  }

  std::unique_ptr<storage::File> file_;
  storage::AlignedBuffer memory_;
  std::unique_ptr<storage::IoQueue> queue_;
};

Result<double> memcpy_bytes_per_s(double seconds) {
  auto from = storage::AlignedBuffer::allocate(kMemoryBytes, true);
  if (!from) return tl::unexpected(std::move(from).error());
  auto to = storage::AlignedBuffer::allocate(kMemoryBytes, true);
  if (!to) return tl::unexpected(std::move(to).error());
  std::memset(from->data(), 1, kMemoryBytes);
  std::memset(to->data(), 2, kMemoryBytes);
  const Clock::time_point began = Clock::now();
  uint64_t bytes = 0;
  while (seconds_since(began) < seconds) {
    std::memcpy(to->data(), from->data(), kMemoryBytes);
    // The copy must not be thought away.
    asm volatile("" : : "r"(to->data()) : "memory");
    bytes += kMemoryBytes;
  }
  return static_cast<double>(bytes) / seconds_since(began);
}

}  // namespace

Result<RawLimits> measure_raw_limits(storage::FileSystem& file_system,
                                     const storage::Path& directory, double seconds) {
  const storage::Path path = directory / "raw.tmp";
  RawLimits limits;
  const auto measure = [&]() -> Result<> {
    auto raw = RawFile::create(file_system, path);
    if (!raw) return tl::unexpected(std::move(raw).error());
    const auto set = [](double& to, Result<double> measured) -> Result<> {
      if (!measured) return tl::unexpected(std::move(measured).error());
      to = *measured;
      return {};
    };
    TAILRACE_RETURN_IF_ERROR(set(limits.fresh_write_bytes_per_s, raw->write(seconds, true)));
    TAILRACE_RETURN_IF_ERROR(set(limits.write_bytes_per_s, raw->write(seconds, false)));
    TAILRACE_RETURN_IF_ERROR(set(limits.read_bytes_per_s, raw->read(seconds)));
    TAILRACE_RETURN_IF_ERROR(set(limits.commit_p50_us, raw->commit_p50_us(seconds)));
    return set(limits.memcpy_bytes_per_s, memcpy_bytes_per_s(seconds / 2));
  };
  auto done = measure();
  (void)file_system.remove(path);
  if (!done) return tl::unexpected(std::move(done).error());
  return limits;
}

Result<double> measure_random_reads(storage::FileSystem& file_system,
                                    const storage::Path& directory, size_t depth, double seconds) {
  const storage::Path path = directory / "raw.tmp";
  const auto measure = [&]() -> Result<double> {
    auto raw = RawFile::create(file_system, path, std::max(depth, 2 * kDepth));
    if (!raw) return tl::unexpected(std::move(raw).error());
    // Blocks that were only allocated are read without the device.
    if (auto written = raw->write(0, true); !written) return written;
    return raw->random_reads_per_s(depth, seconds);
  };
  auto rate = measure();
  (void)file_system.remove(path);
  return rate;
}

}  // namespace tailrace::app
