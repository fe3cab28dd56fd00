#pragma once
// What a load on streams asks for: appends that expect the exact version, transactions, and reads
// of whole streams. The requests of one thread; load_thread.h says when each begins.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "app/bench/service/service_load.h"
#include "core/random.h"
#include "rpc/client/client.h"

namespace tailrace::app {

/// Each request in flight has streams of its own, so that none finds another version than it
/// expects: as for services with a writer for each stream.
class EventRequests {
 public:
  /// `records`: events that were appended or read, or 1 for a transaction.
  using Finished = std::function<void(uint32_t slot, uint64_t records, const Error* error)>;

  /// Of the thread's slots, each with one request in flight. `options` and `data`, the bytes of
  /// each event, outlive it.
  EventRequests(const LoadOptions& options, uint32_t thread, uint32_t slots, ByteSpan data,
                Finished finished);
  /// `finished` is called on the client's thread, and never within this call.
  void issue(rpc::Client& client, uint32_t slot);

 private:
  /// A stream whose last append had no answer.
  static constexpr uint64_t kUnknown = UINT64_MAX;

  struct Slot {
    std::vector<uint64_t> versions;  // of the next event of each of its streams
    size_t turn = 0;
    uint64_t read = 0;
  };

  std::string stream_of(uint32_t slot) const;
  rpc::ExpectedStream expected_by(const Slot& slot) const;
  void append(rpc::Client& client, uint32_t slot);
  void transact(rpc::Client& client, uint32_t slot);
  void read(rpc::Client& client, uint32_t slot);
  /// `last`: of the appended events; nothing if they are not there, or nobody knows.
  void appended(uint32_t slot, std::optional<uint64_t> last, uint64_t records, const Error* error);

  const LoadOptions& options_;
  const uint32_t thread_;
  const ByteSpan data_;
  const Finished finished_;
  std::vector<Slot> slots_;
  std::vector<rpc::NewEvent> batch_;
  statemachine::Txn txn_;
  uint64_t transactions_ = 0;
  Random random_{random_seed()};
};

/// Appends what is to be read: `length` events to each stream. The first error ends it.
Result<> fill_streams(rpc::Client& client, const LoadOptions& options);

}  // namespace tailrace::app
