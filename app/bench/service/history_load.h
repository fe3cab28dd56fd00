#pragma once
// Load for a running service whose every answer is written down, to be judged afterwards.

#include "app/bench/service/history_file.h"
#include "app/bench/service/service_load.h"

namespace tailrace::app {

/// At once, of all clients: all may be on one key, and a judge keeps track of 64 in flight there.
inline constexpr uint32_t kMostHistoryRequests = 64;
/// Few, so that the clients meet on them.
inline constexpr uint64_t kHistoryKeys = 5;

/// Puts, linearizable reads, compare-and-swaps and deletes of `options.keys` keys, and adds to and
/// reads of one counter more, in closed loops; keys of this run alone, absent before. Each written
/// value is CLIENT:NUMBER and unique. The operations that fail do not end it; what ends it is the
/// time, or the file. Of `options`: clients, in_flight, keys, seconds.
/// Fails when a client cannot be made, when the service cannot be reached to begin with, and when
/// the file cannot be written; what is in the file then is true as far as it goes.
Result<LoadResult> run_history_load(const rpc::ClientOptions& client, const LoadOptions& options,
                                    HistoryFile& file,
                                    const std::function<void(double, uint64_t)>& on_progress);

}  // namespace tailrace::app
