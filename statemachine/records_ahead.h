#pragma once
// The applier's look-ahead: records are read a few at a time, and the store begins to load what the
// commands among them need before the first is applied. Applied one by one, each waits for its own
// two cache misses, which is half of the applier's time.

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "fasterlog/log.h"
#include "kv/session.h"
#include "statemachine/command/command.h"
#include "statemachine/streams/stream_index.h"
#include "statemachine/txn/txn.h"

namespace tailrace::statemachine {

class RecordsAhead {
 public:
  struct Item {
    fasterlog::Record record;  // its payload is valid until the next read(), but not an event's
    bool plain_event = false;  // a command that leaves no trace in the state: what follows is stale
    Result<Command> command;   // of a command record: what it says
    Txn txn;                   // of a transaction that is sound
    std::string key;           // of a command on a key: the user's key as the store has it
    std::vector<std::byte> copied;  // the payload, where the log's reader went on
  };

  /// Forgets what was there and reads up to `most` records below `limit` that take at most
  /// `most_log_bytes`, but at least one if there is one. An error is kept until what stands before
  /// it is applied: see error(). `streams` is told which streams the records append to.
  void read(fasterlog::LogScanner& scanner, Address limit, size_t most, uint64_t most_log_bytes,
            kv::Session& session, StreamIndex& streams);

  std::span<Item> items() { return {items_.data(), count_}; }
  /// What ended the reading behind the last item.
  const std::optional<Error>& error() const { return error_; }

 private:
  // Buckets and records of so many keys are asked for at a time: enough that the first is there
  // when the last was asked for, and no more than the processor's first cache holds.
  static constexpr size_t kMost = 32;
  // While what they need is on the disk that matters less than how much of it is read side by side.
  static constexpr size_t kMostCold = 128;
  // A longer payload is not copied, but is the last of its group. What a transaction needs may be
  // on the disk, so there longer ones are worth it.
  static constexpr size_t kMostCopiedBytes = 1024, kMostCopiedTxnBytes = 16u << 10;
  // Of the keys and of the streams that transactions name as many are asked for with a group.
  static constexpr size_t kMostTxnKeys = 64;
  // A txn with more items gives its memory back.
  static constexpr size_t kMostItemsKept = 256;

  void clear(Item& item);
  static size_t most_copied(ByteSpan payload);
  void note_txn(Item& item);
  void note_key(ByteSpan key);
  void note_stream(std::string_view stream, size_t events);

  std::array<Item, kMostCold> items_;
  size_t count_ = 0;
  bool is_cold_ = false;
  std::optional<Error> error_;

  std::array<std::string, kMostTxnKeys> txn_keys_;
  size_t txn_key_count_ = 0;
  std::array<StreamAhead, StreamCache::kMost> streams_;
  size_t stream_count_ = 0;
};

}  // namespace tailrace::statemachine
