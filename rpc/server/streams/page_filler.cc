#include "rpc/server/streams/page_filler.h"

#include <algorithm>
#include <vector>

#include <fmt/format.h>

#include "fasterlog/format/record.h"
#include "statemachine/command/command.h"
#include "statemachine/txn/txn.h"

namespace tailrace::rpc {
namespace {

using Entries = std::span<const statemachine::StreamEntries::Entry>;

// Neighbours share what is read; from one record to a distant one so much is read beside it.
constexpr uint64_t kReadAheadBytes = 64u << 10;
// Of an event's place in an answer, beside its bytes.
constexpr size_t kEventOverhead = 48;

tl::unexpected<Error> no_events_at(Address address, const std::string& what) {
  return make_error(ErrorCode::kCorruption,
                    fmt::format("the stream's index names the record at address {} of the log, {}",
                                address.value, what));
}

/// Takes events out of the records that have them, until the answer is full or enough was read.
class PageFiller {
 public:
  explicit PageFiller(StreamPage& page) : page_(page) {}

  bool is_full() const { return bytes_ >= kAnswerBytes || read_bytes_ >= kReadBytes; }

  /// Those that are in one record.
  Result<> take(const fasterlog::Record& record, Entries entries) {
    note_read(record);
    const auto command = statemachine::decode(record.payload);
    if (!command || command->operation != statemachine::Operation::kTxn)
      return no_events_at(record.address, "which has no events");
    const ByteSpan body = command->value;
    TAILRACE_RETURN_IF_ERROR(statemachine::decode(body, txn_));
    const uint64_t body_at = record.address.value + fasterlog::kHeaderBytes +
                             static_cast<size_t>(body.data() - record.payload.data());
    for (const auto& entry : entries) {
      if (bytes_ >= kAnswerBytes) return {};
      if (entry.place.ordinal >= txn_.events.size())
        return no_events_at(record.address, "which has fewer events");
      const statemachine::TxnEvent& event = txn_.events[entry.place.ordinal];
      const ByteSpan bytes = bytes_of(body, event);
      add({entry.version, body_at + event.offset, txn_.time_ns, to_string(bytes)});
    }
    return {};
  }

  void take(const history::EventEntry& entry) {
    statemachine::TxnEvent event;
    event.type = entry.type;
    event.id = entry.id;
    event.metadata = entry.metadata;
    event.content_type = entry.content_type;
    event.data = entry.data;
    StreamPage::Event taken{entry.version, entry.position.value, entry.time_ns, {}};
    statemachine::encode_event(event, entry.tags, taken.bytes);
    read_bytes_ += taken.bytes.size();
    add(std::move(taken));
  }

 private:
  void add(StreamPage::Event event) {
    bytes_ += event.bytes.size() + kEventOverhead;
    page_.events.push_back(std::move(event));
  }

  /// An event's data are its last part, and those of no other begin within.
  static ByteSpan bytes_of(ByteSpan body, const statemachine::TxnEvent& event) {
    const auto end = static_cast<size_t>(event.data.data() + event.data.size() - body.data());
    return body.subspan(event.offset, end - event.offset);
  }

  void note_read(const fasterlog::Record& record) {
    const uint64_t from = std::min(end_, record.address).value;
    const uint64_t to = std::max(end_, record.address).value;
    read_bytes_ += (record.end - record.address) + std::min(to - from, kReadAheadBytes);
    end_ = record.end;
  }

  StreamPage& page_;
  size_t bytes_ = 0;
  uint64_t read_bytes_ = 0;
  Address end_;  // of the record that was read last
  statemachine::Txn txn_;
};

/// Entries of one record stand side by side: each record is read once.
class Filling {
 public:
  Filling(const EventSources& sources, const StreamQuery& query, StreamPage& page,
          const std::function<bool()>& wanted)
      : sources_(sources), query_(query), page_(page), filler_(page), wanted_(wanted) {}

