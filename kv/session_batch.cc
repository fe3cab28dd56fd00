// Batches. An operation costs two cache misses, the bucket and the record, one after the other; a
// piece of a batch pays for all its buckets at once and then for all its records. Records on disk
// are read at the same time in the same way: the first operation that lacks one looks ahead.

#include "kv/engine/engine_hot.h"
#include "kv/engine/hashed_key.h"
#include "kv/session_impl.h"
#include "kv/store_impl.h"

namespace tailrace::kv {

using Outcome = Engine::Outcome;

Result<> SessionCore::run(std::span<Operation> operations, size_t& done_count) {
  done_count = 0;
  while (done_count < operations.size()) {
    const size_t piece = std::min(kPiece, operations.size() - done_count);
    size_t done = 0;
    auto result = run_piece(operations.subspan(done_count, piece), done);
    done_count += done;
    if (!result) return result;
  }
  return {};
}

Result<> SessionCore::check_operation(const Operation& operation, const HashedKey& key) const {
  if (operation.kind == OperationKind::kRead) return {};
  return check_write(key, operation.value.size(), operation.serial);
}

Outcome SessionCore::try_operation(Operation& operation, const HashedKey& key, ColdFound& cold,
                                   Engine::Waiting& waiting, bool& beneath) {
  Engine::Change change;
  Modification decision = Modification::kKeep;
  InsertIfAbsent insert{operation.value, operation.result};
  CompareAndSwap swap{operation.expected, operation.value, operation.result};
  change.scratch = &scratch_;
  change.decision = &decision;
  switch (operation.kind) {
    case OperationKind::kRead: {
      std::string& value = operation.result != nullptr ? *operation.result : scratch_;
      const Outcome outcome = engine_.read(key, value, cold, waiting);
      operation.done = outcome == Outcome::kDone;
      return outcome;
    }
    case OperationKind::kUpsert:
      change.kind = Engine::WriteKind::kUpsert;
      change.value = operation.value;
      break;
    case OperationKind::kErase:
      change.kind = Engine::WriteKind::kErase;
      break;
    case OperationKind::kRmw:
      change.kind = Engine::WriteKind::kRmw;
      change.modify = operation.modify;
      break;
    case OperationKind::kInsertIfAbsent:
      change.kind = Engine::WriteKind::kRmw;
      change.modify = insert;
      break;
    case OperationKind::kCompareAndSwap:
      change.kind = Engine::WriteKind::kRmw;
      change.modify = swap;
      break;
  }
  const Outcome outcome = attempt(key, change, operation.serial, cold, waiting, beneath);
  operation.done = outcome == Outcome::kDone;
  return outcome;
}

// The most frequent case (engine_hot.h). False: nothing has changed.
[[gnu::always_inline]] inline bool SessionCore::run_hot(Operation& operation,
                                                        const HashedKey& key) {
  switch (operation.kind) {
    case OperationKind::kRead: {
      std::string& value = operation.result != nullptr ? *operation.result : scratch_;
      operation.done = engine_.read_hot(key, value);
      return operation.done;
    }
    case OperationKind::kUpsert:
      if (!is_ready_for(operation.serial) ||
          !engine_.upsert_hot(key, operation.value, state.version))
        return false;
      operation.done = true;
      break;
    case OperationKind::kRmw: {
      Modification decision = Modification::kKeep;
      if (!is_ready_for(operation.serial) ||
          !engine_.rmw_hot(key, operation.modify, scratch_, state.version, decision))
        return false;
      operation.done = decision == Modification::kWrite;
      break;
    }
    case OperationKind::kErase:
    case OperationKind::kInsertIfAbsent:
    case OperationKind::kCompareAndSwap:
      return false;
  }
  note_done(operation.serial);
  return true;
}

// Starts reading what the operations from `first` on will lack.
Result<> SessionCore::fetch_ahead(std::span<Operation> operations, size_t first) {
  if (ahead_.empty()) ahead_.resize(kPiece);
  for (ColdFetcher::Fetch& fetch : ahead_)
    fetch.found.clear();
  LogAddress cold[kPiece] = {};
  {
    const storage::EpochProtection::Guard guard(engine_.protection());
    for (size_t at = first; at < operations.size(); ++at) {
      if (operations[at].kind == OperationKind::kUpsert) continue;
      cold[at] = engine_.cold_address(HashedKey(operations[at].key, hashes_[at]));
    }
  }
  for (size_t at = first; at < operations.size(); ++at) {
    if (cold[at] == 0) continue;
    ahead_[at].key = HashedKey(operations[at].key, hashes_[at]);
    ahead_[at].beneath = false;
    TAILRACE_RETURN_IF_ERROR(fetcher_.start(ahead_[at], cold[at]));
  }
  return {};
}

Result<> SessionCore::run_piece(std::span<Operation> operations, size_t& done_count) {
  using Guard = storage::EpochProtection::Guard;
  if (hashes_.empty()) hashes_.resize(kPiece);
  bool looked_ahead = false;
  bool beneath = false;  // of the operation that is next
  ColdFound nothing;
  Result<> result;
  {
    std::optional<Guard> guard(std::in_place, engine_.protection());
    for (size_t at = 0; at < operations.size(); ++at) {
      hashes_[at] = hashed(operations[at].key).hash;
      engine_.prefetch_bucket(hashes_[at]);
    }
    for (size_t at = 0; at < operations.size(); ++at)
      engine_.prefetch_record(hashes_[at], operations[at].kind != OperationKind::kRead);

    while (done_count < operations.size()) {
      const size_t at = done_count;
      Operation& operation = operations[at];
      const HashedKey key(operation.key, hashes_[at]);
      if (!beneath && run_hot(operation, key)) [[likely]] {
        ++done_count;
        continue;
      }
      if (result = check_operation(operation, key); !result) break;
      // One in flight has found nothing yet, which is not the same as that there is nothing.
      const bool fetched = looked_ahead && ahead_[at].done;
      ColdFound& cold = fetched ? ahead_[at].found : nothing;
      Engine::Waiting waiting;
      const Outcome outcome = try_operation(operation, key, cold, waiting, beneath);
      if (outcome <= Outcome::kKept) [[likely]] {
        if (operation.kind == OperationKind::kRead && outcome == Outcome::kDone &&
            cold.address != 0) {
          copy_to_tail(key, cold);
        }
        ++done_count;
        beneath = false;
        continue;
      }
      guard.reset();
      if (!looked_ahead) {
        looked_ahead = true;
        result = fetch_ahead(operations, at);
      }
      if (result) {
        result =
            ahead_[at].done ? provide(outcome, waiting, key, ahead_[at]) : wait_for(ahead_[at]);
      }
      if (!result) break;
      guard.emplace(engine_.protection());
    }
  }
  if (!result && done_count < operations.size() &&
      operations[done_count].kind != OperationKind::kRead) {
    (void)failed(operations[done_count].serial, result.error());
  }
  // They view the callers' keys.
  for (size_t at = 0; looked_ahead && at < operations.size(); ++at) {
    if (auto ended = wait_for(ahead_[at]); !ended && !ahead_[at].done) return ended;
  }
  return result;
}

}  // namespace tailrace::kv
