#include "fasterlog/log.h"

#include <algorithm>

#include "fasterlog/flusher.h"
#include "fasterlog/log_core.h"
#include "fasterlog/log_source.h"

namespace tailrace::fasterlog {

namespace {

class LogImpl final : public Log {
 public:
  LogImpl(std::unique_ptr<storage::DirectoryLock> lock, std::unique_ptr<LogCore> core,
          std::unique_ptr<storage::IoQueue> queue, RecoveryReport report)
      : lock_(std::move(lock)),
        core_(std::move(core)),
        report_(report),
        flusher_(*core_, std::move(queue)),
        last_mark_end_(core_->durable.load()),
        copied_epoch_(report.last_epoch) {
    flusher_.start();
  }
  ~LogImpl() override { (void)close(); }

  Result<> become_writer(Epoch epoch) override {
    const std::lock_guard role(role_mutex_);
    TAILRACE_RETURN_IF_ERROR(settle());
    if (epoch < last_epoch())
      return make_error(ErrorCode::kFailedPrecondition, "epoch " + std::to_string(epoch.value) +
                                                            " is below the log's last epoch " +
                                                            std::to_string(last_epoch().value));
    core_->epoch.store(epoch.value);
    note_epoch(epoch, core_->ring.tail());
    core_->mode.store(Mode::kWriter);
    return {};
  }

  Result<> become_copy() override {
    const std::lock_guard role(role_mutex_);
    TAILRACE_RETURN_IF_ERROR(settle());
    last_mark_end_ = core_->ring.tail();
    copied_epoch_ = last_record_epoch();
    core_->mode.store(Mode::kCopy);
    return {};
  }

  Result<AddressRange> try_enqueue(RecordKind kind, ByteSpan payload) override {
    return try_enqueue(kind, std::span<const ByteSpan>(&payload, 1));
  }

  Result<AddressRange> try_enqueue(RecordKind kind, std::span<const ByteSpan> parts) override {
    uint64_t payload_bytes = 0;
    for (const ByteSpan part : parts)
      payload_bytes += part.size();
    TAILRACE_RETURN_IF_ERROR(check_payload(kind, payload_bytes));
    return put(record_bytes(payload_bytes), [&](std::byte* to, Address address, Epoch epoch) {
      std::byte* at = to + kHeaderBytes;
      for (const ByteSpan part : parts) {
        if (!part.empty()) std::memcpy(at, part.data(), part.size());
        at += part.size();
      }
      std::memset(at, 0, record_bytes(payload_bytes) - kHeaderBytes - payload_bytes);
      seal_record(to, address, epoch, kind, static_cast<uint32_t>(payload_bytes));
    });
  }

