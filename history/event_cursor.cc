#include "history/event_cursor.h"

#include <algorithm>
#include <utility>

#include "history/format/entries.h"
#include "history/format/parts.h"
#include "history/posting_walk.h"

namespace tailrace::history {

EventCursor::EventCursor(std::shared_ptr<const EventFile> file, Order order)
    : file_(std::move(file)), order_(order) {}
EventCursor::EventCursor(EventCursor&&) noexcept = default;
EventCursor::~EventCursor() = default;

Result<> EventCursor::begin() {
  const bool forwards = order_ == Order::kForwards;
  if (!name_.empty()) postings_ = std::make_unique<PostingWalk>(*file_, kind_, name_, order_);
  if (from_version_) {
    TAILRACE_RETURN_IF_ERROR(postings_->seek_version(*from_version_));
  } else {
    // Backwards: the first one that is above, as what comes is before it.
    const Address bound = forwards || from_ == Address::max() ? from_ : from_ + 1;
    TAILRACE_ASSIGN_OR_RETURN(next_, file_->entry_at(bound));
    if (postings_ && (forwards || next_ > 0))
      TAILRACE_RETURN_IF_ERROR(postings_->seek_entry(forwards ? next_ : next_ - 1));
  }
  has_begun_ = true;
  return {};
}

Result<std::optional<uint32_t>> EventCursor::next_number() {
  if (postings_) {
    TAILRACE_ASSIGN_OR_RETURN(const auto posting, postings_->next());
    if (!posting) return std::nullopt;
    return posting->entry;
  }
  if (order_ == Order::kForwards) {
    if (next_ == file_->summary().events) return std::nullopt;
    return next_++;
  }
  if (next_ == 0) return std::nullopt;
  return --next_;
}

Result<const EventEntry*> EventCursor::next() {
  if (failure_) return tl::unexpected(*failure_);
  auto found = find_next();
  if (!found) failure_ = found.error();
  return found;
}

Result<const EventEntry*> EventCursor::find_next() {
  if (!has_begun_) TAILRACE_RETURN_IF_ERROR(begin());
  TAILRACE_ASSIGN_OR_RETURN(const auto number, next_number());
  if (!number) return nullptr;
  return entry(*number);
}

Result<const EventEntry*> EventCursor::entry(uint32_t number) {
  const auto& blocks = file_->parts_->blocks;
  const auto holds = [&](size_t block) {
    return number - blocks[block].first_entry < blocks[block].entries &&
           number >= blocks[block].first_entry;
  };
  if (!block_ || !holds(block_number_)) {
    const size_t block = file_->block_of(number);
    TAILRACE_ASSIGN_OR_RETURN(block_, file_->entries(block));
    block_number_ = block;
  }
  const BlockPlace& place = blocks[block_number_];
  const EventEntry& found = block_->entries[number - place.first_entry];
  if (!is_of_name(found))
    return damaged_part(*file_->file_, "the index", file_->parts_->foot.leaves_at,
                        "it names the event at " + std::to_string(found.position.value) + " for '" +
                            name_ + "', of which it is not");
  return &found;
}

bool EventCursor::is_of_name(const EventEntry& entry) const {
  if (name_.empty()) return true;
  switch (kind_) {
    case IndexKind::kStream:
      return entry.stream == name_;
    case IndexKind::kCategory:
      return category_of(entry.stream) == name_;
    case IndexKind::kType:
      return entry.type == name_;
    case IndexKind::kTag:
      return std::find(entry.tags.begin(), entry.tags.end(), name_) != entry.tags.end();
  }
  return false;
}

EventCursor EventFile::events(Address from, Order order) const {
  EventCursor cursor(shared_from_this(), order);
  cursor.from_ = from;
  return cursor;
}

EventCursor EventFile::events_of(IndexKind kind, std::string_view name, Address from,
                                 Order order) const {
  EventCursor cursor = events(from, order);
  cursor.kind_ = kind;
  cursor.name_ = name;
  return cursor;
}

EventCursor EventFile::events_of_stream(std::string_view stream, uint64_t from, Order order) const {
  EventCursor cursor = events_of(IndexKind::kStream, stream, Address{}, order);
  cursor.from_version_ = from;
  return cursor;
}

}  // namespace tailrace::history