  Result<> run(Entries entries) {
    const Entries all = entries;
    while (!entries.empty() && !filler_.is_full()) {
      const bool in_log = Address{entries.front().place.record_address} >= sources_.log.begin();
      const Result<> read = in_log ? from_log(entries) : from_history(entries);
      entries = all.subspan(page_.events.size());
      if (read) continue;
      const ErrorCode code = read.error().code;
      // The log was truncated meanwhile: history has it.
      if (code == ErrorCode::kTruncated && in_log && sources_.history) continue;
      // What was read before stands.
      const bool is_gone = code == ErrorCode::kTruncated || code == ErrorCode::kNotFound;
      if (is_gone && !page_.events.empty()) return {};
      if (is_gone) return make_error(ErrorCode::kTruncated, read.error().message);
      return read;
    }
    return {};
  }

 private:
  /// Those at the front that the log has, in groups by record.
  void group(Entries entries) {
    addresses_.clear();
    groups_.clear();
    const Address begin = sources_.log.begin();
    while (!entries.empty() && Address{entries.front().place.record_address} >= begin) {
      const uint64_t address = entries.front().place.record_address;
      size_t count = 1;
      while (count < entries.size() && entries[count].place.record_address == address)
        ++count;
      addresses_.push_back(Address{address});
      groups_.push_back(entries.first(count));
      entries = entries.subspan(count);
    }
  }

  Result<> from_log(Entries entries) {
    group(entries);
    Result<> taken;
    size_t next = 0;
    const auto visit = [&](const fasterlog::Record& record) {
      taken = filler_.take(record, groups_[next++]);
      if (!taken || filler_.is_full()) return false;
      if (!wanted_()) taken = not_wanted();
      return taken.has_value();
    };
    auto read = sources_.log.read_batch(addresses_, visit);
    TAILRACE_RETURN_IF_ERROR(taken);
    return read;
  }

  /// Those at the front that are in one event file.
  Result<> from_history(Entries entries) {
    if (!sources_.history) return make_error(ErrorCode::kTruncated, "nothing is kept of it");
    const auto order = query_.backwards ? history::Order::kBackwards : history::Order::kForwards;
    size_t left = entries.size();
    bool wanted = true;
    const auto visit = [&](const history::EventEntry& event) {
      filler_.take(event);
      wanted = wanted_();
      return --left > 0 && !filler_.is_full() && wanted;
    };
    const auto& first = entries.front();
    TAILRACE_RETURN_IF_ERROR(sources_.history->read_stream(
        query_.stream, first.version, Address{first.place.record_address}, order, visit));
    if (!wanted) return not_wanted();
    return {};
  }

  const EventSources& sources_;
  const StreamQuery& query_;
  StreamPage& page_;
  PageFiller filler_;
  const std::function<bool()>& wanted_;
  std::vector<Address> addresses_;
  std::vector<Entries> groups_;
};

}  // namespace

tl::unexpected<Error> not_wanted() {
  return make_error(ErrorCode::kCancelled, "nobody waits for the stream any more");
}

Result<> fill_page(const EventSources& sources, const StreamQuery& query, Entries entries,
                   StreamPage& page, const std::function<bool()>& wanted) {
  return Filling(sources, query, page, wanted).run(entries);
}

Result<uint64_t> time_of_event(const EventSources& sources, const std::string& stream,
                               const statemachine::StreamEntries::Entry& entry) {
  const Address address{entry.place.record_address};
  std::vector<std::byte> buffer;
  const auto record = sources.log.read(address, buffer);
  if (record) {
    TAILRACE_ASSIGN_OR_RETURN(const auto command, statemachine::decode(record->payload));
    return statemachine::time_of_txn(command.value);
  }
  if (record.error().code != ErrorCode::kTruncated) return tl::unexpected(record.error());
  uint64_t time_ns = 0;
  if (!sources.history) return time_ns;
  const auto read =
      sources.history->read_stream(stream, entry.version, address, history::Order::kForwards,
                                   [&](const history::EventEntry& event) {
                                     time_ns = event.time_ns;
                                     return false;
                                   });
  if (read) return time_ns;
  const ErrorCode code = read.error().code;
  if (code == ErrorCode::kNotFound || code == ErrorCode::kUnavailable) return UINT64_MAX;
  return tl::unexpected(read.error());
}

}  // namespace tailrace::rpc
