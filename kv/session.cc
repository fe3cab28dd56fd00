#include "kv/session.h"

#include <thread>

#include "kv/engine/engine_hot.h"
#include "kv/engine/hashed_key.h"
#include "kv/session_impl.h"
#include "kv/store_impl.h"

namespace tailrace::kv {

using Outcome = Engine::Outcome;

namespace {
constexpr std::chrono::milliseconds kPollInterval{100};
constexpr std::chrono::milliseconds kRoomPause{100};

Error not_found() {
  return Error{ErrorCode::kNotFound, "no such key"};
}
}  // namespace

// --- the short way ---

// The bucket is asked for before anything else: from there to the end of the operation before it is
// about half as far as from where it is looked at. So more of its miss passes beside that
// operation's.
[[gnu::always_inline]] inline HashedKey SessionCore::hashed_early(ByteSpan key) const {
  const HashedKey wanted = hashed(key);
  index_.prefetch_early(wanted.hash);
  return wanted;
}

[[gnu::always_inline]] inline bool SessionCore::read_hot(ByteSpan key, std::string& value) const {
  const HashedKey wanted = hashed_early(key);
  const storage::EpochProtection::Guard guard(engine_.protection());
  return engine_.read_hot(wanted, value);
}

[[gnu::always_inline]] inline bool SessionCore::upsert_hot(ByteSpan key, ByteSpan value,
                                                           Serial serial) {
  const HashedKey wanted = hashed_early(key);
  const storage::EpochProtection::Guard guard(engine_.protection());
  if (!is_ready_for(serial) || !engine_.upsert_hot(wanted, value, state.version)) return false;
  note_done(serial);
  return true;
}

[[gnu::always_inline]] inline bool SessionCore::rmw_hot(ByteSpan key, Modify modify, Serial serial,
                                                        Modification& decision) {
  const HashedKey wanted = hashed_early(key);
  const storage::EpochProtection::Guard guard(engine_.protection());
  if (!is_ready_for(serial) || !engine_.rmw_hot(wanted, modify, scratch_, state.version, decision))
    return false;
  note_done(serial);
  return true;
}

// --- the public face ---

Session::Session(std::unique_ptr<SessionCore> core) : core_(std::move(core)) {}
Session::~Session() = default;

SessionId Session::id() const {
  return core_->state.id;
}

Serial Session::last_serial() const {
  return core_->state.point();
}

// The general way of each stands in a function of its own, so that the short way needs no frame.
Result<> Session::read(ByteSpan key, std::string& value) {
  if (core_->read_hot(key, value)) [[likely]]
    return {};
  return read_anywhere(key, value);
}

[[gnu::noinline]] Result<> Session::read_anywhere(ByteSpan key, std::string& value) {
  TAILRACE_ASSIGN_OR_RETURN(auto found, core_->read(hashed(key), value));
  if (!found) return tl::unexpected(not_found());
  return {};
}

Result<> Session::upsert(ByteSpan key, ByteSpan value, Serial serial) {
  if (core_->upsert_hot(key, value, serial)) [[likely]]
    return {};
  return upsert_anywhere(key, value, serial);
}

[[gnu::noinline]] Result<> Session::upsert_anywhere(ByteSpan key, ByteSpan value, Serial serial) {
  Engine::Change change;
  change.kind = Engine::WriteKind::kUpsert;
  change.value = value;
  TAILRACE_RETURN_IF_ERROR(core_->write(hashed(key), change, serial));
  return {};
}

Result<bool> Session::erase(ByteSpan key, Serial serial) {
  Engine::Change change;
  change.kind = Engine::WriteKind::kErase;
  TAILRACE_ASSIGN_OR_RETURN(auto written, core_->write(hashed(key), change, serial));
  return written == Outcome::kDone;
}

Result<Modification> Session::rmw(ByteSpan key, Modify modify, Serial serial) {
  Modification decision = Modification::kKeep;
  if (core_->rmw_hot(key, modify, serial, decision)) [[likely]]
    return decision;
  return rmw_anywhere(key, modify, serial);
}

[[gnu::noinline]] Result<Modification> Session::rmw_anywhere(ByteSpan key, Modify modify,
                                                             Serial serial) {
  Modification decision = Modification::kKeep;
  Engine::Change change;
  change.kind = Engine::WriteKind::kRmw;
  change.modify = modify;
  change.decision = &decision;
  TAILRACE_RETURN_IF_ERROR(core_->write(hashed(key), change, serial));
  return decision;
}

Result<bool> Session::insert_if_absent(ByteSpan key, ByteSpan value, Serial serial,
                                       std::string* present) {
  const InsertIfAbsent insert{value, present};
  TAILRACE_ASSIGN_OR_RETURN(auto decision, rmw(key, insert, serial));
  return decision == Modification::kWrite;
}

Result<bool> Session::compare_and_swap(ByteSpan key, ByteSpan expected, ByteSpan value,
                                       Serial serial, std::string* present) {
  const CompareAndSwap swap{expected, value, present};
  TAILRACE_ASSIGN_OR_RETURN(auto decision, rmw(key, swap, serial));
  return decision == Modification::kWrite;
}

Result<> Session::run(std::span<Operation> operations, size_t* done_count) {
  size_t done = 0;
  auto result = core_->run(operations, done);
  if (done_count != nullptr) *done_count = done;
  return result;
}

void Session::read_async(ByteSpan key, ReadDone done) {
  core_->read_async(key, std::move(done));
}

size_t Session::poll() {
  const auto completed = core_->poll(std::chrono::nanoseconds(0));
  return completed ? *completed : 0;
}

Result<> Session::wait_pending() {
  while (core_->pending() > 0) {
    TAILRACE_RETURN_IF_ERROR(core_->poll(kPollInterval));
  }
  return {};
}

size_t Session::pending() const {
  return core_->pending();
}

void Session::prefetch(ByteSpan key) {
  core_->prefetch(key);
}

void Session::prefetch(std::span<const ByteSpan> keys) {
  core_->prefetch(keys);
}

void Session::refresh(Serial serial) {
  core_->refresh(serial);
}

// --- the inside ---

SessionCore::SessionCore(StoreImpl& store, Engine& engine, CheckpointCoordinator& coordinator,
                         SessionId id, SessionOptions options)
    : store_(store),
      engine_(engine),
      index_(engine.index()),
      coordinator_(coordinator),
      options_(options),
      fetcher_(store.file_system(), engine) {
  state.id = id;
}

SessionCore::~SessionCore() {
  // Reads in flight write into memory of ours.
  while (fetcher_.in_flight() > 0) {
    if (!fetcher_.poll(kPollInterval, nullptr)) break;
  }
  if (open_) coordinator_.close(state);
}

Result<> SessionCore::open() {
  TAILRACE_RETURN_IF_ERROR(coordinator_.open(state));
  open_ = true;
  return {};
}

void SessionCore::prefetch(ByteSpan key) {
  const storage::EpochProtection::Guard guard(engine_.protection());
  engine_.prefetch_bucket(hashed(key).hash);
}

void SessionCore::prefetch(std::span<const ByteSpan> keys) {
  const storage::EpochProtection::Guard guard(engine_.protection());
  uint64_t hashes[kPiece];
  for (size_t done = 0; done < keys.size();) {
    const size_t piece = std::min(kPiece, keys.size() - done);
    for (size_t at = 0; at < piece; ++at) {
      hashes[at] = hashed(keys[done + at]).hash;
      engine_.prefetch_bucket(hashes[at]);
    }
    for (size_t at = 0; at < piece; ++at)
      engine_.prefetch_record(hashes[at]);
    done += piece;
  }
}

void SessionCore::refresh(Serial serial) {
  const storage::EpochProtection::Guard guard(engine_.protection());
  if (serial >= state.point()) {
    // Release: the checkpoint's thread that reads it sees all that the serials up to it wrote.
    state.completed.store(serial, std::memory_order_release);
    state.torn = false;
  }
  // An older serial says nothing new, but the phase is adopted where that is allowed.
  if (state.between_serials()) coordinator_.after_refresh(state);
}

Result<bool> SessionCore::read(const HashedKey& key, std::string& value) {
  fetch_.found.clear();
  for (;;) {
    Engine::Waiting waiting;
    Outcome outcome;
    {
      const storage::EpochProtection::Guard guard(engine_.protection());
      outcome = engine_.read(key, value, fetch_.found, waiting);
    }
    if (outcome == Outcome::kDone || outcome == Outcome::kAbsent) [[likely]] {
      if (outcome == Outcome::kDone && fetch_.found.from != 0) copy_to_tail(key, fetch_.found);
      return outcome == Outcome::kDone;
    }
    TAILRACE_RETURN_IF_ERROR(provide(outcome, waiting, key, fetch_));
  }
}

// A favour to the next reader: not done when it would have to wait for anything.
void SessionCore::copy_to_tail(const HashedKey& key, ColdFound& cold) {
  if (!store_.options().copy_reads_to_tail || cold.address == 0) return;
  const storage::EpochProtection::Guard guard(engine_.protection());
  Engine::Waiting waiting;
  const WriteVersion version = coordinator_.mover_version();
  (void)engine_.move_to_tail(key, cold.address, *cold.record(), {version, cold, waiting});
}

Result<> SessionCore::check_write(const HashedKey& key, size_t value_bytes, Serial serial) const {
  const uint64_t bytes = key.bytes.size() + value_bytes;
  if (bytes > engine_.max_record_bytes()) [[unlikely]] {
    return make_error(ErrorCode::kInvalidArgument, "key and value have " + std::to_string(bytes) +
                                                       " bytes, more than the " +
                                                       std::to_string(engine_.max_record_bytes()) +
                                                       " that fit on a page of the store");
  }
  if (serial <= state.completed_serial() || serial < state.last_serial()) [[unlikely]] {
    return make_error(ErrorCode::kInvalidArgument,
                      "serial " + std::to_string(serial) + " of session " +
                          std::to_string(state.id) + " is not above " +
                          std::to_string(state.point()) + ", which it has done");
  }
  return {};
}

Result<Outcome> SessionCore::write(const HashedKey& key, const Engine::Change& wanted,
                                   Serial serial) {
  TAILRACE_RETURN_IF_ERROR(check_write(key, wanted.value.size(), serial));
  Engine::Change change = wanted;
  change.scratch = &scratch_;
  fetch_.found.clear();
  bool beneath = false;
  for (;;) {
    Engine::Waiting waiting;
    Outcome outcome;
    {
      const storage::EpochProtection::Guard guard(engine_.protection());
      outcome = attempt(key, change, serial, fetch_.found, waiting, beneath);
    }
    if (outcome <= Outcome::kKept) [[likely]]
      return outcome;
    auto provided = provide(outcome, waiting, key, fetch_);
    if (!provided) return failed(serial, std::move(provided.error()));
  }
}

tl::unexpected<Error> SessionCore::failed(Serial serial, Error error) {
  budget_ = HybridLog::Budget::kWrite;
  // Another write of the serial has succeeded: half of it is in the store.
  if (serial == state.last_serial()) state.torn = true;
  return tl::unexpected(std::move(error));
}

Outcome SessionCore::attempt(const HashedKey& key, const Engine::Change& change, Serial serial,
                             ColdFound& cold, Engine::Waiting& waiting, bool& beneath) {
  coordinator_.before_write(state, serial);
  Outcome outcome = Outcome::kShifted;
  if (!beneath) {
    outcome = engine_.write(key, change, {state.version, cold, waiting, false, budget_});
    if (outcome == Outcome::kShifted) [[unlikely]] {
      // Another session is ahead. Nothing of a new serial is written yet: it may follow at once.
      coordinator_.before_write(state, serial);
      outcome = engine_.write(key, change, {state.version, cold, waiting, false, budget_});
    }
    if (outcome == Outcome::kShifted) {
      // In the middle of a serial. The checkpoint gets the write beneath the newer record, which is
      // none of its own; for everybody else it comes after that one, and answers so.
      outcome = engine_.write(key, change, {state.version, cold, waiting, true, budget_});
      if (outcome > Outcome::kKept) return outcome;
      beneath = true;
      cold.clear();
    }
  }
  if (beneath) {
    const WriteVersion next{state.version.version + 1, true, state.version.boundary};
    outcome = engine_.write(key, change, {next, cold, waiting, false, budget_});
  }
  if (outcome <= Outcome::kKept) {
    budget_ = HybridLog::Budget::kWrite;
    note_done(serial);
  }
  return outcome;
}

Result<> SessionCore::wait_for_room(uint64_t bytes) {
  if (budget_ != HybridLog::Budget::kBeyond) {
    auto room = store_.wait_for_room(bytes);
    if (room || room.error().code != ErrorCode::kResourceExhausted) return room;
    if (!options_.beyond_disk_budget) {
      store_.probe().refusals.add();
      return room;
    }
    budget_ = HybridLog::Budget::kBeyond;
    store_.probe().beyond_budget.add();
  }
  auto room = engine_.log().wait_for_room(bytes, budget_);
  if (room || room.error().code != ErrorCode::kResourceExhausted) return room;
  if (!options_.waits_for_disk || !options_.waits_for_disk()) return room;
  // The write is tried again, and has the log look whether there is room by then.
  std::this_thread::sleep_for(kRoomPause);
  return {};
}

Result<> SessionCore::provide(Outcome outcome, const Engine::Waiting& waiting, const HashedKey& key,
                              ColdFetcher::Fetch& fetch) {
  switch (outcome) {
    case Outcome::kNeedsRoom:
      return wait_for_room(waiting.bytes);
    case Outcome::kUnsafe:
      engine_.log().wait_safe(waiting.address);
      return {};
    case Outcome::kCold:
    case Outcome::kColdBeneath:
      fetch.key = key;
      fetch.version = state.version;
      fetch.beneath = outcome == Outcome::kColdBeneath;
      TAILRACE_RETURN_IF_ERROR(fetcher_.start(fetch, waiting.address));
      return wait_for(fetch);
    case Outcome::kTooLarge:
      return make_error(ErrorCode::kInvalidArgument,
                        "what the function made of the key's value exceeds the " +
                            std::to_string(engine_.max_record_bytes()) +
                            " bytes that fit on a page of the store");
    case Outcome::kNoIndexRoom:
    case Outcome::kDone:  // and what needs nothing
    case Outcome::kAbsent:
    case Outcome::kKept:
    case Outcome::kShifted:
      break;
  }
  return make_error(ErrorCode::kResourceExhausted,
                    "the system has no memory for the store's index");
}

Result<> SessionCore::wait_for(ColdFetcher::Fetch& fetch) {
  while (!fetch.done)
    TAILRACE_RETURN_IF_ERROR(fetcher_.poll(kPollInterval, &ended_));
  // Asynchronous reads that ended meanwhile stay in ended_ until poll().
  std::erase(ended_, &fetch);
  if (fetch.error) return tl::unexpected(*fetch.error);
  return {};
}

}  // namespace tailrace::kv
