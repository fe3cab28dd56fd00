#include "kv/session.h"

namespace tailrace::kv {

SessionImpl::SessionImpl(Engine& engine, CheckpointCoordinator& coordinator, SessionId id)
    : engine_(engine), coordinator_(coordinator) {
  state_.id = id;
}

SessionImpl::~SessionImpl() {
  if (open_) coordinator_.close(state_);
}

Result<> SessionImpl::open() {
  TAILRACE_RETURN_IF_ERROR(coordinator_.open(state_));
  open_ = true;
  return {};
}

Result<> SessionImpl::read(ByteSpan key, std::string& value) {
  if (engine_.read(key, value)) return {};
  return make_error(ErrorCode::kNotFound, "no such key");
}

Result<> SessionImpl::upsert(ByteSpan key, ByteSpan value, Serial serial) {
  auto written = write(key, &value, serial);
  if (!written) return tl::unexpected(std::move(written.error()));
  return {};
}

Result<bool> SessionImpl::erase(ByteSpan key, Serial serial) {
  return write(key, nullptr, serial);
}

void SessionImpl::refresh(Serial serial) {
  const storage::EpochProtection::Guard guard(engine_.protection());
  if (serial >= state_.point()) {
    // Release: the checkpoint's thread that reads it sees all that the serials up to it wrote.
    state_.completed.store(serial, std::memory_order_release);
    state_.torn = false;
  }
  // An older serial says nothing new, but the phase is adopted where that is allowed.
  if (state_.between_serials()) coordinator_.after_refresh(state_);
}

Result<bool> SessionImpl::write(ByteSpan key_text, const ByteSpan* value, Serial serial) {
  const uint64_t bytes = key_text.size() + (value == nullptr ? 0 : value->size());
  if (bytes > engine_.max_record_bytes()) {
    return make_error(ErrorCode::kInvalidArgument, "key and value have " + std::to_string(bytes) +
                                                       " bytes, more than the " +
                                                       std::to_string(engine_.max_record_bytes()) +
                                                       " that fit on a page of the store");
  }
  if (serial <= state_.completed_serial() || serial < state_.last_serial()) {
    return make_error(ErrorCode::kInvalidArgument,
                      "serial " + std::to_string(serial) + " of session " +
                          std::to_string(state_.id) + " is not above " +
                          std::to_string(state_.point()) + ", which it has done");
  }
  const HashedKey key(key_text);
  constexpr int kMostAttempts = 4;  // others may take the space that was made
  bool full = false;
  for (int attempts = 0; attempts < kMostAttempts; ++attempts) {
    const Engine::Outcome outcome = attempt(key, value, serial, full);
    if (outcome != Engine::Outcome::kNeedsSpace) {
      engine_.maintain();
      return outcome == Engine::Outcome::kDone;
    }
    full = true;
    const size_t room = value == nullptr ? 0 : value->size();
    // First in place where that is possible at all; a checkpoint that is being taken is given up
    // only when this write would be refused for it.
    const bool made = engine_.make_space(Record::bytes_for(key_text.size(), room), attempts > 0);
    if (!made && attempts > 1) break;
  }
  return refuse_full(bytes, serial);
}

Engine::Outcome SessionImpl::attempt(const HashedKey& key, const ByteSpan* value, Serial serial,
                                     bool full) {
  const storage::EpochProtection::Guard guard(engine_.protection());
  coordinator_.before_write(state_, serial);
  Engine::Attempt how;
  how.full = full;
  Engine::Outcome outcome = engine_.try_write(key, value, state_.version, how);
  if (outcome == Engine::Outcome::kShifted) {
    // Another session is ahead. Nothing of a new serial is written yet: it may follow at once.
    coordinator_.before_write(state_, serial);
    outcome = engine_.try_write(key, value, state_.version, how);
  }
  if (outcome == Engine::Outcome::kShifted) {
    how.beneath = true;
    outcome = engine_.try_write(key, value, state_.version, how);
  }
  if (outcome == Engine::Outcome::kDone || outcome == Engine::Outcome::kAbsent) {
    if (serial > state_.last_serial()) {
      state_.last.store(serial, std::memory_order_release);
      state_.torn = false;
    }
  }
  return outcome;
}

Result<bool> SessionImpl::refuse_full(uint64_t bytes, Serial serial) {
  engine_.probe().refusals.add();
  if (serial == state_.last_serial()) state_.torn = true;
  return make_error(ErrorCode::kResourceExhausted,
                    "no room for " + std::to_string(bytes) +
                        " bytes: " + std::to_string(engine_.used_bytes()) + " of the store's " +
                        std::to_string(engine_.log().capacity_bytes()) +
                        " bytes of memory are in use; give it more (memory_bytes), or delete keys");
}

}  // namespace tailrace::kv
