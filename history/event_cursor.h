#pragma once
// Walks through events of one event file, in their order or against it.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "core/result.h"
#include "history/event_file.h"

namespace tailrace::history {

class PostingWalk;

/// One thread. Holds one block of events in memory, and one item of the index.
class EventCursor {
 public:
  EventCursor(EventCursor&&) noexcept;
  EventCursor& operator=(EventCursor&&) = delete;
  ~EventCursor();

  /// The next event, valid until the next call; null behind the last one. After an error every
  /// call fails with it: nothing is passed over.
  Result<const EventEntry*> next();

 private:
  friend class EventFile;
  EventCursor(std::shared_ptr<const EventFile> file, Order order);

  Result<const EventEntry*> find_next();
  Result<> begin();
  /// The number of the next event.
  Result<std::optional<uint32_t>> next_number();
  Result<const EventEntry*> entry(uint32_t number);
  bool is_of_name(const EventEntry& entry) const;

  const std::shared_ptr<const EventFile> file_;
  const Order order_;
  Address from_;
  std::optional<uint64_t> from_version_;
  IndexKind kind_ = IndexKind::kStream;
  std::string name_;
  std::unique_ptr<PostingWalk> postings_;  // null: all events
  bool has_begun_ = false;
  uint32_t next_ = 0;  // of all events; backwards one more than its number
  std::optional<Error> failure_;
  std::shared_ptr<const EntryBlock> block_;
  size_t block_number_ = 0;
};

}  // namespace tailrace::history
