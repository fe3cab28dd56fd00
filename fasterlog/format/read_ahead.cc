#include "fasterlog/format/read_ahead.h"

#include <algorithm>
#include <cstring>

namespace tailrace::fasterlog {

namespace {
constexpr uint64_t kPieceBytes = 1u << 20;
constexpr size_t kPieces = 8;
constexpr std::chrono::seconds kLongestWait{10};
}  // namespace

Result<std::unique_ptr<ReadAheadSource>> ReadAheadSource::create(storage::FileSystem& file_system,
                                                                 const SegmentFiles& segments,
                                                                 Address end) {
  std::unique_ptr<ReadAheadSource> source(new ReadAheadSource(segments, end));
  TAILRACE_ASSIGN_OR_RETURN(source->queue_, file_system.make_queue(kPieces));
  for (size_t i = 0; i < kPieces; ++i) {
    auto piece = std::make_unique<Piece>();
    TAILRACE_ASSIGN_OR_RETURN(piece->memory, storage::AlignedBuffer::allocate(kPieceBytes));
    source->idle_.push_back(std::move(piece));
  }
  return source;
}

ReadAheadSource::~ReadAheadSource() {
  // The kernel still writes into the buffers.
  (void)drain();
}

void ReadAheadSource::fetch() {
  while (!idle_.empty() && next_ < end_) {
    const uint64_t offset = next_.value % segments_.segment_bytes();
    auto file = segments_.file(segments_.index_of(next_));
    if (!file) return;
    std::unique_ptr<Piece> piece = std::move(idle_.back());
    idle_.pop_back();
    piece->from = next_;
    piece->bytes = std::min({kPieceBytes, segments_.segment_bytes() - offset,
                             align_up(end_ - next_, storage::kBlockBytes)});
    piece->file = std::move(file);
    piece->there = false;
    queue_->read(*piece->file, offset, piece->memory.span().first(piece->bytes),
                 reinterpret_cast<uint64_t>(piece.get()));
    next_ = next_ + piece->bytes;
    window_.push_back(std::move(piece));
  }
}

Result<> ReadAheadSource::wait_for_first() {
  std::vector<storage::Completion> completions;
  while (!window_.front()->there) {
    completions.clear();
    TAILRACE_RETURN_IF_ERROR(queue_->wait(completions, kLongestWait));
    for (const storage::Completion& completion : completions) {
      auto* piece = reinterpret_cast<Piece*>(completion.token);
      TAILRACE_RETURN_IF_ERROR(completion.bytes);
      // What lies beyond a file's end reads as zeros.
      std::memset(piece->memory.data() + *completion.bytes, 0, piece->bytes - *completion.bytes);
      piece->there = true;
    }
  }
  return {};
}

Result<> ReadAheadSource::drain() {
  std::vector<storage::Completion> completions;
  while (queue_->in_flight() > 0) {
    TAILRACE_RETURN_IF_ERROR(queue_->wait(completions, kLongestWait));
  }
  for (auto& piece : window_)
    idle_.push_back(std::move(piece));
  window_.clear();
  return {};
}

Result<CheckedBytes> ReadAheadSource::read(Address from, uint64_t wanted, MutableByteSpan into) {
  const bool ahead = !window_.empty() && from >= window_.front()->from && from < next_;
  if (!ahead) {
    TAILRACE_RETURN_IF_ERROR(drain());
    next_ = from;
  }
  for (uint64_t done = 0; done < wanted;) {
    const Address at = from + done;
    while (!window_.empty() && window_.front()->from + window_.front()->bytes <= at) {
      TAILRACE_RETURN_IF_ERROR(wait_for_first());
      idle_.push_back(std::move(window_.front()));
      window_.pop_front();
    }
    fetch();
    // Beyond the end, or where a file is absent, which read_aligned says.
    if (window_.empty()) {
      TAILRACE_RETURN_IF_ERROR(segments_.read_aligned(at, into.subspan(done)));
      return CheckedBytes{};
    }
    TAILRACE_RETURN_IF_ERROR(wait_for_first());
    const Piece& piece = *window_.front();
    const uint64_t skip = at - piece.from;
    const uint64_t part = std::min<uint64_t>(piece.bytes - skip, into.size() - done);
    std::memcpy(into.data() + done, piece.memory.data() + skip, part);
    done += part;
  }
  return CheckedBytes{};
}

}  // namespace tailrace::fasterlog
