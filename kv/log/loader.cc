#include "kv/log/loader.h"

#include <algorithm>
#include <cstring>

#include "kv/log/block_sums.h"
#include "kv/log/flusher.h"
#include "kv/log/format.h"
#include "kv/log/parts.h"

namespace tailrace::kv {

namespace {
constexpr uint64_t kLoadPieceBytes = 1u << 20;
constexpr size_t kLoadPieces = 8;
}  // namespace

Result<std::unique_ptr<LogVerifier>> LogVerifier::create(storage::FileSystem& file_system,
                                                         LogSegments& segments,
                                                         uint64_t page_bytes) {
  std::unique_ptr<LogVerifier> verifier(new LogVerifier(segments, page_bytes));
  TAILRACE_ASSIGN_OR_RETURN(
      verifier->reader_,
      LogReadAhead::create(file_system, segments,
                           std::max(kLoadPieceBytes, page_header_bytes(page_bytes)), kLoadPieces));
  return verifier;
}

// Each page comes from its start, header first, also when the log begins in the middle of it.
void LogVerifier::read_ahead() {
  while (!reader_->full() && next_ < until_) {
    const LogAddress page_end = align_down(next_, page_bytes_) + page_bytes_;
    const bool header_only = page_end <= headers_until_;
    LogAddress end = std::min({page_end, until_, next_ + reader_->piece_bytes()});
    if (header_only) end = next_ + page_header_bytes(page_bytes_);
    reader_->read(next_, end - next_);
    next_ = header_only ? page_end : end;
  }
}

Result<> LogVerifier::verify(LogAddress from, LogAddress until, LogAddress headers_until,
                             const Sink& sink) {
  const uint64_t header_bytes = page_header_bytes(page_bytes_);
  from = align_down(from, kLogBlockBytes);
  next_ = align_down(from, page_bytes_);
  until_ = align_up(until, kLogBlockBytes);
  headers_until_ = headers_until;
  const LogAddress first = next_;
  // A page whose header was not yet written has no block either.
  if (until_ % page_bytes_ <= header_bytes) until_ = align_down(until_, page_bytes_);
  std::vector<uint32_t> sums(page_bytes_ / kLogBlockBytes);
  for (;;) {
    read_ahead();
    TAILRACE_ASSIGN_OR_RETURN(auto piece, reader_->next());
    if (!piece) return {};
    LogAddress at = piece->address;
    ByteSpan bytes = piece->bytes;
    if (at % page_bytes_ == 0) {
      std::memcpy(sums.data(), bytes.data(), sums.size() * sizeof sums[0]);
      if (sink.header) sink.header(at / page_bytes_, bytes.first(header_bytes));
      at += header_bytes;
      bytes = bytes.subspan(header_bytes);
    }
    if (at < from) {
      const uint64_t before = std::min<uint64_t>(bytes.size(), from - at);
      at += before;
      bytes = bytes.subspan(before);
    }
    for (uint64_t block = 0; block < bytes.size(); block += kLogBlockBytes) {
      const LogAddress address = at + block;
      if (block_sum(address, bytes.subspan(block, kLogBlockBytes)) !=
          sums[address % page_bytes_ / kLogBlockBytes]) {
        return make_error(ErrorCode::kCorruption,
                          segments_.place_of(address) +
                              ": the block does not match its checksum; restore the file from a "
                              "copy, or recover an older checkpoint");
      }
    }
    if (sink.blocks && !bytes.empty()) sink.blocks(at, bytes);
    if (sink.progress) sink.progress(at + bytes.size() - first, until_ - first);
  }
}

Result<> LogLoader::check_start() const {
  const auto wrong = [&](std::string_view what) {
    return make_error(ErrorCode::kInvalidArgument,
                      "the log's start is not sound: " + std::string(what));
  };
  const LogAddress first = log_.first_address();
  if (start_.begin < first || start_.begin > start_.flushed || start_.flushed > start_.tail) {
    return wrong("begin, flushed and tail are out of order");
  }
  if (start_.tail % kLogBlockBytes != 0) return wrong("the tail is within a block");
  if (log_.offset_of(start_.tail) != 0 && log_.offset_of(start_.tail) < log_.first_offset_) {
    return wrong("the tail is within a page's header");
  }
  if (start_.flushed % kLogBlockBytes != 0 && start_.flushed != start_.begin) {
    return wrong("flushed is within a block");
  }
  return {};
}

Result<> LogLoader::load(storage::FileSystem& file_system) {
  TAILRACE_RETURN_IF_ERROR(check_start());
  flushed_ = align_down(start_.flushed, kLogBlockBytes);
  TAILRACE_RETURN_IF_ERROR(log_.segments_->open_existing(start_.begin));
  TAILRACE_RETURN_IF_ERROR(take_frames());
  TAILRACE_RETURN_IF_ERROR(read_pages(file_system));
  TAILRACE_RETURN_IF_ERROR(fill_rest());
  log_.begin_.store(start_.begin);
  log_.head_.store(std::max(start_.begin, first_page_ << log_.page_shift_));
  log_.flushed_.store(flushed_);
  log_.safe_read_only_.store(flushed_);
  log_.read_only_.store(flushed_);
  log_.tail_.store(start_.tail);
  // What the tail's page needs beyond `flushed` is asked for by the log's thread.
  const MutexLock lock(log_.mutex_);
  log_.reserved_end_ = flushed_ % log_.page_bytes_ > log_.first_offset_
                           ? align_up(flushed_, log_.page_bytes_)
                           : align_down(flushed_, log_.page_bytes_);
  return {};
}

Result<> LogLoader::take_frames() {
  const uint64_t shift = log_.page_shift_;
  const uint64_t end_page = align_up(start_.tail, log_.page_bytes_) >> shift;  // beyond the last
  const uint64_t begin_page = start_.begin >> shift;
  const uint64_t unflushed_page = flushed_ >> shift;
  // All that is nowhere else must be in memory.
  if (end_page > unflushed_page && end_page - unflushed_page > log_.pages_) {
    return make_error(ErrorCode::kResourceExhausted,
                      "the checkpoint's mutable region needs " +
                          std::to_string((end_page - unflushed_page) << shift) +
                          " bytes of memory for the log; " + std::to_string(log_.pages_ << shift) +
                          " are configured");
  }
  const uint64_t wanted = log_.pages_ - log_.spare_pages_;
  first_page_ = end_page > wanted ? end_page - wanted : 0;
  first_page_ = std::max(std::min(first_page_, unflushed_page), begin_page);
  const MutexLock lock(log_.mutex_);
  for (uint64_t page = first_page_; page < end_page; ++page) {
    log_.frames_[page & log_.frame_mask_] = log_.take_frame();
  }
  return {};
}

Result<> LogLoader::read_pages(storage::FileSystem& file_system) {
  const LogAddress first_in_memory = first_page_ << log_.page_shift_;
  // Pages stand for themselves, so what several threads check and copy never meets.
  LogVerifier::Sink sink;
  sink.header = [&](uint64_t page, ByteSpan header) {
    // Sums of blocks that are to be written again are forgotten; those before them stay, also
    // below `begin`, for the header will be written again and an older checkpoint may need them.
    const LogAddress start = page << log_.page_shift_;
    log_.sums_->load_header(page, header, log_.first_offset_,
                            std::min(flushed_ - start, log_.page_bytes_));
  };
  sink.blocks = [&](LogAddress address, ByteSpan blocks) {
    if (address < first_in_memory) return;
    std::memcpy(log_.frame(address >> log_.page_shift_) + log_.offset_of(address), blocks.data(),
                blocks.size());
  };
  if (start_.begin < flushed_) return check_parts(file_system, sink, first_in_memory);
  // Nothing is left but perhaps the header.
  if (log_.offset_of(flushed_) > log_.first_offset_ &&
      log_.segments_->file_of(flushed_) != nullptr) {
    TAILRACE_ASSIGN_OR_RETURN(auto verifier,
                              LogVerifier::create(file_system, *log_.segments_, log_.page_bytes_));
    sink.progress = loading_.progress;
    return verifier->verify(flushed_, flushed_, 0, sink);
  }
  return {};
}

Result<> LogLoader::check_parts(storage::FileSystem& file_system, const LogVerifier::Sink& sink,
                                LogAddress first_in_memory) {
  const uint64_t total = flushed_ - align_down(start_.begin, log_.page_bytes_);
  SharedProgress progress(total, loading_.progress);
  std::vector<std::unique_ptr<LogVerifier>> verifiers(threads_for(loading_.threads, total));
  for (auto& verifier : verifiers) {
    TAILRACE_ASSIGN_OR_RETURN(verifier,
                              LogVerifier::create(file_system, *log_.segments_, log_.page_bytes_));
  }
  const LogAddress headers_until = loading_.check_all ? 0 : first_in_memory;
  const auto check = [&](unsigned worker, LogAddress from, LogAddress until) {
    LogVerifier::Sink sink_of_part = sink;
    uint64_t before = 0;
    sink_of_part.progress = [&](uint64_t done, uint64_t) {
      progress.add(worker, done - std::exchange(before, done));
    };
    return verifiers[worker]->verify(from, until, headers_until, sink_of_part);
  };
  TAILRACE_RETURN_IF_ERROR(
      in_parts(loading_.threads, log_.page_bytes_, start_.begin, flushed_, check));
  progress.end();
  return {};
}

Result<> LogLoader::fill_rest() {
  LogAddress at = start_.flushed;
  while (loading_.fill && at < start_.tail) {
    if (log_.offset_of(at) < log_.first_offset_) {
      at = align_down(at, log_.page_bytes_) + log_.first_offset_;
      continue;
    }
    const LogAddress end =
        std::min(start_.tail, align_down(at, log_.page_bytes_) + log_.page_bytes_);
    TAILRACE_RETURN_IF_ERROR(loading_.fill(
        at, MutableByteSpan(log_.frame(at >> log_.page_shift_) + log_.offset_of(at), end - at)));
    at = end;
  }
  return {};
}

Result<std::unique_ptr<HybridLog>> HybridLog::recover(storage::FileSystem& file_system,
                                                      const Options& options,
                                                      storage::EpochProtection& protection,
                                                      LogProbe& probe, const Start& start,
                                                      const Loading& loading) {
  TAILRACE_ASSIGN_OR_RETURN(auto log, make(file_system, options, protection, probe));
  TAILRACE_RETURN_IF_ERROR(LogLoader(*log, start, loading).load(file_system));
  log->flusher_->start();
  return log;
}

}  // namespace tailrace::kv
