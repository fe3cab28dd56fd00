#pragma once
// Load for a running service, and what it measured: closed loops of requests, or requests by a
// schedule. Many clients, each with a session and a connection of its own, on few threads.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "app/bench/histogram.h"
#include "core/result.h"
#include "rpc/client/client.h"

namespace tailrace::app {

/// Of Operation::kEvents.
struct EventLoad {
  /// kAppend: a batch of events that expects the stream's exact version. kTxn: such an event, a
  /// sum, a value and an event of one outbox, as one. kRead: all of a stream that is drawn,
  /// forwards.
  enum class Operation { kAppend, kTxn, kRead };
  Operation operation = Operation::kAppend;
  uint64_t streams = 100'000;
  uint64_t length = 10;  // events of each stream that is read
  std::string prefix;    // begins their names; of a run, so that all streams are new to it
};

struct LoadOptions {
  /// kOwn: a put, and once it is acknowledged a read of at least its address; the read is timed.
  enum class Operation { kPut, kAppend, kGet, kMixed, kOwn, kEvents };
  Operation operation = Operation::kPut;
  uint32_t clients = 4;
  uint32_t threads = 1;     // that the clients run on; at most as many as clients
  uint32_t in_flight = 64;  // of each client, at most
  /// Else each has its own: clients of one thread with the same first server.
  bool share_connections = false;
  uint32_t batch = 100;  // events of an append
  uint32_t value_bytes = 256;
  uint64_t keys = 100'000;
  rpc::ReadOptions read;  // of kGet, kMixed, and reads of events
  EventLoad events;
  double seconds = 10;
  /// Operations a second of all clients, by a fixed schedule; nothing: the next one follows each
  /// answer.
  std::optional<double> rate;
};

struct LoadResult {
  double seconds = 0;
  uint64_t operations = 0;  // answered requests
  uint64_t records = 0;     // operations, times the batch for appends; events that were read
  uint64_t errors = 0;
  uint64_t unknown = 0;      // of the errors: writes that may have happened; of a history only
  uint64_t not_started = 0;  // with a rate: due before the end, and never sent
  std::optional<Error> first_error;
  /// Of the answered ones, in nanoseconds. With a rate it counts from the moment at which the
  /// schedule has the operation, so waiting for a client that is free counts, too.
  Histogram latency_ns;
  double cpu_us_per_operation = 0;  // user and system, of this process
};

/// Of all clients at once.
inline constexpr uint64_t kMostRequestsInFlight = uint64_t{1} << 20;
inline constexpr uint64_t kMostBytesInFlight = uint64_t{1} << 30;

/// kInvalidArgument, naming the options: it would have more than that in flight. The one GiB is
/// also the largest frame that a server can be told to take; one that takes less refuses the
/// request.
Result<> check_load(const LoadOptions& options);

/// Runs until the time is over and every request is answered. Reads that need no leader go to the
/// servers in turn, a server for each client. With a rate, an operation that is due is begun by the
/// client that has been free for longest; while none is free it waits, and is late. `on_progress`
/// is called about twice a second on the caller's thread with the share of the time that has passed
/// and the operations so far. Fails only when a client cannot be made, or the first request of all
/// is not answered. What is thrown on the clients' threads ends it, and is thrown here, too: memory
/// may run out.
Result<LoadResult> run_load(const rpc::ClientOptions& client, const LoadOptions& options,
                            const std::function<void(double, uint64_t)>& on_progress);

}  // namespace tailrace::app
