#pragma once
// The client library: C++ programs and the command line speak to a cluster through it.

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/address.h"
#include "core/bytes.h"
#include "core/record_kind.h"
#include "core/result.h"
#include "rpc/client/runtime.h"
#include "rpc/wire/status.h"
#include "statemachine/command/command.h"

namespace tailrace::rpc {

struct ClientOptions {
  /// HOST:PORT. The leader is looked for among all members that these tell of, too.
  std::vector<std::string> servers{"127.0.0.1:7100"};
  std::chrono::milliseconds timeout{10000};  // of a call, retries included
  /// Commands carry a session serial, so that a retry after a lost reply is applied once.
  bool exactly_once = true;
  size_t max_frame_bytes = 64u << 20;
  /// Whose threads the client runs on; null: a thread of its own.
  std::shared_ptr<Runtime> runtime = nullptr;
  /// Which of them; nothing: each in turn.
  std::optional<uint32_t> runtime_thread = std::nullopt;
  /// Writes and reads of all clients that set this on one thread of a runtime, with the same
  /// servers, go over one connection: what they ask at once is one write and one read. A client
  /// that the server makes wait, for room in its log say, makes the others of that connection wait,
  /// too.
  bool share_connection = false;
};

struct ReadOptions {
  enum class Level { kLinearizable, kAny, kAtLeast, kBounded } level = Level::kLinearizable;
  Epoch epoch;                // kAtLeast; 0: the address alone
  Address address;            // kAtLeast: of a record of that epoch, or one before; else refused
  uint64_t staleness_ms = 0;  // kBounded: the state holds all that was acknowledged before that
};

struct ReadAnswer {
  bool found = false;
  std::string value;
  Epoch epoch;      // of the record that ends at `applied`
  Address applied;  // the state read was that of this address
  /// All that was acknowledged to anyone longer ago than this is in the answer; 2^64-1: unknown.
  uint64_t staleness_bound_ms = 0;
};

struct CommandAnswer {
  Epoch epoch;
  AddressRange range;  // of the record(s) in the log
  Address last;        // where the last of them begins
  statemachine::Answer answer;
};

struct DigestAnswer {
  Address begin;  // of the node's log
  uint64_t state_high = 0, state_low = 0, pairs = 0;
  uint64_t log_high = 0, log_low = 0;  // of [log_from, address)
};

struct TailRecord {
  Address address, end;
  Epoch epoch;
  RecordKind kind = RecordKind::kInvalid;
  std::string payload;  // of the record; decode a command with statemachine::decode
};

/// Blocking calls; one object may be used by several threads. Finds the leader itself for what
/// needs it. A blocking call on a thread of the client's runtime, so in a callback, is refused: it
/// would wait for itself (kFailedPrecondition). Errors: kTimedOut / kUnavailable (unreachable),
/// kUnknownOutcome (may have happened), kUnsupported (a newer protocol; or a server of another
/// cluster than those before, or whose log was begun anew), else what the server answered.
class Client {
 public:
  static Result<std::unique_ptr<Client>> create(ClientOptions options);
  /// Calls of other threads end at once, with kClosed, and are waited for; a write among them may
  /// have happened (kUnknownOutcome). All its callbacks are called before this returns. What these
  /// ask for meanwhile ends with kClosed, too; what is asked for when that is told is dropped, and
  /// its callback is destroyed without a call: one that always asks again has an end. A callback
  /// may end clients of its own thread, also the one that calls it; those of other threads are to
  /// be ended by a thread that is none of a runtime. Not to be called by what a tail or a scan of
  /// this client calls.
  virtual ~Client() = default;

  /// One command; what each takes is said below, where it has a name.
  struct Write {
    statemachine::Operation operation;
    ByteSpan key = {}, value = {}, expected = {};
    int64_t delta = 0;
    std::chrono::milliseconds time_to_live{0};
  };
  virtual Result<CommandAnswer> write(const Write& command) = 0;

  /// With a time to live the key is absent once the log's time has passed it; 0: for ever.
  Result<CommandAnswer> put(ByteSpan key, ByteSpan value,
                            std::chrono::milliseconds time_to_live = std::chrono::milliseconds(0)) {
    return write({.operation = statemachine::Operation::kPut,
                  .key = key,
                  .value = value,
                  .time_to_live = time_to_live});
  }
  /// Sets the time to live of a key that is there, or takes it away (0).
  Result<CommandAnswer> expire(ByteSpan key, std::chrono::milliseconds time_to_live) {
    return write(
        {.operation = statemachine::Operation::kExpire, .key = key, .time_to_live = time_to_live});
  }
  Result<CommandAnswer> erase(ByteSpan key) {
    return write({.operation = statemachine::Operation::kDelete, .key = key});
  }
  Result<CommandAnswer> add(ByteSpan key, int64_t delta) {
    return write({.operation = statemachine::Operation::kAdd, .key = key, .delta = delta});
  }
  /// Sets the key if its value is `expected`; nothing: if there is no such key, or it has expired.
  /// Against absent kFailedPrecondition (an older server: kUnsupported) until all nodes of the
  /// cluster know that; only then a time to live may be given (0: for ever), as for a lock that
  /// ends with its holder. A key that is there keeps its own.
  Result<CommandAnswer> cas(ByteSpan key, std::optional<ByteSpan> expected, ByteSpan value,
                            std::chrono::milliseconds time_to_live = std::chrono::milliseconds(0)) {
    return write(
        {.operation = expected ? statemachine::Operation::kCas : statemachine::Operation::kInsert,
         .key = key,
         .value = value,
         .expected = expected.value_or(ByteSpan{}),
         .time_to_live = time_to_live});
  }
  /// One atomic batch of events; its range covers all of them.
  virtual Result<CommandAnswer> append(std::string_view stream,
                                       const std::vector<ByteSpan>& events) = 0;
  virtual Result<ReadAnswer> get(ByteSpan key, ReadOptions options) = 0;

