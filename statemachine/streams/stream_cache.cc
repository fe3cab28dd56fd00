#include "statemachine/streams/stream_cache.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "statemachine/streams/recent_ids.h"

namespace tailrace::statemachine {

using State = FetchedPair::State;

Result<> StreamCache::prefetch(std::span<const StreamAhead> ahead) {
  TAILRACE_RETURN_IF_ERROR(wait());
  if (slots_.empty()) slots_.resize(kMost);
  count_ = cold_ = 0;
  for (const StreamAhead& one : ahead) {
    const size_t hash = std::hash<std::string_view>()(one.stream);
    if (CachedStream* const twice = known(one.stream, hash); twice != nullptr) {
      twice->events += one.events;
      continue;
    }
    if (count_ == kMost) break;
    CachedStream& slot = slots_[count_++];
    begin(slot, one.stream, hash);
    slot.events = one.events;
    wanted_[wanted_count_++] = {&slot.stored_head, &slot};
  }
  is_complete_ = false;
  prefetch_all();
  return fetch_rest();
}

Result<CachedStream*> StreamCache::find(std::string_view stream) {
  const size_t hash = std::hash<std::string_view>()(stream);
  CachedStream* slot = known(stream, hash);
  if (slot == nullptr) {
    slot = &single_;
    begin(single_, stream, hash);
    TAILRACE_RETURN_IF_ERROR(load(single_.stored_head));
    TAILRACE_RETURN_IF_ERROR(decode(single_));
    return slot;
  }
  if (!is_complete_) {
    TAILRACE_RETURN_IF_ERROR(wait());
    TAILRACE_RETURN_IF_ERROR(fetch_rest());
    TAILRACE_RETURN_IF_ERROR(wait());
    is_complete_ = true;
  }
  return slot;
}

Result<> StreamCache::load_ids(CachedStream& stream) {
  if (stream.ids.state == State::kUnknown) {
    ids_key(stream.head->dense_id, stream.ids.key);
    TAILRACE_RETURN_IF_ERROR(load(stream.ids));
  }
  if (stream.ids.state != State::kFound) return damaged_stream("a stream without its recent ids");
  return check_ring(as_bytes(stream.ids.value));
}

Result<> StreamCache::load_page(CachedStream& stream, uint64_t number) {
  if (stream.page.state != State::kUnknown && stream.page_number == number) return {};
  stream.page_number = number;
  page_key(stream.head->dense_id, number, stream.page.key);
  return load(stream.page);
}

void StreamCache::begin(CachedStream& slot, std::string_view stream, size_t hash) {
  slot.hash = hash;
  slot.is_decoded = false;
  slot.stored_head.state = slot.ids.state = slot.page.state = State::kUnknown;
  head_key(stream, slot.stored_head.key);
}

CachedStream* StreamCache::known(std::string_view stream, size_t hash) {
  for (size_t i = 0; i < count_; ++i)
    if (slots_[i].hash == hash && slots_[i].stored_head.key.size() == stream.size() + 1 &&
        std::string_view(slots_[i].stored_head.key).substr(1) == stream)
      return &slots_[i];
  return nullptr;
}

/// All in wanted_: their cache misses side by side, then one after the other.
void StreamCache::prefetch_all() {
  std::array<ByteSpan, kMost * 2> keys;
  for (size_t i = 0; i < wanted_count_; ++i)
    keys[i] = as_bytes(wanted_[i].pair->key);
  session_.prefetch({keys.data(), wanted_count_});
  for (size_t i = 0; i < wanted_count_; ++i)
    fetch(*wanted_[i].pair, wanted_[i].head_of);
  wanted_count_ = 0;
}

void StreamCache::fetch(FetchedPair& pair, CachedStream* head_of) {
  switch (store_.try_read(as_bytes(pair.key), pair.value)) {
    case kv::Store::ReadOutcome::kFound:
      pair.state = State::kFound;
      return;
    case kv::Store::ReadOutcome::kAbsent:
      pair.state = State::kAbsent;
      return;
    case kv::Store::ReadOutcome::kCold:
      break;
  }
  pair.state = State::kOnItsWay;
  if (head_of != nullptr) ++cold_;
  const auto done = [this, &pair, head_of](Result<bool> found, std::string value) {
    pair.value = std::move(value);
    pair.state = found && *found ? State::kFound : State::kAbsent;
    if (!found && !error_) error_ = std::move(found).error();
    if (error_ || head_of == nullptr) return;
    // At once: whoever waited for the other heads first would wait twice.
    const auto rest = rest_of(*head_of);
    if (!rest) {
      error_ = rest.error();
      return;
    }
    for (FetchedPair* const one : *rest)
      if (one != nullptr) fetch(*one, nullptr);
  };
  session_.read_async(as_bytes(pair.key), done);
}

Result<> StreamCache::load(FetchedPair& pair) {
  auto read = session_.read(as_bytes(pair.key), pair.value);
  if (!read && read.error().code != ErrorCode::kNotFound) return read;
  pair.state = read ? State::kFound : State::kAbsent;
  return {};
}

Result<> StreamCache::wait() {
  if (session_.pending() > 0) TAILRACE_RETURN_IF_ERROR(session_.wait_pending());
  if (error_) return tl::unexpected(*error_);
  return {};
}

Result<> StreamCache::fetch_rest() {
  for (size_t i = 0; i < count_; ++i) {
    CachedStream& slot = slots_[i];
    if (slot.is_decoded || slot.stored_head.state == State::kOnItsWay) continue;
    TAILRACE_ASSIGN_OR_RETURN(const auto rest, rest_of(slot));
    for (FetchedPair* const one : rest)
      if (one != nullptr) wanted_[wanted_count_++] = {one, nullptr};
  }
  prefetch_all();
  return {};
}

Result<std::array<FetchedPair*, 2>> StreamCache::rest_of(CachedStream& slot) {
  std::array<FetchedPair*, 2> rest{};
  TAILRACE_RETURN_IF_ERROR(decode(slot));
  if (!slot.head) return rest;
  const StreamHead& head = *slot.head;
  if (head.remembers_ids) {
    ids_key(head.dense_id, slot.ids.key);
    rest[0] = &slot.ids;
  }
  const StreamVersion begin = head.inline_begin();
  if (head.inline_count + slot.events <= StreamHead::kMostInline || begin % kPageEvents == 0)
    return rest;
  slot.page_number = page_of(begin);
  page_key(head.dense_id, slot.page_number, slot.page.key);
  rest[1] = &slot.page;
  return rest;
}

Result<> StreamCache::decode(CachedStream& slot) {
  slot.is_decoded = true;
  slot.head.reset();
  if (slot.stored_head.state == State::kAbsent) return {};
  TAILRACE_ASSIGN_OR_RETURN(slot.head, decode_head(as_bytes(slot.stored_head.value)));
  return {};
}

}  // namespace tailrace::statemachine
