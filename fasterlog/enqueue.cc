// Records from this process: reserved by one compare-and-swap, copied in under epoch protection.
#include <algorithm>

#include "fasterlog/log_impl.h"

namespace tailrace::fasterlog {

namespace {
// Fits in a std::string without an allocation: who is pushed back may try again very often.
constexpr std::string_view kBufferFull = "buffer is full";
static_assert(kBufferFull.size() <= 15);
}  // namespace

Result<> LogImpl::check_payload(RecordKind kind, uint64_t bytes) const {
  TAILRACE_RETURN_IF_ERROR(check_embedder_kind(kind));
  uint64_t most = max_payload_bytes();
  if (kind == RecordKind::kConfiguration) most = std::min<uint64_t>(most, kMostConfigurationBytes);
  if (bytes <= most) return {};
  return make_error(ErrorCode::kInvalidArgument, "a payload of " + std::to_string(bytes) +
                                                     " bytes; the most is " + std::to_string(most));
}

Error LogImpl::no_room() const {
  return Error{ErrorCode::kResourceExhausted,
               "the disk of " + core_->options.directory.string() +
                   " has no room for the log's next segment and its reserve; free some"};
}

bool LogImpl::has_room_for_any() const {
  if (core_->mode.load() != Mode::kWriter) return true;
  // It takes a page, and one is kept behind it for the flush's own mark. The disk alone sets the
  // limit: what is not flushed yet delays a record and refuses none.
  const PageRing& ring = core_->ring;
  const Address begins = ring.page_ceil(ring.tail());
  return begins + 2 * uint64_t{core_->options.page_bytes} <= ring.raw_limit();
}

tl::unexpected<Error> LogImpl::refuse_disk() const {
  core_->refused_for_room.store(true);
  return tl::unexpected(no_room());
}

template <typename Fill>
Result<AddressRange> LogImpl::put(uint64_t bytes, std::optional<Epoch> only, Fill fill) {
  AddressRange range;
  {
    const storage::EpochProtection::Guard guard(core_->protection);
    if (core_->failed.load(std::memory_order_acquire))
      return tl::unexpected(*core_->failure_copy());
    if (core_->mode.load() != Mode::kWriter) return refuse_role("its own writer");
    // Nobody becomes a writer in another epoch while this thread is here.
    const Epoch epoch{core_->epoch.load(std::memory_order_relaxed)};
    if (only && *only != epoch) return refuse_epoch(*only, epoch);
    const auto at = core_->ring.reserve(core_->ring.writer_limit(), [&](Address) { return bytes; });
    if (at) {
      if (at->pad_from != at->first)
        write_page_padding(core_->ring.at(at->pad_from), at->pad_from,
                           core_->ring.page_ceil(at->pad_from), epoch);
      fill(core_->ring.at(at->first), at->first, epoch);
      range = {at->first, at->end};
    }
  }
  if (!range.empty()) {
    flusher_.enqueued(range.end);
    return range;
  }
  flusher_.want_room();
  core_->probe.would_block.add();
  if (core_->disk_full.load()) return refuse_disk();
  return make_error(ErrorCode::kWouldBlock, std::string(kBufferFull));
}

Result<AddressRange> LogImpl::try_enqueue(RecordKind kind, ByteSpan payload) {
  return try_enqueue(kind, std::span<const ByteSpan>(&payload, 1));
}

Result<AddressRange> LogImpl::try_enqueue(RecordKind kind, std::span<const ByteSpan> parts) {
  uint64_t payload_bytes = 0;
  for (const ByteSpan part : parts)
    payload_bytes += part.size();
  TAILRACE_RETURN_IF_ERROR(check_payload(kind, payload_bytes));
  const auto fill = [&](std::byte* to, Address address, Epoch epoch) {
    std::byte* at = to + kHeaderBytes;
    for (const ByteSpan part : parts) {
      if (!part.empty()) std::memcpy(at, part.data(), part.size());
      at += part.size();
    }
    std::memset(at, 0, record_bytes(payload_bytes) - kHeaderBytes - payload_bytes);
    seal_record(to, address, epoch, kind, static_cast<uint32_t>(payload_bytes));
    if (kind == RecordKind::kConfiguration)
      note_configuration(address, epoch, {to + kHeaderBytes, payload_bytes});
  };
  return put(record_bytes(payload_bytes), std::nullopt, fill);
}

Result<AddressRange> LogImpl::put_batch(std::span<const RecordView> records,
                                        std::optional<Epoch> only) {
  if (records.empty()) return make_error(ErrorCode::kInvalidArgument, "an empty batch");
  uint64_t bytes = 0;
  for (const RecordView& record : records) {
    TAILRACE_RETURN_IF_ERROR(check_payload(record.kind, record.payload.size()));
    bytes += record_bytes(record.payload.size());
  }
  if (bytes > record_bytes(max_payload_bytes()))
    return make_error(ErrorCode::kInvalidArgument,
                      "the batch takes " + std::to_string(bytes) + " bytes with its headers; " +
                          std::to_string(record_bytes(max_payload_bytes())) + " fit in a page");
  const auto fill = [&](std::byte* to, Address address, Epoch epoch) {
    for (const RecordView& record : records) {
      const uint64_t size = record.payload.size();
      if (size > 0) std::memcpy(to + kHeaderBytes, record.payload.data(), size);
      std::memset(to + kHeaderBytes + size, 0, record_bytes(size) - kHeaderBytes - size);
      seal_record(to, address, epoch, record.kind, static_cast<uint32_t>(size));
      if (record.kind == RecordKind::kConfiguration)
        note_configuration(address, epoch, record.payload);
      to += record_bytes(size);
      address = address + record_bytes(size);
    }
  };
  return put(bytes, only, fill);
}

Result<AddressRange> LogImpl::try_enqueue_in(Epoch epoch, std::span<const RecordView> records) {
  return put_batch(records, epoch);
}

Result<AddressRange> LogImpl::try_enqueue_batch(std::span<const RecordView> records,
                                                std::vector<Address>* addresses) {
  auto range = put_batch(records, std::nullopt);
  if (range && addresses) {
    addresses->clear();
    Address at = range->first;
    for (const RecordView& record : records) {
      addresses->push_back(at);
      at = at + record_bytes(record.payload.size());
    }
  }
  return range;
}

// Inside the epoch: no flush takes the record, and no truncation or META passes it, before it is in
// the table. Nobody waits for the epoch with the mutex held.
void LogImpl::note_configuration(Address address, Epoch epoch, ByteSpan payload) {
  note_configurations(
      {{address, address + record_bytes(payload.size()), epoch, {payload.begin(), payload.end()}}});
}

template <typename Try>
Result<AddressRange> LogImpl::until_room(SteadyTime deadline, Try attempt) {
  for (;;) {
    auto range = attempt();
    if (range || range.error().code != ErrorCode::kWouldBlock) return range;
    const Address limit = core_->ring.writer_limit();
    const uint64_t cuts = core_->cuts_over.load();
    range = attempt();
    if (range || range.error().code != ErrorCode::kWouldBlock) return range;
    MutexLock lock(core_->wait_mutex);
    core_->room_waiters.fetch_add(1);
    const auto moved = [&] {
      return core_->ring.writer_limit() != limit || core_->cuts_over.load() != cuts ||
             core_->failed.load() || core_->disk_full.load() || core_->mode.load() != Mode::kWriter;
    };
    bool woken = true;
    // wait_until converts the deadline; the greatest time point would overflow there.
    if (deadline == SteadyTime::max()) {
      core_->room_made.wait(lock, moved);
    } else {
      woken = core_->room_made.wait_until(lock, deadline, moved);
    }
    core_->room_waiters.fetch_sub(1);
    if (!woken)
      return make_error(ErrorCode::kTimedOut, "no room in the log's buffer before the deadline");
  }
}

Result<AddressRange> LogImpl::enqueue(RecordKind kind, ByteSpan payload, SteadyTime deadline) {
  return until_room(deadline, [&] { return try_enqueue(kind, payload); });
}

Result<AddressRange> LogImpl::enqueue(RecordKind kind, std::span<const ByteSpan> parts,
                                      SteadyTime deadline) {
  return until_room(deadline, [&] { return try_enqueue(kind, parts); });
}

Result<AddressRange> LogImpl::enqueue_batch(std::span<const RecordView> records,
                                            SteadyTime deadline, std::vector<Address>* addresses) {
  return until_room(deadline, [&] { return try_enqueue_batch(records, addresses); });
}

}  // namespace tailrace::fasterlog
