#pragma once
// Load for a running service: closed loops of requests, each client a connection with a fixed
// number of requests in flight, and what they measured.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/result.h"
#include "rpc/client/client.h"

namespace tailrace::app {

struct LoadOptions {
  /// kOwn: a put, and once it is acknowledged a read of at least its address; the read is timed.
  enum class Operation { kPut, kAppend, kGet, kMixed, kOwn };
  Operation operation = Operation::kPut;
  uint32_t clients = 4;
  uint32_t in_flight = 64;  // of each client
  uint32_t batch = 100;     // events of an append
  uint32_t value_bytes = 256;
  uint64_t keys = 100'000;
  rpc::ReadOptions read;  // of kGet and kMixed
  double seconds = 10;
};

struct LoadResult {
  double seconds = 0;
  uint64_t operations = 0;  // answered requests
  uint64_t records = 0;     // operations, times the batch for appends
  uint64_t errors = 0;
  uint64_t unknown = 0;  // of the errors: writes that may have happened; of a history only
  std::optional<Error> first_error;
  double p50_us = 0, p99_us = 0, p999_us = 0, max_us = 0;
};

/// Runs until the time is over and every request is answered. Reads that need no leader go to the
/// servers in turn, a server for each client. `on_progress` is called about twice a
/// second on the caller's thread with the share of the time that has passed and the operations so
/// far. Fails only when a client cannot be made, or the first request of all is not answered.
Result<LoadResult> run_load(const rpc::ClientOptions& client, const LoadOptions& options,
                            const std::function<void(double, uint64_t)>& on_progress);

/// Sets the percentiles and the greatest.
void set_latencies(LoadResult& result, std::vector<float> latencies_us);

}  // namespace tailrace::app
