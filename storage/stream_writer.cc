#include "storage/stream_writer.h"

#include <algorithm>
#include <cstring>

#include "core/check.h"

namespace tailrace::storage {

namespace {
constexpr std::chrono::seconds kLong{3600};
}

StreamWriter::~StreamWriter() {
  abandon();
}

Result<> StreamWriter::open(const Path& path, uint64_t bytes, uint64_t offset) {
  TAILRACE_CHECK(!file_ && offset % kBlockBytes == 0 && offset <= bytes, "a stream's beginning");
  if (failure_) return tl::unexpected(*failure_);
  if (!queue_) {
    TAILRACE_ASSIGN_OR_RETURN(queue_, file_system_.make_queue(kPieces));
  }
  TAILRACE_ASSIGN_OR_RETURN(auto file, file_system_.open(path, {OpenMode::kCreateReadWrite, true}));
  // With the last block, which is written whole. close() cuts off the rest of it.
  if (bytes > 0) TAILRACE_RETURN_IF_ERROR(file->allocate(align_up(bytes, kBlockBytes)));
  TAILRACE_RETURN_IF_ERROR(file_system_.sync_directory(path.parent_path()));
  file_ = std::move(file);
  file_bytes_ = bytes;
  piece_begin_ = offset;
  return {};
}

Result<> StreamWriter::write(ByteSpan bytes) {
  if (failure_) return tl::unexpected(*failure_);
  TAILRACE_CHECK(file_ && bytes.size() <= file_bytes_ - written(), "a write beyond a stream's end");
  while (!bytes.empty()) {
    TAILRACE_RETURN_IF_ERROR(begin_piece());
    const size_t part = std::min(bytes.size(), kPieceBytes - filled_);
    std::memcpy(pieces_[*current_].data() + filled_, bytes.data(), part);
    filled_ += part;
    bytes = bytes.subspan(part);
    if (filled_ == kPieceBytes) TAILRACE_RETURN_IF_ERROR(submit(kPieceBytes));
  }
  return {};
}

Result<> StreamWriter::begin_piece() {
  if (current_) return {};
  if (free_.empty() && pieces_.size() < kPieces) {
    auto piece = AlignedBuffer::allocate(kPieceBytes);
    if (!piece) return failed(std::move(piece).error());
    free_.push_back(pieces_.size());
    pieces_.push_back(std::move(*piece));
  }
  TAILRACE_RETURN_IF_ERROR(wait(false));
  current_ = free_.back();
  free_.pop_back();
  return {};
}

Result<> StreamWriter::submit(size_t bytes) {
  queue_->write(*file_, piece_begin_, ByteSpan(pieces_[*current_].span()).first(bytes), *current_);
  piece_begin_ += bytes;
  filled_ -= std::min(filled_, bytes);
  current_.reset();
  return take_completions(std::chrono::nanoseconds(0));
}

Result<> StreamWriter::take_completions(std::chrono::nanoseconds timeout) {
  completions_.clear();
  if (auto got = queue_->wait(completions_, timeout); !got) return failed(std::move(got).error());
  for (Completion& completion : completions_) {
    free_.push_back(completion.token);
    if (!completion.bytes && !failure_) failure_ = std::move(completion.bytes).error();
  }
  if (failure_) return tl::unexpected(*failure_);
  return {};
}

Result<> StreamWriter::wait(bool for_all) {
  while (for_all ? queue_->in_flight() > 0 : free_.empty())
    TAILRACE_RETURN_IF_ERROR(take_completions(kLong));
  return {};
}

tl::unexpected<Error> StreamWriter::failed(Error error) {
  if (!failure_) failure_ = std::move(error);
  return tl::unexpected(*failure_);
}

Result<uint64_t> StreamWriter::save() {
  if (failure_) return tl::unexpected(*failure_);
  const size_t whole = align_down(filled_, kBlockBytes);
  if (whole > 0) {
    const size_t piece = *current_;
    TAILRACE_RETURN_IF_ERROR(submit(whole));
    TAILRACE_RETURN_IF_ERROR(wait(true));
    // The beginning of the last block waits for the rest of it.
    std::memmove(pieces_[piece].data(), pieces_[piece].data() + whole, filled_);
    std::erase(free_, piece);
    current_ = piece;
  }
  TAILRACE_RETURN_IF_ERROR(wait(true));
  if (auto synced = file_->sync(); !synced) return failed(std::move(synced).error());
  return piece_begin_;
}

Result<> StreamWriter::close() {
  if (failure_) return tl::unexpected(*failure_);
  TAILRACE_CHECK(file_ && written() == file_bytes_, "a stream closed before its end");
  if (filled_ > 0) {
    const size_t whole = align_up(filled_, kBlockBytes);
    std::memset(pieces_[*current_].data() + filled_, 0, whole - filled_);
    TAILRACE_RETURN_IF_ERROR(submit(whole));
  }
  TAILRACE_RETURN_IF_ERROR(wait(true));
  if (auto cut = file_->truncate(file_bytes_); !cut) return failed(std::move(cut).error());
  if (auto synced = file_->sync(); !synced) return failed(std::move(synced).error());
  file_.reset();
  return {};
}

void StreamWriter::abandon() {
  // The kernel reads the pieces until their writes are over; the queue's own end waits as well.
  if (queue_) (void)wait(true);
  queue_.reset();
  file_.reset();
  pieces_.clear();
  free_.clear();
  current_.reset();
  piece_begin_ = filled_ = 0;
  failure_.reset();
}

}  // namespace tailrace::storage
