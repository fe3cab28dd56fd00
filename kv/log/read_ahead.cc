#include "kv/log/read_ahead.h"

#include "core/check.h"

namespace tailrace::kv {

Result<std::unique_ptr<LogReadAhead>> LogReadAhead::create(storage::FileSystem& file_system,
                                                           LogSegments& segments,
                                                           uint64_t piece_bytes, size_t pieces) {
  std::unique_ptr<LogReadAhead> reader(new LogReadAhead(segments, piece_bytes));
  TAILRACE_ASSIGN_OR_RETURN(reader->memory_,
                            storage::AlignedBuffer::allocate(piece_bytes * pieces));
  reader->slots_.resize(pieces);
  for (size_t slot = 0; slot < pieces; ++slot) {
    reader->slots_[slot].memory = reader->memory_.span().subspan(slot * piece_bytes, piece_bytes);
    reader->free_.push_back(slot);
  }
  TAILRACE_ASSIGN_OR_RETURN(reader->queue_, file_system.make_queue(pieces));
  return reader;
}

LogReadAhead::Slot& LogReadAhead::take(LogAddress address, uint64_t bytes) {
  TAILRACE_CHECK(!free_.empty() && bytes <= piece_bytes_, "no room to read ahead");
  const size_t index = free_.back();
  free_.pop_back();
  asked_.push_back(index);
  Slot& slot = slots_[index];
  slot.address = address;
  slot.bytes = bytes;
  slot.from_disk = true;
  slot.done = false;
  slot.error.reset();
  return slot;
}

void LogReadAhead::read(LogAddress address, uint64_t bytes) {
  Slot& slot = take(address, bytes);
  slot.file = segments_.file_of(address);
  if (slot.file == nullptr) {
    slot.error = Error{ErrorCode::kNotFound, segments_.path_of(address).string() + " is missing"};
    slot.done = true;
    return;
  }
  queue_->read(*slot.file, segments_.offset_of(address), slot.memory.first(bytes), asked_.back());
}

MutableByteSpan LogReadAhead::put(LogAddress address, uint64_t bytes) {
  Slot& slot = take(address, bytes);
  slot.from_disk = false;
  slot.done = true;
  return slot.memory.first(bytes);
}

Result<std::optional<LogReadAhead::Piece>> LogReadAhead::next() {
  if (handed_out_) free_.push_back(*std::exchange(handed_out_, std::nullopt));
  if (asked_.empty()) return std::nullopt;
  const size_t index = asked_.front();
  Slot& slot = slots_[index];
  while (!slot.done) {
    completions_.clear();
    TAILRACE_RETURN_IF_ERROR(queue_->wait(completions_, std::chrono::seconds(1)));
    for (storage::Completion& completion : completions_) {
      Slot& finished = slots_[completion.token];
      finished.done = true;
      finished.file.reset();
      if (!completion.bytes) {
        finished.error = std::move(completion.bytes).error();
      } else if (*completion.bytes < finished.bytes) {
        finished.error =
            Error{ErrorCode::kCorruption, segments_.place_of(finished.address + *completion.bytes) +
                                              ": the file ends where the log goes on"};
      }
    }
  }
  if (slot.error) return tl::unexpected(*slot.error);
  asked_.pop_front();
  handed_out_ = index;
  return Piece{slot.address, slot.memory.first(slot.bytes), slot.from_disk};
}

}  // namespace tailrace::kv
