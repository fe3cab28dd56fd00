#pragma once
// The sessions that are known, in the order of their last use, in few bytes each: entries in blocks
// that never move, linked oldest to newest, and an index over them by open addressing. A client
// makes up its own id, so the index hashes with a seed of this process. One thread.

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "statemachine/command/command.h"
#include "statemachine/session/kept_answers.h"

namespace tailrace::statemachine {

/// What is remembered of one client.
struct ClientSession {
  ClientId client;
  uint64_t last_serial = 0;                   // 0: its own pair was not loaded yet
  uint64_t last_time_ns = 0;                  // the log time when its last command was applied
  uint64_t last_address = 0;                  // where that ends; 0: under rules without limits
  uint64_t forgotten = 0;                     // greatest serial whose answer was dropped
  uint64_t begins_before_ns = 0;              // the bound of its first command; 0: it had none
  std::unique_ptr<AnswersOfSession> answers;  // null while none is kept

 private:
  friend class SessionSlab;
  SessionSlot older_ = kNoSession, newer_ = kNoSession;
};

class SessionSlab {
 public:
  SessionSlab();

  size_t size() const { return size_; }
  ClientSession& operator[](SessionSlot slot) {
    return blocks_[slot / kBlockSessions][slot % kBlockSessions];
  }
  const ClientSession& operator[](SessionSlot slot) const {
    return blocks_[slot / kBlockSessions][slot % kBlockSessions];
  }

  /// kNoSession when it is not known.
  SessionSlot find(ClientId client) const { return index_[place_of(client)]; }
  /// Of a client that is not known; it is the newest.
  SessionSlot add(ClientId client);
  void remove(SessionSlot slot);
  /// It becomes the newest.
  void use(SessionSlot slot);

  SessionSlot oldest() const { return oldest_; }
  SessionSlot newest() const { return newest_; }
  SessionSlot newer_than(SessionSlot slot) const { return (*this)[slot].newer_; }
  SessionSlot older_than(SessionSlot slot) const { return (*this)[slot].older_; }
  /// The order becomes this one.
  void sort(const std::function<bool(const ClientSession&, const ClientSession&)>& is_older);

 private:
  static constexpr size_t kBlockSessions = 1024;

  void link_as_newest(SessionSlot slot);
  void unlink(SessionSlot slot);
  uint64_t hash(ClientId client) const;
  /// Where the client is in the index, or would be.
  size_t place_of(ClientId client) const;
  void grow_index();

  const uint64_t seed_;
  std::vector<std::unique_ptr<ClientSession[]>> blocks_;
  std::vector<SessionSlot> index_;  // a power of two; at most two thirds are taken
  size_t size_ = 0;
  SessionSlot oldest_ = kNoSession, newest_ = kNoSession;
  SessionSlot free_ = kNoSession;  // linked by newer_
};

}  // namespace tailrace::statemachine
