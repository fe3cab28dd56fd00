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
#include "rpc/client/events.h"
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
/// A file with events that the log no longer has. Two with the same range, revision and digest hold
/// the same events, whatever they take.
struct HistoryFile {
  AddressRange range;  // of the log
  uint32_t revision = 0;
  uint64_t digest_high = 0, digest_low = 0;
  uint64_t bytes = 0;  // on disk
  bool holds_the_same(const HistoryFile& other) const {
    return range == other.range && revision == other.revision && digest_high == other.digest_high &&
           digest_low == other.digest_low;
  }
};

/// What one node keeps of events that its log no longer has.
/// Where a node still has, or may have, events of a stream.
struct StreamRemains {
  std::string what;
  AddressRange range;  // of the log, where the bytes are of it
};

struct HistoryAnswer {
  bool kept = false;   // else the rest is empty
  AddressRange range;  // of the log: from the first file's begin to where it is complete
  uint64_t files = 0, bytes = 0;
  uint64_t missing_bytes = 0;  // of the log within the range that no file covers
  std::string trouble;         // why no more is written; empty: nothing is wrong
  Address scavenge_to;   // up to there files are to be without dead events; 0: never asked for
  Address scavenged_to;  // up to there they are; 0: that is not known
  std::string scavenge_trouble;  // why they are not; empty: nothing is wrong
  uint64_t removed_events = 0;   // since the node's start
  std::vector<HistoryFile> listed;
};

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
  /// One atomic batch of events without ids; its range covers all of them. In a cluster of version
  /// 5 on it is a transaction (below): the events are found by their stream, at most 4,095 make a
  /// batch, and one that is sent again after a lost answer is applied once. kFailedPrecondition
  /// when the stream was tombstoned.
  virtual Result<CommandAnswer> append(std::string_view stream,
                                       const std::vector<ByteSpan>& events) = 0;
  virtual Result<ReadAnswer> get(ByteSpan key, ReadOptions options) = 0;

  // ---- Transactions and streams. Writes are refused with kFailedPrecondition until all nodes of
  // the cluster know them (cluster version 5), and with kUnsupported by an older server; sent again
  // after a lost answer they are applied once, as all commands are.

  /// Checks, and what is done if all hold or if one does not, as one. Times in it are how long from
  /// now, in ns (statemachine/txn/txn.h); its time is 0. kInvalidArgument names the item that is
  /// wrong.
  virtual Result<TxnAnswer> txn(const statemachine::Txn& txn) = 0;
  /// Events for one stream, at least one and at most 4,095, all or none.
  virtual Result<AppendAnswer> append(std::string_view stream, std::span<const NewEvent> events,
                                      ExpectedStream expected) = 0;

  /// A stream's events from version `from` on (nothing: from the first that can be read, or
  /// backwards from the last), until `limit` (nothing: all; 0: none, to learn what there is of the
  /// stream) were visited or `visit` returns false. Each page is of a state that is not older than
  /// that of the page before. kTruncated when the log no longer holds the first of them: the
  /// message names the first version that it has.
  struct StreamReadOptions {
    ReadOptions read;
    std::optional<uint64_t> from;
    bool backwards = false;
    std::optional<uint64_t> limit;
  };
  using EventVisitor = std::function<bool(const StreamEvent& event)>;
  virtual Result<StreamEnd> read_stream(std::string_view stream, const StreamReadOptions& options,
                                        const EventVisitor& visit) = 0;
  /// The streams that exist and whose names begin with `prefix`, by their names, those behind
  /// `after` only, until `limit` (0: all) were visited or `visit` returns false; how many were
  /// visited. The server reads all of its store for each 65,536 of them, or 4 MiB of names.
  struct StreamsOptions {
    ReadOptions read;
    std::string after;
    uint64_t limit = 0;
  };
  using StreamVisitor = std::function<bool(const ListedStream& stream)>;
  virtual Result<uint64_t> streams(std::string_view prefix, const StreamsOptions& options,
                                   const StreamVisitor& visit) = 0;
  /// Up to 1,024 keys as they are at one applied address, also on a follower: never half of a
  /// transaction. kFailedPrecondition when their values take more than 1 MiB (or than one value
  /// may).
  virtual Result<MgetAnswer> mget(const std::vector<ByteSpan>& keys, ReadOptions options) = 0;

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

  using TxnCallback = std::function<void(Result<TxnAnswer>)>;
  virtual void async_txn(const statemachine::Txn& txn, TxnCallback done) = 0;
  using AppendCallback = std::function<void(Result<AppendAnswer>)>;
  virtual void async_append(std::string_view stream, std::span<const NewEvent> events,
                            ExpectedStream expected, AppendCallback done) = 0;
  virtual void async_mget(const std::vector<ByteSpan>& keys, ReadOptions options,
                          std::function<void(Result<MgetAnswer>)> done) = 0;
  /// As read_stream(), one page after the other; `visit` runs on the client's thread, too.
  using StreamCallback = std::function<void(Result<StreamEnd>)>;
  virtual void async_read_stream(std::string_view stream, const StreamReadOptions& options,
                                 EventVisitor visit, StreamCallback done) = 0;

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
  /// Appends a command by which each node takes the events that are dead at its end out of its
  /// event files; returns that address. history() tells how far each is.
  virtual Result<Address> request_scavenge() = 0;
  /// What `server` keeps, and all of its event files.
  virtual Result<HistoryAnswer> history(const std::string& server) = 0;
  /// Where `server` still has events of the stream, readable or not. Empty: nowhere.
  virtual Result<std::vector<StreamRemains>> remains(const std::string& server,
                                                     std::string_view stream) = 0;
  /// Up to `bytes`, a MiB at most, of one of them; fewer at its end. kNotFound when it is gone.
  virtual Result<std::string> history_piece(const std::string& server, const HistoryFile& file,
                                            uint64_t offset, uint32_t bytes) = 0;
};

}  // namespace tailrace::rpc