  /// All pairs whose keys begin with `prefix`, in no order, exactly as they were at one address,
  /// until `limit` of them (0: all) were visited or `visit` returns false. kUnavailable when the
  /// server has lost the scan: what was visited then is not all.
  struct ScanOptions {
    ReadOptions read;
    uint64_t limit = 0;
  };
  struct ScanEnd {
    Epoch epoch;      // of the record that ends at `address`
    Address address;  // the state shown was that of this address
    uint64_t pairs = 0;
    bool complete = false;  // there was no more
  };
  using PairVisitor = std::function<bool(ByteSpan key, ByteSpan value)>;
  virtual Result<ScanEnd> scan(ByteSpan prefix, const ScanOptions& options,
                               const PairVisitor& visit) = 0;

  /// Any command without waiting; `done` runs on the client's thread, and never within this call.
  /// It may make other calls of this kind. Order of commands given from one thread is kept.
  using CommandCallback = std::function<void(Result<CommandAnswer>)>;
  virtual void async_write(const Write& command, CommandCallback done) = 0;
  void async_put(ByteSpan key, ByteSpan value, CommandCallback done) {
    async_write({.operation = statemachine::Operation::kPut, .key = key, .value = value},
                std::move(done));
  }
  virtual void async_append(std::string_view stream, const std::vector<ByteSpan>& events,
                            CommandCallback done) = 0;
  virtual void async_get(ByteSpan key, ReadOptions options,
                         std::function<void(Result<ReadAnswer>)> done) = 0;

  /// Committed records from `from` (nothing: the log's begin) until `to`, which is waited for
  /// (nothing: the committed address at the call, as the first server knows it; with follow: for
  /// ever), or until `visit` returns false. Reads from the first server that answers, and goes on
  /// at the next one when that is gone, silent, or without news of the leader while others may have
  /// some. The end that the first server has named stands: another one is waited for until it has
  /// it.
  ///
  /// Without follow kTimedOut or kUnavailable when nothing has come for the client's timeout. With
  /// follow it waits for as long as it takes, for records and for servers. kOutOfRange when `from`
  /// is beyond the committed end (without follow), kTruncated when it is below the log's begin,
  /// kInvalidArgument when no record begins there: the message names the addresses. kCancelled
  /// after `stop`.
  struct TailOptions {
    std::optional<Address> from, to;
    bool from_end = false;
    bool follow = false;
    std::stop_token stop = {};  // any thread may ask for the end
    /// Called once, when a server has said where the tail begins.
    std::function<void(Address from)> started = nullptr;
    /// Called when all records that have come so far were visited, before more are waited for;
    /// false ends the tail, as of `visit`. For what is gathered of many records.
    std::function<bool()> caught_up = nullptr;
  };
  virtual Result<Address> tail(const TailOptions& options,
                               const std::function<bool(const TailRecord&)>& visit) = 0;

  /// Each given server's status, or why there is none.
  using ServerStatus = std::pair<std::string, Result<NodeStatusAnswer>>;
  virtual std::vector<ServerStatus> status() = 0;
  /// The same, and behind them that of each member of the cluster that these tell of.
  virtual std::vector<ServerStatus> cluster_status() = 0;
  /// Of the node that leads; its `address` is empty. Waits for one, as a command does.
  virtual Result<NodeStatusAnswer> leader_status() = 0;
  /// The leader hands its lead to `node` (0: to the voter that has most) and has given it up when
  /// this returns; it may take a moment until that one serves.
  virtual Result<> transfer(NodeId node) = 0;
  /// Adds `member`, or makes it what this says (`joining` is not looked at; empty addresses of one
  /// that is there stay); committed when this returns. One that is to vote begins as joining:
  /// status() tells when it does. kUnavailable while an earlier change is not committed;
  /// kUnknownOutcome when the leader was lost: asked again it does no harm.
  virtual Result<> set_member(const NodeStatusAnswer::Member& member) = 0;
  /// As set_member(); nothing is done when `node` is no member.
  virtual Result<> remove_member(NodeId node) = 0;
  /// `server` seeks the lead; status() tells when it has it.
  virtual Result<> promote(const std::string& server) = 0;
  /// One server's checkpoint; returns its address.
  virtual Result<Address> checkpoint(const std::string& server) = 0;
  /// Appends a digest command through the leader; returns its end address.
  virtual Result<Address> request_digest() = 0;
  /// Waits for `server` to have applied `address`; log digest over [log_from, address).
  virtual Result<DigestAnswer> digest(const std::string& server, Address address,
                                      Address log_from) = 0;
};

}  // namespace tailrace::rpc
