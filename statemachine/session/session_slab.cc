#include "statemachine/session/session_slab.h"

#include <algorithm>
#include <utility>

#include <xxhash.h>

#include "core/random.h"

namespace tailrace::statemachine {

SessionSlab::SessionSlab() : seed_(random_seed()), index_(64, kNoSession) {}

uint64_t SessionSlab::hash(ClientId client) const {
  static_assert(sizeof client == 16);
  return XXH3_64bits_withSeed(&client, sizeof client, seed_);
}

size_t SessionSlab::place_of(ClientId client) const {
  const size_t mask = index_.size() - 1;
  size_t at = hash(client) & mask;
  while (index_[at] != kNoSession && (*this)[index_[at]].client != client)
    at = (at + 1) & mask;
  return at;
}

void SessionSlab::grow_index() {
  std::vector<SessionSlot>(index_.size() * 2, kNoSession).swap(index_);
  for (SessionSlot slot = oldest_; slot != kNoSession; slot = newer_than(slot))
    index_[place_of((*this)[slot].client)] = slot;
}

SessionSlot SessionSlab::add(ClientId client) {
  if ((size_ + 1) * 3 > index_.size() * 2) grow_index();
  if (free_ == kNoSession) {
    const auto first = static_cast<SessionSlot>(blocks_.size() * kBlockSessions);
    blocks_.push_back(std::make_unique<ClientSession[]>(kBlockSessions));
    for (SessionSlot slot = first + kBlockSessions; slot-- > first;)
      (*this)[slot].newer_ = std::exchange(free_, slot);
  }
  const SessionSlot slot = free_;
  free_ = newer_than(slot);
  ClientSession& session = (*this)[slot];
  session = ClientSession{};
  session.client = client;
  index_[place_of(client)] = slot;
  link_as_newest(slot);
  ++size_;
  return slot;
}

void SessionSlab::remove(SessionSlot slot) {
  // Whatever stands behind it up to the next hole moves up, if that brings it nearer to its place.
  const size_t mask = index_.size() - 1;
  size_t hole = place_of((*this)[slot].client);
  for (size_t at = (hole + 1) & mask; index_[at] != kNoSession; at = (at + 1) & mask) {
    const size_t wanted = hash((*this)[index_[at]].client) & mask;
    if (((at - wanted) & mask) < ((at - hole) & mask)) continue;
    index_[hole] = index_[at];
    hole = at;
  }
  index_[hole] = kNoSession;
  unlink(slot);
  (*this)[slot].answers.reset();
  (*this)[slot].newer_ = std::exchange(free_, slot);
  --size_;
}

void SessionSlab::use(SessionSlot slot) {
  if (slot == newest_) return;
  unlink(slot);
  link_as_newest(slot);
}

void SessionSlab::link_as_newest(SessionSlot slot) {
  ClientSession& session = (*this)[slot];
  session.newer_ = kNoSession;
  session.older_ = std::exchange(newest_, slot);
  (session.older_ == kNoSession ? oldest_ : (*this)[session.older_].newer_) = slot;
}

void SessionSlab::unlink(SessionSlot slot) {
  const ClientSession& session = (*this)[slot];
  (session.older_ == kNoSession ? oldest_ : (*this)[session.older_].newer_) = session.newer_;
  (session.newer_ == kNoSession ? newest_ : (*this)[session.newer_].older_) = session.older_;
}

void SessionSlab::sort(
    const std::function<bool(const ClientSession&, const ClientSession&)>& is_older) {
  std::vector<SessionSlot> order;
  order.reserve(size_);
  for (SessionSlot slot = oldest_; slot != kNoSession; slot = newer_than(slot))
    order.push_back(slot);
  std::sort(order.begin(), order.end(), [&](SessionSlot left, SessionSlot right) {
    return is_older((*this)[left], (*this)[right]);
  });
  oldest_ = newest_ = kNoSession;
  for (const SessionSlot slot : order)
    link_as_newest(slot);
}

}  // namespace tailrace::statemachine