  Result<AddressRange> try_enqueue_batch(std::span<const RecordView> records,
                                         std::vector<Address>* addresses) override {
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
    auto range = put(bytes, [&](std::byte* to, Address address, Epoch epoch) {
      for (const RecordView& record : records) {
        const uint64_t size = record.payload.size();
        if (size > 0) std::memcpy(to + kHeaderBytes, record.payload.data(), size);
        std::memset(to + kHeaderBytes + size, 0, record_bytes(size) - kHeaderBytes - size);
        seal_record(to, address, epoch, record.kind, static_cast<uint32_t>(size));
        to += record_bytes(size);
        address = address + record_bytes(size);
      }
    });
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

  Result<AddressRange> enqueue(RecordKind kind, ByteSpan payload, SteadyTime deadline) override {
    for (;;) {
      auto range = try_enqueue(kind, payload);
      if (range || range.error().code != ErrorCode::kWouldBlock) return range;
      const Address limit = core_->ring.writer_limit();
      range = try_enqueue(kind, payload);
      if (range || range.error().code != ErrorCode::kWouldBlock) return range;
      std::unique_lock lock(core_->wait_mutex);
      core_->room_waiters.fetch_add(1);
      const auto moved = [&] {
        return core_->ring.writer_limit() != limit || core_->failed.load() ||
               core_->disk_full.load() || core_->mode.load() != Mode::kWriter;
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

  size_t max_payload_bytes() const override {
    return core_->options.page_bytes - kFirstAddress.value - kHeaderBytes;
  }

  Result<> try_append_raw(Address at, ByteSpan bytes) override {
    if (auto failure = core_->failure_copy()) return tl::unexpected(*failure);
    if (core_->mode.load() != Mode::kCopy) return refuse_role("a copy");
    if (at != core_->ring.tail())
      return make_error(ErrorCode::kFailedPrecondition,
                        "raw bytes for address " + std::to_string(at.value) +
                            ", but the log's tail is " + std::to_string(tail().value));
    if (bytes.empty()) return {};
    if (bytes.size() > core_->ring.bytes() / 4 * 3)
      return make_error(
          ErrorCode::kResourceExhausted,
          std::to_string(bytes.size()) +
              " raw bytes never fit in the buffer; raise buffer_pages to the sender's");
    if (at + bytes.size() > core_->ring.raw_limit()) {
      core_->probe.would_block.add();
      flusher_.nudge();
      if (core_->disk_full.load()) return refuse_disk();
      return make_error(ErrorCode::kWouldBlock, "the log's buffer is full");
    }
    Address mark_end = last_mark_end_;
    Epoch epoch = copied_epoch_;
    std::vector<EpochStart> starts;
    TAILRACE_RETURN_IF_ERROR(check_raw(at, bytes, mark_end, epoch, starts));
    // Readers stay below durable, and the flusher below the tail: nobody looks at these bytes yet.
    core_->ring.copy_in(at, bytes);
    for (const EpochStart& start : starts)
      note_epoch(start.epoch, start.start);
    last_mark_end_ = mark_end;
    copied_epoch_ = epoch;
    core_->ring.set_tail(at + bytes.size());
    flusher_.nudge();
    return {};
  }

  Result<> wait_durable(Address address, SteadyTime deadline, std::stop_token stop) override {
    if (durable() >= address) return {};
    std::unique_lock lock(core_->wait_mutex);
    core_->durable_waiters.fetch_add(1);
    const auto over = [&] {
      return durable() >= address || core_->failed.load() || closed_.load();
    };
    if (deadline == SteadyTime::max()) {
      (void)core_->durable_moved.wait(lock, stop, over);
    } else {
      (void)core_->durable_moved.wait_until(lock, stop, deadline, over);
    }
    core_->durable_waiters.fetch_sub(1);
    if (durable() >= address) return {};
    if (core_->failure) return tl::unexpected(*core_->failure);
    if (closed_.load()) return make_error(ErrorCode::kClosed, "the log was closed");
    if (stop.stop_requested()) return make_error(ErrorCode::kCancelled, "the wait was cancelled");
    return make_error(ErrorCode::kTimedOut,
                      "address " + std::to_string(address.value) + " is not durable yet");
  }

  void set_durable_listener(DurableListener listener) override {
    const std::lock_guard lock(core_->listener_mutex);
    core_->listener = std::move(listener);
  }
  std::optional<Error> failure() const override { return core_->failure_copy(); }

  Address begin() const override { return Address{core_->begin.load()}; }
  Address durable() const override { return Address{core_->durable.load()}; }
  Address tail() const override { return core_->ring.tail(); }
  Epoch last_epoch() const override {
    return std::max(last_record_epoch(), Epoch{core_->epoch.load()});
  }
  std::vector<EpochStart> epoch_table() const override {
    const std::lock_guard lock(core_->index_mutex);
    std::vector<EpochStart> table = core_->epochs;
    // An epoch that has written nothing yet has no first address.
    while (!table.empty() && table.back().start >= core_->ring.tail())
      table.pop_back();
    return table;
  }
  const RecoveryReport& recovery() const override { return report_; }

  Result<Record> read(Address address, std::vector<std::byte>& buffer) override {
    LogSource source(*core_);
    if (address < begin()) return tl::unexpected(source.truncated(address));
    const Address limit = durable();
    if (address >= limit)
      return make_error(ErrorCode::kOutOfRange, "address " + std::to_string(address.value) +
                                                    " is not below durable (" +
                                                    std::to_string(limit.value) + ")");
    RecordReader reader(source, core_->options.page_bytes, storage::kBlockBytes);
    reader.seek(address);
    auto step = reader.next(limit);
    if (!step || step->status != RecordReader::Status::kRecord || step->record.address != address) {
      if (address < begin()) return tl::unexpected(source.truncated(address));
      if (!step) return tl::unexpected(std::move(step).error());
      return make_error(ErrorCode::kInvalidArgument, "no sound record begins at address " +
                                                         std::to_string(address.value) + " of " +
                                                         core_->segments.path_of(address).string());
    }
    const ParsedRecord& record = step->record;
    buffer.assign(record.payload.begin(), record.payload.end());
    return Record{address, record.end, record.epoch, record.kind, buffer};
  }

  std::unique_ptr<LogScanner> scan(Address from, ScanOptions options) override {
    return make_scanner(*core_, from, options);
  }

  Result<> read_raw(Address from, size_t most_bytes, std::vector<std::byte>& into) override {
    into.clear();
    LogSource source(*core_);
    if (from < begin()) return tl::unexpected(source.truncated(from));
    const Address limit = durable();
    if (from > limit)
      return make_error(ErrorCode::kOutOfRange, "address " + std::to_string(from.value) +
                                                    " is above durable (" +
                                                    std::to_string(limit.value) + ")");
    RecordReader reader(source, core_->options.page_bytes,
                        std::min<uint64_t>(std::max<uint64_t>(most_bytes, 4096), 1u << 20));
    reader.seek(from);
    uint64_t whole = 0;
    while (whole < most_bytes) {
      auto step = reader.next(limit);
      if (!step || step->status == RecordReader::Status::kBad) {
        into.clear();
        if (from < begin()) return tl::unexpected(source.truncated(from));
        if (!step) return tl::unexpected(std::move(step).error());
        return tl::unexpected(source.bad_record(step->bad_at, step->reason));
      }
      if (step->status == RecordReader::Status::kEnd) break;
      const ParsedRecord& record = step->record;
      const uint64_t end = record.end - from;
      if (end > most_bytes && whole > 0) break;
      const ByteSpan raw = reader.raw(record);
      into.resize(record.address - from);  // zeros where a page end was too short for a header
      into.insert(into.end(), raw.begin(), raw.end());
      if (record.kind == RecordKind::kCommitMark) {
        if (whole == 0 && mark_of(record).batch_begin != from) {
          into.clear();
          return make_error(ErrorCode::kInvalidArgument,
                            "no batch begins at address " + std::to_string(from.value));
        }
        whole = end;
      }
    }
    into.resize(whole);
    return {};
  }

  Result<Address> truncate_before(Address address) override {
    if (closed_.load()) return make_error(ErrorCode::kClosed, "the log was closed");
    const std::lock_guard truncating(truncate_mutex_);
    if (address > durable())
      return make_error(ErrorCode::kOutOfRange, "address " + std::to_string(address.value) +
                                                    " is above durable (" +
                                                    std::to_string(durable().value) + ")");
    Address to = begin();
    if (address > to) {
      auto found = mark_end_not_above(address);
      if (!found) return found;
      to = std::max(to, *found);
    }
    if (to > begin()) {
      std::vector<EpochStart> epochs;
      {
        const std::lock_guard lock(core_->index_mutex);
        epochs = core_->epochs;
      }
      drop_epochs_before(to, epochs);
      TAILRACE_RETURN_IF_ERROR(core_->keeper.update([&](LogMetadata& metadata) {
        // What is truncated was durable: META may say so at once.
        metadata.begin = to;
        metadata.proven = std::max(metadata.proven, to);
        metadata.epochs.clear();
        for (const EpochStart& epoch : epochs) {
          if (epoch.start < metadata.proven) metadata.epochs.push_back(epoch);
        }
      }));
      core_->begin.store(to.value);
      const std::lock_guard lock(core_->index_mutex);
      drop_epochs_before(to, core_->epochs);
      const auto keep = std::upper_bound(core_->marks.begin(), core_->marks.end(), to);
      core_->marks.erase(core_->marks.begin(), keep);
      core_->marks.insert(core_->marks.begin(), to);
    }
    TAILRACE_RETURN_IF_ERROR(core_->segments.remove_before(core_->segments.index_of(begin())));
    flusher_.nudge();
    return to;
  }

  uint64_t reclaimable_bytes(Address limit) const override {
    uint64_t bytes = 0;
    for (const uint64_t index : core_->segments.indexes()) {
      if (index < core_->segments.index_of(limit)) bytes += core_->options.segment_bytes;
    }
    return bytes;
  }
  uint64_t disk_bytes() const override { return core_->segments.disk_bytes(); }

  Result<> close() override {
    const std::lock_guard role(role_mutex_);
    if (closed_.load()) return {};
    core_->mode.store(Mode::kClosed);
    core_->protection.wait_safe(core_->protection.bump());
    flusher_.stop();
    {
      const std::lock_guard lock(core_->wait_mutex);
      closed_.store(true);
      core_->durable_moved.notify_all();
      core_->room_made.notify_all();
    }
    registration_ = {};
    lock_.reset();
    if (auto failure = core_->failure_copy()) return tl::unexpected(*failure);
    return {};
  }

  void register_metrics(observability::MetricRegistry& registry) override {
    registration_ = registry.registration();
    LogCore* core = core_.get();
    auto& to = registration_;
    const LogProbe& probe = core->probe;
    registry.add_gauge(to, "tailrace_log_tail_bytes", "Address of the next byte to be reserved", {},
                       [core] { return static_cast<double>(core->ring.tail().value); });
    registry.add_gauge(to, "tailrace_log_durable_bytes", "Address up to which the log is fsynced",
                       {}, [core] { return static_cast<double>(core->durable.load()); });
    registry.add_gauge(to, "tailrace_log_begin_bytes", "Address of the first byte still kept", {},
                       [core] { return static_cast<double>(core->begin.load()); });
    registry.add_gauge(to, "tailrace_log_disk_bytes", "Bytes of the log's segment files", {},
                       [core] { return static_cast<double>(core->segments.disk_bytes()); });
    registry.add_gauge(
        to, "tailrace_log_flushes_in_flight", "Flushes begun and not yet durable", {},
        [core] { return static_cast<double>(core->probe.flushes_in_flight.load()); });
    registry.add_counter(to, "tailrace_log_flushes_total", "Flushes made durable", {},
                         probe.flushes);
    registry.add_counter(to, "tailrace_log_flushed_bytes_total", "Bytes made durable", {},
                         probe.flushed_bytes);
    registry.add_counter(to, "tailrace_log_failures_total", "Failed writes and fsyncs", {},
                         probe.failures);
    registry.add_counter(to, "tailrace_log_would_block_total",
                         "Appends refused because the buffer was full", {}, probe.would_block);
    registry.add_histogram(to, "tailrace_log_flush_seconds",
                           "From a flush's start until it was durable", {}, probe.flush_seconds);
    registry.add_histogram(to, "tailrace_log_flush_bytes", "Size of each flush", {},
                           probe.flush_bytes);
  }

 private:
  static Result<> check_kind(RecordKind kind) {
    if (kind == RecordKind::kInvalid || kind == RecordKind::kPadding ||
        kind == RecordKind::kCommitMark)
      return make_error(ErrorCode::kInvalidArgument,
                        "kind " + std::to_string(static_cast<int>(kind)) + " is the log's own");
    return {};
  }
  Result<> check_payload(RecordKind kind, uint64_t bytes) const {
    TAILRACE_RETURN_IF_ERROR(check_kind(kind));
    if (bytes <= max_payload_bytes()) return {};
    return make_error(ErrorCode::kInvalidArgument, "a payload of " + std::to_string(bytes) +
                                                       " bytes; the most is " +
                                                       std::to_string(max_payload_bytes()));
  }
  tl::unexpected<Error> refuse_role(std::string_view role) const {
    if (core_->mode.load() == Mode::kClosed)
      return make_error(ErrorCode::kClosed, "the log was closed");
    return make_error(ErrorCode::kFailedPrecondition,
                      "the log is not written as " + std::string(role) + " now");
  }
  tl::unexpected<Error> refuse_disk() const {
    return make_error(ErrorCode::kResourceExhausted,
                      "the disk of " + core_->options.directory.string() +
                          " has no room for the log's next segment and its reserve; free some");
  }

  template <typename Fill>
  Result<AddressRange> put(uint64_t bytes, Fill fill) {
    AddressRange range;
    {
      const storage::EpochProtection::Guard guard(core_->protection);
      if (core_->failed.load(std::memory_order_acquire))
        return tl::unexpected(*core_->failure_copy());
      if (core_->mode.load() != Mode::kWriter) return refuse_role("its own writer");
      const Epoch epoch{core_->epoch.load(std::memory_order_relaxed)};
      const auto at =
          core_->ring.reserve(core_->ring.writer_limit(), [&](Address) { return bytes; });
      if (at) {
        if (at->pad_from != at->first)
          write_page_padding(core_->ring.at(at->pad_from), at->pad_from,
                             core_->ring.page_ceil(at->pad_from), epoch);
        fill(core_->ring.at(at->first), at->first, epoch);
        range = {at->first, at->end};
      }
    }
    flusher_.nudge();
    if (!range.empty()) return range;
    core_->probe.would_block.add();
    if (core_->disk_full.load()) return refuse_disk();
    return make_error(ErrorCode::kWouldBlock, "the log's buffer is full");
  }

  // Ends the present role: nobody writes any more, and all that was written is durable.
  Result<> settle() {
    if (closed_.load()) return make_error(ErrorCode::kClosed, "the log was closed");
    // A copy stays one while its last bytes are flushed: they bring their own mark.
    if (core_->mode.load() == Mode::kWriter) core_->mode.store(Mode::kNone);
    core_->protection.wait_safe(core_->protection.bump());
    // The flusher's mark moves the tail once more, at most.
    while (durable() < tail()) {
      flusher_.nudge();
      TAILRACE_RETURN_IF_ERROR(wait_durable(tail(), SteadyTime::max(), {}));
    }
    core_->mode.store(Mode::kNone);
    if (auto failure = core_->failure_copy()) return tl::unexpected(*failure);
    return {};
  }

  void note_epoch(Epoch epoch, Address start) {
    const std::lock_guard lock(core_->index_mutex);
    auto& epochs = core_->epochs;
    start = next_record_address(start, core_->options.page_bytes);
    // An epoch in which nothing was written leaves no trace.
    while (!epochs.empty() && epochs.back().start >= start)
      epochs.pop_back();
    if (epochs.empty() || epochs.back().epoch < epoch) epochs.push_back({epoch, start});
  }
  Epoch last_record_epoch() const {
    const std::lock_guard lock(core_->index_mutex);
    return core_->epochs.empty() ? Epoch{} : core_->epochs.back().epoch;
  }
  static void drop_epochs_before(Address begin, std::vector<EpochStart>& epochs) {
    while (epochs.size() > 1 && epochs[1].start <= begin)
      epochs.erase(epochs.begin());
  }

  // Checks all of `bytes`; moves mark_end and epoch to their ends.
  Result<> check_raw(Address at, ByteSpan bytes, Address& mark_end, Epoch& epoch,
                     std::vector<EpochStart>& starts) const {
    const auto bad = [](Address address, std::string_view reason) {
      return make_error(ErrorCode::kCorruption, "raw bytes: bad record at address " +
                                                    std::to_string(address.value) + " (" +
                                                    std::string(reason) + ")");
    };
    const uint64_t page = core_->options.page_bytes;
    const bool any = last_mark_end_ > kFirstAddress;
    uint64_t done = 0;
    while (done < bytes.size()) {
      const Address address = next_record_address(at + done, page);
      const uint64_t gap = address - (at + done);
      if (gap > bytes.size() - done || !all_zero(bytes.subspan(done, gap)))
        return bad(at + done, "the unused end of the page is not zero");
      done += gap;
      const ParseOutcome outcome = parse_record(address, bytes.subspan(done), page);
      if (outcome.status == ParseStatus::kNeedMore) return bad(address, "it is cut off");
      if (outcome.status == ParseStatus::kBad) return bad(address, outcome.reason);
      const ParsedRecord& record = outcome.record;
      if (record.epoch < epoch) return bad(address, "a record of an older epoch after a newer one");
      if (record.epoch > epoch || (!any && starts.empty()))
        starts.push_back({record.epoch, address});
      epoch = record.epoch;
      if (record.kind == RecordKind::kCommitMark) {
        if (mark_of(record).batch_begin != mark_end)
          return bad(address, "a commit mark that does not continue the one before");
        mark_end = record.end;
      }
      done += record.end - address;
    }
    if (mark_end != at + bytes.size())
      return bad(at + bytes.size(), "the bytes do not end in a commit mark");
    return {};
  }

  Result<Address> mark_end_not_above(Address address) {
    Address from;
    {
      const std::lock_guard lock(core_->index_mutex);
      const auto above = std::upper_bound(core_->marks.begin(), core_->marks.end(), address);
      from = above == core_->marks.begin() ? begin() : *std::prev(above);
    }
    LogSource source(*core_);
    RecordReader reader(source, core_->options.page_bytes, 1u << 20);
    reader.seek(from);
    Address found = from;
    const Address limit = durable();
    while (reader.position() < address) {
      auto step = reader.next(limit);
      if (!step) return tl::unexpected(std::move(step).error());
      if (step->status == RecordReader::Status::kBad)
        return tl::unexpected(source.bad_record(step->bad_at, step->reason));
      if (step->status == RecordReader::Status::kEnd || step->record.end > address) break;
      if (step->record.kind == RecordKind::kCommitMark) found = step->record.end;
    }
    return found;
  }

  std::unique_ptr<storage::DirectoryLock> lock_;
  std::unique_ptr<LogCore> core_;
  const RecoveryReport report_;
  Flusher flusher_;
  std::mutex role_mutex_;      // one change of role at a time
  std::mutex truncate_mutex_;  // one truncation at a time
  std::atomic<bool> closed_{false};
  // Of the one thread that appends as a copy (and of the change to that role).
  Address last_mark_end_;
  Epoch copied_epoch_;
  observability::MetricRegistry::Registration registration_;
};

Result<> check_options(const LogOptions& options) {
  TAILRACE_RETURN_IF_ERROR(check_log_sizes(options.page_bytes, options.segment_bytes));
  if (options.buffer_pages < 4 || (options.buffer_pages & (options.buffer_pages - 1)) != 0)
    return make_error(ErrorCode::kInvalidArgument,
                      "buffer_pages is " + std::to_string(options.buffer_pages) +
                          "; it must be a power of two and at least 4");
  if (options.flushes_in_flight < 1 || options.flushes_in_flight > 64)
    return make_error(ErrorCode::kInvalidArgument, "flushes_in_flight is " +
                                                       std::to_string(options.flushes_in_flight) +
                                                       "; it must be 1 to 64");
  return {};
}

Result<LogMetadata> read_or_create(storage::FileSystem& file_system, const LogOptions& options) {
  auto metadata = read_log_metadata(file_system, options.directory);
  if (metadata) {
    const std::string where = options.directory.string();
    if (metadata->owner != options.owner)
      return make_error(ErrorCode::kFailedPrecondition, where + " belongs to '" + metadata->owner +
                                                            "', not to '" + options.owner +
                                                            "': is this the right data directory?");
    if (metadata->page_bytes != options.page_bytes ||
        metadata->segment_bytes != options.segment_bytes)
      return make_error(
          ErrorCode::kFailedPrecondition,
          where + " was created with page_bytes " + std::to_string(metadata->page_bytes) +
              " and segment_bytes " + std::to_string(metadata->segment_bytes) +
              ", which are fixed; the options say " + std::to_string(options.page_bytes) + " and " +
              std::to_string(options.segment_bytes));
    return metadata;
  }
  if (metadata.error().code != ErrorCode::kNotFound) return metadata;
  auto names = file_system.list(options.directory);
  if (!names) return tl::unexpected(std::move(names).error());
  for (const std::string& name : *names) {
    if (parse_segment_name(name))
      return make_error(ErrorCode::kCorruption, options.directory.string() + " has the segment " +
                                                    name + " but no " + kMetadataName +
                                                    ": restore it, or copy the log from a peer");
  }
  LogMetadata fresh;
  fresh.owner = options.owner;
  fresh.page_bytes = options.page_bytes;
  fresh.segment_bytes = options.segment_bytes;
  TAILRACE_RETURN_IF_ERROR(write_log_metadata(file_system, options.directory, fresh));
  return fresh;
}

// The page that the tail lies in must be in memory: its next bytes are written beside the old ones.
Result<> load_tail_page(LogCore& core, Address tail) {
  const Address page = core.ring.page_floor(tail);
  core.ring.set_head(page);
  core.ring.set_tail(tail);
  if (tail == page || !core.segments.file(core.segments.index_of(page))) return {};
  const uint64_t bytes = align_up(tail - page, storage::kBlockBytes);
  return core.segments.read_aligned(page, {core.ring.at(page), bytes});
}

}  // namespace

Result<std::unique_ptr<Log>> Log::open(storage::FileSystem& file_system, LogOptions options,
                                       const Clock& clock) {
  TAILRACE_RETURN_IF_ERROR(check_options(options));
  TAILRACE_RETURN_IF_ERROR(file_system.make_directory(options.directory));
  auto lock = file_system.lock(options.directory);
  if (!lock) return tl::unexpected(std::move(lock).error());
  auto metadata = read_or_create(file_system, options);
  if (!metadata) return tl::unexpected(std::move(metadata).error());

  auto core = std::make_unique<LogCore>(file_system, std::move(options), clock, *metadata);
  TAILRACE_RETURN_IF_ERROR(core->segments.open_existing(true));
  auto found = scan_log(core->segments, *metadata, core->options.on_recovery_progress);
  if (!found) return tl::unexpected(std::move(found).error());
  auto queue = file_system.make_queue(Flusher::queue_depth(core->options));
  if (!queue) return tl::unexpected(std::move(queue).error());
  TAILRACE_RETURN_IF_ERROR(PageRing::allocate(
      core->ring, core->options.page_bytes, core->options.buffer_pages, core->options.huge_pages));
  // Everything is parsed and all memory is there; from here on the disk is changed.
  TAILRACE_RETURN_IF_ERROR(core->keeper.update([](LogMetadata& next) { next.clean = false; }));
  const Address durable = found->report.durable;
  TAILRACE_RETURN_IF_ERROR(discard_beyond(core->segments, found->report.begin, durable));
  TAILRACE_RETURN_IF_ERROR(load_tail_page(*core, durable));
  core->begin.store(found->report.begin.value);
  core->durable.store(durable.value);
  core->epoch.store(found->report.last_epoch.value);
  core->marks = std::move(found->marks);
  core->epochs = std::move(found->epochs);
  return std::unique_ptr<Log>(std::make_unique<LogImpl>(std::move(*lock), std::move(core),
                                                        std::move(*queue), found->report));
}

}  // namespace tailrace::fasterlog
